// The words that all parts of the engine share: blocks of channels, numbers, precisions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace verydeep {

// Maps lie in memory as (image, block of channels, row, column, 16 channels): one vector register is one pixel of a
// block. Channels are filled up with zeros to whole blocks.
constexpr int kBlock = 16;

static constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
static constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }
static constexpr int blocks_of(int channels) { return static_cast<int>(ceil_div(channels, kBlock)); }

// 16-bit floating point as in IEEE 754 and in model files, as bits.
struct Half {
    std::uint16_t bits;
};

// `static`: each instruction set has a copy of its own.
static inline float to_float(float x) { return x; }
static inline float to_float(std::int16_t x) { return x; }
static inline float to_float(std::int8_t x) { return x; }
static inline float to_float(Half x) {
    const std::uint32_t sign = (x.bits & 0x8000u) << 16, exponent = (x.bits >> 10) & 31, fraction = x.bits & 1023;
    if (exponent == 0) {  // zero, or smaller than the smallest normal number: fraction * 2^-24
        const float y = static_cast<float>(fraction) * 5.9604644775390625e-8f;
        return sign ? -y : y;
    }
    const std::uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    float y;
    std::memcpy(&y, &bits, sizeof y);
    return y;
}

// The largest whole number that a transformed pixel becomes: what is beyond it is cut to it, so that no sum of products
// can leave 32 bits (pack.cpp).
static constexpr int kLargestValue16 = 8191;
// The same in 8 bits. They are stored with kShift8 added: the instruction that multiplies bytes takes one without a
// sign.
static constexpr int kLargestValue8 = 127;
static constexpr int kShift8 = 128;

// What whole numbers need to know of each output at a position; nothing of it is read for floats.
struct Quantized {
    const float* scales = nullptr;         // what makes a float of a sum
    const std::int32_t* starts = nullptr;  // 8 bits: what a sum begins with, which takes back kShift8

    Quantized from(std::ptrdiff_t output) const { return {scales + output, starts ? starts + output : nullptr}; }
};

// What convolutions multiply, in the transformed domain.
enum class Precision { kFloat32, kInt16, kInt8 };
constexpr int kPrecisions = 3;

// What the weights of fully connected layers are stored as.
enum class Storage { kFloat32, kFloat16, kInt16, kInt8 };

}  // namespace verydeep
