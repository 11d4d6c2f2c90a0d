#include "network.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "tiling.h"

namespace verydeep {

namespace {

constexpr std::int64_t kTilesInPart = 16;  // of a transform that is shared
constexpr int kValueBuffers = 3;           // of such: what follows goes on while a member is late with what was before
constexpr std::size_t kMostIdle = 2;       // work spaces kept for the next run

// How far beyond its pixels a convolution reads the map before it.
struct Border {
    int before = 0, after_rows = 0, after_columns = 0;
};

const ConvKernels& kernels_of(const Kernels& kernels, const Row& row) {
    if (row.method == Method::kWindow) return kernels.window;
    return kernels.winograd[static_cast<int>(row.precision)][row.method == Method::kWinograd6];
}

Border border_for(const Kernels& kernels, const Row& row, int height, int width) {
    if (row.kind != Kind::kConv || row.method == Method::kFirst) return {};
    if (row.method == Method::kWindow) return {row.padding, row.padding, row.padding};
    const int tile = kernels_of(kernels, row).tile;
    const auto behind = [tile](int side) { return static_cast<int>(round_up(side, tile)) + 1 - side; };
    return {1, behind(height), behind(width)};
}

// Adds the time of its life to a row's; does nothing where nobody asked.
class Timer {
public:
    Timer(std::vector<double>* seconds, std::size_t row) : seconds_(seconds), row_(row) {}
    ~Timer() {
        if (seconds_ == nullptr) return;
        (*seconds_)[row_] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

private:
    std::vector<double>* seconds_;
    std::size_t row_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Some of the images, which are computed together.
struct Group {
    const float* images;
    int first, count, channels, height, width;
};

}  // namespace

// What a run needs beside the weights. One process's: the threads of a crew do not survive a fork.
struct Network::Workspace {
    Workspace(int threads_, std::size_t rows)
        : threads(threads_), crew(std::make_unique<Crew>(threads_)), process(getpid()), corners(rows) {}

    int threads;  // that were asked for
    std::unique_ptr<Crew> crew;
    pid_t process;
    Buffer maps[2];  // the map that is read and the map that is written
    Buffer planes;   // the images with a border
    Buffer values, sums;
    Buffer vectors[2];            // the same for the fully connected layers
    std::vector<Buffer> corners;  // of each row that is a pool and needs them: where its maxima were
};

Network::Network(std::vector<Row> rows, const Kernels& kernels, std::int64_t map_bytes)
    : rows_(std::move(rows)), kernels_(kernels), map_bytes_(map_bytes) {}

Network::~Network() {
    for (auto& workspace : idle_)
        if (workspace->process != getpid()) (void)workspace->crew.release();  // its threads live in another process
}

std::unique_ptr<Network::Workspace> Network::take_workspace(int threads) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (auto last = idle_.rbegin(); last != idle_.rend(); ++last) {  // what was used last is in the caches
            if ((*last)->process != getpid() || (*last)->threads != threads) continue;
            std::unique_ptr<Workspace> found = std::move(*last);
            idle_.erase(std::next(last).base());
            return found;
        }
    }
    return std::make_unique<Workspace>(threads, rows_.size());
}

void Network::give_back(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.size() < kMostIdle) idle_.push_back(std::move(workspace));
}

// One run of the network.
struct Network::Run {
    const std::vector<Row>& rows;
    const Kernels& kernels;
    Workspace& space;
    const std::vector<std::string>& names;
    std::vector<double>* seconds;
    int count;
    std::map<std::string, Output> found;

    Crew& crew() { return *space.crew; }
    bool is_asked(const std::string& name) const { return std::find(names.begin(), names.end(), name) != names.end(); }

    // Of a pool that has run: which corner of its window each maximum was, (image, block, row, column, 16), or null
    // where nobody wants to know; and the size of the map that it took.
    struct Pooled {
        const std::uint8_t* corners = nullptr;
        int height = 0, width = 0;
    };
    std::map<std::size_t, Pooled> pooled = {};  // by row

    // Whether the corners of the pool rows[i] are needed: by the row that undoes it, or by who asked for them.
    bool needs_corners(std::size_t i, std::size_t end) const {
        const bool is_undone = rows[i].partner >= 0 && static_cast<std::size_t>(rows[i].partner) < end;
        return is_undone || is_asked(rows[i].name + ":indices");
    }

