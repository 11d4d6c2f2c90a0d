// Every kernel of every instruction set of this processor against its naive twin, on random shapes: `make test-native`.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "dispatch.h"
#include "memory.h"
#include "naive.h"
#include "network.h"
#include "pack.h"

using namespace verydeep;

namespace {

int failures = 0;

struct Random {
    std::mt19937_64 engine;

    explicit Random(std::uint64_t seed) : engine(seed) {}
    int whole(int first, int last) { return std::uniform_int_distribution<int>(first, last)(engine); }
    std::vector<float> normal(std::size_t count, double deviation = 1) {
        std::normal_distribution<float> distribution(0, static_cast<float>(deviation));
        std::vector<float> values(count);
        for (float& value : values) value = distribution(engine);
        return values;
    }
};

std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

// The largest difference, relative to the largest expected value.
template <class Got>
void expect_near(const std::string& what, const Got* got, const std::vector<double>& expected, double tolerance) {
    double largest = 1e-30, difference = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        largest = std::max(largest, std::fabs(expected[i]));
        const double apart = std::fabs(static_cast<double>(got[i]) - expected[i]);
        difference = std::isfinite(apart) ? std::max(difference, apart) : HUGE_VAL;
    }
    if (difference <= tolerance * largest) return;
    ++failures;
    std::printf("FAILED %s: off by %.2g of the largest, at most %.2g was expected\n", what.c_str(),
                difference / largest, tolerance);
}

// A convolution as a network of one row: images (count, inputs, height, width) -> what the naive twin makes of them.
struct OneConv {
    int inputs, outputs, kernel, padding;
    Method method;
    std::vector<float> weights, bias, scale;
    Buffer packed, scales;
    std::vector<float> input_scales;
    std::vector<std::int32_t> starts;
    Row row;

    OneConv(Random& random, const Kernels& kernels, int inputs_, int outputs_, int kernel_, int padding_,
            Method method_, Precision precision = Precision::kFloat32)
        : inputs(inputs_), outputs(outputs_), kernel(kernel_), padding(padding_), method(method_) {
        const int taps = kernel * kernel;
        weights = random.normal(static_cast<std::size_t>(outputs) * inputs * taps, std::sqrt(2.0 / (inputs * taps)));
        bias = random.normal(static_cast<std::size_t>(outputs), 0.1);
        scale = random.normal(static_cast<std::size_t>(outputs));
        ConvWeights conv;
        conv.weight = {weights.data(), Storage::kFloat32};
        conv.scale = scale.data();
        conv.outputs = outputs;
        conv.inputs = inputs;
        conv.kernel = kernel;
        const auto bytes = static_cast<std::size_t>(packed_bytes(conv, method, precision));
        unsigned char* space = packed.reserve<unsigned char>(bytes);
        std::fill(space, space + bytes, 0);
        // of normal pixels few values are beyond 40, of bytes those beyond 30 are cut
        input_scales.assign(36, precision == Precision::kInt8 ? kLargestValue8 / 30.0f : 4095 / 40.0f);
        const std::size_t whole = static_cast<std::size_t>(blocks_of(outputs)) * kBlock;
        float* output_scales = scales.reserve<float>(36 * whole);
        starts.assign(36 * whole, 0);
        const Packing packing{kernels.panel_blocks, space, input_scales.data(), output_scales, starts.data()};
        for (int block = 0; block < blocks_of(outputs); ++block) pack_block(conv, method, precision, packing, block);
        std::vector<float> whole_bias = bias;
        whole_bias.resize(whole);
        bias = whole_bias;
        row.name = "conv";
        row.relu_name = "relu";
        row.kind = Kind::kConv;
        row.inputs = inputs;
        row.outputs = outputs;
        row.kernel = kernel;
        row.padding = padding;
        row.method = method;
        row.precision = precision;
        row.weights = space;
        row.bias = bias.data();
        if (precision != Precision::kFloat32) {
            row.input_scales = input_scales.data();
            row.quantized = {output_scales, starts.data()};
        }
    }

