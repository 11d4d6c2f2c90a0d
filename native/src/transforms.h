// Winograd's transforms, sixteen channels at a time. Each has a naive twin in naive.cpp, which is the plain product
// with the matrices of winograd_points.h.
#pragma once

#include "unroll.h"
#include "winograd_points.h"

namespace verydeep::VERYDEEP_ISA {

// One side of the input transform: kWindow pixels -> kWindow positions.
// The polynomial of a pair splits in its even and its odd part: their sum is the value at +p, their difference at -p.
template <int kPairs>
VERYDEEP_INLINE void transform_side(const Vec* pixels, Vec* positions) {
    using W = Winograd<kPairs>;
    Vec first = pixels[2 * kPairs], last = pixels[2 * kPairs + 1];
    unroll<kPairs>([&](auto k) VERYDEEP_INLINE_LAMBDA {
        constexpr float c = static_cast<float>(W::coefficient(decltype(k)::value, -1));
        first = fma(broadcast(c), pixels[2 * k], first);
        last = fma(broadcast(c), pixels[2 * k + 1], last);
    });
    positions[0] = first;
    positions[W::kWindow - 1] = last;
    unroll<kPairs>([&](auto pair) VERYDEEP_INLINE_LAMBDA {
        Vec even = pixels[2 * kPairs], odd = pixels[2 * kPairs - 1];
        unroll<kPairs - 1>([&](auto k) VERYDEEP_INLINE_LAMBDA {
            constexpr float c = static_cast<float>(W::coefficient(decltype(k)::value, decltype(pair)::value));
            even = fma(broadcast(c), pixels[2 * k + 2], even);
            odd = fma(broadcast(c), pixels[2 * k + 1], odd);
        });
        constexpr float p = static_cast<float>(W::point(decltype(pair)::value));
        positions[2 * pair + 1] = fma(broadcast(p), odd, even);
        positions[2 * pair + 2] = fnma(broadcast(p), odd, even);
    });
}

// One side of the output transform: kWindow positions -> kTile pixels.
template <int kPairs>
VERYDEEP_INLINE void inverse_side(const Vec* positions, Vec* pixels) {
    using W = Winograd<kPairs>;
    Vec sums[kPairs], differences[kPairs];
    unroll<kPairs>([&](auto pair) VERYDEEP_INLINE_LAMBDA {
        sums[pair] = add(positions[2 * pair + 1], positions[2 * pair + 2]);
        differences[pair] = sub(positions[2 * pair + 1], positions[2 * pair + 2]);
    });
    unroll<W::kTile>([&](auto pixel) VERYDEEP_INLINE_LAMBDA {
        constexpr int kPixel = decltype(pixel)::value;
        constexpr float first = static_cast<float>(W::output(kPixel, 1));
        const Vec* parts = kPixel % 2 == 0 ? sums : differences;
        Vec y;
        if constexpr (kPixel == 0) {
            y = add(positions[0], sums[0]);
        } else if constexpr (kPixel == W::kTile - 1) {
            y = fma(broadcast(first), parts[0], positions[W::kWindow - 1]);
        } else {
            y = mul(broadcast(first), parts[0]);
        }
        unroll<kPairs - 1>([&](auto i) VERYDEEP_INLINE_LAMBDA {
            constexpr float c = static_cast<float>(W::output(kPixel, 2 * decltype(i)::value + 3));
            y = kPixel == 0 ? add(y, parts[i + 1]) : fma(broadcast(c), parts[i + 1], y);
        });
        pixels[kPixel] = y;
    });
}

// A window of the map, one block of channels -> its kPositions values, `position_stride` numbers apart.
// scales: of each position, for whole numbers; not read for floats.
template <class Number, int kPairs>
VERYDEEP_INLINE void transform_window(const float* map, std::ptrdiff_t row_stride, Number* values,
                                      std::ptrdiff_t position_stride, const float* scales) {
    constexpr int kWindow = Winograd<kPairs>::kWindow;
    Vec columns[kWindow][kWindow];  // [column][position along the vertical side]
    unroll<kWindow>([&](auto x) VERYDEEP_INLINE_LAMBDA {
        Vec pixels[kWindow];
        unroll<kWindow>([&](auto y) VERYDEEP_INLINE_LAMBDA { pixels[y] = load(map + y * row_stride + x * kBlock); });
        transform_side<kPairs>(pixels, columns[x]);
    });
    unroll<kWindow>([&](auto i) VERYDEEP_INLINE_LAMBDA {
        Vec row[kWindow], positions[kWindow];
        unroll<kWindow>([&](auto x) VERYDEEP_INLINE_LAMBDA { row[x] = columns[x][i]; });
        transform_side<kPairs>(row, positions);
        unroll<kWindow>([&](auto j) VERYDEEP_INLINE_LAMBDA {
            constexpr int position = decltype(i)::value * kWindow + decltype(j)::value;
            if constexpr (std::is_same_v<Number, float>) {
                store(values + position * position_stride, positions[j]);
            } else {
                store(values + position * position_stride, mul(positions[j], broadcast(scales[position])));
            }
        });
    });
}

// The kPositions sums of one block of outputs, `position_stride` floats apart -> kTile x kTile pixels.
template <int kPairs>
VERYDEEP_INLINE void inverse_window(const float* sums, std::ptrdiff_t position_stride,
                                    Vec (&tile)[Winograd<kPairs>::kTile][Winograd<kPairs>::kTile]) {
    constexpr int kWindow = Winograd<kPairs>::kWindow, kTile = Winograd<kPairs>::kTile;
    Vec columns[kWindow][kTile];  // [position along the horizontal side][row of pixels]
    unroll<kWindow>([&](auto j) VERYDEEP_INLINE_LAMBDA {
        Vec positions[kWindow];
        unroll<kWindow>(
            [&](auto i) VERYDEEP_INLINE_LAMBDA { positions[i] = load(sums + (i * kWindow + j) * position_stride); });
        inverse_side<kPairs>(positions, columns[j]);
    });
    unroll<kTile>([&](auto y) VERYDEEP_INLINE_LAMBDA {
        Vec row[kWindow];
        unroll<kWindow>([&](auto j) VERYDEEP_INLINE_LAMBDA { row[j] = columns[j][y]; });
        inverse_side<kPairs>(row, tile[y]);
    });
}

}  // namespace verydeep::VERYDEEP_ISA
