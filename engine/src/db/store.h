// The engine behind a DB: wires disk, log, index and versions together. What users see is firn/db.h.
//
// Where things are: open.cc (opening, recovery, closing), superblock.cc, write.cc (all changes), release.cc (what they
// replace), read.cc (point reads), read_many.cc (many at once), point_read.cc and async*.cc (those that do not wait),
// caching.cc (the value cache), cursor.cc (iterators), namespace_ops.cc, upkeep.cc (background work), reclaim.cc and
// relocator.cc (space), room.cc (a full disk), scrubber.cc (verify and scrub), salvage.cc, report.cc (statistics),
// references.cc (a check for tests).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
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
#include "base/hash.h"
#include "base/status.h"
#include "base/sync.h"
#include "db/keys.h"
#include "db/namespaces.h"
#include "db/open.h"
#include "db/operation_stats.h"
#include "db/read_ahead.h"
#include "db/versions.h"
#include "format/index_image.h"
#include "format/superblock.h"
#include "index/tree.h"
#include "io/disk.h"
#include "io/room.h"
#include "log/log.h"
#include "memory/value_cache.h"
#include "reclaim/pacer.h"
#include "reclaim/victims.h"
#include "values/value_store.h"

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

inline void RaiseTo(std::atomic<uint64_t>& what, uint64_t value) {
  uint64_t seen = what.load(std::memory_order_seq_cst);
  while (seen < value && !what.compare_exchange_weak(seen, value, std::memory_order_seq_cst)) {
  }
}

inline constexpr std::string_view kSuperblockFile = "SUPERBLOCK";
// Under this name until the store has its first segment, so that a SUPERBLOCK always belongs to a whole store.
inline constexpr std::string_view kUnfinishedSuperblockFile = "SUPERBLOCK.new";

// Of the memory budget: the tail buffers, and those that writes and reads go through.
inline constexpr uint64_t kBuffersBytes = uint64_t{4} << 20;