    // The row after whose output nothing more is asked for.
    std::size_t last_row() const {
        for (std::size_t i = rows.size(); i-- > 0;) {
            const Row& row = rows[i];
            if (i + 1 == rows.size() && is_asked("logits")) return i;
            if (is_asked(row.name) || (!row.relu_name.empty() && is_asked(row.relu_name)) ||
                is_asked(row.name + ":indices"))
                return i;
        }
        return 0;
    }

    // A map for the output of rows[i], with the border that the next row needs around it, all zeros.
    Map make_map(std::size_t i, int which, int images, int height, int width) {
        const Border border = i + 1 < rows.size() ? border_for(kernels, rows[i + 1], height, width) : Border{};
        Map map;
        map.images = images;
        map.blocks = blocks_of(rows[i].outputs);
        map.height = height;
        map.width = width;
        map.row_stride = static_cast<std::ptrdiff_t>(border.before + width + border.after_columns) * kBlock;
        map.block_stride = (border.before + height + border.after_rows) * map.row_stride;
        map.image_stride = map.blocks * map.block_stride;
        float* data = space.maps[which].reserve<float>(static_cast<std::size_t>(images * map.image_stride));
        map.data = data + border.before * (map.row_stride + kBlock);
        if (border.before + border.after_rows + border.after_columns > 0)
            each_block(map, [&](int image, int block) {
                kernels.clear_border(map, border.before, border.after_rows, border.after_columns, image, block);
            });
        return map;
    }

    template <class Body>
    void each_block(const Map& map, Body&& body) {
        crew().run(static_cast<std::int64_t>(map.images) * map.blocks, [&](std::int64_t part, int) {
            body(static_cast<int>(part / map.blocks), static_cast<int>(part % map.blocks));
        });
    }

    // The map as an output, images first_image ... of all.
    void keep(const std::string& name, const Map& map, int channels, int first_image) {
        Output& output = found[name];
        if (output.values == nullptr) {
            output.shape = {count, channels, map.height, map.width};
            output.values.reset(new float[static_cast<std::size_t>(count) * channels * map.height * map.width]);
        }
        each_block(map, [&](int image, int block) {
            const int end = std::min(kBlock, channels - block * kBlock);
            for (int channel = 0; channel < end; ++channel) {
                float* out = output.values.get() +
                             (static_cast<std::int64_t>(first_image + image) * channels + block * kBlock + channel) *
                                 map.height * map.width;
                for (int y = 0; y < map.height; ++y)
                    for (int x = 0; x < map.width; ++x) *out++ = map.at(image, block, y, x)[channel];
            }
        });
    }

    // All rows that compute maps, for some of the images; then the vectors that the fully connected layers take.
    void run_maps(const Group&, std::size_t end, float* vectors);
    // Row i and, where nothing between the two is asked for, the pool after it: how many rows were computed.
    std::size_t run_conv(std::size_t i, const Group&, std::size_t end, int which, Map& map);
    Map convolve(std::size_t i, const Map& in, const Group&, bool has_relu, bool has_pool, int which);
    void convolve_tiles(Conv conv, const ConvKernels& step);
    void first_convolution(Conv conv, const Group&);
    void run_other(std::size_t i, const Group&, std::size_t end, int which, Map& map, float* vectors);
    Map run_pool(std::size_t i, const Map& in, const Group&, std::size_t end, int which);
    Map run_unpool(std::size_t i, const Map& in, int which);
    Map run_lrn(std::size_t i, const Map& in, int which);
    void run_gap(std::size_t i, const Map& in, const Group&, float* vectors);
    void flatten(const Row& fc, const Map& map, const Group&, float* vectors);
    void keep_indices(const Row& row, const Map& out, const Pooled&, int first_image);
    void run_vectors(std::size_t first, std::size_t end, int inputs);
    void keep_vectors(const std::string& name, const float* vectors, int width);
};

