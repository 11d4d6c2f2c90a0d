// Plain C++: sixteen floats in an array, which compilers put into whatever registers there are.
#pragma once

#include <algorithm>
#include <cmath>

#include "types.h"
#include "unroll.h"

namespace verydeep::VERYDEEP_ISA {

constexpr int kPanelBlocks = 1;   // blocks of outputs that a micro-kernel holds
constexpr int kAccumulators = 4;  // of its sums

struct Vec {
    float lane[kBlock];
};

template <class Lane>
VERYDEEP_INLINE Vec each_lane(Lane&& lane) {
    Vec y;
    for (int i = 0; i < kBlock; ++i) y.lane[i] = lane(i);
    return y;
}

VERYDEEP_INLINE Vec zero() {
    return each_lane([](int) { return 0.0f; });
}
VERYDEEP_INLINE Vec broadcast(float x) {
    return each_lane([=](int) { return x; });
}
VERYDEEP_INLINE Vec load(const float* p) {
    return each_lane([=](int i) { return p[i]; });
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
    return each_lane([&](int i) { return a.lane[i] + b.lane[i]; });
}
VERYDEEP_INLINE Vec sub(const Vec& a, const Vec& b) {
    return each_lane([&](int i) { return a.lane[i] - b.lane[i]; });
}
VERYDEEP_INLINE Vec mul(const Vec& a, const Vec& b) {
    return each_lane([&](int i) { return a.lane[i] * b.lane[i]; });
}
// The larger one; b where either is NaN: a network that overflows has to say so.
VERYDEEP_INLINE Vec max(const Vec& a, const Vec& b) {
    return each_lane([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
VERYDEEP_INLINE Vec fma(const Vec& a, const Vec& b, const Vec& c) {
    return each_lane([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
VERYDEEP_INLINE Vec fnma(const Vec& a, const Vec& b, const Vec& c) {
    return each_lane([&](int i) { return c.lane[i] - a.lane[i] * b.lane[i]; });
}
VERYDEEP_INLINE float sum(const Vec& x) {
    float total = 0;
    for (int i = 0; i < kBlock; ++i) total += x.lane[i];
    return total;
}
VERYDEEP_INLINE void store(float* p, const Vec& x) {
    for (int i = 0; i < kBlock; ++i) p[i] = x.lane[i];
}

// Rounded to the nearest whole number; what is out of the range of values becomes the nearest in it, NaN the least.
VERYDEEP_INLINE void store(std::int16_t* p, const Vec& x) {
    constexpr float kMost = kLargestValue16;
    for (int i = 0; i < kBlock; ++i)
        p[i] = static_cast<std::int16_t>(std::nearbyint(std::min(kMost, std::max(-kMost, x.lane[i]))));
}

VERYDEEP_INLINE void store(std::int8_t* p, const Vec& x) {
    constexpr float kLeast = -kShift8, kMost = kLargestValue8;
    for (int i = 0; i < kBlock; ++i) {
        const float whole = std::nearbyint(std::min(kMost, std::max(kLeast, x.lane[i])));
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
    static VERYDEEP_INLINE Sum step(const Sum& sum, Input x, const Weights& w) {
        return each_lane([&](int i) { return x * w.lane[i] + sum.lane[i]; });
    }
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
