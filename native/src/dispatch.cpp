#include "dispatch.h"

namespace verydeep {

std::vector<const Kernels*> available_kernels() {
    std::vector<const Kernels*> found;
#if defined(VERYDEEP_AVX2)
    __builtin_cpu_init();
#endif
#if defined(VERYDEEP_AVX512)
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (has_avx512 && __builtin_cpu_supports("avx512vnni")) found.push_back(&avx512_vnni_kernels());
    if (has_avx512) found.push_back(&avx512_kernels());
#endif
#if defined(VERYDEEP_AVX2)
    const bool has_avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (has_avx2) found.push_back(&avx2_kernels());
#endif
    found.push_back(&portable_kernels());
    return found;
}

}  // namespace verydeep
