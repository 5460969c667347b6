#include "io/ring_pool.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/fork.h"

namespace firn::io {

// The rings of one thread, over all disks. Trivially initialised apart from its destructor.
struct ThreadRings {
  struct Entry {
    uint64_t pool_number;
    std::weak_ptr<RingPool> pool;
    Ring* ring;
  };

  ~ThreadRings() {
    ended = true;
    for (Entry& entry : entries) {
      if (const std::shared_ptr<RingPool> pool = entry.pool.lock()) pool->Drop(entry.ring);
    }
  }

  std::vector<Entry> entries;

  // Still readable when other thread_local objects, destroyed later, use a disk.
  static inline thread_local bool ended = false;
};

namespace {

thread_local ThreadRings thread_rings;
std::atomic<uint64_t> last_number{0};

}  // namespace

RingPool::RingPool(const RingFeatures& features)
    : features_(features), number_(++last_number), fork_generation_(base::ForkGeneration()) {}

Ring* RingPool::OfThisThread() {
  if (ThreadRings::ended || base::ForkGeneration() != fork_generation_) return nullptr;
  auto& entries = thread_rings.entries;
  for (const ThreadRings::Entry& entry : entries) {
    if (entry.pool_number == number_) return entry.ring;
  }
  std::erase_if(entries, [](const ThreadRings::Entry& entry) { return entry.pool.expired(); });
  entries.reserve(entries.size() + 1);
  auto ring = Ring::Create(features_);
  if (!ring.ok()) return nullptr;
  Ring* made;
  {
    const base::MutexLock lock(mutex_);
    made = rings_.emplace_back(*std::move(ring)).get();
  }
  entries.push_back({.pool_number = number_, .pool = weak_from_this(), .ring = made});
  return made;
}

void RingPool::DropOfThisThread() {
  auto& entries = thread_rings.entries;
  const auto mine = std::find_if(entries.begin(), entries.end(),
                                 [this](const ThreadRings::Entry& entry) { return entry.pool_number == number_; });
  if (mine == entries.end()) return;
  Drop(mine->ring);
  entries.erase(mine);
}

void RingPool::Drop(Ring* ring) {
  if (base::ForkGeneration() != fork_generation_) return;
  std::unique_ptr<Ring> dropped;  // closed outside the lock
  const base::MutexLock lock(mutex_);
  const auto place =
      std::find_if(rings_.begin(), rings_.end(), [ring](const auto& owned) { return owned.get() == ring; });
  if (place == rings_.end()) return;
  dropped = std::move(*place);
  rings_.erase(place);
}

size_t RingPool::size() {
  const base::MutexLock lock(mutex_);
  return rings_.size();
}

}  // namespace firn::io
