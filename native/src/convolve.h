// The three steps of a convolution: transform, multiply, inverse. Winograd's for 3 x 3, plain windows for the rest.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "multiply.h"
#include "transforms.h"

namespace verydeep::VERYDEEP_ISA {

// Where a tile stands: its image and its place in the grid of tiles.
struct TilePlace {
    int image, row, column;

    TilePlace(const Conv& conv, std::int64_t tile) {
        const int of_image = conv.tile_rows * conv.tile_columns;
        image = static_cast<int>(tile / of_image);
        const int rest = static_cast<int>(tile % of_image);
        row = rest / conv.tile_columns;
        column = rest % conv.tile_columns;
    }
    void next(const Conv& conv) {
        if (++column < conv.tile_columns) return;
        column = 0;
        if (++row < conv.tile_rows) return;
        row = 0;
        ++image;
    }
};

// body(n) with n = the blocks of a panel as a constant: kPanelBlocks, or what is left of them in the last one.
template <class Body>
void with_blocks(int left, Body&& body) {
    static_assert(kPanelBlocks == 1 || kPanelBlocks == 4);
    if constexpr (kPanelBlocks == 4) {
        if (left == 1) return body(std::integral_constant<int, 1>{});
        if (left == 2) return body(std::integral_constant<int, 2>{});
        if (left == 3) return body(std::integral_constant<int, 3>{});
    }
    body(std::integral_constant<int, kPanelBlocks>{});
}

template <class Number, int kPairs>
void winograd_transform(const Conv& conv, Tiles tiles, int first_block, int blocks) {
    constexpr int kTile = Winograd<kPairs>::kTile;
    const int inputs = conv.inputs();
    for (int block = first_block; block < first_block + blocks; ++block) {
        TilePlace place(conv, tiles.first);
        Number* values = static_cast<Number*>(conv.values) + tiles.slot * inputs + block * kBlock;
        for (std::int64_t i = 0; i < tiles.count; ++i, place.next(conv), values += inputs) {
            const float* window = conv.in.at(place.image, block, place.row * kTile - 1, place.column * kTile - 1);
            transform_window<Number, kPairs>(window, conv.in.row_stride, values, conv.value_stride, conv.input_scales);
        }
    }
}

// The sums of one panel: at each position, the values of all tiles times the panel's weights.
template <class Number>
void multiply(const Conv& conv, std::int64_t tiles, int positions, int panel) {
    const int inputs = conv.inputs(), first_block = panel * kPanelBlocks, first_output = first_block * kBlock;
    const Number* weights =
        static_cast<const Number*>(conv.weights) + static_cast<std::ptrdiff_t>(first_output) * positions * inputs;
    const Number* values = static_cast<const Number*>(conv.values);
    float* sums = conv.sums;
    with_blocks(conv.out.blocks - first_block, [&](auto blocks) {
        constexpr int kBlocks = decltype(blocks)::value;
        for (int position = 0; position < positions; ++position) {
            const Quantized of_position = std::is_same_v<Number, float>
                                              ? Quantized{}
                                              : conv.quantized.from(position * conv.outputs() + first_output);
            multiply_panel<Number, kBlocks>(values, inputs, weights, sums, static_cast<int>(tiles), inputs,
                                            of_position);
            weights += static_cast<std::ptrdiff_t>(inputs) * kBlocks * kBlock;
            values += conv.value_stride;
            sums += conv.sum_stride;
        }
    });
}

// What is done to a pixel of the result before it is written.
struct Finish {
    Vec bias, least;