class ImageReader;

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
  absl::Status GetPinned(uint32_t namespace_id, std::string_view key, PinnedValue& value, const ReadOptions& options);
  std::vector<absl::StatusOr<std::string>> MultiGet(uint32_t namespace_id, std::span<const std::string_view> keys,
                                                    const ReadOptions& options);
  std::vector<absl::StatusOr<PinnedValue>> MultiGetPinned(uint32_t namespace_id, std::span<const std::string_view> keys,
                                                          const ReadOptions& options);
  // Values in parts and in streams (large_values.cc).
  absl::StatusOr<std::string> GetRange(uint32_t namespace_id, std::string_view key, uint64_t offset, uint64_t length,
                                       const ReadOptions& options);
  absl::Status GetStream(uint32_t namespace_id, std::string_view key, const ValueSink& sink,
                         const ReadOptions& options);
  absl::StatusOr<Revision> PutStream(const WriteOperation& operation, const ValueSource& source, Durability durability);
  absl::StatusOr<bool> Exists(uint32_t namespace_id, std::string_view key, const ReadOptions& options);

  // What iterators are made of (read.cc). The caller is inside an epoch guard.
  // The version of a key at `revision` (kNewest: the newest), expired and deleted ones left out.
  static constexpr uint64_t kNewest = UINT64_MAX;
  std::optional<Version> Locate(std::string_view index_key, uint64_t revision) const;
  // As Locate, but the caller has the newest entry already.
  std::optional<Version> LocateFrom(std::string_view index_key, const index::Entry& newest, uint64_t revision) const;
  // Reads the record and checks it. `value` and `metadata` may be null. Scans pass the value cache by: what it has is
  // taken, what it has not is not put there, and neither counts for what is wanted. kFromDisk does not look there at
  // all.
  enum class Caching { kFill, kPassBy, kFromDisk };
  absl::Status ReadRecord(std::string_view index_key, const Version& version, std::string* value, std::string* metadata,
                          Caching caching);

  // One of many values to be read (read_many.cc).
  struct ManyRead {
    std::string_view index_key;
    bool found = false;  // and to be read, that is: a version
    Version version;
    absl::Status status;  // results
    PinnedValue value;
    std::string metadata;  // not of a separated value

    void Clear() {
      found = false;
      status = absl::OkStatus();
      value.Release();
      metadata.clear();
    }
  };
  // Memory is asked for many at a time, and the disk for all that is not there at once, neighbours in one request.
  // Those that are not `found` are left as they are. Cached values up to `copied_bytes_max` are copied, larger ones
  // pinned. Where more than `reads_max` are not in the cache the rest stay `found`. Returns how many were not.
  size_t ReadMany(std::span<ManyRead> reads, Caching caching, size_t copied_bytes_max, size_t reads_max);

  // Namespaces (namespace_ops.cc).
  absl::StatusOr<uint32_t> CreateNamespace(std::string_view name);
  absl::StatusOr<uint32_t> FindNamespace(std::string_view name) const;
  std::vector<std::string> ListNamespaces() const;
  absl::Status DropNamespace(std::string_view name);
  bool IsAlive(uint32_t namespace_id) const { return namespaces_.IsAlive(namespace_id); }

  uint64_t AcquireView() { return versions_->AcquireView(); }
  void ShareView(uint64_t revision) { versions_->ShareView(revision); }
  void ReleaseView(uint64_t revision) noexcept;
  // A view for the time of a call.
  class View {
   public:
    explicit View(Store& store) : store_(store), revision_(store.AcquireView()) {}
    ~View() { store_.ReleaseView(revision_); }
    View(const View&) = delete;
    uint64_t revision() const { return revision_; }

   private:
    Store& store_;
    const uint64_t revision_;
  };

  absl::Status Sync();
  absl::Status Flush();
  // Reclaim (reclaim.cc).
  absl::Status Compact(const ProgressCallback& progress);
  std::vector<SegmentReport> GcReport() const;
  std::string CheckReferences();     // references.cc
  uint64_t UnexplainedValueBytes();  // references.cc
  Revision DurableRevision() const { return log_->durable_revision(); }

  Stats GetStats();
  absl::StatusOr<VerifyReport> Verify(const ProgressCallback& progress);
  absl::StatusOr<VerifyReport> Scrub(const ScrubOptions& options);

  // After a failed write, what is not durable is not served.
  absl::Status CheckServable(const Version& version) const;
  // Whether absence at `revision` can be told.
  absl::Status CheckAbsenceServable(uint64_t revision) const;

  // In the child of a fork() nothing of the store may even be destroyed: its threads do not exist there, and its locks
  // and its readers' places stay for ever as they were at that moment.
  bool BelongsToParent() const { return base::ForkGeneration() != fork_generation_; }

  // Ok if the store may be used by this process, and is open.
  absl::Status CheckUsable() const;
  bool IsUsable() const { return !BelongsToParent() && !closed_.load(std::memory_order_acquire); }
  absl::Status CheckWritable() const;

  // Inside the guard in which it was located.
  uint64_t BytesToRead(const Version& version) const {
    return IsSeparated(version.entry) ? values_->length(version.entry.size) : RecordBytes(version.entry);
  }
  bool MayHaveLost(uint64_t revision) const { return versions_->MayHaveLost(revision); }
  bool HasSegment(uint32_t id) const { return log_->segments().Find(id) != nullptr; }  // inside an epoch guard

  base::EpochDomain& epochs() { return epochs_; }
  const index::Tree& tree() const { return *tree_; }
  int64_t NowMs() const { return clock_.NowMs(); }

 private:
  friend class AsyncQueue;
  friend class ImageWriter;
  friend class PointRead;
  friend class Relocator;
  friend class Scrubber;
  friend class Salvager;
  struct Planned;
  static constexpr size_t kStripes = 1024;

  Store(const Options& options, Environment environment);

  // Opening (open.cc, superblock.cc).
  absl::Status OpenFiles();
  absl::Status CheckKinds();
  absl::StatusOr<bool> LoadSuperblock();
  absl::Status RepairSuperblock(size_t copy);
  std::vector<Damage> CheckSuperblock();
  absl::StatusOr<bool> CheckNoStore();
  absl::Status PrepareFreshDirectory();
  absl::Status WriteSuperblock();
  absl::Status FinishMaking();
  absl::Status RemoveFilesIn(std::string_view folder);
  void NoteLostValue(const format::ExtentName& extent, std::string_view index_key, const absl::Status& why);
  std::string NamespaceNameOf(std::string_view index_key) const;
  absl::StatusOr<bool> RestoreValues(base::Bytes payload);
  absl::Status Recover(bool exists, const std::function<void(EventKind, std::string)>& on_event,
                       log::RecoveredLog& recovered);
  class IndexBuild;
  absl::Status BuildIndex(log::RecoveredLog& recovered);
  // The index image (image.cc).
  void OpenImage();
  void IgnoreImage(std::string_view why);
  absl::Status AskImage(log::RecoveredLog& recovered);
  absl::Status DropImage();
  uint64_t RecordsBesideImage();
  void WriteImage(const std::function<bool()>& keep_going) noexcept;
  void NoteImage(const format::ImageHead& head, uint64_t file_bytes);
  void ImageAtClose() noexcept;
  void ImageTurn();
  void Emit(EventKind kind, std::string message) const noexcept;

  // Writing (write.cc).
  absl::StatusOr<Revision> Commit(std::span<Planned> planned, Durability durability);
  absl::Status Plan(Planned& planned) const;
  absl::Status CheckAhead(const WriteOperation& operation) const;
  absl::Status CheckRoom(std::span<const Planned> planned) const;
  absl::StatusOr<Revision> Append(std::span<Planned* const> effective);
  class Places;
  void Publish(Planned& planned, uint64_t revision, bool keep) noexcept;
  void EraseTombstone(std::string_view index_key);
  // References to records, which keep segments alive.
  void AddReference(uint32_t segment, uint32_t size);
  void DropReference(uint32_t segment, uint32_t size);
  // `revision`: of the change that needs it no longer, or of a later one.
  void DropVersion(const Version& version, uint64_t revision);
  void Throttle(uint64_t bytes);
  void AwaitRunway(std::span<const Planned> planned);
  absl::Status Separate(std::span<Planned> planned, Durability durability);
  void ReleaseUnpublished(values::Slot extent);
  bool IsSeparate(uint64_t value_bytes) const;
  absl::StatusOr<Revision> CommitSeparated(std::span<Planned> planned, Durability durability);
  // Room (room.cc).
  bool AwaitRoom(int& waits);
  uint64_t RoomRequests();
  void ServeRoom(uint64_t requests, bool made);
  bool MakeRoom();
  void NoteGarbage() {
    if (no_garbage_until_nanos_.load(std::memory_order_relaxed) != 0) no_garbage_until_nanos_ = 0;
  }
  uint64_t IndexMemoryBytes() const;
  Versions::Dropped DropCallbacks();

  base::Mutex& StripeOf(std::string_view index_key) const;
  std::vector<base::Mutex*> AllStripes() const;

  absl::Status ReadInlineRecord(std::string_view index_key, const Version& version, std::string* value,
                                std::string* metadata, Caching caching);
  absl::Status GetRecord(std::string_view index_key, const ReadOptions& options, std::string* value, ValueInfo* info,
                         PinnedValue* pinned = nullptr);
  static absl::StatusOr<format::Record> Verified(const log::Segment& segment, std::string_view index_key,
                                                 const Version& version, base::Bytes bytes);
  class DiskReads;
  void FindManyCached(std::span<ManyRead> reads, Caching caching, size_t copied_bytes_max);
  bool LocateMany(std::span<const std::string_view> index_keys, uint64_t revision, bool is_settled,
                  std::span<ManyRead> reads) const;
  std::vector<ManyRead> MultiGetReads(uint32_t namespace_id, std::span<const std::string_view> keys,
                                      const ReadOptions& options);
  static absl::Status KeyNotFound() { return base::NotFound("no such key"); }
  uint64_t AbsenceRevision(uint64_t revision) const;
  absl::Status AwaitDurable(uint64_t revision);
  static absl::Status CheckReadKey(std::string_view key);
  absl::StatusOr<Version> LocateServable(std::string_view index_key, uint64_t revision) const;
  absl::Status ReadPart(std::string_view index_key, const Version& version, uint64_t offset, uint64_t length,
                        std::string* part, uint64_t* value_bytes);
  absl::Status StreamAt(std::string_view index_key, uint64_t revision, const ValueSink& sink, bool durable);
  absl::StatusOr<Revision> WriteStored(const WriteOperation& operation, const values::ValueStore::Stored& stored,
                                       uint64_t value_bytes, Durability durability);

  // The value cache (caching.cc).
  uint64_t CacheHash(std::string_view index_key) const {
    return base::Hash64(base::AsBytes(index_key), superblock_.secret);
  }
  memory::CacheKey CacheKeyOf(std::string_view index_key, const index::Entry& entry, memory::CacheKey::Part part) const;
  bool FindCached(std::string_view index_key, const index::Entry& entry, memory::CacheKey::Part part,
                  memory::Cached& found, Caching caching);
  bool PinCached(uint64_t key_hash, const index::Entry& entry, PinnedValue& value);
  static void Pin(const memory::Cached& found, PinnedValue& value,
                  size_t copied_bytes_max = PinnedValue::kSmallBytesMax);
  void KeepCached(std::string_view index_key, const index::Entry& entry, memory::CacheKey::Part part, base::Bytes value,
                  base::Bytes metadata) noexcept;
  void CacheWritten(const Planned& planned) noexcept;
  void CacheMoved(std::string_view index_key, const format::Position& from, const format::Position& to,
                  bool new_extent) noexcept;
  bool MayBeCached(uint32_t segment) const { return cache_ != nullptr && segment < memory::kCachedSegmentsMax; }
  uint64_t CacheRoom(uint64_t index_bytes) const;
  void FitCache(uint64_t index_bytes) const;
  void LetCacheGrow();

  // Background work (upkeep.cc).
  void RunUpkeep();
  void TryUpkeep(bool& made_room);
  void UpkeepTurn();
  void SweepExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(reclaim_mutex_);
  void FreeDropped();
  void WakeUpkeep();
  void Forget(std::string_view index_key, const index::Entry& entry, bool leaves_tombstone);

  uint64_t PinnedValueBytes();
  reclaim::Space MeasureSpace();
  reclaim::Goal GoalFor(const reclaim::Space& space) const;
  std::vector<reclaim::Candidate> Candidates(log::SegmentId last) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(reclaim_mutex_);
  absl::StatusOr<bool> ReclaimRound(log::SegmentId last, double live_fraction_max,
                                    const std::function<bool()>& keep_going)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reclaim_mutex_);
  absl::StatusOr<bool> EvacuateValues(uint32_t last, const std::function<bool()>& keep_going)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reclaim_mutex_);
  absl::StatusOr<bool> Relocate(const std::vector<log::SegmentId>& victims, const std::function<bool()>& keep_going,
                                std::optional<uint32_t> value_file, std::vector<log::SegmentId> next = {})
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reclaim_mutex_);
  reclaim::Pacer::Foreground ForegroundSince();
  void ReclaimTurn();
  void DropReadAhead();
  void NotePinned(const reclaim::Space& space);
  uint64_t CopySegmentBytes() const;
  bool FitsRoom(const log::Segment& segment, uint64_t one_bytes, uint64_t room_bytes) const;
  bool FreeValues(const reclaim::Space& space, const reclaim::Goal& goal);
  bool HolesMayWait() const;
  void ShedWhenEmptied();

  const Options options_;
  std::unique_ptr<io::Disk> disk_;
  std::unique_ptr<io::FileLock> lock_;
  mutable base::ForwardClock clock_;
  base::Clock& raw_clock_;
  base::Random& random_;
  const bool replayable_;
  const uint64_t segment_bytes_min_;
  const uint64_t ceiling_floor_segments_;
  const uint64_t index_bytes_max_;  // with all of its kind, before keys are refused
  const Environment::Succession succession_;
  base::Hash128Value (*const value_hash_)(base::Bytes, uint64_t);
  const uint64_t fork_generation_ = base::ForkGeneration();
  format::Superblock superblock_;
  bool found_clean_ = false;           // by this open: the log ends sealed, as a close leaves it
  bool found_closed_ = false;          // the same, and the mark of the close is there: each segment had a footer
  std::vector<Damage> found_by_open_;  // a salvaging one for reading only: what the store is open without

  mutable base::EpochDomain epochs_;
  // Takes what the index leaves of the memory budget. Null: there is none.
  std::unique_ptr<memory::ValueCache> cache_;
  mutable base::Mutex cache_mutex_;  // for a change of its capacity
  std::unique_ptr<index::Tree> tree_;
  std::unique_ptr<index::Tree> expiries_;  // Expiry::Pack(), for entries with kHasExpiry
  Namespaces namespaces_{epochs_};
  std::unique_ptr<io::Room> room_;
  std::unique_ptr<values::ValueStore> values_;
  std::unique_ptr<log::Log> log_;
  std::unique_ptr<Versions> versions_;
  mutable std::array<base::Mutex, kStripes> stripes_;  // one writer a key at a time

  // The newest tombstone, or expired entry, that left the index. A read at an older revision cannot tell "never there"
  // from "deleted since".
  std::atomic<uint64_t> erased_revision_{0};
  std::atomic<uint64_t> deleted_revision_{0};  // the newest delete
  std::atomic<bool> closed_{false};
  absl::Status close_status_;  // of the first Close()

  // One at a time takes segments out of the store or entries out of the index for good; before namespaces_mutex_.
  base::Mutex reclaim_mutex_;
  // Not evacuated before this moment: a live record of theirs does not verify, or something held them to the end.
  struct Rest {
    uint64_t until_nanos = 0;
    bool for_tombstones = false;  // ends early when older segments go, or less than this lives:
    uint64_t live_bytes_min = 0;
  };
  std::map<log::SegmentId, Rest> resting_segments_ ABSL_GUARDED_BY(reclaim_mutex_);
  void RestSegment(log::SegmentId segment, const Rest& rest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(reclaim_mutex_);
  bool Rests(const log::Segment& segment, uint64_t now_nanos) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(reclaim_mutex_);
  uint64_t next_evacuation_nanos_ ABSL_GUARDED_BY(reclaim_mutex_) = 0;
  ReadAhead read_ahead_;  // with reclaim_mutex_ held, until closed
  reclaim::Pacer pacer_;
  reclaim::Pacer::Foreground foreground_;       // reads so far; upkeep thread only
  std::atomic<uint64_t> side_memory_bytes_{0};  // key filters and the extent table, as last measured
  std::atomic<uint64_t> runway_nanos_{0};       // that writers waited for what is made ahead of them
  std::atomic<uint64_t> unfreed_bytes_{0};      // of separated values, since upkeep was woken last
  std::atomic<uint64_t> relocated_records_{0}, relocated_bytes_{0}, reclaimed_bytes_{0}, read_ahead_bytes_{0};

  base::Mutex namespaces_mutex_;  // changes of the set of namespaces; before stripes
  base::Mutex upkeep_mutex_;
  base::CondVar upkeep_wake_;
  bool upkeep_stop_ ABSL_GUARDED_BY(upkeep_mutex_) = false;
  bool upkeep_kicked_ ABSL_GUARDED_BY(upkeep_mutex_) = false;
  // Writes that wait for room: numbered; up to which upkeep has looked for some, and whether it made any.
  base::CondVar room_wake_;
  uint64_t room_requests_ ABSL_GUARDED_BY(upkeep_mutex_) = 0, room_served_ ABSL_GUARDED_BY(upkeep_mutex_) = 0;
  bool room_made_ ABSL_GUARDED_BY(upkeep_mutex_) = false;
  // Until then waiting is in vain, unless something becomes garbage.
  std::atomic<uint64_t> no_garbage_until_nanos_{0};
  std::atomic<uint64_t> rounds_{0};                                          // of reclaim that gave something back
  std::vector<uint32_t> dropped_namespaces_ ABSL_GUARDED_BY(upkeep_mutex_);  // whose entries are still in memory
  uint64_t next_sweep_nanos_ ABSL_GUARDED_BY(reclaim_mutex_) = 0;
  uint64_t waiting_bytes_seen_ ABSL_GUARDED_BY(reclaim_mutex_) = 0;  // of values, when upkeep last looked
  uint64_t next_time_record_nanos_ ABSL_GUARDED_BY(reclaim_mutex_) = 0;
  bool pinned_over_ceiling_ = false;  // as the listener was told; upkeep thread only
  // The newest revision, since when it is that, and the one after which an empty store has given back what it kept
  // ready; upkeep thread only.
  uint64_t quiet_revision_ = 0, quiet_since_nanos_ = 0, quiet_shed_revision_ = UINT64_MAX;
  base::Thread upkeep_;

  OperationStats puts_, deletes_, batches_, gets_, multi_gets_, syncs_;
  base::StripedCounter multi_get_keys_, user_bytes_written_, user_bytes_read_, cache_hits_, cache_misses_;
  uint64_t open_read_bytes_ = 0;
  double open_seconds_ = 0;

  // The index image, while the store opens; and that on disk, by whoever writes it: the opening, upkeep, the closing.
  std::unique_ptr<ImageReader> image_;
  const uint64_t image_keys_min_;
  bool ignore_image_ = false, image_found_ = false;
  bool image_failed_ = false;  // what was recovered with it cannot be used
  std::atomic<uint64_t> image_bytes_{0};
  uint64_t image_records_ = 0, open_image_records_ = 0;
  std::vector<log::SegmentId> image_segments_;  // ascending
  uint64_t image_quiet_revision_ = 0, image_quiet_since_nanos_ = 0;
};

}  // namespace firn
