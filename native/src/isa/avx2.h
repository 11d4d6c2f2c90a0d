// AVX2, FMA and F16C: sixteen floats in two registers of the sixteen.
#pragma once

#include <immintrin.h>

#include "types.h"
#include "unroll.h"

namespace verydeep::VERYDEEP_ISA {

constexpr int kPanelBlocks = 1;   // blocks of outputs that a micro-kernel holds
constexpr int kAccumulators = 6;  // of its sums, two registers each

struct Vec {
    __m256 low, high;
};

VERYDEEP_INLINE Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
VERYDEEP_INLINE Vec broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
VERYDEEP_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
VERYDEEP_INLINE void store(float* p, Vec x) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}
VERYDEEP_INLINE Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
VERYDEEP_INLINE Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
VERYDEEP_INLINE Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
// The larger one; b where either is NaN: a network that overflows has to say so.
VERYDEEP_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
VERYDEEP_INLINE __m256 max_or_nan(__m256 a, __m256 b) {
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
// The larger one; NaN where either is NaN.
VERYDEEP_INLINE Vec max_or_nan(Vec a, Vec b) { return {max_or_nan(a.low, b.low), max_or_nan(a.high, b.high)}; }
VERYDEEP_INLINE Vec fma(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
VERYDEEP_INLINE Vec fnma(Vec a, Vec b, Vec c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
VERYDEEP_INLINE float sum(Vec x) {
    const __m256 both = _mm256_add_ps(x.low, x.high);
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

VERYDEEP_INLINE Vec load(const Half* p) {
    const __m128i* bits = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(bits)), _mm256_cvtph_ps(_mm_loadu_si128(bits + 1))};
}
VERYDEEP_INLINE Vec load(const std::int16_t* p) {
    const __m128i* whole = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(whole))),
            _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(whole + 1)))};
}
VERYDEEP_INLINE Vec load(const std::int8_t* p) {
    const __m128i whole = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(whole)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(whole, 8)))};
}

// `most` at most, rounded. It is cut as a float: of what 32 bits do not hold the conversion makes the least number, of
// large ones, too, and of NaN.
VERYDEEP_INLINE __m256i round_below(float most, __m256 x) {
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(most), x));
}

// Rounded to the nearest whole number; what is out of the range of values becomes the nearest in it, NaN the least.
VERYDEEP_INLINE void store(std::int16_t* p, Vec x) {
    const __m256i packed = _mm256_max_epi16(_mm256_set1_epi16(-kLargestValue16),
                                            _mm256_packs_epi32(round_below(kLargestValue16, x.low),
                                                               round_below(kLargestValue16, x.high)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));  // 0 2 1 3
}

VERYDEEP_INLINE void store(std::int8_t* p, Vec x) {
    const __m256i words = _mm256_packs_epi32(round_below(kLargestValue8, x.low), round_below(kLargestValue8, x.high));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);  // 0 2 1 3
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(-kShift8)));
}

template <class Number>
struct Dot;

template <>
struct Dot<float> {
    static constexpr int kGroup = 1;
    using Sum = Vec;
    using Weights = Vec;
    using Input = __m256;
    static VERYDEEP_INLINE Sum start(const Quantized&, int) { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
    static VERYDEEP_INLINE Weights weights(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
    static VERYDEEP_INLINE Input input(const float* p) { return _mm256_broadcast_ss(p); }
    static VERYDEEP_INLINE Sum step(Sum sum, Input x, Weights w) {
        return {_mm256_fmadd_ps(x, w.low, sum.low), _mm256_fmadd_ps(x, w.high, sum.high)};
    }
    static VERYDEEP_INLINE Vec result(Sum sum, const Quantized&, int) { return sum; }
};

template <>
struct Dot<std::int16_t> {
    static constexpr int kGroup = 2;
    struct Sum {
        __m256i low, high;
    };
    using Weights = Sum;
    using Input = __m256i;
    static VERYDEEP_INLINE Sum start(const Quantized&, int) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static VERYDEEP_INLINE Weights weights(const std::int16_t* p) {
        const __m256i* bits = reinterpret_cast<const __m256i*>(p);
        return {_mm256_load_si256(bits), _mm256_load_si256(bits + 1)};
    }
    static VERYDEEP_INLINE Input input(const std::int16_t* p) {
        return _mm256_set1_epi32(*reinterpret_cast<const std::int32_t*>(p));
    }
    static VERYDEEP_INLINE Sum step(Sum sum, Input x, Weights w) {
        return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(x, w.low)),
                _mm256_add_epi32(sum.high, _mm256_madd_epi16(x, w.high))};
    }
    static VERYDEEP_INLINE Vec result(Sum sum, const Quantized& quantized, int output) {
        return mul({_mm256_cvtepi32_ps(sum.low), _mm256_cvtepi32_ps(sum.high)}, load(quantized.scales + output));
    }
};

// By products of 16 bits: those of bytes add up to 16 bits here, which are too few for them.
template <>
struct Dot<std::int8_t> {
    static constexpr int kGroup = 4;
    using Sum = Dot<std::int16_t>::Sum;
    using Weights = Sum;
    using Input = __m256i;
    static VERYDEEP_INLINE Sum start(const Quantized& quantized, int output) {
        const __m256i* starts = reinterpret_cast<const __m256i*>(quantized.starts + output);
        return {_mm256_loadu_si256(starts), _mm256_loadu_si256(starts + 1)};
    }
    static VERYDEEP_INLINE Weights weights(const std::int8_t* p) {
        const __m256i* bits = reinterpret_cast<const __m256i*>(p);
        return {_mm256_load_si256(bits), _mm256_load_si256(bits + 1)};
    }
    static VERYDEEP_INLINE Input input(const std::int8_t* p) {
        return _mm256_set1_epi32(*reinterpret_cast<const std::int32_t*>(p));
    }
    static VERYDEEP_INLINE __m256i dot(Input x, __m256i w) {
        const __m256i even = _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(255)),
                                               _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8));
        return _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(w, 8)));
    }
    static VERYDEEP_INLINE Sum step(Sum sum, Input x, Weights w) {
        return {_mm256_add_epi32(sum.low, dot(x, w.low)), _mm256_add_epi32(sum.high, dot(x, w.high))};
    }
    static VERYDEEP_INLINE Vec result(Sum sum, const Quantized& quantized, int output) {
        return Dot<std::int16_t>::result(sum, quantized, output);
    }
};

}  // namespace verydeep::VERYDEEP_ISA
