#include "naive.h"

#include <algorithm>
#include <cmath>

#include "winograd_points.h"

namespace verydeep::naive {

namespace {

// matrix * square * matrix transposed; entry(row, column) is the matrix, of rows x side.
template <class Entry>
std::vector<double> sandwich(const std::vector<double>& square, int side, int rows, Entry&& entry) {
    std::vector<double> result(static_cast<std::size_t>(rows) * rows);
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < rows; ++j)
            for (int y = 0; y < side; ++y)
                for (int x = 0; x < side; ++x) result[i * rows + j] += entry(i, y) * square[y * side + x] * entry(j, x);
    return result;
}

template <class Two, class Three>
std::vector<double> by_pairs(int pairs, Two&& two, Three&& three) {
    return pairs == 2 ? two(Winograd<2>{}) : three(Winograd<3>{});
}

}  // namespace

Map convolve(const Map& in, const std::vector<double>& weights, const std::vector<double>& bias, int kernel,
             int padding) {
    const int outputs = static_cast<int>(bias.size());
    Map out(outputs, in.height + 2 * padding - kernel + 1, in.width + 2 * padding - kernel + 1);
    for (int output = 0; output < outputs; ++output)
        for (int y = 0; y < out.height; ++y)
            for (int x = 0; x < out.width; ++x) {
                double sum = bias[output];
                const double* weight = &weights[static_cast<std::size_t>(output) * in.channels * kernel * kernel];
                for (int channel = 0; channel < in.channels; ++channel)
                    for (int dy = 0; dy < kernel; ++dy)
                        for (int dx = 0; dx < kernel; ++dx)
                            sum += *weight++ * in.padded(channel, y + dy - padding, x + dx - padding);
                out.at(output, y, x) = sum;
            }
    return out;
}

Map relu(Map map) {
    for (double& pixel : map.pixels) pixel = std::max(pixel, 0.0);
    return map;
}

Map max_pool(const Map& in) {
    Map out(in.channels, in.height / 2, in.width / 2);
    for (int channel = 0; channel < in.channels; ++channel)
        for (int y = 0; y < out.height; ++y)
            for (int x = 0; x < out.width; ++x)
                out.at(channel, y, x) =
                    std::max(std::max(in.at(channel, 2 * y, 2 * x), in.at(channel, 2 * y, 2 * x + 1)),
                             std::max(in.at(channel, 2 * y + 1, 2 * x), in.at(channel, 2 * y + 1, 2 * x + 1)));
    return out;
}

std::vector<std::int32_t> max_places(const Map& in) {
    std::vector<std::int32_t> places;
    for (int channel = 0; channel < in.channels; ++channel)
        for (int y = 0; y < in.height / 2; ++y)
            for (int x = 0; x < in.width / 2; ++x) {
                int best = 0;
                for (int corner = 1; corner < 4; ++corner)
                    if (in.at(channel, 2 * y + corner / 2, 2 * x + corner % 2) >
                        in.at(channel, 2 * y + best / 2, 2 * x + best % 2))
                        best = corner;
                places.push_back((2 * y + best / 2) * in.width + 2 * x + best % 2);
            }
    return places;
}

Map max_unpool(const Map& in, const std::vector<std::int32_t>& places, int height, int width) {
    Map out(in.channels, height, width);
    const std::size_t of_channel = static_cast<std::size_t>(in.height) * in.width;
    for (std::size_t i = 0; i < in.pixels.size(); ++i)
        out.pixels[i / of_channel * height * width + places[i]] = in.pixels[i];
    return out;
}

Map normalize_channels(const Map& in) {
    Map out(in.channels, in.height, in.width);
    for (int channel = 0; channel < in.channels; ++channel)
        for (int y = 0; y < in.height; ++y)
            for (int x = 0; x < in.width; ++x) {
                double energy = 0;
                for (int other = std::max(0, channel - 2); other <= std::min(in.channels - 1, channel + 2); ++other)
                    energy += in.at(other, y, x) * in.at(other, y, x);
                out.at(channel, y, x) = in.at(channel, y, x) / std::pow(2 + 1e-4 * energy, 0.75);
            }
    return out;
}

