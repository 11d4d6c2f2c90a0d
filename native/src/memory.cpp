#include "memory.h"

#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace verydeep {

namespace {

constexpr std::size_t kLine = 64;            // bytes, of the caches and of the longest vectors
constexpr std::size_t kLargePage = 2 << 20;  // bytes

std::size_t alignment_of(std::size_t bytes) { return bytes >= kLargePage ? kLargePage : kLine; }

}  // namespace

Buffer::~Buffer() { free(); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

void Buffer::grow(std::size_t bytes) {
    if (bytes <= bytes_) return;
    free();
    const std::size_t page = bytes >= kLargePage ? kLargePage : kLine;
    const std::size_t whole = (bytes + page - 1) / page * page;
    data_ = ::operator new(whole, std::align_val_t(alignment_of(whole)));
    bytes_ = whole;
#if defined(__linux__)
    if (whole >= kLargePage) madvise(data_, whole, MADV_HUGEPAGE);  // a wish: nothing depends on it
#endif
}

void Buffer::free() {
    if (data_ == nullptr) return;
    ::operator delete(data_, std::align_val_t(alignment_of(bytes_)));
    data_ = nullptr;
    bytes_ = 0;
}

}  // namespace verydeep