void Network::Run::convolve_tiles(Conv conv, const ConvKernels& kernel) {
    const int panels = static_cast<int>(ceil_div(conv.out.blocks, kernels.panel_blocks)), members = crew().size();
    const std::int64_t tiles = conv.tiles();
    const Tiling tiling(conv, kernel, kernels.panel_blocks, members);
    const bool is_shared = tiling.is_shared;
    const std::int64_t at_once = tiling.at_once;

    conv.value_stride = tiling.value_stride;
    conv.sum_stride = tiling.sum_stride;
    const std::int64_t value_bytes = round_up(kernel.positions * conv.value_stride * kernel.value_bytes, 4096);
    const std::int64_t own_sums = round_up(kernel.positions * conv.sum_stride, 1024);
    const int value_buffers = is_shared ? kValueBuffers : members;
    char* values = space.values.reserve<char>(static_cast<std::size_t>(value_bytes * value_buffers));
    float* sums = space.sums.reserve<float>(static_cast<std::size_t>(own_sums * members));
    const auto of_member = [&](int member, std::int64_t value_buffer) {
        Conv own = conv;
        own.values = values + value_bytes * value_buffer;
        own.sums = sums + own_sums * member;
        return own;
    };
    const std::int64_t chunks = ceil_div(tiles, at_once);
    const auto tiles_of = [&](std::int64_t chunk) {
        return Tiles{chunk * at_once, std::min(at_once, tiles - chunk * at_once), 0};
    };
    if (!is_shared) {
        crew().run(chunks, [&](std::int64_t chunk, int member) {
            const Conv own = of_member(member, member);
            kernel.transform(own, tiles_of(chunk), 0, conv.in.blocks);
            for (int panel = 0; panel < panels; ++panel) kernel.produce(own, tiles_of(chunk), panel);
        });
        return;
    }
    // In turns the values of a chunk, in the place of those of three chunks before, and the results of the chunk
    // before.
    const auto cuts_of = [&](int chunk) { return ceil_div(tiles_of(chunk).count, kTilesInPart); };
    std::vector<Step> steps;
    for (int chunk = 0; chunk <= chunks; ++chunk) {
        const int three_before = 2 * (chunk - kValueBuffers) + 3;  // the step that used the values of that chunk last
        steps.push_back({chunk < chunks ? cuts_of(chunk) * conv.in.blocks : 0, std::max(-1, three_before)});
        steps.push_back({chunk > 0 ? panels : 0, 2 * (chunk - 1)});
    }
    crew().run_steps(steps, [&](int step, std::int64_t part, int member) {
        const int chunk = step % 2 == 0 ? step / 2 : step / 2 - 1;
        const Conv own = of_member(member, chunk % kValueBuffers);
        if (step % 2 == 1) {
            kernel.produce(own, tiles_of(chunk), static_cast<int>(part));
            return;
        }
        const Tiles all = tiles_of(chunk);
        const std::int64_t cuts = cuts_of(chunk), slot = part % cuts * kTilesInPart;
        kernel.transform(own, {all.first + slot, std::min(kTilesInPart, all.count - slot), slot},
                         static_cast<int>(part / cuts), 1);
    });
}

void Network::Run::first_convolution(Conv conv, const Group& group) {
    const int padding = conv.padding, row_length = conv.width + 2 * padding;
    const std::int64_t plane = static_cast<std::int64_t>(conv.height + 2 * padding) * row_length;
    const std::int64_t border = static_cast<std::int64_t>(padding) * row_length;  // the zeros above, and below
    const std::int64_t all = static_cast<std::int64_t>(group.count) * group.channels;
    float* planes = space.planes.reserve<float>(static_cast<std::size_t>(all * plane));
    crew().run(all, [&](std::int64_t part, int) {
        float* to = planes + part * plane;
        const float* from = group.images + part * conv.height * conv.width;
        std::fill(to, to + border, 0.0f);
        for (int y = 0; y < conv.height; ++y, from += conv.width) {
            float* row = to + border + static_cast<std::int64_t>(y) * row_length;
            std::fill(row, row + padding, 0.0f);
            std::memcpy(row + padding, from, static_cast<std::size_t>(conv.width) * sizeof(float));
            std::fill(row + padding + conv.width, row + row_length, 0.0f);
        }
        std::fill(to + plane - border, to + plane, 0.0f);
    });
    constexpr int kRows = 8;
    const std::int64_t cuts = ceil_div(conv.height, kRows);
    crew().run(group.count * cuts, [&](std::int64_t part, int) {
        const int image = static_cast<int>(part / cuts), first = static_cast<int>(part % cuts) * kRows;
        kernels.first_conv(conv, planes + image * group.channels * plane, group.channels, image, first,
                           std::min(kRows, conv.height - first));
    });
}

