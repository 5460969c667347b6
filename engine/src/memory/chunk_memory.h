// Where the chunks of a large cache lie: one stretch of addresses, so that huge pages hold them. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/sync.h"
#include "io/large_memory.h"

namespace firn::memory {

class ChunkMemory {
 public:
  // Addresses for `chunks` of `chunk_bytes`, a part of a huge page. Throws std::bad_alloc.
  ChunkMemory(size_t chunks, size_t chunk_bytes);
  ChunkMemory(const ChunkMemory&) = delete;

  // A chunk of its size, at a multiple of it. Null if all are taken.
  std::byte* Take() noexcept;
  bool Holds(const void* memory) const;
  // Its memory goes back to the system.
  void Give(std::byte* chunk) noexcept;

 private:
  const size_t chunks_, chunk_bytes_;
  const io::LargeMemory memory_;
  base::Mutex mutex_;
  size_t never_taken_ ABSL_GUARDED_BY(mutex_) = 0;         // the first of those
  std::vector<std::byte*> given_ ABSL_GUARDED_BY(mutex_);  // has room for all
};

}  // namespace firn::memory
