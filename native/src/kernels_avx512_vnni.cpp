// AVX-512 with VNNI: two products of 16 bits or four of 8 bits in one instruction.
#define VERYDEEP_ISA avx512_vnni
#include "isa/avx512.h"
#include "kernels_of.h"

namespace verydeep {

const Kernels& avx512_vnni_kernels() {
    static constexpr Kernels kernels = avx512_vnni::make_kernels("avx512-vnni");
    return kernels;
}

}  // namespace verydeep