    naive::Map expected(const float* image, int height, int width) const {
        naive::Map map(inputs, height, width);
        std::copy_n(image, map.pixels.size(), map.pixels.begin());
        std::vector<double> scaled(weights.size());
        for (std::size_t i = 0; i < weights.size(); ++i)
            scaled[i] = static_cast<double>(weights[i]) * scale[i / (weights.size() / outputs)];
        const std::vector<double> of_outputs(bias.begin(), bias.begin() + outputs);
        if (row.precision == Precision::kInt8)
            return naive::convolve_in_bytes(map, scaled, of_outputs, static_cast<double>(input_scales[0]));
        return naive::convolve(map, scaled, of_outputs, kernel, padding);
    }
};

Row simple_row(const std::string& name, Kind kind, int channels) {
    Row row;
    row.name = name;
    row.kind = kind;
    row.inputs = row.outputs = channels;
    return row;
}

Row first_row(int channels) {  // makes blocks of the images: a convolution needs a map before it
    Row row;
    row.name = "images";
    row.kind = Kind::kConv;
    row.inputs = row.outputs = channels;
    row.kernel = 3;
    row.padding = 1;
    row.method = Method::kFirst;
    return row;
}

// The identity as a first convolution.
struct Identity {
    Buffer packed;
    std::vector<float> bias;
    Row row;

    Identity(const Kernels& kernels, int channels) : row(first_row(channels)) {
        std::vector<float> weights(static_cast<std::size_t>(channels) * channels * 9);
        for (int i = 0; i < channels; ++i) weights[(static_cast<std::size_t>(i) * channels + i) * 9 + 4] = 1;
        ConvWeights conv;
        conv.weight = {weights.data(), Storage::kFloat32};
        conv.outputs = conv.inputs = channels;
        const auto bytes = static_cast<std::size_t>(packed_bytes(conv, Method::kFirst, Precision::kFloat32));
        float* space = packed.reserve<float>(bytes / 4);
        std::fill(space, space + bytes / 4, 0.0f);
        for (int block = 0; block < blocks_of(channels); ++block)
            pack_block(conv, Method::kFirst, Precision::kFloat32, {kernels.panel_blocks, space}, block);
        bias.assign(static_cast<std::size_t>(blocks_of(channels)) * kBlock, 0.0f);
        row.weights = space;
        row.bias = bias.data();
    }
};

