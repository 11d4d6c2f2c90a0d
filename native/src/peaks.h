// What a core can do at most: products in registers, and reading memory. The roofs that every layer is held against.
#pragma once

#include "multiply.h"
#include "unroll.h"

namespace verydeep::VERYDEEP_ISA {

// The products of the micro-kernel, without the weights that it has to fetch. Returns the operations of all steps.
template <class Number>
VERYDEEP_NOINLINE std::int64_t multiply_in_registers(std::int64_t steps) {
    using D = Dot<Number>;
    constexpr int kRows = kAccumulators / kPanelBlocks;
    alignas(64) Number weights[kPanelBlocks * kBlock * D::kGroup] = {}, inputs[kRows * D::kGroup] = {};
    asm volatile("" : : "r"(weights) : "memory");  // not known to be zeros
    alignas(64) float scales[kBlock] = {}, result[kBlock];
    alignas(64) std::int32_t starts[kBlock] = {};
    const Quantized quantized{scales, starts};
    typename D::Sum sum[kRows][kPanelBlocks];
    typename D::Weights w[kPanelBlocks];
    unroll<kPanelBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA {
        w[b] = D::weights(weights + b * kBlock * D::kGroup);
        unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA { sum[r][b] = D::start(quantized, 0); });
    });
    for (std::int64_t step = 0; step < steps; ++step) {
        asm volatile("" : : "r"(weights), "r"(inputs) : "memory");  // they may have changed: nothing is left out
        unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
            const auto x = D::input(inputs + r * D::kGroup);
            unroll<kPanelBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA { sum[r][b] = D::step(sum[r][b], x, w[b]); });
        });
    }
    Vec total = zero();
    unroll<kRows>([&](auto r) VERYDEEP_INLINE_LAMBDA {
        unroll<kPanelBlocks>([&](auto b)
                                 VERYDEEP_INLINE_LAMBDA { total = add(total, D::result(sum[r][b], quantized, 0)); });
    });
    store(result, total);
    asm volatile("" : : "r"(result) : "memory");  // who computes what nobody reads?
    return steps * kRows * kPanelBlocks * kBlock * D::kGroup * 2;
}

// Reads `count` floats, as four streams: more than one is fetched ahead at the same time. Returns their sum.
inline float read_memory(const float* data, std::int64_t count) {
    constexpr int kStreams = 4, kAhead = 1024;  // floats
    const std::int64_t length = count / (kStreams * kBlock) * kBlock;
    Vec sums[kStreams];
    unroll<kStreams>([&](auto s) VERYDEEP_INLINE_LAMBDA { sums[s] = zero(); });
    for (std::int64_t i = 0; i < length; i += kBlock) {
        unroll<kStreams>([&](auto s) VERYDEEP_INLINE_LAMBDA {
            const float* place = data + s * length + i;
            prefetch(place + kAhead);
            sums[s] = add(sums[s], load(place));
        });
    }
    return sum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

}  // namespace verydeep::VERYDEEP_ISA
