// The engine as Python sees it: verydeep.runtime._native. Arrays are checked by native_engine.py; here only their
// types.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <cmath>
#include <stdexcept>

#include "crew.h"
#include "dispatch.h"
#include "network.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace verydeep {

namespace {

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<std::uint8_t, nb::c_contig, nb::device::cpu>;
using ReadOnlyBytes = nb::ndarray<const std::uint8_t, nb::c_contig, nb::device::cpu>;
using Weights = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

const Kernels& kernels_named(const std::string& name) {
    for (const Kernels* kernels : available_kernels())
        if (name == kernels->name) return *kernels;
    throw std::invalid_argument("no instruction set " + name);
}

Method method_named(const std::string& name) {
    if (name == "first") return Method::kFirst;
    if (name == "window") return Method::kWindow;
    if (name == "winograd4") return Method::kWinograd4;
    if (name == "winograd6") return Method::kWinograd6;
    throw std::invalid_argument("no method " + name);
}

Kind kind_named(const std::string& name) {
    if (name == "lrn") return Kind::kLrn;
    if (name == "pool") return Kind::kPool;
    if (name == "unpool") return Kind::kUnpool;
    if (name == "gap") return Kind::kGap;
    if (name == "unit") return Kind::kUnit;
    throw std::invalid_argument("no kind " + name);
}

Precision precision_named(const std::string& name) {
    if (name == "float32") return Precision::kFloat32;
    if (name == "int16") return Precision::kInt16;
    if (name == "int8") return Precision::kInt8;
    throw std::invalid_argument("no precision " + name);
}

Storage storage_of(const Weights& weights) {
    if (weights.dtype() == nb::dtype<float>()) return Storage::kFloat32;
    if (weights.dtype() == nb::dtype<std::int16_t>()) return Storage::kInt16;
    if (weights.dtype() == nb::dtype<std::int8_t>()) return Storage::kInt8;
    if (weights.dtype().code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float) && weights.dtype().bits == 16)
        return Storage::kFloat16;
    throw std::invalid_argument("weights are neither float32, float16, int16 nor int8");
}

// Arrays are taken as they are: a converted copy would not outlive the call.
template <class Number>
Number* data_or_null(const nb::object& array) {
    using Array = nb::ndarray<Number, nb::c_contig, nb::device::cpu>;
    return array.is_none() ? nullptr : nb::cast<Array>(array, false).data();
}

void check_size(const char* what, std::size_t got, std::int64_t expected) {
    if (static_cast<std::int64_t>(got) != expected)
        throw std::invalid_argument(std::string(what) + " has the size " + std::to_string(got) + "; expected " +
                                    std::to_string(expected));
}

template <class T>
nb::object as_array(std::unique_ptr<T[]> values, const std::vector<std::int64_t>& shape) {
    T* data = values.release();
    const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    const std::vector<std::size_t> sizes(shape.begin(), shape.end());
    return nb::cast(nb::ndarray<nb::numpy, T>(data, sizes.size(), sizes.data(), owner));
}

Row row_of(Kind kind, std::string name, std::string relu_name, int inputs, int outputs, int kernel) {
    Row row;
    row.kind = kind;
    row.name = std::move(name);
    row.relu_name = std::move(relu_name);
    row.inputs = inputs;
    row.outputs = outputs;
    row.kernel = kernel;
    return row;
}

// A network that is made row by row. It keeps the arrays of its rows alive.
class NativeNetwork {
public:
    explicit NativeNetwork(const std::string& instruction_set) : kernels_(kernels_named(instruction_set)) {}

    void add_conv(std::string name, std::string relu_name, int inputs, int outputs, int kernel, int padding,
                  const std::string& method, const std::string& precision, nb::object weights, nb::object bias,
                  nb::object input_scales, nb::object output_scales, nb::object output_starts) {
        Row row = row_of(Kind::kConv, std::move(name), std::move(relu_name), inputs, outputs, kernel);
        row.padding = padding;
        row.method = method_named(method);
        row.precision = precision_named(precision);
        const auto packed = nb::cast<ReadOnlyBytes>(weights, false);
        ConvWeights shape;
        shape.inputs = inputs;
        shape.outputs = outputs;
        shape.kernel = kernel;
        check_size("packed weights", packed.size(), packed_bytes(shape, row.method, row.precision));
        check_size("bias", nb::len(bias), static_cast<std::int64_t>(blocks_of(outputs)) * kBlock);
        if (reinterpret_cast<std::uintptr_t>(packed.data()) % 64 != 0)
            throw std::invalid_argument("packed weights are not aligned");
        row.weights = packed.data();
        row.bias = data_or_null<const float>(bias);
        row.input_scales = data_or_null<const float>(input_scales);
        row.quantized = {data_or_null<const float>(output_scales), data_or_null<const std::int32_t>(output_starts)};
        rows_.push_back(std::move(row));
        for (const nb::object& array :
             std::initializer_list<nb::object>{weights, bias, input_scales, output_scales, output_starts})
            kept_.append(array);
    }

