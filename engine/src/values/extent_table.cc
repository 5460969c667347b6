#include "values/extent_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/memory.h"

namespace firn::values {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr size_t kFirstHeads = 4;

}  // namespace

ExtentTable::ExtentTable() {
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mutex);
    shard.heads.assign(kFirstHeads, kNoSlot);
  }
}

base::Hash128Value ExtentTable::HashOf(Slot slot) const {
  const Extent& extent = extents_by_slot_[slot];
  return {uint64_t{extent.hash[1]} << 32 | extent.hash[0], uint64_t{extent.hash[3]} << 32 | extent.hash[2]};
}

Place ExtentTable::PlaceOf(Slot slot) const {
  const Extent& extent = extents_by_slot_[slot];
  return {extent.file, extent.offset_blocks * kBlockBytes, extent.length};
}

Slot& ExtentTable::HeadOf(Shard& shard, const base::Hash128Value& hash) {
  return shard.heads[(hash.low / kShards) & (shard.heads.size() - 1)];
}

template <typename Matches>
Slot ExtentTable::Find(Shard& shard, const base::Hash128Value& hash, const Matches& matches) {
  for (Slot slot = HeadOf(shard, hash); slot != kNoSlot; slot = extents_by_slot_[slot].next) {
    if (HashOf(slot) == hash && matches(slot, extents_by_slot_[slot])) return slot;
  }
  return kNoSlot;
}

ExtentTable::Acquired ExtentTable::Acquire(const base::Hash128Value& hash, uint64_t length, uint32_t check,
                                           std::span<const Slot> except) {
  Shard& shard = ShardOf(hash);
  base::MutexLock lock(shard.mutex);
  for (;;) {
    const Slot slot = Find(shard, hash, [&](Slot at, const Extent& extent) {
      return extent.length == length && extent.references < kReferencesMax &&
             std::find(except.begin(), except.end(), at) == except.end();
    });
    if (slot == kNoSlot) return {Insert(shard, hash, {kNoFile, 0, length}, check, kWriting), true};
    // The reference comes first: from here on the extent cannot be dropped.
    Extent& extent = extents_by_slot_[slot];
    ++extent.references;
    ++shard.waiters;
    while (extent.state == kWriting) shard.written.Wait(shard.mutex);
    --shard.waiters;
    if (extent.state == kReady) return {slot, false};
    DropReference(shard, slot, 0);  // its writer failed
  }
}

ExtentTable::Acquired ExtentTable::Adopt(const base::Hash128Value& hash, const Place& place, uint32_t check) {
  Shard& shard = ShardOf(hash);
  base::MutexLock lock(shard.mutex);
  const Slot slot = Find(shard, hash, [&](Slot, const Extent& extent) {
    return extent.length == place.length && extent.file == place.file &&
           extent.offset_blocks == place.offset / kBlockBytes;
  });
  if (slot == kNoSlot) return {Insert(shard, hash, place, check, kReady), true};
  Extent& extent = extents_by_slot_[slot];
  FIRN_CHECK(extent.references < kReferencesMax);
  ++extent.references;
  return {slot, false};
}

