// Which tiles of a convolution are computed together, so that what they need stays in the caches.
#pragma once

#include <algorithm>

#include "kernels.h"

namespace verydeep {

// Values and sums of the tiles that one thread has in work by itself: so many that they stay in its second cache.
constexpr std::int64_t kPrivateBytes = 512 << 10;
// The same of the fewest tiles that are worth it: sharing costs more than a part of the cache that is too full.
constexpr std::int64_t kMostPrivateBytes = 576 << 10;
// Sums of the tiles that all threads have in work together.
constexpr std::int64_t kSumBytes = 896 << 10;
// Values of these: so many that they stay in the third cache.
constexpr std::int64_t kSharedBytes = 12 << 20;
// A thread that has fewer of its own reads the weights too often.
constexpr std::int64_t kLeastPrivate = 12;
constexpr int kGap = 16;  // numbers between two positions: without it they would fall on the same lines of the cache

// Either each thread has some tiles of its own, from input to output; or all share more of them, each thread with some
// panels of the outputs, so that each weight is read by one thread only.
struct Tiling {
    bool is_shared;
    std::int64_t at_once;                     // tiles
    std::ptrdiff_t value_stride, sum_stride;  // from one position to the next, as in Conv

    Tiling(const Conv& conv, const ConvKernels& step, int panel_blocks, int threads) {
        const std::int64_t inputs = conv.inputs(), tiles = conv.tiles();
        const std::int64_t panel_width = std::min(panel_blocks, conv.out.blocks) * kBlock;
        const std::int64_t value_bytes = step.positions * inputs * step.value_bytes;  // of a tile
        const std::int64_t sum_bytes = step.positions * panel_width * static_cast<std::int64_t>(sizeof(float));
        const std::int64_t fitting = kPrivateBytes / (value_bytes + sum_bytes) / 6 * 6;  // micro-kernels take six tiles
        const std::int64_t own = std::max(kLeastPrivate, fitting);
        is_shared = own * (value_bytes + sum_bytes) > kMostPrivateBytes || tiles < 2 * own * threads;
        const std::int64_t common = std::min(kSharedBytes / value_bytes, kSumBytes / sum_bytes);
        at_once = std::min(tiles, is_shared ? std::max(kLeastPrivate, common) : own);
        value_stride = at_once * inputs + 4 * kGap / step.value_bytes;
        sum_stride = at_once * panel_width + kGap;
    }
};

}  // namespace verydeep