    void add_fc(std::string name, std::string relu_name, int inputs, int outputs, int kernel, nb::object weights,
                nb::object bias, nb::object scales) {
        Row row = row_of(Kind::kFc, std::move(name), std::move(relu_name), inputs, outputs, kernel);
        const Weights array = nb::cast<Weights>(weights, false);
        check_size("weights", array.size(), static_cast<std::int64_t>(inputs) * kernel * kernel * outputs);
        check_size("bias", nb::len(bias), outputs);
        row.weights = array.data();
        row.storage = storage_of(array);
        row.bias = data_or_null<const float>(bias);
        row.quantized.scales = data_or_null<const float>(scales);
        rows_.push_back(std::move(row));
        for (const nb::object& kept : std::initializer_list<nb::object>{weights, bias, scales}) kept_.append(kept);
    }

    // pool: the name of the row that an unpool undoes; empty for any other.
    void add_layer(std::string name, const std::string& kind, int channels, const std::string& pool) {
        Row row = row_of(kind_named(kind), std::move(name), "", channels, channels, 1);
        if (row.kind == Kind::kUnpool) {
            row.partner = static_cast<int>(place_of(pool));
            rows_[static_cast<std::size_t>(row.partner)].partner = static_cast<int>(rows_.size());
        }
        rows_.push_back(std::move(row));
    }

    // Call once, after the last row.
    void finish() { network_ = std::make_unique<Network>(rows_, kernels_); }

    nb::dict run(nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu> images,
                 const std::vector<std::string>& names, int threads) {
        std::map<std::string, Output> found;
        {
            nb::gil_scoped_release others_may_run;
            found = network_->run(images.data(), static_cast<int>(images.shape(0)), static_cast<int>(images.shape(1)),
                                  static_cast<int>(images.shape(2)), static_cast<int>(images.shape(3)), names, threads);
        }
        nb::dict arrays;
        for (auto& [name, output] : found)
            arrays[name.c_str()] = output.values ? as_array(std::move(output.values), output.shape)
                                                 : as_array(std::move(output.indices), output.shape);
        return arrays;
    }

    // The seconds of each row in one run.
    std::vector<double> time_rows(nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu> images,
                                  int threads) {
        std::vector<double> seconds;
        nb::gil_scoped_release others_may_run;
        network_->run(images.data(), static_cast<int>(images.shape(0)), static_cast<int>(images.shape(1)),
                      static_cast<int>(images.shape(2)), static_cast<int>(images.shape(3)), {"logits"}, threads,
                      &seconds);
        return seconds;
    }

private:
    // Of a pool that no row undoes yet.
    std::size_t place_of(const std::string& pool) const {
        for (std::size_t i = 0; i < rows_.size(); ++i)
            if (rows_[i].name == pool && rows_[i].kind == Kind::kPool && rows_[i].partner < 0) return i;
        throw std::invalid_argument("no pool " + pool + " to undo");
    }

    const Kernels& kernels_;
    std::vector<Row> rows_;
    nb::list kept_;
    std::unique_ptr<Network> network_;
};

ConvWeights conv_weights(const Weights& weight, const nb::object& scale) {
    ConvWeights conv;
    conv.weight = {weight.data(), storage_of(weight)};
    if (conv.weight.storage != Storage::kFloat32 && conv.weight.storage != Storage::kFloat16)
        throw std::invalid_argument("weights of a convolution are neither float32 nor float16");
    conv.scale = data_or_null<const float>(scale);
    conv.outputs = static_cast<int>(weight.shape(0));
    conv.inputs = static_cast<int>(weight.shape(1));
    conv.kernel = static_cast<int>(weight.shape(2));
    return conv;
}

