// Where the time of a convolution goes: the steps of each layer of D at 224 pixels, one image, one thread.
// `make bench-native` prints the table of docs/concepts/winograd.md.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "dispatch.h"
#include "memory.h"
#include "tiling.h"

using namespace verydeep;

namespace {

struct Layer {
    const char* name;
    int inputs, outputs, side;
    bool is_six;  // F(6x6)
};

const Layer kLayers[] = {
    {"conv1_2", 64, 64, 224, true},  {"conv2_1", 64, 128, 112, true},  {"conv2_2", 128, 128, 112, true},
    {"conv3_1", 128, 256, 56, true}, {"conv3_2", 256, 256, 56, true},  {"conv4_1", 256, 512, 28, true},
    {"conv4_2", 512, 512, 28, true}, {"conv5_1", 512, 512, 14, false},
};
constexpr int kRounds = 9;

template <class Body>
double median_ms(Body&& body) {
    std::vector<double> times;
    for (int round = 0; round <= kRounds; ++round) {
        const auto start = std::chrono::steady_clock::now();
        body();
        const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
        if (round > 0) times.push_back(ms);  // the first one warms up
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

void measure(const Kernels& kernels, const Layer& layer) {
    const ConvKernels& step = kernels.winograd[0][layer.is_six];
    const int tiles = (layer.side + step.tile - 1) / step.tile, padded = tiles * step.tile + 2;
    Buffer in, out, weights, bias, values, sums;
    const auto zeros = [](Buffer& buffer, std::size_t count) {
        float* data = buffer.reserve<float>(count);
        std::fill(data, data + count, 0.0f);
        return data;
    };
    Conv conv;
    conv.in.images = conv.out.images = 1;
    conv.in.blocks = blocks_of(layer.inputs);
    conv.out.blocks = blocks_of(layer.outputs);
    conv.in.row_stride = conv.out.row_stride = padded * kBlock;
    conv.in.block_stride = conv.out.block_stride = static_cast<std::ptrdiff_t>(padded) * padded * kBlock;
    conv.in.data = zeros(in, static_cast<std::size_t>(conv.in.blocks) * conv.in.block_stride) + (padded + 1) * kBlock;
    conv.out.data =
        zeros(out, static_cast<std::size_t>(conv.out.blocks) * conv.out.block_stride) + (padded + 1) * kBlock;
    conv.in.height = conv.in.width = conv.out.height = conv.out.width = conv.height = conv.width = layer.side;
    conv.tile_rows = conv.tile_columns = tiles;
    conv.weights = zeros(weights, static_cast<std::size_t>(step.positions) * layer.inputs * layer.outputs + 65536);
    conv.bias = zeros(bias, static_cast<std::size_t>(layer.outputs));

    const Tiling tiling(conv, step, kernels.panel_blocks, 1);
    const std::int64_t all = conv.tiles(), at_once = tiling.at_once;
    conv.value_stride = tiling.value_stride;
    conv.sum_stride = tiling.sum_stride;
    conv.values = zeros(values, static_cast<std::size_t>(step.positions * conv.value_stride));
    conv.sums = zeros(sums, static_cast<std::size_t>(step.positions * conv.sum_stride));
    const int panels = static_cast<int>(ceil_div(conv.out.blocks, kernels.panel_blocks));
    const auto each = [&](auto&& body) {
        for (std::int64_t first = 0; first < all; first += at_once)
            body(Tiles{first, std::min(at_once, all - first), 0});
    };
    const auto produce = [&](const Conv& of) {
        each([&](Tiles range) {
            for (int panel = 0; panel < panels; ++panel) step.produce(of, range, panel);
        });
    };
    const double transform =
        median_ms([&] { each([&](Tiles range) { step.transform(conv, range, 0, conv.in.blocks); }); });
    const double both = median_ms([&] { produce(conv); });
    Conv nothing = conv;
    nothing.in.blocks = 0;  // no inputs: the sums are zeros, and go back to pixels
    const double inverse = median_ms([&] { produce(nothing); });
    const double total = transform + both;
    const double gflop =
        2e-9 * static_cast<double>(step.positions) * static_cast<double>(all) * layer.inputs * layer.outputs;
    std::printf("| %s | F(%dx%d) | %.2f | %.0f %% | %.0f %% | %.0f %% | %.0f |\n", layer.name, step.tile, step.tile,
                total, 100 * transform / total, 100 * (both - inverse) / total, 100 * inverse / total,
                gflop / (both - inverse) * 1e3);
}

}  // namespace

int main(int argc, char** argv) {
    for (const Kernels* kernels : available_kernels()) {
        if (argc > 1 ? argv[1] != std::string(kernels->name) : kernels != available_kernels().front()) continue;
        std::printf(
            "%s\n\n| layer | | ms | transform | multiply | back | GFLOP/s of multiply "
            "|\n|---|---|---|---|---|---|---|\n",
            kernels->name);
        for (const Layer& layer : kLayers) measure(*kernels, layer);
    }
}
