// What each fast kernel computes, written as plainly as possible, in double: the twins that tests hold the kernels
// against. Maps are (channels, rows, columns) here, without blocks and borders.
#pragma once

#include <cstdint>
#include <vector>

namespace verydeep::naive {

struct Map {
    int channels, height, width;
    std::vector<double> pixels;

    Map(int channels_, int height_, int width_)
        : channels(channels_),
          height(height_),
          width(width_),
          pixels(static_cast<std::size_t>(channels_) * height_ * width_) {}
    double& at(int channel, int y, int x) {
        return pixels[(static_cast<std::size_t>(channel) * height + y) * width + x];
    }
    double at(int channel, int y, int x) const { return const_cast<Map*>(this)->at(channel, y, x); }
    double padded(int channel, int y, int x) const {  // zero beyond the border
        return y < 0 || x < 0 || y >= height || x >= width ? 0 : at(channel, y, x);
    }
};

// weights: (outputs, channels, kernel, kernel). Stride 1.
Map convolve(const Map&, const std::vector<double>& weights, const std::vector<double>& bias, int kernel, int padding);
Map relu(Map);
Map max_pool(const Map&);                          // 2 x 2, stride 2
std::vector<std::int32_t> max_places(const Map&);  // row * width + column of each maximum, the first of several
Map max_unpool(const Map& in, const std::vector<std::int32_t>& places, int height, int width);  // zeros elsewhere
Map normalize_channels(const Map&);                // local response normalisation
std::vector<double> average(const Map&);           // of each channel
std::vector<double> unit(const std::vector<double>&);  // divided by its length
std::vector<double> connect(const std::vector<double>& in, const std::vector<double>& weights,
                            const std::vector<double>& bias);

// Winograd by its matrices, for tiles of 2 * pairs pixels. windows and results are squares, row by row.
std::vector<double> transform(int pairs, const std::vector<double>& window);         // B^T d B
std::vector<double> inverse(int pairs, const std::vector<double>& sums);             // A^T m A
std::vector<double> transform_kernel(int pairs, const std::vector<double>& kernel);  // G g G^T

// A 3 x 3 convolution by Winograd's F(4x4) in bytes: transformed pixels times `scale`, rounded, -128 to 127;
// transformed weights of each output at each position scaled so that the largest is 127, and rounded.
Map convolve_in_bytes(const Map&, const std::vector<double>& weights, const std::vector<double>& bias, double scale);

}  // namespace verydeep::naive
