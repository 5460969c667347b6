// The extents of a store in memory: what each holds, where, and how often it is referred to.
//
// A slot names an extent. Hash, check, place and length of an extent do not change from the moment its slot is handed
// out until Recycle(), so they are read without a lock by whoever holds a reference, or an epoch guard begun while one
// was held. References, state and the hash chains are guarded by the shard that the extent's hash falls into.
//
//   kWriting --Publish--> kReady --last reference dropped--> kDropped --Recycle--> (free slot)
//      `-----Fail------> kFailed --last reference dropped------^
//
// Only kWriting and kReady extents are found by their hash: one that waits to be freed can never be shared again
// (rule 4). Lock order: a shard, then slots_mutex_ or dropped_mutex_.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "base/sync.h"
#include "values/growing_array.h"

namespace firn::values {

using Slot = uint32_t;
inline constexpr Slot kNoSlot = UINT32_MAX;
inline constexpr uint32_t kNoFile = UINT32_MAX;

// Where an extent is. The file is the slot of a FileTable.
struct Place {
  uint32_t file = kNoFile;
  uint64_t offset = 0;
  uint64_t length = 0;
};

class ExtentTable {
 public:
  struct Acquired {
    Slot slot = kNoSlot;
    bool is_new = false;
  };

  ExtentTable();

  // Takes a reference to an extent of this hash and length that is not among `except`, waiting while it is being
  // written. If there is none, makes one that is being written, with one reference; Publish() or Fail() must follow.
  // `check` is another hash of the content.
  Acquired Acquire(const base::Hash128Value& hash, uint64_t length, uint32_t check, std::span<const Slot> except);
  // Before Publish() or Fail(): where the new extent goes.
  void SetPlace(Slot slot, uint32_t file, uint64_t offset);
  void Publish(Slot slot);
  // The new extent was not written: whoever waited for it tries again, and the writer's reference is dropped. Its
  // place, if it had one, is handed out by TakeDropped().
  void Fail(Slot slot);
  // One more reference to the extent at exactly this place, which is added if missing. For recovery.
  Acquired Adopt(const base::Hash128Value& hash, const Place& place, uint32_t check);

  void AddReference(Slot slot);
  // Drops one reference, because of the change at `revision`. True if it was the last and the extent is dropped. Needs
  // no memory.
  bool Release(Slot slot, uint64_t revision);

  uint32_t ReferencesTo(Slot slot);
  base::Hash128Value HashOf(Slot slot) const;
  uint32_t CheckOf(Slot slot) const { return extents_by_slot_[slot].check; }
  Place PlaceOf(Slot slot) const;

  // Until EndRecovery() an extent whose references are gone can be adopted again; then those that were not are dropped.
  // Calls `live` for each extent that stays and `dropped` for each that does not. Single-threaded.
  void EndRecovery(const std::function<void(Slot)>& live, const std::function<void(Slot)>& dropped);

  // Dropped extents none of whose releases has a revision above `durable_revision`. They stay readable until Recycle().
  std::vector<Slot> TakeDropped(uint64_t durable_revision);
  void Recycle(Slot slot);
  // Of one that was taken: the next TakeDropped() gives it again. Needs no memory.
  void PutBackDropped(Slot slot);

  // For tests, while no other call runs: each extent with its references, and with 0 each that waits to be freed.
  void ForEach(const std::function<void(Slot, uint32_t references)>& each);

  uint64_t extents() const { return extents_.load(std::memory_order_relaxed); }
  uint64_t live_bytes() const { return live_bytes_.load(std::memory_order_relaxed); }
  uint64_t memory_bytes();

 private:
  static constexpr size_t kShards = 64;
  static constexpr uint32_t kFirstChunk = 1024;
  static constexpr uint32_t kReferencesMax = (1u << 29) - 1;

  enum State : uint32_t { kWriting, kReady, kFailed, kDropped };
  // In 32-bit words throughout, so that nothing is lost to alignment.
  struct Extent {
    uint32_t hash[4];
    uint32_t check;
    uint32_t file;
    uint32_t offset_blocks;
    uint32_t length;
    uint32_t references : 29;
    uint32_t state : 3;
    Slot next;  // in its hash chain, in the list of free slots, or in that of unlisted dropped extents
  };
  static_assert(sizeof(Extent) == 40);

  struct Shard {
    base::Mutex mutex;
    base::CondVar written;
    uint32_t waiters ABSL_GUARDED_BY(mutex) = 0;
    uint32_t count ABSL_GUARDED_BY(mutex) = 0;
    std::vector<Slot> heads ABSL_GUARDED_BY(mutex);
    // Of extents that are still referred to: the highest revision that dropped a reference. When the last one goes, all
    // of these changes have to be durable, in whatever order they were made. Forgotten once durable.
    std::unordered_map<Slot, uint64_t> released ABSL_GUARDED_BY(mutex);
    // The highest of those that `released` had no memory for: it counts for every extent of the shard.
    uint64_t released_unlisted ABSL_GUARDED_BY(mutex) = 0;
  };
  struct Dropped {
    Slot slot;
    uint64_t revision;
  };

  Shard& ShardOf(const base::Hash128Value& hash) { return shards_[hash.low % kShards]; }
  Shard& ShardOf(Slot slot) { return ShardOf(HashOf(slot)); }
  static Slot& HeadOf(Shard& shard, const base::Hash128Value& hash) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);

  template <typename Matches>
  Slot Find(Shard& shard, const base::Hash128Value& hash, const Matches& matches)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  Slot Insert(Shard& shard, const base::Hash128Value& hash, const Place& place, uint32_t check, State state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  void Unlink(Shard& shard, Slot slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  void GrowHeads(Shard& shard) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // True if the extent is dropped with it.
  bool DropReference(Shard& shard, Slot slot, uint64_t revision) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  Slot TakeSlot();
  void PutSlot(Slot slot);
  void AddUnlisted(Slot slot, uint64_t revision) ABSL_EXCLUSIVE_LOCKS_REQUIRED(dropped_mutex_);

  GrowingArray<Extent, kFirstChunk> extents_by_slot_;
  std::array<Shard, kShards> shards_;

  base::Mutex slots_mutex_;
  Slot free_slots_ ABSL_GUARDED_BY(slots_mutex_) = kNoSlot;
  Slot slots_used_ ABSL_GUARDED_BY(slots_mutex_) = 0;  // ever

  base::Mutex dropped_mutex_;
  std::vector<Dropped> dropped_ ABSL_GUARDED_BY(dropped_mutex_);
  // A chain of those that dropped_ had no memory for, and the highest revision among them.
  Slot unlisted_dropped_ ABSL_GUARDED_BY(dropped_mutex_) = kNoSlot;
  uint64_t unlisted_revision_ ABSL_GUARDED_BY(dropped_mutex_) = 0;

  std::atomic<bool> recovering_{true};
  std::atomic<uint64_t> durable_revision_{0};
  std::atomic<uint64_t> extents_{0}, live_bytes_{0};
};

}  // namespace firn::values
