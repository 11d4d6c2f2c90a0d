// The products of a convolution: at each position, (tiles x channels) times (channels x outputs). Nine tenths of the
// engine's time is spent in `multiply_rows`.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "unroll.h"

namespace verydeep::VERYDEEP_ISA {

// Channels whose products of floats are added up before the sum is added to that of the channels before. A sum of n numbers
// in a row is rounded n times, each time by a share of itself; this way the shares of most of them are of a small sum.
constexpr int kStretch = 128;

// kRows tiles times kBlocks blocks of outputs, all sums in registers.
// values: (kRows, channels), rows `value_stride` apart. weights: (channels / kGroup, kBlocks * 16, kGroup).
// sums: (kRows, kBlocks * 16) floats, rows `sum_stride` apart.
// ahead: what another call will read soon; kPrefetch lines of it are fetched into the second cache at each step.
template <class Number, int kRows, int kBlocks, int kPrefetch>
VERYDEEP_NOINLINE void multiply_rows(const Number* values, std::ptrdiff_t value_stride, const Number* weights,
                                     float* sums, std::ptrdiff_t sum_stride, int channels, const Quantized& quantized,
                                     const char* ahead) {
    using D = Dot<Number>;
    const int stretch = std::is_same_v<Number, float> ? std::min(channels, kStretch) : channels;
    for (int first = 0; first < channels; first += stretch) {
        typename D::Sum sum[kRows][kBlocks];
        unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
            unroll<kBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA { sum[r][b] = D::start(quantized, b * kBlock); });
        });
        for (int c = first; c < std::min(channels, first + stretch); c += D::kGroup) {
            typename D::Weights w[kBlocks];
            unroll<kBlocks>(
                [&](auto b) VERYDEEP_INLINE_LAMBDA { w[b] = D::weights(weights + b * kBlock * D::kGroup); });
            weights += kBlocks * kBlock * D::kGroup;
            if constexpr (kPrefetch > 0) {
                unroll<kPrefetch>([&](auto line) VERYDEEP_INLINE_LAMBDA { prefetch(ahead + 64 * line); });
                ahead += 64 * kPrefetch;
            }
            unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
                const auto x = D::input(values + r * value_stride + c);
                unroll<kBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA { sum[r][b] = D::step(sum[r][b], x, w[b]); });
            });
        }
        unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
            unroll<kBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA {
                float* place = sums + r * sum_stride + b * kBlock;
                const Vec part = D::result(sum[r][b], quantized, b * kBlock);
                store(place, first == 0 ? part : add(load(place), part));
            });
        });
    }
}

template <class Number>
using MultiplyRows = void (*)(const Number*, std::ptrdiff_t, const Number*, float*, std::ptrdiff_t, int,
                              const Quantized&, const char*);

template <class Number, int kBlocks, int kPrefetch, int... kRows>
MultiplyRows<Number> pick(int rows, std::integer_sequence<int, kRows...>) {
    static constexpr MultiplyRows<Number> kTable[] = {&multiply_rows<Number, kRows + 1, kBlocks, kPrefetch>...};
    return kTable[rows - 1];
}

// multiply_rows for a number of rows, from 1 to as many as the registers hold, that fetches `lines` lines at each step.
template <class Number, int kBlocks, int kMostLines>
MultiplyRows<Number> pick_rows(int rows, int lines) {
    const std::make_integer_sequence<int, kAccumulators / kBlocks> all{};
    if constexpr (kMostLines >= 4) {
        if (lines > 2) return pick<Number, kBlocks, 4>(rows, all);
        if (lines == 2) return pick<Number, kBlocks, 2>(rows, all);
    }
    if constexpr (kMostLines >= 1) {
        if (lines >= 1) return pick<Number, kBlocks, 1>(rows, all);
    }
    return pick<Number, kBlocks, 0>(rows, all);
}

// All tiles times one panel of outputs at one position; sums (tiles, kBlocks * 16). The tiles are cut into groups of
// nearly the same size: a last group of one tile would use a sixth of the processor. Meanwhile the weights that follow
// these are fetched into the second cache.
template <class Number, int kBlocks>
void multiply_panel(const Number* values, std::ptrdiff_t value_stride, const Number* weights, float* sums, int tiles,
                    int channels, const Quantized& quantized) {
    constexpr int kMost = kAccumulators / kBlocks;
    constexpr int kLines = kBlocks == kPanelBlocks ? kBlocks : 0;  // of weights that a step reads
    const int groups = static_cast<int>(ceil_div(tiles, kMost)), size = tiles / groups, larger = tiles % groups;
    const int steps = channels / Dot<Number>::kGroup;
    const char* ahead = reinterpret_cast<const char*>(weights) + static_cast<std::ptrdiff_t>(64) * kLines * steps;
    for (int group = 0, fetched = 0; group < groups; ++group) {
        const int rows = size + (group < larger);
        const int lines = static_cast<int>(ceil_div(kLines - fetched, groups - group));  // a step, of the lines left
        pick_rows<Number, kBlocks, kLines>(rows, lines)(values, value_stride, weights, sums, kBlocks * kBlock, channels,
                                                        quantized, ahead);
        fetched += lines;
        ahead += static_cast<std::ptrdiff_t>(64) * lines * steps;
        values += rows * value_stride;
        sums += static_cast<std::ptrdiff_t>(rows) * kBlocks * kBlock;
    }
}

}  // namespace verydeep::VERYDEEP_ISA
