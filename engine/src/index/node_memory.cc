#include "index/node_memory.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace firn::index {

void NodeMemory::Link(Run*& list, Run& run) {
  run.previous = nullptr;
  run.next = list;
  if (list != nullptr) list->previous = &run;
  list = &run;
}

void NodeMemory::Unlink(Run*& list, Run& run) {
  (run.previous == nullptr ? list : run.previous->next) = run.next;
  if (run.next != nullptr) run.next->previous = run.previous;
}

// The region that holds the address, or the end.
std::vector<std::unique_ptr<NodeMemory::Region>>::iterator NodeMemory::Find(const void* memory) {
  const auto* const at = static_cast<const std::byte*>(memory);
  const auto after =
      std::upper_bound(regions_.begin(), regions_.end(), at,
                       [](const std::byte* address, const auto& region) { return address < region->memory.get(); });
  if (after == regions_.begin()) return regions_.end();
  const auto region = after - 1;
  return at < (*region)->memory.get() + kRegionBytes ? region : regions_.end();
}

void NodeMemory::AddRegion() {
  auto region = std::make_unique<Region>();
  region->memory = io::AllocateLarge(kRegionBytes);
  const auto place = std::find_if(regions_.begin(), regions_.end(),
                                  [&](const auto& other) { return other->memory.get() > region->memory.get(); });
  Region& added = **regions_.insert(place, std::move(region));
  for (size_t i = kRuns; i > 0; --i) {
    added.runs[i - 1].memory = added.memory.get() + (i - 1) * kRunBytes;
    Link(unsized_, added.runs[i - 1]);
  }
  region_bytes_.fetch_add(kRegionBytes, std::memory_order_relaxed);
}

void* NodeMemory::Allocate(size_t bytes) {
  FIRN_CHECK(HasSize(bytes));
  const std::lock_guard lock(mutex_);
  Run*& list = with_room_[bytes / kStepBytes - 1];
  if (list == nullptr) {
    if (unsized_ == nullptr) AddRegion();
    Run& run = *unsized_;
    Unlink(unsized_, run);
    run.node_bytes = bytes;
    run.never_used = 0;
    run.free = nullptr;
    Link(list, run);
    ++(*Find(run.memory))->used_runs;
  }
  Run& run = *list;
  void* memory = run.free;
  if (run.free != nullptr) {
    run.free = run.free->next;
  } else {
    memory = run.memory + run.node_bytes * run.never_used++;
  }
  ++run.used;
  if (run.IsFull()) Unlink(list, run);
  return memory;
}

bool NodeMemory::Free(const void* memory, size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const auto region = Find(memory);
  if (region == regions_.end()) return false;
  Run& run =
      (*region)->runs[static_cast<size_t>(static_cast<const std::byte*>(memory) - (*region)->memory.get()) / kRunBytes];
  FIRN_CHECK(run.node_bytes == bytes && run.used > 0);
  Run*& list = with_room_[bytes / kStepBytes - 1];
  if (run.IsFull()) Link(list, run);
  run.free = new (const_cast<void*>(memory)) Place{run.free};
  if (--run.used > 0) return true;
  Unlink(list, run);
  run.node_bytes = 0;
  Link(unsized_, run);
  if (--(*region)->used_runs > 0) return true;
  for (Run& each : (*region)->runs) Unlink(unsized_, each);
  regions_.erase(region);
  region_bytes_.fetch_sub(kRegionBytes, std::memory_order_relaxed);
  return true;
}

}  // namespace firn::index
