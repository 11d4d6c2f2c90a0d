// Plain C++: what a compiler makes of it on any processor.
#define VERYDEEP_ISA portable
#include "isa/portable.h"
#include "kernels_of.h"

namespace verydeep {

const Kernels& portable_kernels() {
    static constexpr Kernels kernels = portable::make_kernels("portable");
    return kernels;
}

}  // namespace verydeep
