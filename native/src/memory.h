// Memory for maps and work space: aligned for vectors, in large pages where the system has them.
#pragma once

#include <cstddef>

namespace verydeep {

class Buffer {
public:
    Buffer() = default;
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&& other) noexcept;

    // At least that many bytes. What it held before is lost where it has to grow. Throws std::bad_alloc.
    template <class T>
    T* reserve(std::size_t count) {
        grow(count * sizeof(T));
        return static_cast<T*>(data_);
    }

private:
    void grow(std::size_t bytes);
    void free();

    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace verydeep