void check_convolutions(const Kernels& kernels, std::uint64_t seed) {
    Random random(seed);
    struct Case {
        Method method;
        Precision precision;
        const char* name;
        double tolerance;
    };
    for (const auto& [method, precision, name, tolerance] : {
             Case{Method::kFirst, Precision::kFloat32, " first ", 2e-5},
             Case{Method::kWindow, Precision::kFloat32, " window ", 2e-5},
             Case{Method::kWinograd4, Precision::kFloat32, " F(4x4) ", 2e-5},
             Case{Method::kWinograd6, Precision::kFloat32, " F(6x6) ", 2e-5},
             Case{Method::kWinograd4, Precision::kInt16, " F(4x4) in 16 bits ", 1e-2},
             Case{Method::kWinograd4, Precision::kInt8, " F(4x4) in 8 bits ", 2e-2},
         }) {
        const int inputs = random.whole(1, 90), outputs = random.whole(1, 150), count = random.whole(1, 3);
        const int kernel = method == Method::kWindow  ? random.whole(1, 7)
                           : method == Method::kFirst ? 3 + 4 * random.whole(0, 1)
                                                      : 3;
        const int padding = method == Method::kWindow ? random.whole(0, kernel / 2) : kernel / 2;
        const int height = random.whole(kernel, 40), width = random.whole(kernel, 40), threads = random.whole(1, 4);
        const std::string what = kernels.name + std::string(name) + std::to_string(inputs) + " -> " +
                                 std::to_string(outputs) + ", kernel " + std::to_string(kernel) + ", " +
                                 std::to_string(count) + " of " + std::to_string(height) + " x " +
                                 std::to_string(width);
        const OneConv conv(random, kernels, inputs, outputs, kernel, padding, method, precision);
        const Identity identity(kernels, inputs);
        const Row pool = simple_row("pool", Kind::kPool, outputs);
        std::vector<Row> rows;
        if (method != Method::kFirst) rows.push_back(identity.row);
        rows.push_back(conv.row);
        rows.push_back(pool);
        Network network(rows, kernels), one_by_one(rows, kernels, 1);
        const std::vector<float> images = random.normal(static_cast<std::size_t>(count) * inputs * height * width);
        auto linear = network.run(images.data(), count, inputs, height, width, {"conv"}, threads);
        auto found =
            network.run(images.data(), count, inputs, height, width, {"relu", "pool", "pool:indices"}, threads);
        auto fused = network.run(images.data(), count, inputs, height, width, {"pool"}, threads);
        auto alone =
            one_by_one.run(images.data(), count, inputs, height, width, {"relu", "pool", "pool:indices"}, threads);
        for (const char* output : {"relu", "pool"}) {
            const auto& shape = found[output].shape;
            const auto all = static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
            if (!std::equal(found[output].values.get(), found[output].values.get() + all, alone[output].values.get())) {
                ++failures;
                std::printf("FAILED %s: %s of images one by one\n", what.c_str(), output);
            }
        }
        for (int image = 0; image < count; ++image) {
            const naive::Map expected =
                conv.expected(&images[static_cast<std::size_t>(image) * inputs * height * width], height, width);
            const naive::Map active = naive::relu(expected), pooled = naive::max_pool(active);
            const std::size_t all = expected.pixels.size(), few = pooled.pixels.size();
            expect_near(what + " conv", linear["conv"].values.get() + image * all, expected.pixels, tolerance);
            expect_near(what + " relu", found["relu"].values.get() + image * all, active.pixels, tolerance);
            expect_near(what + " pool", found["pool"].values.get() + image * few, pooled.pixels, tolerance);
            expect_near(what + " fused pool", fused["pool"].values.get() + image * few, pooled.pixels, tolerance);
            naive::Map own(outputs, expected.height, expected.width);  // places of this engine's own maxima
            std::copy_n(found["relu"].values.get() + image * all, all, own.pixels.begin());
            const auto places = naive::max_places(own);
            if (!std::equal(places.begin(), places.end(), found["pool:indices"].indices.get() + image * few)) {
                ++failures;
                std::printf("FAILED %s: places of maxima\n", what.c_str());
            }
        }
    }
}

// The values of one window, (positions, 16). scales: of each position, for whole numbers.
template <class Number>
std::vector<Number> transform_one(const ConvKernels& step, const std::vector<float>& pixels, const float* scales) {
    const int window = step.tile + 2;
    std::vector<Number> values(static_cast<std::size_t>(step.positions) * kBlock);
    Conv conv;
    conv.in.data =
        const_cast<float*>(pixels.data()) + (window + 1) * kBlock;  // the window begins one pixel before the map
    conv.in.images = conv.in.blocks = 1;
    conv.in.row_stride = window * kBlock;
    conv.tile_rows = conv.tile_columns = 1;
    conv.values = values.data();
    conv.value_stride = kBlock;
    conv.input_scales = scales;
    step.transform(conv, {0, 1, 0}, 0, 1);
    return values;
}

template <class Number>
std::vector<double> of_channel(const std::vector<Number>& values, int channel) {
    std::vector<double> square;
    for (std::size_t i = static_cast<std::size_t>(channel); i < values.size(); i += kBlock) square.push_back(values[i]);
    return square;
}

// The transforms by themselves, with values of one window.
template <int kPairs>
void check_transforms(const Kernels& kernels, std::uint64_t seed) {
    Random random(seed);
    const ConvKernels& step = kernels.winograd[0][kPairs - 2];
    const std::vector<float> pixels = random.normal(static_cast<std::size_t>(step.positions) * kBlock);
    const std::vector<float> values = transform_one<float>(step, pixels, nullptr);
    for (int channel = 0; channel < kBlock; ++channel) {
        const std::vector<double> square = of_channel(pixels, channel), got = of_channel(values, channel);
        expect_near(std::string(kernels.name) + " transform", got.data(), naive::transform(kPairs, square), 1e-6);
    }
}

