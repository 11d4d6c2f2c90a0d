// Loops that are unrolled by the type system, so that arrays of registers are indexed by constants: gcc keeps an array
// in registers only where it can see every index.
#pragma once

#include <type_traits>
#include <utility>

#define VERYDEEP_INLINE inline __attribute__((always_inline))
#define VERYDEEP_INLINE_LAMBDA __attribute__((always_inline))
#define VERYDEEP_NOINLINE __attribute__((noinline))

namespace verydeep {

// Fetches the line of memory at `p` into the first or the second cache; any address is allowed.
static VERYDEEP_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

template <class Body, int... kSteps>
VERYDEEP_INLINE void unroll_steps(Body&& body, std::integer_sequence<int, kSteps...>) {
    (body(std::integral_constant<int, kSteps>{}), ...);
}

// body(0), body(1) ... body(kCount - 1), each argument a constant.
template <int kCount, class Body>
VERYDEEP_INLINE void unroll(Body&& body) {
    unroll_steps(body, std::make_integer_sequence<int, kCount>{});
}

}  // namespace verydeep
