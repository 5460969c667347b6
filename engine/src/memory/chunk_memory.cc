#include "memory/chunk_memory.h"

namespace firn::memory {

ChunkMemory::ChunkMemory(size_t chunks, size_t chunk_bytes)
    : chunks_(chunks), chunk_bytes_(chunk_bytes), memory_(io::AllocateLarge(chunks * chunk_bytes)) {
  base::MutexLock lock(mutex_);
  given_.reserve(chunks);
}

std::byte* ChunkMemory::Take() noexcept {
  base::MutexLock lock(mutex_);
  if (!given_.empty()) {
    std::byte* const chunk = given_.back();
    given_.pop_back();
    return chunk;
  }
  return never_taken_ < chunks_ ? memory_.get() + chunk_bytes_ * never_taken_++ : nullptr;
}

bool ChunkMemory::Holds(const void* memory) const {
  const auto* const at = static_cast<const std::byte*>(memory);
  return at >= memory_.get() && at < memory_.get() + chunks_ * chunk_bytes_;
}

void ChunkMemory::Give(std::byte* chunk) noexcept {
  io::ForgetPages(chunk, chunk_bytes_);
  base::MutexLock lock(mutex_);
  given_.push_back(chunk);
}

}  // namespace firn::memory