// Pixels of any size, up to those that no whole number holds: what is beyond the range becomes its end.
template <class Number>
void check_cuts(const Kernels& kernels, Precision precision, int least, int most) {
    Random random(1);
    const ConvKernels& step = kernels.winograd[static_cast<int>(precision)][0];
    const std::vector<float> scales(36, 1.0f);
    for (const double size : {10.0, 1e3, 1e5, 1e12, 1e30}) {
        const std::vector<float> pixels = random.normal(36 * kBlock, size);
        std::vector<Number> values = transform_one<Number>(step, pixels, scales.data());
        if constexpr (std::is_same_v<Number, std::int8_t>)
            for (Number& value : values) value = static_cast<Number>(value ^ -kShift8);  // kShift8 taken back
        for (int channel = 0; channel < kBlock; ++channel) {
            std::vector<double> expected = naive::transform(2, of_channel(pixels, channel));
            for (double& value : expected) value = std::clamp<double>(std::nearbyint(value), least, most);
            expect_near(std::string(kernels.name) + " cut to " + std::to_string(most) + " of pixels of about " +
                            std::to_string(size),
                        of_channel(values, channel).data(), expected, 1.01 / most);  // a half may go either way
        }
    }
}

// The largest sums that there can be: every value at its limit, every weight at a position of one sign.
// stored: that value as the kernels keep it.
template <class Number>
void check_overflow(const Kernels& kernels, Precision precision, int value, Number stored, int inputs) {
    const ConvKernels& step = kernels.winograd[static_cast<int>(precision)][0];
    const std::vector<float> weights(static_cast<std::size_t>(inputs) * 9 * kBlock, 0.7f), bias(kBlock),
        input_scales(36, 1.0f);
    ConvWeights of;
    of.weight = {weights.data(), Storage::kFloat32};
    of.outputs = kBlock;
    of.inputs = inputs;
    Buffer packed;
    const auto bytes = static_cast<std::size_t>(packed_bytes(of, Method::kWinograd4, precision));
    unsigned char* space = packed.reserve<unsigned char>(bytes);
    std::fill(space, space + bytes, 0);
    std::vector<float> output_scales(36 * kBlock), out(16 * kBlock), sums(36 * kBlock);
    std::vector<std::int32_t> starts(36 * kBlock);
    pack_block(of, Method::kWinograd4, precision,
               {kernels.panel_blocks, space, input_scales.data(), output_scales.data(), starts.data()}, 0);
    const std::vector<Number> values(static_cast<std::size_t>(36) * inputs, stored);
    Conv conv;
    conv.in.images = conv.out.images = conv.out.blocks = conv.tile_rows = conv.tile_columns = 1;
    conv.in.blocks = inputs / kBlock;
    conv.out.data = out.data();
    conv.out.height = conv.out.width = conv.height = conv.width = 4;
    conv.out.row_stride = 4 * kBlock;
    conv.has_relu = false;
    conv.weights = space;
    conv.bias = bias.data();
    conv.quantized = {output_scales.data(), starts.data()};
    conv.values = const_cast<Number*>(values.data());
    conv.sums = sums.data();
    conv.value_stride = inputs;
    conv.sum_stride = kBlock;
    step.produce(conv, {0, 1, 0}, 0);
    std::vector<double> exact = naive::transform_kernel(2, std::vector<double>(9, 0.7)), got;
    for (double& sum : exact) sum *= static_cast<double>(inputs) * value;
    for (int pixel = 0; pixel < 16; ++pixel) got.push_back(out[static_cast<std::size_t>(pixel) * kBlock]);
    expect_near(std::string(kernels.name) + " sums of " + std::to_string(inputs) + " times " + std::to_string(value),
                got.data(), naive::inverse(2, exact), 5e-3);
}

