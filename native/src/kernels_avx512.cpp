// AVX-512 without VNNI.
#define VERYDEEP_ISA avx512
#include "isa/avx512.h"
#include "kernels_of.h"

namespace verydeep {

const Kernels& avx512_kernels() {
    static constexpr Kernels kernels = avx512::make_kernels("avx512");
    return kernels;
}

}  // namespace verydeep
