// The constants of Winograd's convolutions F(m x m, 3 x 3), from their points.
//
// F is the transpose of a product of two polynomials by their values at m + 1 points and at infinity. With the points
// 0,
// +-p1, +-p2 ... the two of a pair differ in the sign of their odd part only, so they share their work.
// docs/concepts/winograd.md derives it.
#pragma once

namespace verydeep {

// kPairs = 2: F(4x4), 36 products for 16 pixels; kPairs = 3: F(6x6), 64 for 36.
template <int kPairs>
struct Points;

// Chosen for the least rounding error: with +-1, +-2 it is twice as large (docs/concepts/winograd.md).
template <>
struct Points<2> {
    static constexpr double kPoint[2] = {0.70710678118654752440, 1.41421356237309504880};
};
template <>
struct Points<3> {
    static constexpr double kPoint[3] = {0.5, 1.0, 2.0};
};

template <int kPairs>
struct Winograd {
    static constexpr int kTile = 2 * kPairs;   // pixels that a tile makes, along each side
    static constexpr int kWindow = kTile + 2;  // pixels that it looks at
    static constexpr int kPositions = kWindow * kWindow;

    static constexpr double point(int pair) { return Points<kPairs>::kPoint[pair]; }
    static constexpr double power(double base, int exponent) {
        return exponent == 0 ? 1 : base * power(base, exponent - 1);
    }

    // The coefficient of x^(2 k) in the product of (x^2 - p^2) over all pairs but `left_out` (-1: over all).
    static constexpr double coefficient(int k, int left_out) {
        double product[kPairs + 1] = {1};
        for (int pair = 0; pair < kPairs; ++pair) {
            if (pair == left_out) continue;
            for (int i = kPairs; i >= 0; --i)
                product[i] = (i > 0 ? product[i - 1] : 0) - point(pair) * point(pair) * product[i];
        }
        return product[k];
    }

    // G: what a kernel's tap of column `tap` counts at a position along one side. Positions: 0, +p1, -p1, +p2 ...
    // infinity.
    static constexpr double kernel(int position, int tap) {
        if (position == 0) return tap == 0 ? 1 / coefficient(0, -1) : 0;
        if (position == kWindow - 1) return tap == 2 ? 1 : 0;
        const int pair = (position - 1) / 2;
        const double p = position % 2 == 1 ? point(pair) : -point(pair);
        double others = 2 * p * p;  // the derivative of x * product of (x^2 - p^2) at p
        for (int other = 0; other < kPairs; ++other)
            if (other != pair) others *= p * p - point(other) * point(other);
        return power(p, tap) / others;
    }
    // B transposed: what pixel `pixel` of a window counts at a position.
    static constexpr double input(int position, int pixel) {
        if (position == 0) return pixel % 2 == 0 && pixel < kWindow ? coefficient(pixel / 2, -1) : 0;
        if (position == kWindow - 1) return pixel % 2 == 1 ? coefficient(pixel / 2, -1) : 0;
        const int pair = (position - 1) / 2;
        const double p = position % 2 == 1 ? point(pair) : -point(pair);
        if (pixel == 0 || pixel == kWindow - 1) return 0;
        return pixel % 2 == 0 ? coefficient(pixel / 2 - 1, pair) : p * coefficient(pixel / 2, pair);
    }
    // A transposed: what a position counts in pixel `pixel` of a tile.
    static constexpr double output(int pixel, int position) {
        if (position == 0) return pixel == 0 ? 1 : 0;
        if (position == kWindow - 1) return pixel == kTile - 1 ? 1 : 0;
        const int pair = (position - 1) / 2;
        return power(position % 2 == 1 ? point(pair) : -point(pair), pixel);
    }
};

}  // namespace verydeep
