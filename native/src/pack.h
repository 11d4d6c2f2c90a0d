// A layer's weights -> the layout that its kernels read.
//
// Convolution: (panel, position, input / group, output of the panel, group): what a micro-kernel reads next lies next.
// A panel is `panel_blocks` blocks of outputs, the last one what is left. Inputs and outputs are filled up with zeros.
// Batch norm is part of it: each output's weights are multiplied by its scale.
#pragma once

#include <vector>

#include "kernels.h"

namespace verydeep {

struct WeightArray {
    const void* data = nullptr;
    Storage storage = Storage::kFloat32;  // float32 or float16, as in model files

    float at(std::int64_t i) const {
        return storage == Storage::kFloat32 ? static_cast<const float*>(data)[i]
                                            : to_float(static_cast<const Half*>(data)[i]);
    }
};

struct ConvWeights {
    WeightArray weight;            // (outputs, inputs, kernel, kernel)
    const float* scale = nullptr;  // of each output, or null
    int outputs = 0, inputs = 0, kernel = 3;

    float at(int output, int input, int tap) const {
        const float x = weight.at((static_cast<std::int64_t>(output) * inputs + input) * kernel * kernel + tap);
        return scale == nullptr ? x : x * scale[output];
    }
};

// How a convolution is computed.
enum class Method { kFirst, kWindow, kWinograd4, kWinograd6 };

std::int64_t packed_bytes(const ConvWeights&, Method, Precision);

// Where the weights of a convolution go. `packed` is all zeros. Whole numbers: input_scales of each position are read,
// output_scales and, of 8 bits, output_starts are written, (positions, outputs) as in `Quantized`.
struct Packing {
    int panel_blocks = 1;
    void* packed = nullptr;
    const float* input_scales = nullptr;
    float* output_scales = nullptr;
    std::int32_t* output_starts = nullptr;
};

// The weights of one block of outputs.
void pack_block(const ConvWeights&, Method, Precision, const Packing&, int block);

}  // namespace verydeep