    Finish(const Conv& conv, int block)
        : bias(load(conv.bias + block * kBlock)), least(conv.has_relu ? zero() : broadcast(-__builtin_inff())) {}
    VERYDEEP_INLINE Vec operator()(Vec x) const { return max(least, add(x, bias)); }
};

template <int kPairs>
VERYDEEP_INLINE void write_tile(const Conv& conv, const TilePlace& place, int block, const Finish& finish,
                                const Vec (&tile)[Winograd<kPairs>::kTile][Winograd<kPairs>::kTile]) {
    constexpr int kTile = Winograd<kPairs>::kTile;
    const int y0 = place.row * kTile, x0 = place.column * kTile, rows = conv.out.height - y0,
              columns = conv.out.width - x0;
    float* out = conv.out.at(place.image, block, y0, x0);
    unroll<kTile>([&](auto y) VERYDEEP_INLINE_LAMBDA {
        unroll<kTile>([&](auto x) VERYDEEP_INLINE_LAMBDA {
            if (y < rows && x < columns) store(out + y * conv.out.row_stride + x * kBlock, finish(tile[y][x]));
        });
    });
}

// The largest of each window of 2 x 2 is found before the bias and the ReLU: neither changes which it is.
template <int kPairs>
VERYDEEP_INLINE void write_pooled_tile(const Conv& conv, const TilePlace& place, int block, const Finish& finish,
                                       const Vec (&tile)[Winograd<kPairs>::kTile][Winograd<kPairs>::kTile]) {
    constexpr int kPooled = Winograd<kPairs>::kTile / 2;
    const int y0 = place.row * kPooled, x0 = place.column * kPooled, rows = conv.out.height - y0,
              columns = conv.out.width - x0;
    float* out = conv.out.at(place.image, block, y0, x0);
    unroll<kPooled>([&](auto y) VERYDEEP_INLINE_LAMBDA {
        unroll<kPooled>([&](auto x) VERYDEEP_INLINE_LAMBDA {
            const Vec largest = max_or_nan(max_or_nan(tile[2 * y][2 * x], tile[2 * y][2 * x + 1]),
                                           max_or_nan(tile[2 * y + 1][2 * x], tile[2 * y + 1][2 * x + 1]));
            if (y < rows && x < columns) store(out + y * conv.out.row_stride + x * kBlock, finish(largest));
        });
    });
}

template <class Number, int kPairs>
void winograd_produce(const Conv& conv, Tiles tiles, int panel) {
    multiply<Number>(conv, tiles.count, Winograd<kPairs>::kPositions, panel);
    const int first_block = panel * kPanelBlocks, blocks = std::min(kPanelBlocks, conv.out.blocks - first_block);
    for (int i = 0; i < blocks; ++i) {
        const Finish finish(conv, first_block + i);
        const float* sums = conv.sums + i * kBlock;
        TilePlace place(conv, tiles.first);
        for (std::int64_t j = 0; j < tiles.count; ++j, place.next(conv), sums += blocks * kBlock) {
            Vec tile[Winograd<kPairs>::kTile][Winograd<kPairs>::kTile];
            inverse_window<kPairs>(sums, conv.sum_stride, tile);
            if (conv.has_pool)
                write_pooled_tile<kPairs>(conv, place, first_block + i, finish, tile);
            else
                write_tile<kPairs>(conv, place, first_block + i, finish, tile);
        }
    }
}

template <class Number, int kPairs>
constexpr ConvKernels winograd_kernels() {
    return {Winograd<kPairs>::kTile, Winograd<kPairs>::kPositions, sizeof(Number), &winograd_transform<Number, kPairs>,
            &winograd_produce<Number, kPairs>};
}

// Any other kernel: a tile is a pixel of the result, its values are the window that it looks at, tap after tap.
inline void window_transform(const Conv& conv, Tiles tiles, int first_block, int blocks) {
    const int inputs = conv.inputs(), channels = conv.in.blocks * kBlock;
    for (int block = first_block; block < first_block + blocks; ++block) {
        TilePlace place(conv, tiles.first);
        float* values = static_cast<float*>(conv.values) + tiles.slot * inputs + block * kBlock;
        for (std::int64_t i = 0; i < tiles.count; ++i, place.next(conv), values += inputs) {
            const float* window = conv.in.at(place.image, block, place.row - conv.padding, place.column - conv.padding);
            float* tap = values;
            for (int y = 0; y < conv.kernel; ++y)
                for (int x = 0; x < conv.kernel; ++x, tap += channels)
                    store(tap, load(window + y * conv.in.row_stride + x * kBlock));
        }
    }
}

inline void window_produce(const Conv& conv, Tiles tiles, int panel) {
    multiply<float>(conv, tiles.count, 1, panel);
    const int first_block = panel * kPanelBlocks, blocks = std::min(kPanelBlocks, conv.out.blocks - first_block);
    for (int i = 0; i < blocks; ++i) {
        const Finish finish(conv, first_block + i);
        const float* sums = conv.sums + i * kBlock;
        TilePlace place(conv, tiles.first);
        for (std::int64_t j = 0; j < tiles.count; ++j, place.next(conv), sums += blocks * kBlock)
            store(conv.out.at(place.image, first_block + i, place.row, place.column), finish(load(sums)));
    }
}

constexpr ConvKernels window_kernels() { return {1, 1, sizeof(float), &window_transform, &window_produce}; }

// The first convolution: three channels are too few for Winograd, and its input lies in planes, one a channel.
// kPixels pixels times kBlocks blocks of outputs at once.
template <int kKernel, int kPixels, int kBlocks>
VERYDEEP_INLINE void first_conv_pixels(const Conv& conv, const float* planes, std::ptrdiff_t plane, int row_stride,
                                       int channels, const float* weights, const float* bias, float* out) {
    Vec sum[kPixels][kBlocks];
    unroll<kBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA {
        unroll<kPixels>([&](auto i) VERYDEEP_INLINE_LAMBDA { sum[i][b] = load(bias + b * kBlock); });
    });
    for (int channel = 0; channel < channels; ++channel) {
        for (int y = 0; y < kKernel; ++y) {
            const float* row = planes + channel * plane + y * row_stride;
            unroll<kKernel>([&](auto x) VERYDEEP_INLINE_LAMBDA {
                Vec w[kBlocks];
                unroll<kBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA { w[b] = load(weights + b * kBlock); });
                weights += kBlocks * kBlock;
                unroll<kPixels>([&](auto i) VERYDEEP_INLINE_LAMBDA {
                    const Vec pixel = broadcast(row[i + x]);
                    unroll<kBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA { sum[i][b] = fma(pixel, w[b], sum[i][b]); });
                });
            });
        }
    }
    const Vec least = conv.has_relu ? zero() : broadcast(-__builtin_inff());
    unroll<kBlocks>([&](auto b) VERYDEEP_INLINE_LAMBDA {
        unroll<kPixels>([&](auto i) VERYDEEP_INLINE_LAMBDA {
            store(out + b * conv.out.block_stride + i * kBlock, max(least, sum[i][b]));
        });
    });
}

