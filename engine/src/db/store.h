// The engine behind a DB: wires disk, log, index and versions together. What users see is firn/db.h.
//
// Where things are: open.cc (opening, recovery, closing), write.cc (all changes), read.cc (point reads), cursor.cc
// (iterators), namespace_ops.cc, upkeep.cc (background work), report.cc (statistics, verify).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <firn/db.h>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/fork.h"
#include "base/status.h"
#include "base/sync.h"
#include "db/keys.h"
#include "db/namespaces.h"
#include "db/open.h"
#include "db/operation_stats.h"
#include "db/versions.h"
#include "format/superblock.h"
#include "index/tree.h"
#include "io/disk.h"
#include "log/log.h"

namespace firn {

// One change, as the caller gave it.
struct WriteOperation {
  Batch::Operation::Kind kind = Batch::Operation::Kind::kPut;
  uint32_t namespace_id = 0;
  std::string_view key;
  std::string_view value;
  std::string_view metadata;
  int64_t expires_at_ms = 0;
  Condition condition;
};

class Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(const Options& options, Environment environment);
  ~Store();
  Store(const Store&) = delete;

  absl::Status Close();

  // Changes (write.cc).
  absl::StatusOr<Revision> Write(const WriteOperation& operation, Durability durability);
  absl::StatusOr<Revision> Apply(const Batch& batch, Durability durability);

  // Point reads (read.cc).
  absl::Status Get(uint32_t namespace_id, std::string_view key, std::string* value, ValueInfo* info,
                   const ReadOptions& options);
  std::vector<absl::StatusOr<std::string>> MultiGet(uint32_t namespace_id, std::span<const std::string_view> keys,
                                                    const ReadOptions& options);
  absl::StatusOr<bool> Exists(uint32_t namespace_id, std::string_view key, const ReadOptions& options);

  // What iterators are made of (read.cc). The caller is inside an epoch guard.
  // The version of a key at `revision` (kNewest: the newest), expired and deleted ones left out.
  static constexpr uint64_t kNewest = UINT64_MAX;
  std::optional<Version> Locate(std::string_view index_key, uint64_t revision) const;
  // As Locate, but the caller has the newest entry already.
  std::optional<Version> LocateFrom(std::string_view index_key, const index::Entry& newest, uint64_t revision) const;
  // Reads the record and checks it. `value` and `metadata` may be null.
  absl::Status ReadRecord(std::string_view index_key, const Version& version, std::string* value,
                          std::string* metadata);

  // Namespaces (namespace_ops.cc).
  absl::StatusOr<uint32_t> CreateNamespace(std::string_view name);
  absl::StatusOr<uint32_t> FindNamespace(std::string_view name) const;
  std::vector<std::string> ListNamespaces() const;
  absl::Status DropNamespace(std::string_view name);
  bool IsAlive(uint32_t namespace_id) const { return namespaces_.IsAlive(namespace_id); }

  uint64_t AcquireView() { return versions_->AcquireView(); }
  void ReleaseView(uint64_t revision);

  absl::Status Sync();
  absl::Status Flush();
  Revision DurableRevision() const { return log_->durable_revision(); }

  Stats GetStats();
  absl::StatusOr<VerifyReport> Verify(const ProgressCallback& progress);

  // After a failed write, what is not durable is not served.
  absl::Status CheckServable(const Version& version) const;
  absl::Status CheckAbsenceServable() const;

  // In the child of a fork() nothing of the store may even be destroyed: its threads do not exist there, and its locks
  // and its readers' places stay for ever as they were at that moment.
  bool BelongsToParent() const { return base::ForkGeneration() != fork_generation_; }

  // Ok if the store may be used by this process, and is open.
  absl::Status CheckUsable() const;
  absl::Status CheckWritable() const;

  base::EpochDomain& epochs() { return epochs_; }
  const index::Tree& tree() const { return *tree_; }
  int64_t NowMs() const { return clock_.NowMs(); }

 private:
  struct Planned;
  static constexpr size_t kStripes = 1024;

  Store(const Options& options, Environment environment);

  // Opening (open.cc).
  absl::Status OpenFiles();
  absl::StatusOr<bool> LoadSuperblock();
  absl::Status PrepareFreshDirectory();
  absl::Status WriteSuperblock();
  absl::Status BuildIndex(std::vector<log::RecoveredSegment>& segments, uint32_t& next_namespace_id);
  void Emit(EventKind kind, std::string message) const;

  // Writing (write.cc).
  absl::StatusOr<Revision> Commit(std::span<Planned> planned, Durability durability);
  absl::Status Plan(Planned& planned) const;
  absl::Status CheckRoom(std::span<const Planned> planned) const;
  absl::StatusOr<Revision> Append(std::span<Planned* const> effective);
  void Publish(Planned& planned, uint64_t revision, bool keep);
  void EraseTombstone(std::string_view index_key);
  // References to records, which keep segments alive.
  void AddReference(uint32_t segment, uint32_t size);
  void DropReference(uint32_t segment, uint32_t size);
  void DropVersion(const Version& version);
  Versions::Dropped DropCallbacks();

  base::Mutex& StripeOf(std::string_view index_key) const;

  absl::Status GetRecord(std::string_view index_key, const ReadOptions& options, std::string* value, ValueInfo* info);
  absl::Status AwaitDurable(uint64_t revision);

  // Background work (upkeep.cc).
  void RunUpkeep();
  void UpkeepTurn();
  void SweepExpired();
  void FreeDropped();
  void WakeUpkeep();
  void Forget(std::string_view index_key, const index::Entry& entry, bool leaves_tombstone);

  const Options options_;
  std::unique_ptr<io::Disk> disk_;
  std::unique_ptr<io::FileLock> lock_;
  mutable base::ForwardClock clock_;
  base::Clock& raw_clock_;
  base::Random& random_;
  const uint64_t segment_bytes_min_;
  const uint64_t fork_generation_ = base::ForkGeneration();
  format::Superblock superblock_;

  mutable base::EpochDomain epochs_;
  std::unique_ptr<index::Tree> tree_;
  std::unique_ptr<index::Tree> expiries_;  // Expiry::Pack(), for entries with kHasExpiry
  Namespaces namespaces_{epochs_};
  std::unique_ptr<log::Log> log_;
  std::unique_ptr<Versions> versions_;
  mutable std::array<base::Mutex, kStripes> stripes_;  // one writer a key at a time

  // The newest tombstone that left the index. A read at an older revision cannot tell "never there" from "deleted
  // since".
  std::atomic<uint64_t> erased_revision_{0};
  std::atomic<bool> closed_{false};

  base::Mutex namespaces_mutex_;  // changes of the set of namespaces; before stripes
  base::Mutex upkeep_mutex_;
  base::CondVar upkeep_wake_;
  bool upkeep_stop_ ABSL_GUARDED_BY(upkeep_mutex_) = false;
  bool upkeep_kicked_ ABSL_GUARDED_BY(upkeep_mutex_) = false;
  std::vector<uint32_t> dropped_namespaces_ ABSL_GUARDED_BY(upkeep_mutex_);  // whose entries are still in memory
  uint64_t next_sweep_nanos_ = 0;                                            // upkeep thread only
  base::Thread upkeep_;

  OperationStats puts_, deletes_, batches_, gets_, multi_gets_, syncs_;
  std::atomic<uint64_t> multi_get_keys_{0}, user_bytes_written_{0}, user_bytes_read_{0};
  uint64_t open_read_bytes_ = 0;
  double open_seconds_ = 0;
};

}  // namespace firn
