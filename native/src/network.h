// The layer loop: the rows of an architecture, their packed weights, and a run from images to outputs.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "crew.h"
#include "kernels.h"
#include "memory.h"
#include "pack.h"

namespace verydeep {

enum class Kind { kConv, kLrn, kPool, kUnpool, kGap, kFc, kUnit };

// A row of the table with what is needed to compute it. The arrays belong to whoever made the row.
struct Row {
    std::string name, relu_name;  // relu_name is empty where there is no ReLU
    Kind kind = Kind::kConv;
    int inputs = 0, outputs = 0, kernel = 1, padding = 0;
    int partner = -1;  // pool: the row that undoes it; unpool: the row of its pool; -1 where there is none

    Method method = Method::kWinograd4;         // conv
    Precision precision = Precision::kFloat32;  // conv
    const void* weights = nullptr;              // conv: packed; fc: (outputs, inputs * kernel * kernel)
    Storage storage = Storage::kFloat32;        // fc
    const float* bias = nullptr;                // conv: of whole blocks
    const float* input_scales = nullptr;        // conv in whole numbers
    Quantized quantized;                        // conv in whole numbers: (positions, outputs); fc: of each output
};

// An output that was asked for: floats, or places of maxima as int32, in (image, channel, row, column).
struct Output {
    std::vector<std::int64_t> shape;
    std::unique_ptr<float[]> values;
    std::unique_ptr<std::int32_t[]> indices;
};

class Network {
public:
    // map_bytes: about how much memory the maps of images may take that are computed together.
    Network(std::vector<Row> rows, const Kernels& kernels, std::int64_t map_bytes = 256 << 20);
    ~Network();

    // images: (count, channels, height, width). names: of rows, of their ReLUs, "logits", or "pool1:indices"; known
    // ones. seconds: where not null, the time of each row is added to it. Thread-safe: runs at the same time have crews
    // of their own. Throws std::bad_alloc.
    std::map<std::string, Output> run(const float* images, int count, int channels, int height, int width,
                                      const std::vector<std::string>& names, int threads,
                                      std::vector<double>* seconds = nullptr);

private:
    struct Workspace;
    struct Run;

    std::unique_ptr<Workspace> take_workspace(int threads);
    void give_back(std::unique_ptr<Workspace>);

    std::vector<Row> rows_;
    const Kernels& kernels_;
    std::int64_t map_bytes_;
    std::mutex mutex_;  // of the next
    std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace verydeep
