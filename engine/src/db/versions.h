// Views (snapshots, iterators) and the older versions they still need.
//
// A view is at a revision R. Taking one raises the count of views first and then asks the log for the newest reserved
// revision, which becomes R; the view is ready once everything up to R is published. A writer looks at the count after
// it has reserved its revision: either it sees the view and keeps what it replaces, or its revision is at most R and
// the view does not need what it replaces.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "db/keys.h"
#include "log/log.h"

namespace firn {

class Versions {
 public:
  explicit Versions(log::Log& log) : log_(log) {}

  // Whether what is replaced now must be kept. Asked after the writer's revision is reserved.
  bool AnyView() const { return views_.load(std::memory_order_seq_cst) != 0; }

  uint64_t AcquireView();
  // One more view at a revision of which the caller has one.
  void ShareView(uint64_t revision);
  // `release` is called for every version that nobody needs any more, under a lock; `erase_tombstone` for every key of
  // which no older version is kept any more.
  struct Dropped {
    std::function<void(const Version&)> release;
    std::function<void(std::string_view index_key)> erase_tombstone;
  };
  void ReleaseView(uint64_t revision, const Dropped& dropped);
  // A writer that saw a view may keep a version after the last view has ended. Called now and then.
  void DropLeftovers(const Dropped& dropped);

  // Lets go of every version of keys that start with `prefix`, whoever may want it: their namespace is gone.
  void DropPrefix(std::string_view prefix, const std::function<void(const Version&)>& release);

  // The key's lock is held: `old` was replaced at `replaced_by`, in the index or about to be, by a version that names
  // the same put or not. False if there was no memory for it: then it is lost to the views that need it.
  bool Keep(std::string_view index_key, const Version& old, bool put_is_shared, uint64_t replaced_by);
  // Whether a version that a view at `revision` may need was lost: what it does not find may have been there. To be
  // asked after the search.
  bool MayHaveLost(uint64_t revision) const { return revision < lost_revision_.load(std::memory_order_acquire); }
  // Whether an older version of the key is kept.
  bool Keeps(std::string_view index_key) const;
  // Whether a kept version is, or owes its expiry to, the record of this revision at `place`.
  bool Names(std::string_view index_key, format::Position place, uint64_t revision) const;
  // The entry of a kept version whose put is at `place`.
  std::optional<index::Entry> EntryAt(std::string_view index_key, format::Position place) const;
  // That record has moved: kept versions name the new place from now on. `moved` is called for each.
  struct Moved {
    format::Position place;
    uint32_t size = 0;               // of the record
    std::optional<uint32_t> extent;  // the slot, if the value has moved as well
  };
  void Move(std::string_view index_key, format::Position from, const Moved& to, uint64_t revision,
            const std::function<void()>& moved);
  // The version of the key that was current at `revision`; nothing if none is kept.
  std::optional<Version> Find(std::string_view index_key, uint64_t revision) const;

  void ForEach(const std::function<void(const Version&)>& each) const;

  uint64_t kept() const { return kept_.load(std::memory_order_relaxed); }
  // References of kept versions to records, and the bytes of these; and of them, those that no other version names.
  uint64_t kept_records() const { return kept_records_.load(std::memory_order_relaxed); }
  uint64_t kept_bytes() const { return kept_bytes_.load(std::memory_order_relaxed); }
  uint64_t kept_own_bytes() const { return kept_own_bytes_.load(std::memory_order_relaxed); }
  // The extents that kept versions name, and how often. Each has a reference at some moment of the call.
  std::vector<std::pair<uint32_t, uint32_t>> KeptExtents() const;
  uint64_t views() const { return views_.load(std::memory_order_relaxed); }

 private:
  struct Kept {
    Version version;
    bool put_is_shared;  // with the version that replaced this one, which stays at least as long
    uint64_t replaced_by;
    bool extent_counted = false;  // in extents_
  };
  using Chains = std::map<std::string, std::vector<Kept>, std::less<>>;  // by key; ascending revisions
  struct Shard {
    mutable base::Mutex mutex;
    Chains chains ABSL_GUARDED_BY(mutex);
  };
  static constexpr size_t kShards = 64;

  Shard& ShardOf(std::string_view index_key) const;
  void AddBytes(Kept& kept);
  void RemoveBytes(Kept& kept);
  void Uncount(Kept& kept);
  void Prune(uint64_t bound, const Dropped& dropped);

  log::Log& log_;
  std::atomic<uint64_t> views_{0};
  std::atomic<uint64_t> kept_{0}, kept_records_{0}, kept_bytes_{0}, kept_own_bytes_{0};
  base::Mutex views_mutex_;
  std::multiset<uint64_t> revisions_ ABSL_GUARDED_BY(views_mutex_);
  mutable std::array<Shard, kShards> shards_;
  mutable base::Mutex extents_mutex_;  // after a shard's
  // By slot: how often they are named. Those that there was no memory to count are missing.
  std::unordered_map<uint32_t, uint32_t> extents_ ABSL_GUARDED_BY(extents_mutex_);
  std::atomic<uint64_t> lost_revision_{0};  // views below it may have lost a version
};

}  // namespace firn