Map Network::Run::convolve(std::size_t i, const Map& in, const Group& group, bool has_relu, bool has_pool, int which) {
    const Row& row = rows[i];
    Conv conv;
    conv.kernel = row.kernel;
    conv.padding = row.padding;
    conv.taps = row.method == Method::kWindow ? row.kernel * row.kernel : 1;
    conv.height = in.height + 2 * row.padding - row.kernel + 1;
    conv.width = in.width + 2 * row.padding - row.kernel + 1;
    conv.has_relu = has_relu;
    conv.has_pool = has_pool;
    conv.weights = row.weights;
    conv.bias = row.bias;
    conv.input_scales = row.input_scales;
    conv.quantized = row.quantized;
    conv.in = in;
    conv.out = make_map(has_pool ? i + 1 : i, which, group.count, has_pool ? conv.height / 2 : conv.height,
                        has_pool ? conv.width / 2 : conv.width);
    if (row.method == Method::kFirst) {
        first_convolution(conv, group);
        return conv.out;
    }
    const ConvKernels& step = kernels_of(kernels, row);
    conv.tile_rows = static_cast<int>(ceil_div(conv.height, step.tile));
    conv.tile_columns = static_cast<int>(ceil_div(conv.width, step.tile));
    convolve_tiles(conv, step);
    return conv.out;
}

void Network::Run::keep_indices(const Row& row, const Map& out, const Pooled& from, int first_image) {
    Output& output = found[row.name + ":indices"];
    const std::int64_t pixels = static_cast<std::int64_t>(out.height) * out.width;
    if (output.indices == nullptr) {
        output.shape = {count, row.outputs, out.height, out.width};
        output.indices.reset(new std::int32_t[static_cast<std::size_t>(count * row.outputs * pixels)]);
    }
    each_block(out, [&](int image, int block) {
        const std::uint8_t* corners =
            from.corners + (static_cast<std::int64_t>(image) * out.blocks + block) * pixels * kBlock;
        const int end = std::min(kBlock, row.outputs - block * kBlock);
        for (int channel = 0; channel < end; ++channel) {
            std::int32_t* places =
                output.indices.get() +
                (static_cast<std::int64_t>(first_image + image) * row.outputs + block * kBlock + channel) * pixels;
            for (int y = 0; y < out.height; ++y)
                for (int x = 0; x < out.width; ++x) {
                    const int corner = corners[(static_cast<std::int64_t>(y) * out.width + x) * kBlock + channel];
                    *places++ = (2 * y + corner / 2) * from.width + 2 * x + corner % 2;
                }
        }
    });
}

std::size_t Network::Run::run_conv(std::size_t i, const Group& group, std::size_t end, int which, Map& map) {
    const Row& row = rows[i];
    const Timer timer(seconds, i);
    const bool has_relu = !row.relu_name.empty(), keeps_linear = is_asked(row.name),
               keeps_relu = has_relu && is_asked(row.relu_name);
    const bool has_pool = i + 1 < end && rows[i + 1].kind == Kind::kPool && row.method != Method::kFirst &&
                          row.method != Method::kWindow && !keeps_linear && !keeps_relu && !needs_corners(i + 1, end);
    map = convolve(i, map, group, has_relu && !keeps_linear, has_pool, which);
    if (keeps_linear) keep(row.name, map, row.outputs, group.first);
    if (keeps_linear && has_relu) each_block(map, [&](int image, int block) { kernels.relu(map, image, block); });
    if (keeps_relu) keep(row.relu_name, map, row.outputs, group.first);
    if (has_pool && is_asked(rows[i + 1].name)) keep(rows[i + 1].name, map, row.outputs, group.first);
    if (i + 1 == rows.size() && is_asked("logits")) keep("logits", map, row.outputs, group.first);
    return has_pool ? 2 : 1;
}

