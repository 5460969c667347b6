// Memory for the nodes of a large tree, in huge pages.
//
// A region is one huge page, cut into runs; a run holds nodes of one size. What is free in a run goes to nodes of its
// size only; a run that is free whole may take another size, and a region that is free whole goes back to the system.
// Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "io/large_memory.h"

namespace firn::index {

class NodeMemory {
 public:
  static constexpr size_t kRegionBytes = io::kHugePageBytes;
  static constexpr size_t kRunBytes = size_t{64} << 10;
  static constexpr size_t kStepBytes = 512;  // sizes are multiples of it
  static constexpr size_t kNodeBytesMax = 4096;

  NodeMemory() = default;
  NodeMemory(const NodeMemory&) = delete;

  static bool HasSize(size_t bytes) { return bytes % kStepBytes == 0 && bytes > 0 && bytes <= kNodeBytesMax; }
  // Throws std::bad_alloc.
  void* Allocate(size_t bytes);
  // False if it did not come from here.
  bool Free(const void* memory, size_t bytes) noexcept;
  // What it has of the system, free or not.
  uint64_t region_bytes() const { return region_bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kRuns = kRegionBytes / kRunBytes;
  static constexpr size_t kSizes = kNodeBytesMax / kStepBytes;

  struct Place {
    Place* next;
  };
  struct Run {
    std::byte* memory = nullptr;
    size_t node_bytes = 0;  // 0: of no size yet
    size_t used = 0;
    size_t never_used = 0;  // the first of the places that were never used
    Place* free = nullptr;  // others
    Run* next = nullptr;    // in the list of its size of runs that have room, or of runs of no size
    Run* previous = nullptr;
    size_t capacity() const { return kRunBytes / node_bytes; }
    bool IsFull() const { return used == capacity(); }
  };
  struct Region {
    io::LargeMemory memory;
    std::array<Run, kRuns> runs;
    size_t used_runs = 0;
  };

  std::vector<std::unique_ptr<Region>>::iterator Find(const void* memory);
  void AddRegion();
  static void Link(Run*& list, Run& run);
  static void Unlink(Run*& list, Run& run);

  std::mutex mutex_;                              // nothing waits while it is held, so no schedule needs to know
  std::vector<std::unique_ptr<Region>> regions_;  // by address
  std::array<Run*, kSizes> with_room_{};          // by size
  Run* unsized_ = nullptr;
  std::atomic<uint64_t> region_bytes_{0};
};

}  // namespace firn::index
