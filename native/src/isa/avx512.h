// AVX-512 (F, BW, VL, DQ): sixteen floats in a register, 32 registers. With VNNI where the compiler has it switched
// on.
#pragma once

#include <immintrin.h>

#include "types.h"
#include "unroll.h"

namespace verydeep::VERYDEEP_ISA {

constexpr int kPanelBlocks = 4;    // blocks of outputs that a micro-kernel holds
constexpr int kAccumulators = 24;  // of its sums, in registers; the others hold weights and one input

using Vec = __m512;  // sixteen floats

VERYDEEP_INLINE Vec zero() { return _mm512_setzero_ps(); }
VERYDEEP_INLINE Vec broadcast(float x) { return _mm512_set1_ps(x); }
VERYDEEP_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
VERYDEEP_INLINE void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
VERYDEEP_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
VERYDEEP_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
VERYDEEP_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
// The larger one; b where either is NaN: a network that overflows has to say so.
VERYDEEP_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
// The larger one; NaN where either is NaN.
VERYDEEP_INLINE Vec max_or_nan(Vec a, Vec b) {
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}
VERYDEEP_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }    // a * b + c
VERYDEEP_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b
VERYDEEP_INLINE float sum(Vec x) { return _mm512_reduce_add_ps(x); }

VERYDEEP_INLINE Vec load(const Half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
VERYDEEP_INLINE Vec load(const std::int16_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
VERYDEEP_INLINE Vec load(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

// `most` at most, rounded. It is cut as a float: of what 32 bits do not hold the conversion makes the least number, of
// large ones, too, and of NaN.
VERYDEEP_INLINE __m512i round_below(float most, Vec x) {
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(most), x));
}

// Rounded to the nearest whole number; what is out of the range of values becomes the nearest in it, NaN the least.
VERYDEEP_INLINE void store(std::int16_t* p, Vec x) {
    const __m512i whole = _mm512_max_epi32(_mm512_set1_epi32(-kLargestValue16), round_below(kLargestValue16, x));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(whole));
}

VERYDEEP_INLINE void store(std::int8_t* p, Vec x) {
    const __m128i whole = _mm512_cvtsepi32_epi8(round_below(kLargestValue8, x));  // -128 to 127
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(whole, _mm_set1_epi8(-kShift8)));
}

// One step of a product: what a register of weights holds of kGroup input channels, times one input.
template <class Number>
struct Dot;

template <>
struct Dot<float> {
    static constexpr int kGroup = 1;
    using Sum = Vec;
    using Weights = Vec;
    using Input = Vec;
    static VERYDEEP_INLINE Sum start(const Quantized&, int) { return _mm512_setzero_ps(); }
    static VERYDEEP_INLINE Weights weights(const float* p) { return _mm512_load_ps(p); }
    static VERYDEEP_INLINE Input input(const float* p) { return _mm512_set1_ps(*p); }
    static VERYDEEP_INLINE Sum step(Sum sum, Input x, Weights w) { return _mm512_fmadd_ps(x, w, sum); }
    static VERYDEEP_INLINE Vec result(Sum sum, const Quantized&, int) { return sum; }
};

// Sums of products of whole numbers are 32-bit; `gcc` moves the sums of the intrinsic between registers at every
// step, so the instruction is written out.
template <>
struct Dot<std::int16_t> {
    static constexpr int kGroup = 2;
    typedef int Sum __attribute__((vector_size(64)));
    using Weights = __m512i;
    using Input = __m512i;
    static VERYDEEP_INLINE Sum start(const Quantized&, int) { return (Sum)_mm512_setzero_si512(); }
    static VERYDEEP_INLINE Weights weights(const std::int16_t* p) { return _mm512_load_si512(p); }
    static VERYDEEP_INLINE Input input(const std::int16_t* p) {
        return _mm512_set1_epi32(*reinterpret_cast<const std::int32_t*>(p));
    }
    static VERYDEEP_INLINE Sum step(Sum sum, Input x, Weights w) {
#ifdef __AVX512VNNI__
        asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
        return sum;
#else
        return sum + (Sum)_mm512_madd_epi16(x, w);
#endif
    }
    static VERYDEEP_INLINE Vec result(Sum sum, const Quantized& quantized, int output) {
        return _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sum), _mm512_loadu_ps(quantized.scales + output));
    }
};

template <>
struct Dot<std::int8_t> {
    static constexpr int kGroup = 4;
    using Sum = Dot<std::int16_t>::Sum;
    using Weights = __m512i;
    using Input = __m512i;
    static VERYDEEP_INLINE Sum start(const Quantized& quantized, int output) {
        return (Sum)_mm512_loadu_si512(quantized.starts + output);
    }
    static VERYDEEP_INLINE Weights weights(const std::int8_t* p) { return _mm512_load_si512(p); }
    static VERYDEEP_INLINE Input input(const std::int8_t* p) {
        return _mm512_set1_epi32(*reinterpret_cast<const std::int32_t*>(p));
    }
    static VERYDEEP_INLINE Sum step(Sum sum, Input x, Weights w) {
#ifdef __AVX512VNNI__
        asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
        return sum;
#else
        const __m512i even = _mm512_madd_epi16(_mm512_and_si512(x, _mm512_set1_epi16(255)),
                                               _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8));
        return sum + (Sum)even + (Sum)_mm512_madd_epi16(_mm512_srli_epi16(x, 8), _mm512_srai_epi16(w, 8));
#endif
    }
    static VERYDEEP_INLINE Vec result(Sum sum, const Quantized& quantized, int output) {
        return Dot<std::int16_t>::result(sum, quantized, output);
    }
};

}  // namespace verydeep::VERYDEEP_ISA