Map Network::Run::run_pool(std::size_t i, const Map& in, const Group& group, std::size_t end, int which) {
    const Map out = make_map(i, which, in.images, in.height / 2, in.width / 2);
    const std::int64_t of_block = static_cast<std::int64_t>(out.height) * out.width * kBlock;
    std::uint8_t* corners = nullptr;
    if (needs_corners(i, end))
        corners = space.corners[i].reserve<std::uint8_t>(static_cast<std::size_t>(out.images * out.blocks * of_block));
    each_block(out, [&](int image, int block) {
        const std::int64_t before = (static_cast<std::int64_t>(image) * out.blocks + block) * of_block;
        kernels.max_pool(in, out, corners == nullptr ? nullptr : corners + before, image, block);
    });
    pooled[i] = {corners, in.height, in.width};
    if (is_asked(rows[i].name + ":indices")) keep_indices(rows[i], out, pooled[i], group.first);
    return out;
}

Map Network::Run::run_unpool(std::size_t i, const Map& in, int which) {
    const Pooled& from = pooled.at(static_cast<std::size_t>(rows[i].partner));
    const std::int64_t of_block = static_cast<std::int64_t>(in.height) * in.width * kBlock;
    const Map out = make_map(i, which, in.images, from.height, from.width);
    each_block(out, [&](int image, int block) {
        const std::int64_t before = (static_cast<std::int64_t>(image) * out.blocks + block) * of_block;
        kernels.max_unpool(in, out, from.corners + before, image, block);
    });
    return out;
}

Map Network::Run::run_lrn(std::size_t i, const Map& in, int which) {
    const Map out = make_map(i, which, in.images, in.height, in.width);
    crew().run(static_cast<std::int64_t>(in.images) * in.height, [&](std::int64_t part, int) {
        kernels.normalize_channels(in, out, static_cast<int>(part / in.height), static_cast<int>(part % in.height), 1);
    });
    return out;
}

void Network::Run::run_gap(std::size_t i, const Map& in, const Group& group, float* vectors) {
    const int outputs = rows[i].outputs;
    std::vector<float> means(static_cast<std::size_t>(in.images) * in.blocks * kBlock);
    const auto mean_at = [&](int image, int block) {
        return &means[(static_cast<std::size_t>(image) * in.blocks + block) * kBlock];
    };
    each_block(in, [&](int image, int block) { kernels.average(in, mean_at(image, block), image, block); });
    for (int image = 0; image < in.images; ++image)
        std::copy_n(mean_at(image, 0), outputs, vectors + static_cast<std::int64_t>(group.first + image) * outputs);
}

// Fully connected layers take channels, rows, columns: as in Caffe.
void Network::Run::flatten(const Row& fc, const Map& map, const Group& group, float* vectors) {
    const int of_image = fc.inputs * fc.kernel * fc.kernel, pixels = map.height * map.width;
    each_block(map, [&](int image, int block) {
        float* out = vectors + static_cast<std::int64_t>(group.first + image) * of_image +
                     static_cast<std::int64_t>(block) * kBlock * pixels;
        const int last = std::min(kBlock, fc.inputs - block * kBlock);
        for (int channel = 0; channel < last; ++channel)
            for (int y = 0; y < map.height; ++y)
                for (int x = 0; x < map.width; ++x) *out++ = map.at(image, block, y, x)[channel];
    });
}

void Network::Run::run_other(std::size_t i, const Group& group, std::size_t end, int which, Map& map, float* vectors) {
    const Row& row = rows[i];
    const Timer timer(seconds, i);
    if (row.kind == Kind::kGap) return run_gap(i, map, group, vectors);
    map = row.kind == Kind::kPool     ? run_pool(i, map, group, end, which)
          : row.kind == Kind::kUnpool ? run_unpool(i, map, which)
                                      : run_lrn(i, map, which);
    if (is_asked(row.name)) keep(row.name, map, row.outputs, group.first);
}

void Network::Run::run_maps(const Group& group, std::size_t end, float* vectors) {
    Map map;  // the images, which the first convolution reads from `group`
    map.images = group.count;
    map.height = group.height;
    map.width = group.width;
    std::size_t i = 0;
    for (int which = 0; i < end && rows[i].kind != Kind::kFc; which = 1 - which) {
        if (rows[i].kind == Kind::kConv)
            i += run_conv(i, group, end, which, map);
        else
            run_other(i++, group, end, which, map, vectors);
    }
    const bool is_flat = i > 0 && rows[i - 1].kind == Kind::kGap;
    if (i < rows.size() && rows[i].kind == Kind::kFc && !is_flat) flatten(rows[i], map, group, vectors);
}

