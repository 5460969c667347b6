// Aligned buffers of one piece each, kept for the next use.
#pragma once

#include <utility>
#include <vector>

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
    return kept_.size() * kPieceBytes;
  }

 private:
  static constexpr size_t kKeptMax = 4;

  base::AlignedBuffer Take() {
    {
      base::MutexLock lock(mutex_);
      if (!kept_.empty()) {
        base::AlignedBuffer buffer = std::move(kept_.back());
        kept_.pop_back();
        return buffer;
      }
    }
    return base::AlignedBuffer(kPieceBytes);
  }
  void Give(base::AlignedBuffer buffer) {
    base::MutexLock lock(mutex_);
    if (kept_.size() < kKeptMax) kept_.push_back(std::move(buffer));
  }

  base::Mutex mutex_;
  std::vector<base::AlignedBuffer> kept_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace firn::values