void check_other_layers(const Kernels& kernels, std::uint64_t seed) {
    Random random(seed);
    const int channels = random.whole(1, 70), height = random.whole(1, 20), width = random.whole(1, 20);
    const std::string what = std::string(kernels.name) + " " + std::to_string(channels) + " channels ";
    const Identity identity(kernels, channels);
    const Row lrn = simple_row("lrn", Kind::kLrn, channels), gap = simple_row("gap", Kind::kGap, channels);
    Row fc = simple_row("fc", Kind::kFc, channels);
    fc.outputs = random.whole(1, 40);
    const std::vector<float> weights = random.normal(static_cast<std::size_t>(channels) * fc.outputs),
                             bias = random.normal(fc.outputs);
    fc.weights = weights.data();
    fc.bias = bias.data();
    const std::vector<Row> rows = {identity.row, lrn, gap, fc, simple_row("unit", Kind::kUnit, fc.outputs)};
    Network network(rows, kernels);
    const int count = random.whole(1, 6);
    const std::size_t pixels = static_cast<std::size_t>(channels) * height * width;
    const std::vector<float> images = random.normal(count * pixels, 30);
    Network in_pairs(rows, kernels, 4 * static_cast<std::int64_t>(height + 8) * (width + 8) * identity.bias.size() * 4);
    auto found =
        network.run(images.data(), count, channels, height, width, {"lrn", "gap", "fc", "logits"}, random.whole(1, 3));
    const auto by_two = in_pairs.run(images.data(), count, channels, height, width, {"logits"}, 1);
    if (!std::equal(found["logits"].values.get(), found["logits"].values.get() + count * fc.outputs,
                    by_two.at("logits").values.get())) {
        ++failures;
        std::printf("FAILED %s: logits of images two by two\n", what.c_str());
    }
    for (int image = 0; image < count; ++image) {
        naive::Map map(channels, height, width);
        std::copy_n(&images[image * pixels], pixels, map.pixels.begin());
        const naive::Map normalized = naive::normalize_channels(map);
        const auto means = naive::average(normalized);
        expect_near(what + "lrn", found["lrn"].values.get() + image * pixels, normalized.pixels, 2e-6);
        expect_near(what + "gap", found["gap"].values.get() + image * channels, means, 1e-5);
        const auto connected = naive::connect(means, doubles(weights), doubles(bias));
        expect_near(what + "fc", found["fc"].values.get() + image * fc.outputs, connected, 1e-5);
        expect_near(what + "unit", found["logits"].values.get() + image * fc.outputs, naive::unit(connected), 1e-5);
    }
}

// A pool, another layer, and what undoes the pool, on whole numbers, of which many are equal.
void check_unpools(const Kernels& kernels, std::uint64_t seed) {
    Random random(seed);
    const int channels = random.whole(1, 40), height = random.whole(2, 21), width = random.whole(2, 21),
              count = random.whole(1, 3);
    const Identity identity(kernels, channels);
    const OneConv conv(random, kernels, channels, random.whole(1, 40), 3, 1, Method::kWinograd4);
    Row pool = simple_row("pool", Kind::kPool, channels), unpool = simple_row("unpool", Kind::kUnpool, channels);
    pool.partner = 3;
    unpool.partner = 1;
    const std::vector<Row> rows = {identity.row, pool, simple_row("lrn", Kind::kLrn, channels), unpool, conv.row};
    Network network(rows, kernels), one_by_one(rows, kernels, 1);
    const std::size_t pixels = static_cast<std::size_t>(channels) * height * width;
    std::vector<float> images(count * pixels);
    for (float& pixel : images) pixel = static_cast<float>(random.whole(-2, 2));
    auto found = network.run(images.data(), count, channels, height, width, {"pool:indices", "unpool", "conv"},
                             random.whole(1, 3));
    const auto alone = one_by_one.run(images.data(), count, channels, height, width, {"unpool"}, 1);
    const std::string what = std::string(kernels.name) + " " + std::to_string(channels) + " channels, " +
                             std::to_string(height) + " x " + std::to_string(width) + ": ";
    const float* unpooled = found["unpool"].values.get();
    if (!std::equal(unpooled, unpooled + images.size(), alone.at("unpool").values.get())) {
        ++failures;
        std::printf("FAILED %s unpool of images one by one\n", what.c_str());
    }
    for (int image = 0; image < count; ++image) {
        naive::Map map(channels, height, width);
        std::copy_n(&images[image * pixels], pixels, map.pixels.begin());
        const naive::Map pooled = naive::normalize_channels(naive::max_pool(map));
        const auto places = naive::max_places(map);
        const naive::Map expected = naive::max_unpool(pooled, places, height, width);
        if (!std::equal(places.begin(), places.end(), found["pool:indices"].indices.get() + image * places.size())) {
            ++failures;
            std::printf("FAILED %s places of maxima\n", what.c_str());
        }
        expect_near(what + "unpool", unpooled + image * pixels, expected.pixels, 2e-6);
        const naive::Map convolved = conv.expected(unpooled + image * pixels, height, width);
        expect_near(what + "conv after unpool", found["conv"].values.get() + image * convolved.pixels.size(),
                    convolved.pixels, 2e-5);
    }
}

