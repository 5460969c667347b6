// Memory that direct I/O accepts. The buffer owns its bytes and moves; spans of it are views.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#include "base/coding.h"

namespace firn::base {

inline constexpr size_t kIoAlignmentBytes = 4096;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // `size_bytes` is rounded up to kIoAlignmentBytes. The content is not initialised.
  explicit AlignedBuffer(size_t size_bytes) : size_(RoundUp(size_bytes, kIoAlignmentBytes)) {
    if (size_ == 0) return;
    data_ = static_cast<std::byte*>(::operator new (size_, std::align_val_t{kIoAlignmentBytes}));
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer() {
    if (data_ != nullptr) ::operator delete (data_, std::align_val_t{kIoAlignmentBytes});
  }

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  MutableBytes bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace firn::base