Slot ExtentTable::Insert(Shard& shard, const base::Hash128Value& hash, const Place& place, uint32_t check,
                         State state) {
  // Without memory the chains get longer.
  if (shard.count >= shard.heads.size())
    base::IfMemoryPermits([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { GrowHeads(shard); });
  const Slot slot = TakeSlot();
  Slot& head = HeadOf(shard, hash);
  Extent& extent = extents_by_slot_[slot];
  extent = {{static_cast<uint32_t>(hash.low), static_cast<uint32_t>(hash.low >> 32), static_cast<uint32_t>(hash.high),
             static_cast<uint32_t>(hash.high >> 32)},
            check,
            place.file,
            static_cast<uint32_t>(place.offset / kBlockBytes),
            static_cast<uint32_t>(place.length),
            1,
            state,
            head};
  head = slot;
  ++shard.count;
  extents_.fetch_add(1, std::memory_order_relaxed);
  live_bytes_.fetch_add(place.length, std::memory_order_relaxed);
  return slot;
}

void ExtentTable::Unlink(Shard& shard, Slot slot) {
  Slot* link = &HeadOf(shard, HashOf(slot));
  while (*link != slot) {
    FIRN_CHECK(*link != kNoSlot);
    link = &extents_by_slot_[*link].next;
  }
  *link = extents_by_slot_[slot].next;
  --shard.count;
  extents_.fetch_sub(1, std::memory_order_relaxed);
  live_bytes_.fetch_sub(extents_by_slot_[slot].length, std::memory_order_relaxed);
}

void ExtentTable::GrowHeads(Shard& shard) {
  std::vector<Slot> old(2 * shard.heads.size(), kNoSlot);
  old.swap(shard.heads);
  for (Slot slot : old) {
    while (slot != kNoSlot) {
      Slot& head = HeadOf(shard, HashOf(slot));
      const Slot next = std::exchange(extents_by_slot_[slot].next, head);
      head = slot;
      slot = next;
    }
  }
}

void ExtentTable::SetPlace(Slot slot, uint32_t file, uint64_t offset) {
  base::MutexLock lock(ShardOf(slot).mutex);
  Extent& extent = extents_by_slot_[slot];
  FIRN_CHECK(extent.state == kWriting && offset % kBlockBytes == 0 && offset / kBlockBytes <= UINT32_MAX);
  extent.file = file;
  extent.offset_blocks = static_cast<uint32_t>(offset / kBlockBytes);
}

void ExtentTable::Publish(Slot slot) {
  Shard& shard = ShardOf(slot);
  base::MutexLock lock(shard.mutex);
  FIRN_CHECK(extents_by_slot_[slot].state == kWriting && extents_by_slot_[slot].file != kNoFile);
  extents_by_slot_[slot].state = kReady;
  if (shard.waiters > 0) shard.written.NotifyAll();
}

void ExtentTable::Fail(Slot slot) {
  Shard& shard = ShardOf(slot);
  base::MutexLock lock(shard.mutex);
  FIRN_CHECK(extents_by_slot_[slot].state == kWriting);
  Unlink(shard, slot);
  extents_by_slot_[slot].state = kFailed;
  if (shard.waiters > 0) shard.written.NotifyAll();
  DropReference(shard, slot, 0);
}

uint32_t ExtentTable::ReferencesTo(Slot slot) {
  base::MutexLock lock(ShardOf(slot).mutex);
  return extents_by_slot_[slot].references;
}

void ExtentTable::AddReference(Slot slot) {
  base::MutexLock lock(ShardOf(slot).mutex);
  Extent& extent = extents_by_slot_[slot];
  FIRN_CHECK(extent.state == kReady && extent.references > 0 && extent.references < kReferencesMax);
  ++extent.references;
}

bool ExtentTable::Release(Slot slot, uint64_t revision) {
  Shard& shard = ShardOf(slot);
  base::MutexLock lock(shard.mutex);
  return DropReference(shard, slot, revision);
}

bool ExtentTable::DropReference(Shard& shard, Slot slot, uint64_t revision) {
  Extent& extent = extents_by_slot_[slot];
  FIRN_CHECK(extent.references > 0 && extent.state != kDropped);
  const bool last = --extent.references == 0;
  if (!last || recovering_.load(std::memory_order_relaxed)) {
    if (revision > durable_revision_.load(std::memory_order_relaxed)) {
      const bool listed = base::IfMemoryPermits([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        uint64_t& highest = shard.released[slot];
        highest = std::max(highest, revision);
      });
      if (!listed) shard.released_unlisted = std::max(shard.released_unlisted, revision);
    }
    return false;
  }
  if (const auto earlier = shard.released.find(slot); earlier != shard.released.end()) {
    revision = std::max(revision, earlier->second);
    shard.released.erase(earlier);
  }
  revision = std::max(revision, shard.released_unlisted);
  if (extent.state == kReady) Unlink(shard, slot);
  extent.state = kDropped;
  if (extent.file == kNoFile) {
    PutSlot(slot);
  } else {
    base::MutexLock lock(dropped_mutex_);
    const bool listed = base::IfMemoryPermits([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      dropped_.push_back({slot, revision});
    });
    if (!listed) AddUnlisted(slot, revision);
  }
  return true;
}

void ExtentTable::EndRecovery(const std::function<void(Slot)>& live, const std::function<void(Slot)>& dropped) {
  recovering_.store(false, std::memory_order_relaxed);
  Slot end;
  {
    base::MutexLock lock(slots_mutex_);
    end = slots_used_;
  }
  // So far every slot that was used holds an extent: nothing was recycled, or failed, while recovering.
  for (Slot slot = 0; slot < end; ++slot) {
    Extent& extent = extents_by_slot_[slot];
    if (extent.references > 0) {
      live(slot);
      continue;
    }
    Shard& shard = ShardOf(slot);
    base::MutexLock lock(shard.mutex);
    ++extent.references;
    DropReference(shard, slot, 0);
    dropped(slot);
  }
}

std::vector<Slot> ExtentTable::TakeDropped(uint64_t durable_revision) {
  durable_revision_.store(durable_revision, std::memory_order_relaxed);
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mutex);
    std::erase_if(shard.released, [=](const auto& released) { return released.second <= durable_revision; });
    if (shard.released_unlisted <= durable_revision) shard.released_unlisted = 0;
  }
  std::vector<Slot> taken;
  base::MutexLock lock(dropped_mutex_);
  const bool take_unlisted = unlisted_dropped_ != kNoSlot && unlisted_revision_ <= durable_revision;
  size_t taken_max = dropped_.size();
  if (take_unlisted) {
    for (Slot slot = unlisted_dropped_; slot != kNoSlot; slot = extents_by_slot_[slot].next) ++taken_max;
  }
  taken.reserve(taken_max);  // none may get lost on the way
  if (take_unlisted) {
    unlisted_revision_ = 0;
    for (; unlisted_dropped_ != kNoSlot; unlisted_dropped_ = extents_by_slot_[unlisted_dropped_].next) {
      taken.push_back(unlisted_dropped_);
    }
  }
  std::erase_if(dropped_, [&](const Dropped& dropped) {
    if (dropped.revision > durable_revision) return false;
    taken.push_back(dropped.slot);
    return true;
  });
  if (dropped_.empty()) dropped_.shrink_to_fit();
  return taken;
}

