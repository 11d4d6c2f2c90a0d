// Which instruction sets this build has and this processor runs.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace verydeep {

// The best first; never empty. "portable" runs everywhere.
std::vector<const Kernels*> available_kernels();

}  // namespace verydeep