template <int kKernel, int kBlocks>
void first_conv_panel(const Conv& conv, const float* planes, int channels, int image, int first_row, int rows,
                      int block) {
    constexpr int kPixels = kAccumulators / kBlocks < 6 ? kAccumulators / kBlocks : 6;
    const int row_stride = conv.width + 2 * conv.padding;
    const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(conv.height + 2 * conv.padding) * row_stride;
    const float* weights = static_cast<const float*>(conv.weights) +
                           static_cast<std::ptrdiff_t>(block) * channels * kKernel * kKernel * kBlock;
    const float* bias = conv.bias + block * kBlock;
    for (int y = first_row; y < first_row + rows; ++y) {
        int x = 0;
        for (; x + kPixels <= conv.width; x += kPixels)
            first_conv_pixels<kKernel, kPixels, kBlocks>(conv, planes + y * row_stride + x, plane, row_stride, channels,
                                                         weights, bias, conv.out.at(image, block, y, x));
        for (; x < conv.width; ++x)
            first_conv_pixels<kKernel, 1, kBlocks>(conv, planes + y * row_stride + x, plane, row_stride, channels,
                                                   weights, bias, conv.out.at(image, block, y, x));
    }
}

inline void first_conv(const Conv& conv, const float* planes, int channels, int image, int first_row, int rows) {
    for (int block = 0; block < conv.out.blocks; block += kPanelBlocks) {
        with_blocks(conv.out.blocks - block, [&](auto blocks) {
            constexpr int kBlocks = decltype(blocks)::value;
            const auto panel = conv.kernel == 7 ? &first_conv_panel<7, kBlocks> : &first_conv_panel<3, kBlocks>;
            panel(conv, planes, channels, image, first_row, rows, block);
        });
    }
}

}  // namespace verydeep::VERYDEEP_ISA