void ExtentTable::Recycle(Slot slot) {
  FIRN_CHECK(extents_by_slot_[slot].state == kDropped);
  PutSlot(slot);
}

void ExtentTable::PutBackDropped(Slot slot) {
  FIRN_CHECK(extents_by_slot_[slot].state == kDropped);
  base::MutexLock lock(dropped_mutex_);
  AddUnlisted(slot, 0);
}

void ExtentTable::AddUnlisted(Slot slot, uint64_t revision) {
  extents_by_slot_[slot].next = std::exchange(unlisted_dropped_, slot);
  unlisted_revision_ = std::max(unlisted_revision_, revision);
}

void ExtentTable::ForEach(const std::function<void(Slot, uint32_t references)>& each) {
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mutex);
    for (Slot slot : shard.heads) {
      for (; slot != kNoSlot; slot = extents_by_slot_[slot].next) each(slot, extents_by_slot_[slot].references);
    }
  }
  base::MutexLock lock(dropped_mutex_);
  for (const Dropped& dropped : dropped_) each(dropped.slot, 0);
  for (Slot slot = unlisted_dropped_; slot != kNoSlot; slot = extents_by_slot_[slot].next) each(slot, 0);
}

Slot ExtentTable::TakeSlot() {
  base::MutexLock lock(slots_mutex_);
  if (free_slots_ != kNoSlot) return std::exchange(free_slots_, extents_by_slot_[free_slots_].next);
  FIRN_CHECK(slots_used_ != kNoSlot);
  extents_by_slot_.Grow(slots_used_);
  return slots_used_++;
}

void ExtentTable::PutSlot(Slot slot) {
  base::MutexLock lock(slots_mutex_);
  extents_by_slot_[slot].next = free_slots_;
  free_slots_ = slot;
}

uint64_t ExtentTable::memory_bytes() {
  uint64_t bytes = sizeof(*this);
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mutex);
    bytes += shard.heads.capacity() * sizeof(Slot);
    bytes += shard.released.bucket_count() * sizeof(void*) +
             shard.released.size() * (sizeof(std::pair<Slot, uint64_t>) + 2 * sizeof(void*));
  }
  {
    base::MutexLock lock(slots_mutex_);
    bytes += uint64_t{slots_used_} * sizeof(Extent);  // the rest of the last chunk was never touched
  }
  base::MutexLock lock(dropped_mutex_);
  return bytes + dropped_.capacity() * sizeof(Dropped);
}

}  // namespace firn::values
