#include "pack.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "winograd_points.h"

namespace verydeep {

namespace {

// The largest whole number of weights, and of what they are multiplied with, what a sum begins with counted in.
// Products of both, summed over all inputs, must stay below 2^31: where a row of weights is so large that they might
// not, its scale is made smaller (`scale_of`).
template <class Number>
constexpr double kLargestWeight = std::is_same_v<Number, std::int8_t> ? 127 : 2047;
template <class Number>
constexpr double kLargestFactor = std::is_same_v<Number, std::int8_t> ? kLargestValue8 + 2 * kShift8 : kLargestValue16;

template <class Number>
constexpr int kGroup = std::is_same_v<Number, float>         ? 1
                       : std::is_same_v<Number, std::int8_t> ? 4
                                                             : 2;

// Where the weight of (position, input, output) stands.
struct Place {
    std::int64_t positions, inputs, outputs;  // inputs and outputs filled up
    int panel_width, group;

    std::int64_t operator()(std::int64_t position, std::int64_t input, std::int64_t output) const {
        const std::int64_t panel = output / panel_width;
        const std::int64_t width = std::min<std::int64_t>(panel_width, outputs - panel * panel_width);
        return (panel * panel_width * positions + position * width) * inputs + input / group * width * group +
               output % panel_width * group + input % group;
    }
};

int positions_of(Method method) {
    return method == Method::kWinograd4   ? Winograd<2>::kPositions
           : method == Method::kWinograd6 ? Winograd<3>::kPositions
                                          : 1;
}

std::int64_t filled_inputs(const ConvWeights& conv, Method method) {
    const std::int64_t taps = conv.kernel * conv.kernel, channels = blocks_of(conv.inputs) * kBlock;
    if (method == Method::kFirst) return conv.inputs * taps;
    return method == Method::kWindow ? channels * taps : channels;
}

// A number for each output of a block: compilers make vectors of the loops over it.
using Lanes = std::array<double, kBlock>;

// G g G transposed of one input's kernels: taps (9) -> values (positions).
template <int kPairs>
void transform_kernels(const Lanes* taps, Lanes* values) {
    using W = Winograd<kPairs>;
    Lanes columns[W::kWindow][3];
    for (int i = 0; i < W::kWindow; ++i)
        for (int x = 0; x < 3; ++x)
            for (int lane = 0; lane < kBlock; ++lane)
                columns[i][x][lane] = W::kernel(i, 0) * taps[x][lane] + W::kernel(i, 1) * taps[3 + x][lane] +
                                      W::kernel(i, 2) * taps[6 + x][lane];
    for (int i = 0; i < W::kWindow; ++i)
        for (int j = 0; j < W::kWindow; ++j)
            for (int lane = 0; lane < kBlock; ++lane)
                values[i * W::kWindow + j][lane] = columns[i][0][lane] * W::kernel(j, 0) +
                                                   columns[i][1][lane] * W::kernel(j, 1) +
                                                   columns[i][2][lane] * W::kernel(j, 2);
}

// The factor that makes whole numbers of one output's weights at one position: their sum and their largest.
template <class Number>
double scale_of(double total, double largest, int inputs) {
    if (largest == 0) return 1;
    const double scale = kLargestWeight<Number> / largest;
    const double most =
        (2147483000.0 / (kLargestFactor<Number> + 1) - inputs) / total;  // rounding adds a half to each at most
    return std::min(scale, most);
}

template <class Number, int kPairs>
void pack_winograd(const ConvWeights& conv, const Packing& to, int block) {
    constexpr int kPositions = Winograd<kPairs>::kPositions;
    constexpr bool kIsWhole = !std::is_same_v<Number, float>;
    const Place place{kPositions, filled_inputs(conv, Method::kWinograd4), blocks_of(conv.outputs) * kBlock,
                      to.panel_blocks * kBlock, kGroup<Number>};
    const int first = block * kBlock, outputs = std::min(kBlock, conv.outputs - first);
    Lanes taps[9] = {}, values[kPositions];
    const auto transform = [&](int input) {
        for (int lane = 0; lane < outputs; ++lane)
            for (int tap = 0; tap < 9; ++tap) taps[tap][lane] = conv.at(first + lane, input, tap);
        transform_kernels<kPairs>(taps, values);
    };
    Lanes scales[kPositions];  // of whole numbers
    if constexpr (kIsWhole) {
        Lanes totals[kPositions] = {}, largest[kPositions] = {};
        for (int input = 0; input < conv.inputs; ++input) {
            transform(input);
            for (int position = 0; position < kPositions; ++position)
                for (int lane = 0; lane < kBlock; ++lane) {
                    totals[position][lane] += std::fabs(values[position][lane]);
                    largest[position][lane] = std::max(largest[position][lane], std::fabs(values[position][lane]));
                }
        }
        for (int position = 0; position < kPositions; ++position)
            for (int lane = 0; lane < kBlock; ++lane) {
                const double scale = scale_of<Number>(totals[position][lane], largest[position][lane], conv.inputs);
                scales[position][lane] = scale;
                to.output_scales[position * place.outputs + first + lane] =
                    static_cast<float>(1 / (scale * static_cast<double>(to.input_scales[position])));
            }
    }
    for (int input = 0; input < conv.inputs; ++input) {
        transform(input);
        for (int position = 0; position < kPositions; ++position) {
            Number* numbers = static_cast<Number*>(to.packed) + place(position, input, first);
            for (int lane = 0; lane < kBlock; ++lane) {
                double number = values[position][lane];
                if constexpr (kIsWhole) number = std::nearbyint(number * scales[position][lane]);
                if constexpr (std::is_same_v<Number, std::int8_t>)
                    to.output_starts[position * place.outputs + first + lane] -= kShift8 * static_cast<int>(number);
                numbers[lane * place.group] = static_cast<Number>(number);
            }
        }
    }
}

// (tap, block of inputs, input) as window_transform reads them; the first convolution has (input, tap).
void pack_window(const ConvWeights& conv, Method method, const Packing& packing, int block) {
    const int taps = conv.kernel * conv.kernel, channels = blocks_of(conv.inputs) * kBlock;
    const int first = block * kBlock, outputs = std::min(kBlock, conv.outputs - first);
    const Place place{1, filled_inputs(conv, method), blocks_of(conv.outputs) * kBlock, packing.panel_blocks * kBlock,
                      1};
    for (int input = 0; input < conv.inputs; ++input)
        for (int tap = 0; tap < taps; ++tap) {
            const std::int64_t row =
                method == Method::kFirst ? input * taps + tap : static_cast<std::int64_t>(tap) * channels + input;
            float* to = static_cast<float*>(packing.packed) + place(0, row, first);
            for (int lane = 0; lane < outputs; ++lane) to[lane] = conv.at(first + lane, input, tap);
        }
}

}  // namespace

std::int64_t packed_bytes(const ConvWeights& conv, Method method, Precision precision) {
    const int bytes = precision == Precision::kFloat32 ? 4 : precision == Precision::kInt8 ? 1 : 2;
    return positions_of(method) * filled_inputs(conv, method) * blocks_of(conv.outputs) * kBlock * bytes;
}

void pack_block(const ConvWeights& conv, Method method, Precision precision, const Packing& packing, int block) {
    if (method == Method::kFirst || method == Method::kWindow)
        pack_window(conv, method, packing, block);
    else if (method == Method::kWinograd6)
        pack_winograd<float, 3>(conv, packing, block);
    else if (precision == Precision::kInt16)
        pack_winograd<std::int16_t, 2>(conv, packing, block);
    else if (precision == Precision::kInt8)
        pack_winograd<std::int8_t, 2>(conv, packing, block);
    else
        pack_winograd<float, 2>(conv, packing, block);
}

}  // namespace verydeep
