// Aligned buffers of one piece each, kept for the next use.
#pragma once

#include <array>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/sync.h"

namespace firn::values {

// What is moved through memory at a time.
inline constexpr size_t kPieceBytes = size_t{1} << 20;

class BufferPool {
 public:
  // Back in the pool when destroyed.
  class Lease {
   public:
    explicit Lease(BufferPool& pool) : pool_(pool), buffer_(pool.Take()) {}
    ~Lease() { pool_.Give(std::move(buffer_)); }
    Lease(const Lease&) = delete;
    base::MutableBytes bytes() const { return buffer_.bytes(); }

   private:
    BufferPool& pool_;
    base::AlignedBuffer buffer_;
  };

  uint64_t memory_bytes() {
    base::MutexLock lock(mutex_);
    return kept_count_ * kPieceBytes;
  }

 private:
  static constexpr size_t kKeptMax = 4;

  base::AlignedBuffer Take() {
    {
      base::MutexLock lock(mutex_);
      if (kept_count_ != 0) return std::move(kept_[--kept_count_]);
    }
    return base::AlignedBuffer(kPieceBytes);
  }
  void Give(base::AlignedBuffer buffer) {
    base::MutexLock lock(mutex_);
    if (kept_count_ < kept_.size()) kept_[kept_count_++] = std::move(buffer);
  }

  base::Mutex mutex_;
  std::array<base::AlignedBuffer, kKeptMax> kept_ ABSL_GUARDED_BY(mutex_);  // the first kept_count_ of them
  size_t kept_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace firn::values