std::vector<double> average(const Map& in) {
    std::vector<double> means(static_cast<std::size_t>(in.channels));
    for (int channel = 0; channel < in.channels; ++channel) {
        for (int y = 0; y < in.height; ++y)
            for (int x = 0; x < in.width; ++x) means[channel] += in.at(channel, y, x);
        means[channel] /= in.height * in.width;
    }
    return means;
}

std::vector<double> unit(const std::vector<double>& in) {
    double squares = 0;
    for (double x : in) squares += x * x;
    std::vector<double> out = in;
    for (double& x : out) x /= std::max(std::sqrt(squares), 1e-12);
    return out;
}

std::vector<double> connect(const std::vector<double>& in, const std::vector<double>& weights,
                            const std::vector<double>& bias) {
    std::vector<double> out = bias;
    for (std::size_t row = 0; row < out.size(); ++row)
        for (std::size_t i = 0; i < in.size(); ++i) out[row] += weights[row * in.size() + i] * in[i];
    return out;
}

std::vector<double> transform(int pairs, const std::vector<double>& window) {
    const auto of = [&](auto w) {
        return sandwich(window, w.kWindow, w.kWindow, [w](int i, int x) { return w.input(i, x); });
    };
    return by_pairs(pairs, of, of);
}

std::vector<double> inverse(int pairs, const std::vector<double>& sums) {
    const auto of = [&](auto w) {
        return sandwich(sums, w.kWindow, w.kTile, [w](int y, int i) { return w.output(y, i); });
    };
    return by_pairs(pairs, of, of);
}

std::vector<double> transform_kernel(int pairs, const std::vector<double>& kernel) {
    const auto of = [&](auto w) {
        return sandwich(kernel, 3, w.kWindow, [w](int i, int tap) { return w.kernel(i, tap); });
    };
    return by_pairs(pairs, of, of);
}

Map convolve_in_bytes(const Map& in, const std::vector<double>& weights, const std::vector<double>& bias,
                      double scale) {
    using Square = std::vector<double>;
    const int outputs = static_cast<int>(bias.size());
    std::vector<Square> kernels;  // of (output, input), rounded and scaled back
    for (int output = 0; output < outputs; ++output) {
        Square largest(36);
        for (int input = 0; input < in.channels; ++input) {
            const double* taps = &weights[(static_cast<std::size_t>(output) * in.channels + input) * 9];
            kernels.push_back(transform_kernel(2, Square(taps, taps + 9)));
            for (int i = 0; i < 36; ++i) largest[i] = std::max(largest[i], std::fabs(kernels.back()[i]));
        }
        for (int input = 0; input < in.channels; ++input)
            for (int i = 0; i < 36; ++i) {
                double& weight = kernels[static_cast<std::size_t>(output) * in.channels + input][i];
                if (largest[i] > 0) weight = std::nearbyint(weight * 127 / largest[i]) * largest[i] / 127;
            }
    }
    Map out(outputs, in.height, in.width);
    for (int top = 0; top < in.height; top += 4)
        for (int left = 0; left < in.width; left += 4) {
            std::vector<Square> values;
            for (int input = 0; input < in.channels; ++input) {
                Square window;
                for (int y = 0; y < 6; ++y)
                    for (int x = 0; x < 6; ++x) window.push_back(in.padded(input, top + y - 1, left + x - 1));
                values.push_back(transform(2, window));
                for (double& value : values.back())
                    value = std::clamp(std::nearbyint(value * scale), -128.0, 127.0) / scale;
            }
            for (int output = 0; output < outputs; ++output) {
                Square sums(36);
                for (int input = 0; input < in.channels; ++input)
                    for (int i = 0; i < 36; ++i)
                        sums[i] +=
                            values[input][i] * kernels[static_cast<std::size_t>(output) * in.channels + input][i];
                const Square tile = inverse(2, sums);
                for (int y = 0; y < 4 && top + y < in.height; ++y)
                    for (int x = 0; x < 4 && left + x < in.width; ++x)
                        out.at(output, top + y, left + x) = tile[y * 4 + x] + bias[output];
            }
        }
    return out;
}

}  // namespace verydeep::naive
