// An array of plain values that may grow to gigabytes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace splice::cache {

// Asks the kernel for huge pages there. Tables are read at random: with small pages most loads miss the TLB,
// too.
void advise_huge_pages(void* begin, std::size_t bytes) noexcept;

// As a vector whose growth neither copies large arrays (realloc() moves pages) nor touches the new part: what
// is not used takes no memory. Values are not initialised.
template <typename T>
class BigArray {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    BigArray() = default;
    explicit BigArray(std::size_t size) { grow(size); }
    BigArray(BigArray&& other) noexcept { swap(other); }
    BigArray& operator=(BigArray&& other) noexcept {
        swap(other);
        return *this;
    }
    ~BigArray() { std::free(data_); }

    void grow(std::size_t size) {
        void* const data = std::realloc(data_, size * sizeof(T));
        if (data == nullptr) throw std::bad_alloc();
        data_ = static_cast<T*>(data);
        size_ = size;
        advise_huge_pages(data_, size * sizeof(T));
    }
    void swap(BigArray& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    [[nodiscard]] T& operator[](std::size_t at) noexcept { return data_[at]; }
    [[nodiscard]] const T& operator[](std::size_t at) const noexcept { return data_[at]; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] T* begin() noexcept { return data_; }
    [[nodiscard]] T* end() noexcept { return data_ + size_; }
    [[nodiscard]] const T* begin() const noexcept { return data_; }
    [[nodiscard]] const T* end() const noexcept { return data_ + size_; }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace splice::cache
