// What an instruction set offers: one table of functions, chosen when the program runs. The layer loop (network.cpp)
// calls nothing else, so that one build serves every processor.
#pragma once

#include "types.h"

namespace verydeep {

// A map in blocks of channels with a border of zeros around it; `data` is its first pixel within the border.
struct Map {
    float* data = nullptr;
    int images = 0, blocks = 0, height = 0, width = 0;
    std::ptrdiff_t row_stride = 0, block_stride = 0, image_stride = 0;  // in floats

    float* at(int image, int block, int y, int x) const {
        return data + image * image_stride + block * block_stride + y * row_stride + x * kBlock;
    }
};

// One convolution of stride 1 over all images, with what follows it.
struct Conv {
    Map in, out;
    int height = 0, width = 0;  // of the result, before it is pooled
    int kernel = 3, padding = 1;
    int taps = 1;  // of the kernel, that are inputs of the product: all of a window, one of Winograd's
    bool has_relu = true, has_pool = false;  // the 2 x 2 pool after it
    const void* weights = nullptr;           // as pack.h lays them out
    const float* bias = nullptr;             // of each output
    const float* input_scales = nullptr;     // whole numbers: of each position
    Quantized quantized;                     // whole numbers: (positions, outputs)

    // The result in tiles, and the work space of some of them: values (positions, tiles, inputs) of the kernel's type,
    // sums (positions, tiles, outputs of one panel).
    int tile_rows = 0, tile_columns = 0;
    void* values = nullptr;
    float* sums = nullptr;
    std::ptrdiff_t value_stride = 0, sum_stride = 0;  // from one position to the next, in numbers

    int inputs() const { return in.blocks * kBlock * taps; }
    int outputs() const { return out.blocks * kBlock; }
    std::int64_t tiles() const { return static_cast<std::int64_t>(in.images) * tile_rows * tile_columns; }
};

// A range of a convolution's tiles; the first of them has slot `slot` of the work space.
struct Tiles {
    std::int64_t first, count, slot;
};

// The two steps of a convolution. Each may be cut into parts that run at the same time.
struct ConvKernels {
    int tile = 0;       // the side of a tile in pixels
    int positions = 0;  // products for each pair of input and output
    int value_bytes = 0;
    // Some blocks of the inputs of some tiles -> values.
    void (*transform)(const Conv&, Tiles, int first_block, int blocks) = nullptr;
    // The values of all inputs -> sums -> one panel of the outputs of the tiles. The sums of a panel are few enough to
    // stay in the second cache until they are transformed back.
    void (*produce)(const Conv&, Tiles, int panel) = nullptr;

    explicit operator bool() const { return transform != nullptr; }
};

constexpr int kTileSizes = 2;  // F(4x4) and F(6x6)

struct Kernels {
    const char* name;
    int panel_blocks;                               // of outputs, in a panel of packed weights
    ConvKernels winograd[kPrecisions][kTileSizes];  // by Precision
    ConvKernels window;                             // any kernel and padding, in float32
    // Rows first_row ... of the first convolution of one image, of 3 x 3 or 7 x 7. planes: (channels, height + 2 *
    // padding, width + 2 * padding) with a border.
    void (*first_conv)(const Conv&, const float* planes, int channels, int image, int first_row, int rows);
    // outputs first_row ... of each of `count` vectors; weights (outputs, inputs) of that Storage.
    void (*fully_connected[4])(const void* weights, const float* row_scales, const float* bias, bool has_relu,
                               const float* in, int inputs, int count, float* out, int outputs, int first_row,
                               int rows);
    // Of one block of one image. corners: (height, width, 16), which of the four of its window a maximum was, row by
    // row, or null.
    void (*max_pool)(const Map& in, const Map& out, std::uint8_t* corners, int image, int block);
    // Each value of a block to its corner of a window of 2 x 2; zeros elsewhere, also in an odd last row or column.
    void (*max_unpool)(const Map& in, const Map& out, const std::uint8_t* corners, int image, int block);
    void (*relu)(const Map&, int image, int block);
    void (*normalize_channels)(const Map& in, const Map& out, int image, int first_row, int rows);  // LRN
    void (*average)(const Map& in, float* out, int image, int block);                               // 16 channels
    void (*unit)(const float* in, float* out, int length);  // a vector divided by its length
    // Zeros around one block: `before` rows and columns in front of the map, the others behind it.
    void (*clear_border)(const Map&, int before, int after_rows, int after_columns, int image, int block);
    // The most that a core can do: operations of so many steps of the micro-kernel in registers, by Precision, null
    // where there are no kernels; and reading so many floats.
    std::int64_t (*multiply_in_registers[kPrecisions])(std::int64_t steps);
    float (*read_memory)(const float* data, std::int64_t count);
};

const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_vnni_kernels();

}  // namespace verydeep
