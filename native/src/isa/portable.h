// Plain C++: sixteen floats in four vectors of four, which compilers put into the registers that every processor has.
// As an array of sixteen gcc takes them apart into numbers, and ten times as long to compile.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "types.h"
#include "unroll.h"

namespace verydeep::VERYDEEP_ISA {

constexpr int kPanelBlocks = 1;   // blocks of outputs that a micro-kernel holds
constexpr int kAccumulators = 4;  // of its sums

typedef float Four __attribute__((vector_size(16)));
constexpr int kFours = kBlock / 4;

struct Vec {
    Four four[kFours];
};

template <class Part>
VERYDEEP_INLINE Vec each_four(Part&& part) {
    Vec y;
    unroll<kFours>([&](auto i) VERYDEEP_INLINE_LAMBDA { y.four[i] = part(i); });
    return y;
}

VERYDEEP_INLINE Vec broadcast(float x) {
    return each_four([=](int) VERYDEEP_INLINE_LAMBDA { return Four{x, x, x, x}; });
}
VERYDEEP_INLINE Vec zero() { return broadcast(0); }
VERYDEEP_INLINE Vec load(const float* p) {
    return each_four([=](int i) VERYDEEP_INLINE_LAMBDA {
        Four y;
        std::memcpy(&y, p + 4 * i, sizeof y);
        return y;
    });
}
template <class Lane>
VERYDEEP_INLINE Vec each_lane(Lane&& lane) {
    float y[kBlock];
    for (int i = 0; i < kBlock; ++i) y[i] = lane(i);
    return load(y);
}
VERYDEEP_INLINE Vec load(const Half* p) {
    return each_lane([=](int i) { return to_float(p[i]); });
}
VERYDEEP_INLINE Vec load(const std::int16_t* p) {
    return each_lane([=](int i) { return to_float(p[i]); });
}
VERYDEEP_INLINE Vec load(const std::int8_t* p) {
    return each_lane([=](int i) { return to_float(p[i]); });
}
VERYDEEP_INLINE Vec add(const Vec& a, const Vec& b) {
    return each_four([&](int i) VERYDEEP_INLINE_LAMBDA { return a.four[i] + b.four[i]; });
}
VERYDEEP_INLINE Vec sub(const Vec& a, const Vec& b) {
    return each_four([&](int i) VERYDEEP_INLINE_LAMBDA { return a.four[i] - b.four[i]; });
}
VERYDEEP_INLINE Vec mul(const Vec& a, const Vec& b) {
    return each_four([&](int i) VERYDEEP_INLINE_LAMBDA { return a.four[i] * b.four[i]; });
}
// The larger one; b where either is NaN: a network that overflows has to say so.
VERYDEEP_INLINE Vec max(const Vec& a, const Vec& b) {
    return each_four(
        [&](int i) VERYDEEP_INLINE_LAMBDA { return a.four[i] > b.four[i] ? a.four[i] : b.four[i]; });
}
// The larger one; NaN where either is NaN.
VERYDEEP_INLINE Vec max_or_nan(const Vec& a, const Vec& b) {
    const Vec larger = max(a, b);
    return each_four(
        [&](int i) VERYDEEP_INLINE_LAMBDA { return a.four[i] == a.four[i] ? larger.four[i] : a.four[i]; });
}
VERYDEEP_INLINE Vec fma(const Vec& a, const Vec& b, const Vec& c) {
    return each_four([&](int i) VERYDEEP_INLINE_LAMBDA { return a.four[i] * b.four[i] + c.four[i]; });
}
VERYDEEP_INLINE Vec fnma(const Vec& a, const Vec& b, const Vec& c) {
    return each_four([&](int i) VERYDEEP_INLINE_LAMBDA { return c.four[i] - a.four[i] * b.four[i]; });
}
VERYDEEP_INLINE void store(float* p, const Vec& x) { std::memcpy(p, x.four, sizeof x.four); }
VERYDEEP_INLINE float sum(const Vec& x) {
    float lane[kBlock], total = 0;
    store(lane, x);
    for (int i = 0; i < kBlock; ++i) total += lane[i];
    return total;
}

// Rounded to the nearest whole number; what is out of the range of values becomes the nearest in it, NaN the least.
VERYDEEP_INLINE void store(std::int16_t* p, const Vec& x) {
    constexpr float kMost = kLargestValue16;
    float lane[kBlock];
    store(lane, x);
    for (int i = 0; i < kBlock; ++i)
        p[i] = static_cast<std::int16_t>(std::nearbyint(std::min(kMost, std::max(-kMost, lane[i]))));
}

VERYDEEP_INLINE void store(std::int8_t* p, const Vec& x) {
    constexpr float kLeast = -kShift8, kMost = kLargestValue8;
    float lane[kBlock];
    store(lane, x);
    for (int i = 0; i < kBlock; ++i) {
        const float whole = std::nearbyint(std::min(kMost, std::max(kLeast, lane[i])));
        p[i] = static_cast<std::int8_t>(static_cast<std::uint8_t>(static_cast<int>(whole) + kShift8));
    }
}

template <class Number>
struct Dot;

template <>
struct Dot<float> {
    static constexpr int kGroup = 1;
    using Sum = Vec;
    using Weights = Vec;
    using Input = float;
    static VERYDEEP_INLINE Sum start(const Quantized&, int) { return broadcast(0); }
    static VERYDEEP_INLINE Weights weights(const float* p) { return load(p); }
    static VERYDEEP_INLINE Input input(const float* p) { return *p; }
    static VERYDEEP_INLINE Sum step(const Sum& sum, Input x, const Weights& w) { return fma(broadcast(x), w, sum); }
    static VERYDEEP_INLINE Vec result(const Sum& sum, const Quantized&, int) { return sum; }
};

template <>
struct Dot<std::int16_t> {
    static constexpr int kGroup = 2;
    struct Sum {
        std::int32_t lane[kBlock];
    };
    struct Weights {
        std::int16_t lane[2 * kBlock];
    };
    struct Input {
        std::int16_t pair[2];
    };
    static VERYDEEP_INLINE Sum start(const Quantized&, int) { return {}; }
    static VERYDEEP_INLINE Weights weights(const std::int16_t* p) {
        Weights w;
        for (int i = 0; i < 2 * kBlock; ++i) w.lane[i] = p[i];
        return w;
    }
    static VERYDEEP_INLINE Input input(const std::int16_t* p) { return {{p[0], p[1]}}; }
    static VERYDEEP_INLINE Sum step(Sum sum, Input x, const Weights& w) {
        for (int i = 0; i < kBlock; ++i) sum.lane[i] += x.pair[0] * w.lane[2 * i] + x.pair[1] * w.lane[2 * i + 1];
        return sum;
    }
    static VERYDEEP_INLINE Vec result(const Sum& sum, const Quantized& quantized, int output) {
        return each_lane([&](int i) { return static_cast<float>(sum.lane[i]) * quantized.scales[output + i]; });
    }
};

template <>
struct Dot<std::int8_t> {
    static constexpr int kGroup = 4;
    using Sum = Dot<std::int16_t>::Sum;
    struct Weights {
        std::int8_t lane[4 * kBlock];
    };
    struct Input {
        std::uint8_t group[4];
    };
    static VERYDEEP_INLINE Sum start(const Quantized& quantized, int output) {
        Sum sum;
        for (int i = 0; i < kBlock; ++i) sum.lane[i] = quantized.starts[output + i];
        return sum;
    }
    static VERYDEEP_INLINE Weights weights(const std::int8_t* p) {
        Weights w;
        for (int i = 0; i < 4 * kBlock; ++i) w.lane[i] = p[i];
        return w;
    }
    static VERYDEEP_INLINE Input input(const std::int8_t* p) {
        Input x;
        for (int j = 0; j < 4; ++j) x.group[j] = static_cast<std::uint8_t>(p[j]);
        return x;
    }
    static VERYDEEP_INLINE Sum step(Sum sum, const Input& x, const Weights& w) {
        for (int i = 0; i < kBlock; ++i)
            for (int j = 0; j < 4; ++j) sum.lane[i] += x.group[j] * w.lane[4 * i + j];
        return sum;
    }
    static VERYDEEP_INLINE Vec result(const Sum& sum, const Quantized& quantized, int output) {
        return Dot<std::int16_t>::result(sum, quantized, output);
    }
};

}  // namespace verydeep::VERYDEEP_ISA
