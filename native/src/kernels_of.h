// The table of one instruction set. A file that includes this has named the set (VERYDEEP_ISA) and included its header:
// everything here lies in a namespace of its own, so that no function compiled for a newer processor is ever called on
// an older one.
#pragma once

#include "convolve.h"
#include "other_layers.h"
#include "peaks.h"

namespace verydeep::VERYDEEP_ISA {

// Those that multiply whole numbers.
constexpr void set_whole_kernels(Kernels& kernels) {
    kernels.winograd[static_cast<int>(Precision::kInt16)][0] = winograd_kernels<std::int16_t, 2>();
    kernels.winograd[static_cast<int>(Precision::kInt8)][0] = winograd_kernels<std::int8_t, 2>();
    kernels.multiply_in_registers[static_cast<int>(Precision::kInt16)] = &multiply_in_registers<std::int16_t>;
    kernels.multiply_in_registers[static_cast<int>(Precision::kInt8)] = &multiply_in_registers<std::int8_t>;
}

constexpr Kernels make_kernels(const char* name) {
    Kernels kernels{};
    kernels.name = name;
    kernels.panel_blocks = kPanelBlocks;
    kernels.winograd[static_cast<int>(Precision::kFloat32)][0] = winograd_kernels<float, 2>();
    kernels.winograd[static_cast<int>(Precision::kFloat32)][1] = winograd_kernels<float, 3>();
    kernels.window = window_kernels();
    kernels.first_conv = &first_conv;
    kernels.fully_connected[static_cast<int>(Storage::kFloat32)] = &fully_connected<float>;
    kernels.fully_connected[static_cast<int>(Storage::kFloat16)] = &fully_connected<Half>;
    kernels.fully_connected[static_cast<int>(Storage::kInt16)] = &fully_connected<std::int16_t>;
    kernels.fully_connected[static_cast<int>(Storage::kInt8)] = &fully_connected<std::int8_t>;
    kernels.max_pool = &max_pool;
    kernels.max_unpool = &max_unpool;
    kernels.relu = &relu;
    kernels.normalize_channels = &normalize_channels;
    kernels.average = &average;
    kernels.unit = &unit;
    kernels.clear_border = &clear_border;
    kernels.multiply_in_registers[static_cast<int>(Precision::kFloat32)] = &multiply_in_registers<float>;
    kernels.read_memory = &read_memory;
    set_whole_kernels(kernels);
    return kernels;
}

}  // namespace verydeep::VERYDEEP_ISA
