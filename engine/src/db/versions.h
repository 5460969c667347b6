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
  // `release` is called for every version that nobody needs any more; `erase_tombstone` for every key of which no older
  // version is kept any more.
  struct Dropped {
    std::function<void(const Version&)> release;
    std::function<void(std::string_view index_key)> erase_tombstone;
  };
  void ReleaseView(uint64_t revision, const Dropped& dropped);
  // A writer that saw a view may keep a version after the last view has ended. Called now and then.
  void DropLeftovers(const Dropped& dropped);

  // The key's lock is held: `old` was replaced at `replaced_by`, in the index or about to be.
  void Keep(std::string_view index_key, const Version& old, uint64_t replaced_by);
  // Whether an older version of the key is kept.
  bool Keeps(std::string_view index_key) const;
  // The version of the key that was current at `revision`; nothing if none is kept.
  std::optional<Version> Find(std::string_view index_key, uint64_t revision) const;

  uint64_t kept() const { return kept_.load(std::memory_order_relaxed); }
  uint64_t views() const { return views_.load(std::memory_order_relaxed); }

 private:
  struct Kept {
    Version version;
    uint64_t replaced_by;
  };
  struct Shard {
    mutable base::Mutex mutex;
    std::map<std::string, std::vector<Kept>, std::less<>> chains ABSL_GUARDED_BY(mutex);  // ascending revisions
  };
  static constexpr size_t kShards = 64;

  Shard& ShardOf(std::string_view index_key) const;
  void Prune(uint64_t bound, const Dropped& dropped);

  log::Log& log_;
  std::atomic<uint64_t> views_{0};
  std::atomic<uint64_t> kept_{0};
  base::Mutex views_mutex_;
  std::multiset<uint64_t> revisions_ ABSL_GUARDED_BY(views_mutex_);
  mutable std::array<Shard, kShards> shards_;
};

}  // namespace firn
