// Memory that direct I/O accepts. The buffer owns its bytes and moves; spans of it are views.
#pragma once

#include <cstddef>
#include <memory>
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
    data_.reset(static_cast<std::byte*>(::operator new (size_, std::align_val_t{kIoAlignmentBytes})));
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  MutableBytes bytes() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{kIoAlignmentBytes}); }
  };

  std::unique_ptr<std::byte[], Free> data_;
  size_t size_ = 0;
};

}  // namespace firn::base