void Network::Run::keep_vectors(const std::string& name, const float* vectors, int width) {
    if (!is_asked(name)) return;
    Output& output = found[name];
    const std::size_t total = static_cast<std::size_t>(count) * width;
    output.shape = {count, width};
    output.values.reset(new float[total]);
    std::copy_n(vectors, total, output.values.get());
}

void Network::Run::run_vectors(std::size_t first, std::size_t end, int inputs) {
    int which = 0;
    float* in = space.vectors[which].reserve<float>(static_cast<std::size_t>(count) * inputs);
    if (first > 0 && rows[first - 1].kind == Kind::kGap) keep_vectors(rows[first - 1].name, in, inputs);
    constexpr int kRowsAtOnce = 32;
    for (std::size_t i = first; i < end; ++i) {
        const Row& row = rows[i];
        const Timer timer(seconds, i);
        const bool has_relu = !row.relu_name.empty(), keeps_linear = has_relu && is_asked(row.name);
        float* out = space.vectors[1 - which].reserve<float>(static_cast<std::size_t>(count) * row.outputs);
        if (row.kind == Kind::kUnit)
            for (std::int64_t image = 0; image < count; ++image)
                kernels.unit(in + image * inputs, out + image * inputs, inputs);
        else
            crew().run(ceil_div(row.outputs, kRowsAtOnce), [&](std::int64_t part, int) {
                const int begin = static_cast<int>(part) * kRowsAtOnce;
                kernels.fully_connected[static_cast<int>(row.storage)](
                    row.weights, row.quantized.scales, row.bias, has_relu && !keeps_linear, in, inputs, count, out,
                    row.outputs, begin, std::min(kRowsAtOnce, row.outputs - begin));
            });
        keep_vectors(row.name, out, row.outputs);
        if (keeps_linear)
            for (std::size_t j = 0; j < static_cast<std::size_t>(count) * row.outputs; ++j)
                out[j] = std::max(out[j], 0.0f);
        if (has_relu) keep_vectors(row.relu_name, out, row.outputs);
        if (i + 1 == rows.size()) keep_vectors("logits", out, row.outputs);
        in = out;
        inputs = row.outputs;
        which = 1 - which;
    }
}

std::map<std::string, Output> Network::run(const float* images, int count, int channels, int height, int width,
                                           const std::vector<std::string>& names, int threads,
                                           std::vector<double>* seconds) {
    std::unique_ptr<Workspace> space = take_workspace(threads);
    if (seconds != nullptr) seconds->assign(rows_.size(), 0.0);
    Run run{rows_, kernels_, *space, names, seconds, count, {}, {}};
    const std::size_t end = run.last_row() + 1;

    std::size_t first_fc = 0;
    while (first_fc < rows_.size() && rows_[first_fc].kind != Kind::kFc) ++first_fc;
    int vector_length = 0;
    float* vectors = nullptr;
    if (first_fc < rows_.size()) {
        vector_length = rows_[first_fc].inputs * rows_[first_fc].kernel * rows_[first_fc].kernel;
        vectors = space->vectors[0].reserve<float>(static_cast<std::size_t>(count) * vector_length);
    }
    const std::int64_t map_bytes =
        2 * static_cast<std::int64_t>(height + 8) * (width + 8) * blocks_of(rows_[0].outputs) * kBlock * 4;
    const int at_once =
        static_cast<int>(std::max<std::int64_t>(1, std::min<std::int64_t>(count, map_bytes_ / map_bytes)));
    for (int first = 0; first < count; first += at_once) {
        const float* of_group = images + static_cast<std::int64_t>(first) * channels * height * width;
        run.run_maps({of_group, first, std::min(at_once, count - first), channels, height, width}, end, vectors);
    }
    if (first_fc < rows_.size() && end > first_fc - (first_fc > 0 && rows_[first_fc - 1].kind == Kind::kGap))
        run.run_vectors(first_fc, end, vector_length);
    give_back(std::move(space));
    return std::move(run.found);
}

}  // namespace verydeep
