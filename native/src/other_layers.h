// The layers that do little: fully connected, pools and what undoes them, normalisations, and what happens to a map in
// between.
#pragma once

#include <cmath>

#include "kernels.h"
#include "unroll.h"

namespace verydeep::VERYDEEP_ISA {

// kRows outputs of kVectors inputs at once: each weight is read from memory once for all of them.
template <class Weight, int kRows, int kVectors>
VERYDEEP_INLINE void connect(const Weight* weights, const float* in, int inputs, float (&result)[kRows][kVectors]) {
    // Bytes: memory answers a request after about a hundred nanoseconds. Into the second cache, which waits for more lines
    // at once than the first.
    constexpr int kAhead = 4096;
    Vec sums[kRows][kVectors];
    unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
        unroll<kVectors>([&](auto v) VERYDEEP_INLINE_LAMBDA { sums[r][v] = zero(); });
    });
    int i = 0;
    for (; i + kBlock <= inputs; i += kBlock) {
        Vec w[kRows];
        unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
            const Weight* place = weights + static_cast<std::ptrdiff_t>(r) * inputs + i;
            w[r] = load(place);
            prefetch(reinterpret_cast<const char*>(place) + kAhead);
        });
        unroll<kVectors>([&](auto v) VERYDEEP_INLINE_LAMBDA {
            const Vec x = load(in + static_cast<std::ptrdiff_t>(v) * inputs + i);
            unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA { sums[r][v] = fma(w[r], x, sums[r][v]); });
        });
    }
    unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
        unroll<kVectors>([&](auto v) VERYDEEP_INLINE_LAMBDA {
            float rest = 0;
            for (int j = i; j < inputs; ++j)
                rest += to_float(weights[static_cast<std::ptrdiff_t>(r) * inputs + j]) *
                        in[static_cast<std::ptrdiff_t>(v) * inputs + j];
            result[r][v] = sum(sums[r][v]) + rest;
        });
    });
}

template <class Weight>
void fully_connected(const void* weights, const float* row_scales, const float* bias, bool has_relu, const float* in,
                     int inputs, int count, float* out, int outputs, int first_row, int rows) {
    const auto connect_rows = [&](auto rows_at_once, auto vectors, int row, int vector) {
        constexpr int kRows = decltype(rows_at_once)::value, kVectors = decltype(vectors)::value;
        float result[kRows][kVectors];
        connect<Weight, kRows, kVectors>(
            static_cast<const Weight*>(weights) + static_cast<std::ptrdiff_t>(row) * inputs,
            in + static_cast<std::ptrdiff_t>(vector) * inputs, inputs, result);
        for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) {
                float y = result[r][v] * (row_scales ? row_scales[row + r] : 1) + bias[row + r];
                out[static_cast<std::ptrdiff_t>(vector + v) * outputs + row + r] = has_relu && y < 0 ? 0 : y;
            }
    };
    using One = std::integral_constant<int, 1>;
    using Four = std::integral_constant<int, 4>;
    int row = first_row;
    const int end = first_row + rows;
    for (; row + 4 <= end; row += 4) {
        int vector = 0;
        for (; vector + 4 <= count; vector += 4) connect_rows(Four{}, Four{}, row, vector);
        for (; vector < count; ++vector) connect_rows(Four{}, One{}, row, vector);
    }
    for (; row < end; ++row)
        for (int vector = 0; vector < count; ++vector) connect_rows(One{}, One{}, row, vector);
}

// 2 x 2, stride 2; an odd last row or column is left out.
inline void max_pool(const Map& in, const Map& out, std::uint8_t* corners, int image, int block) {
    for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out.width; ++x) {
            const float* first = in.at(image, block, 2 * y, 2 * x);
            const float* window[4] = {first, first + kBlock, first + in.row_stride, first + in.row_stride + kBlock};
            store(out.at(image, block, y, x),
                  max_or_nan(max_or_nan(load(window[0]), load(window[1])),
                             max_or_nan(load(window[2]), load(window[3]))));
            if (corners == nullptr) continue;
            std::int32_t largest[kBlock] = {};  // the first of several, as in torch
            for (int channel = 0; channel < kBlock; ++channel) {
                float most = window[0][channel];
                for (int corner = 1; corner < 4; ++corner) {
                    const bool is_larger = window[corner][channel] > most;
                    most = is_larger ? window[corner][channel] : most;
                    largest[channel] = is_larger ? corner : largest[channel];
                }
            }
            for (int channel = 0; channel < kBlock; ++channel)
                *corners++ = static_cast<std::uint8_t>(largest[channel]);
        }
    }
}

