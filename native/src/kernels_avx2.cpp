// AVX2 and FMA.
#define VERYDEEP_ISA avx2
#include "isa/avx2.h"
#include "kernels_of.h"

namespace verydeep {

const Kernels& avx2_kernels() {
    static constexpr Kernels kernels = avx2::make_kernels("avx2");
    return kernels;
}

}  // namespace verydeep