template <class Weight>
void check_storage(const Kernels& kernels, Storage storage, std::uint64_t seed) {
    Random random(seed);
    const int inputs = random.whole(1, 200), outputs = random.whole(1, 30), count = random.whole(1, 9);
    std::vector<Weight> weights(static_cast<std::size_t>(inputs) * outputs);
    std::vector<double> exact;
    for (Weight& weight : weights) {
        const int number = random.whole(-127, 127);
        if constexpr (std::is_same_v<Weight, Half>)
            weight.bits = static_cast<std::uint16_t>(random.whole(0, 1) << 15 | random.whole(0, 30) << 10 |
                                                     random.whole(0, 1023));
        else
            weight = static_cast<Weight>(number);
        exact.push_back(to_float(weight));
    }
    const std::vector<float> scales = random.normal(outputs), bias = random.normal(outputs),
                             in = random.normal(static_cast<std::size_t>(count) * inputs);
    std::vector<float> out(static_cast<std::size_t>(count) * outputs);
    kernels.fully_connected[static_cast<int>(storage)](weights.data(), scales.data(), bias.data(), false, in.data(),
                                                       inputs, count, out.data(), outputs, 0, outputs);
    for (std::size_t i = 0; i < exact.size(); ++i) exact[i] *= static_cast<double>(scales[i / inputs]);
    for (int vector = 0; vector < count; ++vector)
        expect_near(
            std::string(kernels.name) + " storage " + std::to_string(static_cast<int>(storage)),
            &out[static_cast<std::size_t>(vector) * outputs],
            naive::connect({in.begin() + vector * inputs, in.begin() + (vector + 1) * inputs}, exact, doubles(bias)),
            1e-5);
}

// Several threads run one network and networks of their own, all with crews: for the sanitizer of threads.
void check_threads(const Kernels& kernels) {
    Random random(1);
    const OneConv conv(random, kernels, 20, 70, 3, 1, Method::kWinograd4);
    const Identity identity(kernels, 20);
    Network shared({identity.row, conv.row}, kernels);
    const std::vector<float> images = random.normal(2 * 20 * 30 * 30);
    const auto expected = shared.run(images.data(), 2, 20, 30, 30, {"conv"}, 1);
    std::vector<std::thread> callers;
    std::vector<int> wrong(4);
    for (int caller = 0; caller < 4; ++caller)
        callers.emplace_back([&, caller] {
            Network own({identity.row, conv.row}, kernels);
            for (int i = 0; i < 6; ++i) {
                auto found = (i % 2 ? own : shared).run(images.data(), 2, 20, 30, 30, {"conv"}, 1 + (caller + i) % 3);
                wrong[caller] += !std::equal(found["conv"].values.get(), found["conv"].values.get() + 2 * 70 * 900,
                                             expected.at("conv").values.get());
            }
        });
    for (std::thread& caller : callers) caller.join();
    for (int count : wrong)
        if (count > 0) {
            ++failures;
            std::printf("FAILED %s: runs at the same time differ\n", kernels.name);
        }
}