void pack(const std::string& instruction_set, const Weights& weight, const nb::object& scale, const std::string& method,
          const std::string& precision, const nb::object& input_scales, Bytes packed, nb::object output_scales,
          nb::object output_starts, int threads) {
    const Kernels& kernels = kernels_named(instruction_set);
    const ConvWeights conv = conv_weights(weight, scale);
    const Method how = method_named(method);
    const Precision number = precision_named(precision);
    Packing packing;
    packing.panel_blocks = kernels.panel_blocks;
    packing.packed = packed.data();
    packing.input_scales = data_or_null<const float>(input_scales);
    packing.output_scales = data_or_null<float>(output_scales);
    packing.output_starts = data_or_null<std::int32_t>(output_starts);
    nb::gil_scoped_release others_may_run;
    Crew crew(threads);
    crew.run(blocks_of(conv.outputs),
             [&](std::int64_t block, int) { pack_block(conv, how, number, packing, static_cast<int>(block)); });
}

// Seconds of that many parts of work at the same time; a first call, not counted, wakes the threads.
template <class Work>
double time_together(int threads, Work&& work) {
    Crew crew(threads);
    crew.run(threads, [](std::int64_t, int) {});
    const auto start = std::chrono::steady_clock::now();
    crew.run(threads, [&](std::int64_t part, int) { work(part); });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Operations a second of products in registers, on that many threads together.
double product_rate(const std::string& instruction_set, const std::string& precision, int threads, std::int64_t steps) {
    const auto multiply =
        kernels_named(instruction_set).multiply_in_registers[static_cast<int>(precision_named(precision))];
    if (multiply == nullptr) throw std::invalid_argument("no products in " + precision);
    nb::gil_scoped_release others_may_run;
    const std::int64_t operations = multiply(1) * steps * threads;
    return static_cast<double>(operations) / time_together(threads, [&](std::int64_t) { multiply(steps); });
}

// Bytes a second of reading `data`, each thread a part of it.
double reading_rate(const std::string& instruction_set, const Floats& data, int threads) {
    const auto read = kernels_named(instruction_set).read_memory;
    const std::int64_t count = static_cast<std::int64_t>(data.size()) / threads;
    const float* start = data.data();
    std::vector<float> sums(static_cast<std::size_t>(threads));
    nb::gil_scoped_release others_may_run;
    const double seconds = time_together(
        threads, [&](std::int64_t part) { sums[static_cast<std::size_t>(part)] = read(start + part * count, count); });
    volatile float sink = sums[0];  // who reads what nobody asks for?
    (void)sink;
    return static_cast<double>(count) * threads * static_cast<double>(sizeof(float)) / seconds;
}

}  // namespace

}  // namespace verydeep

NB_MODULE(_native, m) {
    using namespace verydeep;
    nb::set_leak_warnings(false);   // an engine may live until the interpreter ends
    m.attr("PACKING_VERSION") = 1;  // of what pack.cpp makes: layout, points, rounding
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
        return names;
    });
    m.def("packed_bytes", [](const Weights& weight, const std::string& method, const std::string& precision) {
        return packed_bytes(conv_weights(weight, nb::none()), method_named(method), precision_named(precision));
    });
    m.def("pack", &pack, "instruction_set"_a, "weight"_a, "scale"_a.none(), "method"_a, "precision"_a,
          "input_scales"_a.none(), "packed"_a, "output_scales"_a.none(), "output_starts"_a.none(), "threads"_a);
    m.def("product_rate", &product_rate, "instruction_set"_a, "precision"_a, "threads"_a, "steps"_a);
    m.def("reading_rate", &reading_rate, "instruction_set"_a, "data"_a, "threads"_a);
    nb::class_<NativeNetwork>(m, "Network")
        .def(nb::init<const std::string&>())
        .def("add_conv", &NativeNetwork::add_conv, "name"_a, "relu_name"_a, "inputs"_a, "outputs"_a, "kernel"_a,
             "padding"_a, "method"_a, "precision"_a, "weights"_a, "bias"_a, "input_scales"_a.none(),
             "output_scales"_a.none(), "output_starts"_a.none())
        .def("add_fc", &NativeNetwork::add_fc, "name"_a, "relu_name"_a, "inputs"_a, "outputs"_a, "kernel"_a,
             "weights"_a, "bias"_a, "scales"_a.none())
        .def("add_layer", &NativeNetwork::add_layer, "name"_a, "kind"_a, "channels"_a, "pool"_a = "")
        .def("finish", &NativeNetwork::finish)
        .def("run", &NativeNetwork::run, "images"_a, "names"_a, "threads"_a)
        .def("time_rows", &NativeNetwork::time_rows, "images"_a, "threads"_a);
}
