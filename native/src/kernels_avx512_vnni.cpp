// AVX-512 with VNNI: two products of 16 bits or four of 8 bits in one instruction. All else is as without.
#define VERYDEEP_ISA avx512_vnni
#include "isa/avx512.h"
#include "kernels_of.h"

namespace verydeep {

const Kernels& avx512_vnni_kernels() {
    static const Kernels kernels = [] {
        Kernels made = avx512_kernels();
        made.name = "avx512-vnni";
        avx512_vnni::set_whole_kernels(made);
        return made;
    }();
    return kernels;
}

}  // namespace verydeep