// The reverse: each value to the corner of its window that the maximum was at, zeros elsewhere.
inline void max_unpool(const Map& in, const Map& out, const std::uint8_t* corners, int image, int block) {
    for (int y = 0; y < in.height; ++y) {
        for (int x = 0; x < in.width; ++x, corners += kBlock) {
            const float* value = in.at(image, block, y, x);
            for (int corner = 0; corner < 4; ++corner) {
                float* pixel = out.at(image, block, 2 * y + corner / 2, 2 * x + corner % 2);
                for (int channel = 0; channel < kBlock; ++channel)
                    pixel[channel] = corners[channel] == corner ? value[channel] : 0.0f;
            }
        }
        if (out.width % 2 == 1)
            for (int row = 2 * y; row < 2 * y + 2; ++row) store(out.at(image, block, row, out.width - 1), zero());
    }
    if (out.height % 2 == 1)
        for (int x = 0; x < out.width; ++x) store(out.at(image, block, out.height - 1, x), zero());
}

inline void relu(const Map& map, int image, int block) {
    for (int y = 0; y < map.height; ++y)
        for (int x = 0; x < map.width; ++x) {
            float* pixel = map.at(image, block, y, x);
            store(pixel, max(zero(), load(pixel)));
        }
}

// x / (2 + 1e-4 * sum of the squares of five neighbouring channels) ^ 0.75: Krizhevsky et al. (2012), section 3.3.
inline void normalize_channels(const Map& in, const Map& out, int image, int first_row, int rows) {
    const int channels = in.blocks * kBlock;
    for (int y = first_row; y < first_row + rows; ++y)
        for (int x = 0; x < in.width; ++x)
            for (int channel = 0; channel < channels; ++channel) {
                float energy = 0;
                for (int other = channel - 2; other <= channel + 2; ++other) {
                    if (other < 0 || other >= channels) continue;
                    const float value = in.at(image, other / kBlock, y, x)[other % kBlock];
                    energy += value * value;
                }
                const float value = in.at(image, channel / kBlock, y, x)[channel % kBlock];
                const float root = std::sqrt(2.0f + 1e-4f * energy);  // z^0.75 = sqrt(z) * sqrt(sqrt(z))
                out.at(image, channel / kBlock, y, x)[channel % kBlock] = value / (root * std::sqrt(root));
            }
}

inline void average(const Map& in, float* out, int image, int block) {
    Vec total = zero();
    for (int y = 0; y < in.height; ++y) {
        Vec row = zero();
        for (int x = 0; x < in.width; ++x) row = add(row, load(in.at(image, block, y, x)));
        total = add(total, row);
    }
    store(out, mul(total, broadcast(1.0f / (static_cast<float>(in.height) * static_cast<float>(in.width)))));
}

// x / ||x||, of a vector shorter than 1e-12 x / 1e-12: as torch's `normalize`.
inline void unit(const float* in, float* out, int length) {
    double squares = 0;  // those of large numbers would leave the range of floats
    for (int i = 0; i < length; ++i) squares += static_cast<double>(in[i]) * in[i];
    const double norm = std::sqrt(squares);
    for (int i = 0; i < length; ++i) out[i] = static_cast<float>(in[i] / (norm < 1e-12 ? 1e-12 : norm));
}

// Zeros around one block of a map: `before` rows and columns in front of it, `after_rows` and `after_columns` behind.
inline void clear_border(const Map& map, int before, int after_rows, int after_columns, int image, int block) {
    const auto clear = [&](int y, int first, int end) {
        for (int x = first; x < end; ++x) store(map.at(image, block, y, x), zero());
    };
    for (int y = -before; y < map.height + after_rows; ++y) {
        if (y < 0 || y >= map.height) {
            clear(y, -before, map.width + after_columns);
        } else {
            clear(y, -before, 0);
            clear(y, map.width, map.width + after_columns);
        }
    }
}

}  // namespace verydeep::VERYDEEP_ISA