// NaN in any corner of a pool's window is its maximum. The first layer hands it on to its neighbours: of the window in
// the middle of 6 x 6 pixels, one that is next to a corner of the picture reaches one corner.
void check_nan_in_pools(const Kernels& kernels) {
    constexpr int kSide = 6, kMiddle = 4;  // of 3 x 3
    const Identity identity(kernels, 1);
    Network network({identity.row, simple_row("pool", Kind::kPool, 1)}, kernels);
    for (const int place : {1 * kSide + 1, 1 * kSide + 4, 4 * kSide + 1, 4 * kSide + 4}) {
        std::vector<float> image(kSide * kSide, 1.0f);
        image[static_cast<std::size_t>(place)] = std::nanf("");
        const auto found = network.run(image.data(), 1, 1, kSide, kSide, {"pool"}, 1);
        const float* pooled = found.at("pool").values.get();
        if (!std::isnan(pooled[kMiddle]) || std::count_if(pooled, pooled + 9, [](float x) { return x == 1; }) != 5) {
            ++failures;
            std::printf("FAILED %s: a pool of NaN at %d\n", kernels.name, place);
        }
    }
}

// More tiles than are computed at once: the members of a crew go on from chunk to chunk without waiting for each other.
void check_chunks(const Kernels& kernels) {
    constexpr int kInputs = 320, kOutputs = 70, kSide = 40, kImages = 3;
    Random random(2);
    const OneConv conv(random, kernels, kInputs, kOutputs, 3, 1, Method::kWinograd4);
    const Identity identity(kernels, kInputs);
    Network network({identity.row, conv.row}, kernels);
    const std::vector<float> images = random.normal(static_cast<std::size_t>(kImages) * kInputs * kSide * kSide);
    const auto run = [&](int threads) {
        return network.run(images.data(), kImages, kInputs, kSide, kSide, {"conv"}, threads);
    };
    const auto expected = run(1);
    const float* values = expected.at("conv").values.get();
    for (const int threads : {2, 3, 3, 2}) {
        const auto found = run(threads);
        if (!std::equal(values, values + kImages * kOutputs * kSide * kSide, found.at("conv").values.get())) {
            ++failures;
            std::printf("FAILED %s: %d threads give another map\n", kernels.name, threads);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int trials = argc > 1 ? std::atoi(argv[1]) : 20;
    for (const Kernels* kernels : available_kernels()) {
        for (int trial = 0; trial < trials; ++trial) {
            const auto seed = static_cast<std::uint64_t>(trial);
            check_convolutions(*kernels, seed);
            check_transforms<2>(*kernels, seed);
            check_transforms<3>(*kernels, seed);
            check_other_layers(*kernels, seed);
            check_unpools(*kernels, seed);
            check_storage<float>(*kernels, Storage::kFloat32, seed);
            check_storage<Half>(*kernels, Storage::kFloat16, seed);
            check_storage<std::int16_t>(*kernels, Storage::kInt16, seed);
            check_storage<std::int8_t>(*kernels, Storage::kInt8, seed);
        }
        check_cuts<std::int16_t>(*kernels, Precision::kInt16, -kLargestValue16, kLargestValue16);
        check_cuts<std::int8_t>(*kernels, Precision::kInt8, -kShift8, kLargestValue8);
        for (const int inputs : {16, 512, 2048})
            check_overflow<std::int16_t>(*kernels, Precision::kInt16, kLargestValue16, kLargestValue16, inputs);
        // From 44,034 inputs on (2^31 / 384 / 127: scale_of) the scales of bytes, too, are made smaller.
        for (const int inputs : {16, 512, 2048, 3 << 14}) {
            check_overflow<std::int8_t>(*kernels, Precision::kInt8, 127, -1, inputs);  // 127 + 128 = 255
            check_overflow<std::int8_t>(*kernels, Precision::kInt8, -kShift8, 0, inputs);
        }
        check_threads(*kernels);
        check_chunks(*kernels);
        check_nan_in_pools(*kernels);
        std::printf("%s: %d trials\n", kernels->name, trials);
    }
    if (failures > 0) std::printf("%d failures\n", failures);
    return failures > 0;
}
