// The log: appending, group commit, segments that come and go.
//
// A write reserves its revision and its bytes in one short critical section, encodes itself into the tail buffer
// outside of it, and is durable once its commit unit is. Whoever first waits for durability becomes the flusher: it
// closes the open unit and writes it while the next unit already fills. Of two background threads one writes full
// buffers and bounds how long buffered writes stay unsynced; the other keeps a prepared segment ahead, and seals
// segments that were left. Two, because the device may take long over either: meanwhile the other goes on.
//
// Lock order: append_mutex_, then SegmentTable's, then a worker's; flush_mutex_ is never held with append_mutex_.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <firn/events.h>

#include "base/aligned_buffer.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "base/histogram.h"
#include "base/memory.h"
#include "base/sync.h"
#include "base/worker.h"
#include "format/record.h"
#include "format/superblock.h"
#include "io/disk.h"
#include "io/room.h"
#include "log/published.h"
#include "log/recovery.h"
#include "log/segment.h"
#include "log/tail.h"

namespace firn::log {

inline constexpr uint64_t kSegmentBytesMin = uint64_t{1} << 20;
inline constexpr uint64_t kSegmentBytesMax = uint64_t{64} << 20;
// A segment is at most this part of what lives in the log, so that a store has few files and one dead segment is
// little.
inline constexpr uint64_t kSegmentsPerLiveBytes = 128;
// Of a store that grows fast: the last segment was full after no more than so long, and at most this part of what lives
// is dead. Then a segment is at most so much of what lives, and of the room that is left.
inline constexpr uint64_t kFastFillNanos = 100'000'000;
inline constexpr uint64_t kGrowingDeadPart = 16;
inline constexpr uint64_t kGrowingSegmentsPerLiveBytes = 32;
inline constexpr uint64_t kGrowingFreePart = 64;

// After this many small synced commits in a row more are expected.
inline constexpr uint32_t kSmallSyncedCommitsMin = 8;

struct LogOptions {
  uint64_t segment_bytes_min = kSegmentBytesMin;
  uint32_t flush_interval_ms = 1'000;
  base::ForwardClock* clock = nullptr;
  base::Clock* monotonic_clock = nullptr;
  base::Random* random = nullptr;
  std::function<void(EventKind, std::string)> on_event;
  // Called before units are written: makes durable what their records point to. A failure is one of the log.
  std::function<absl::Status()> before_write;
  // Where space comes from. Null: from the disk, and nothing is kept back.
  io::Room* room = nullptr;
  // Called in each turn of the thread that prepares segments, until the log is poisoned: what else is to be made ahead
  // of writers.
  std::function<void()> prepare;
};

struct LogStats {
  uint64_t segments = 0, sealed_segments = 0, spare_segments = 0;
  uint64_t fresh_segments = 0, relocation_segments = 0;
  uint64_t log_bytes = 0, live_bytes = 0;
  uint64_t padding_bytes = 0, footer_bytes = 0;  // of sealed segments; padding: all beside records, headers too
  uint64_t unwritten_bytes = 0;                  // of the others: claimed
  uint64_t spare_bytes = 0;                      // of spares and of the segment prepared ahead
  uint64_t target_segment_bytes = 0;
  uint64_t commits = 0, commit_writes = 0, commit_bytes = 0;
  uint64_t group_size_p50 = 0, group_size_max = 0;
  uint64_t filter_bytes = 0;  // memory of the key filters
};

class RelocationWriter;

class Log {
 private:
  friend class RelocationWriter;
  struct Unit;

 public:
  // Takes over what recovery found. Makes a fresh segment whose first records list the live segments and cut the
  // unsealed one; when this returns they are durable and appending may begin.
  static absl::StatusOr<std::unique_ptr<Log>> Start(io::Disk& disk, const format::Superblock& superblock,
                                                    base::EpochDomain& epochs, LogOptions options,
                                                    RecoveredLog recovered);
  // For reading only: nothing is written, and every function that would write gives FailedPrecondition.
  static std::unique_ptr<Log> StartReadOnly(io::Disk& disk, const format::Superblock& superblock,
                                            base::EpochDomain& epochs, LogOptions options, RecoveredLog recovered);
  ~Log();
  Log(const Log&) = delete;

  // A place for the records of one operation, all under one revision. The caller encodes them one after the other at
  // `memory`, calls Complete(), publishes its index changes, and calls published().Publish(revision).
  struct Slot {
    uint64_t revision = 0;
    SegmentId segment = format::kNoSegment;
    uint32_t offset = 0;
    std::byte* memory = nullptr;
    const format::ChecksumSeed* seed = nullptr;
    Segment* owner = nullptr;  // accounting must be done before Complete()
    // The records are not resident in the tail: publish only after WaitWritten(revision).
    bool publish_after_write = false;
    Unit* unit = nullptr;
  };
  // `bytes` in all, of `records` records whose keys and value pointers add up to `directory_bytes`. Blocks while
  // buffers are full. ResourceExhausted when the disk is full, for this claimant: nothing was reserved. Unavailable
  // once poisoned. The segment `joins` becomes one of the store's in the same step: the next list of live ids names it,
  // and none does if nothing was reserved.
  absl::StatusOr<Slot> Reserve(uint64_t bytes, uint32_t records, uint64_t directory_bytes,
                               io::Claimant claimant = io::Claimant::kWrite,
                               const std::shared_ptr<Segment>& joins = nullptr);
  void Complete(const Slot& slot);
  // Called before a write, holding nothing. While little is left of what can be appended before the device has to
  // answer, waits until there is more, for kRunwayWaitNanosMax at most: where the device stands still, many writes wait
  // a little each instead of one for all of it. Returns how long.
  uint64_t AwaitRunway();
  static constexpr uint64_t kRunwayWaitNanosMax = 10'000'000;
  // Has the thread that prepares segments do a turn.
  void KickPreparing() { preparing_.Kick(); }

  // For records of the log's and the store's own: reserves, encodes and publishes.
  enum class Role { kControl, kLive, kTombstone };  // what it counts as in its segment
  struct Written {
    uint64_t revision = 0;
    SegmentId segment = format::kNoSegment;
    uint32_t offset = 0, size = 0;
  };
  // `apply` does what follows from the record, before its revision counts as published: whoever sees that the revision
  // is, sees that too.
  absl::StatusOr<Written> AppendControl(const format::Record& record, Role role = Role::kControl,
                                        const std::function<void(const Written&)>& apply = nullptr,
                                        io::Claimant claimant = io::Claimant::kWrite,
                                        const std::shared_ptr<Segment>& joins = nullptr);

  PublishedRevisions& published() { return published_; }
  const PublishedRevisions& published() const { return published_; }
  // How many writes the store has seen since this revision was drawn; those that a crash skipped do not count.
  uint64_t WritesSince(uint64_t revision) const;
  // The newest revision drawn. A writer that reserves after this call returns has a higher one.
  uint64_t LastReserved();

  // Returns when everything up to `revision` is durable: leads a flush, or waits for the one under way.
  absl::Status WaitDurable(uint64_t revision);
  // Somebody who is told, instead of waiting. One thing is asked for at a time.
  class DurableWaiter {
   public:
    virtual ~DurableWaiter() = default;
    // By the flusher, under its lock: calls nothing of the log, allocates nothing.
    virtual void NoteDurable() noexcept = 0;

   private:
    friend class Log;
    static constexpr uint64_t kNothing = UINT64_MAX;
    uint64_t awaited_revision_ = kNothing;
  };
  void AddWaiter(DurableWaiter& waiter);
  void RemoveWaiter(DurableWaiter& waiter);
  // Everything up to `last` is to become durable; the waiter is told once `first` is, or never will be. False where
  // that is so already: it is not told then.
  bool AwaitDurable(DurableWaiter& waiter, uint64_t first, uint64_t last);
  // Returns when everything up to `revision` has been handed to the file: it survives this process.
  absl::Status WaitWritten(uint64_t revision);
  uint64_t durable_revision() const { return durable_revision_.load(std::memory_order_acquire); }

  // The wall time that is durable in the log: at the next open the clock reads at least this.
  int64_t recorded_time_ms() const { return recorded_time_ms_.load(std::memory_order_acquire); }
  // Returns when a time of at least `time_ms`, which the clock has passed, is durable.
  absl::Status RecordTime(int64_t time_ms);

  // Ok, or why nothing can be written any more.
  absl::Status health() const;

  // Leaves the active segment, unless it holds no operation; returns when it, and all that were left before, are
  // durable and sealed.
  absl::Status SealActive();

  // Relocation: see log/relocation.h. A segment for copies, in a file of `bytes_max` bytes (below 4 GiB).
  // ResourceExhausted when the disk is full. `generation` is at least 1, and above that of what is copied.
  absl::StatusOr<std::unique_ptr<RelocationWriter>> BeginRelocation(uint64_t bytes_max, uint32_t generation);
  // Makes a finished relocation segment part of the store, durable when this returns. Its references start at zero and
  // are the caller's to count up; it stays, whatever they say, until it is settled. After a failure it
  // is none; where that was a failed write of the log, only the next open tells.
  absl::StatusOr<Segment*> Adopt(std::unique_ptr<RelocationWriter> writer);
  void SettleRelocation(SegmentId id);
  // The directory of a sealed segment, from disk and verified; by a scan if its footer does not verify. NotFound,
  // FailedPrecondition for one that is not sealed, DataLoss, or an error of the disk.
  absl::StatusOr<format::FooterReader> LoadDirectory(SegmentId id);

  // Takes sealed segments out of the store, and reuses or removes their files: the retire record is durable, readers
  // have left, then the files go. The caller vouches that nothing needs them, as tombstones neither, and is inside no
  // epoch guard. Ids that are not in the store, or on their way out of it, are passed over.
  absl::Status Retire(const std::vector<SegmentId>& ids);
  // Retires the segments that nothing needs.
  absl::Status RetireDead();
  // Gives back the space of files that are larger than the store, as it is now, needs: spares, the segment prepared
  // ahead, and the active one. To be called by whoever relocates, when space is short.
  absl::Status Shrink();
  // Removes the files that are kept to be used again.
  void RemoveSpares();
  // Where next to nothing is stored, gives back what is kept for more: spares and the reserve, as if the store had just
  // been made. False where there is more.
  bool BecomeYoung();
  // Makes all durable, seals, stops. Nothing may be reserved any more.
  absl::Status Close();
  // Ends the background work, whatever state the log is in: when this returns no thread of the log's own touches a
  // file. For a log that cannot be closed. Not thread-safe; a second call does nothing.
  void Stop();

  // The record at [offset, offset + out.size()), from a tail buffer or from disk. The caller is inside an epoch guard
  // and verifies. NotFound for a segment the store no longer has.
  absl::Status Read(SegmentId segment, uint32_t offset, base::MutableBytes out);
  // As Read, but only from memory; false if it is not there.
  bool ReadResident(SegmentId segment, uint32_t offset, base::MutableBytes out) {
    return tail_ != nullptr && tail_->Read(segment, offset, out);
  }

  // Whether that would be true at this moment.
  bool IsResident(SegmentId segment, uint32_t offset) const {
    return tail_ != nullptr && tail_->Holds(segment, offset);
  }

  SegmentTable& segments() { return segments_; }
  // Ok while what was written survives this process, or is durable up to `revision`. Poisons the log where it would
  // not.
  absl::Status CheckTail(uint64_t revision);
  bool tail_locked() const { return tail_ == nullptr || tail_->locked(); }
  // Kept in every live-ids record, so that ids are never reused.
  std::atomic<uint32_t> next_namespace_id{format::kFirstUserNamespace};
  LogStats GetStats();

 private:
  enum class Need { kNothing, kBuffer, kSegment, kPublishing };

  Log(io::Disk& disk, const format::Superblock& superblock, base::EpochDomain& epochs, LogOptions options);

  void TakeOver(RecoveredLog& recovered);
  void FindSkips(const std::vector<RecoveredSegment>& segments, uint64_t last_revision);
  absl::Status Begin(RecoveredLog recovered);

  // Appending (append.cc).
  Need TryReserve(uint64_t bytes, uint64_t directory_bytes, io::Claimant claimant, Slot& slot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  bool FitsActive(uint64_t unit_end, uint64_t directory_bytes, io::Claimant claimant) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  static std::unique_ptr<Unit> NewUnit(uint64_t bytes);
  Need OpenUnit(uint64_t bytes, std::unique_ptr<Unit> unit = nullptr) ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  void CloseUnit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  uint64_t CapacityFor(uint64_t bytes, uint64_t directory_bytes) const;
  Need Rotate(uint64_t bytes, uint64_t directory_bytes, io::Claimant claimant)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  void Take(uint64_t bytes, uint64_t directory_bytes, Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  std::string LiveIdsBody() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  absl::Status CheckAppending();
  absl::Status WaitForSegment(uint64_t capacity_bytes, io::Claimant claimant);
  absl::Status WaitForBuffer();
  bool RunwayIsShort() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  void NoteRunway() ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);

  struct Beginning;
  void Activate(std::shared_ptr<Segment> segment, Beginning beginning) ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);

  // Group commit (commit.cc).
  enum class Extent {
    kFullBuffers,  // what no longer grows; nothing is synced
    kEverything,   // the open unit too
    kDurable,      // and synced
  };
  void LeadFlush(Extent extent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(flush_mutex_);
  void Gather() ABSL_EXCLUSIVE_LOCKS_REQUIRED(flush_mutex_);
  void TellWaiters() ABSL_EXCLUSIVE_LOCKS_REQUIRED(flush_mutex_);
  // Writers stand in the units it takes: it waits for them before it lets go of any.
  absl::Status FlushUnits(Extent extent) noexcept;
  absl::Status WriteUnits(Unit* first, bool sync);
  static void AwaitWriters(const Unit& unit);
  absl::Status WriteUnit(Unit& unit, io::Flush flush);
  absl::Status SyncSegment(Segment& segment);
  void FinishUnit(Unit& unit, bool durable);
  void NoteDurable(const Segment& segment, uint64_t end);
  absl::Status TailStatus() const;
  void Poison(const absl::Status& why) noexcept;
  // Tells the listener what `message` returns. Where there is no memory for it nobody is told.
  template <typename Message>
  void Say(EventKind kind, const Message& message) const noexcept {
    base::IfMemoryPermits([&] { options_.on_event(kind, message()); });
  }
  uint64_t FlushTurn();
  uint64_t FlushIntervalNanos() const { return uint64_t{options_.flush_interval_ms} * 1'000'000; }

  // Segments (segments.cc, prepare.cc).
  void PrepareNext();
  void TryPrepareNext();
  void NotePrepared() ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  uint64_t WantedBytes(io::Claimant claimant) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  void NoteAttempt(io::Claimant claimant, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  uint64_t TargetSegmentBytes() const;
  uint64_t FreshSegmentBytes() const;
  uint64_t SmallSegmentBytes() const;
  void KeepBack();
  bool HoldsLittle() const;
  bool IsYoung() const;
  absl::StatusOr<std::shared_ptr<Segment>> PrepareFirst(bool young);
  absl::StatusOr<std::shared_ptr<Segment>> PrepareSegment(uint64_t capacity_bytes, uint32_t generation,
                                                          io::Claimant claimant);
  SpareFile TakeSpare(uint64_t capacity_bytes, bool has_to_fit);
  bool RemoveSpare();
  absl::StatusOr<std::unique_ptr<io::File>> OpenSpare(Segment& segment, uint64_t capacity_bytes, bool has_to_fit);
  absl::StatusOr<std::unique_ptr<io::File>> ClaimFile(Segment& segment, uint64_t capacity_bytes, io::Claimant claimant);
  absl::Status Seal(Segment& segment);
  absl::Status RebuildDirectory(Segment& segment);
  void SealLeft();
  void Recycle(std::shared_ptr<Segment> segment, bool keep = true) noexcept;
  absl::Status WriteHeader(Segment& segment);
  std::vector<SegmentId> DeadSegments() const;

  io::Disk& disk_;
  const format::Superblock superblock_;
  base::EpochDomain& epochs_;
  const LogOptions options_;
  const std::unique_ptr<io::Room> own_room_;  // where the options name none
  io::Room& room_;
  SegmentTable segments_;
  std::unique_ptr<TailBuffers> tail_;
  PublishedRevisions published_;

  // Appending: where the next record goes.
  base::Mutex append_mutex_;
  std::shared_ptr<Segment> active_ ABSL_GUARDED_BY(append_mutex_);
  std::shared_ptr<Segment> prepared_ ABSL_GUARDED_BY(append_mutex_);
  uint64_t next_revision_ ABSL_GUARDED_BY(append_mutex_) = 1;
  uint64_t directory_bytes_ ABSL_GUARDED_BY(append_mutex_) = 0;    // bound on the active segment's footer
  uint64_t active_operations_ ABSL_GUARDED_BY(append_mutex_) = 0;  // since the segment's live ids
  std::unique_ptr<Unit> open_ ABSL_GUARDED_BY(append_mutex_);
  std::unique_ptr<Unit> closed_ ABSL_GUARDED_BY(append_mutex_);  // the first; each has the next
  Unit* last_closed_ ABSL_GUARDED_BY(append_mutex_) = nullptr;
  size_t buffer_ ABSL_GUARDED_BY(append_mutex_) = kTailBuffers;  // the one being filled; kTailBuffers: none
  uint32_t buffer_base_ ABSL_GUARDED_BY(append_mutex_) = 0;
  std::array<uint32_t, kTailBuffers> unwritten_units_ ABSL_GUARDED_BY(append_mutex_){};
  size_t next_buffer_ ABSL_GUARDED_BY(append_mutex_) = 0;                     // buffers are used in turn
  std::deque<std::shared_ptr<Segment>> left_ ABSL_GUARDED_BY(append_mutex_);  // not yet sealed
  // Who may append to the active segment, and will to the prepared one: these and those after them. Others only once
  // the reserve, which the segment was taken from, is whole again.
  io::Claimant active_for_ ABSL_GUARDED_BY(append_mutex_) = io::Claimant::kWrite;
  uint64_t active_since_nanos_ ABSL_GUARDED_BY(append_mutex_) = 0;
  std::atomic<uint64_t> last_fill_nanos_{UINT64_MAX};  // from the active segment's predecessor to it
  io::Claimant prepared_for_ ABSL_GUARDED_BY(append_mutex_) = io::Claimant::kWrite;
  // For each claimant: whether it waits for a segment, of what size, and what came of the last attempt to prepare one.
  struct Attempt {
    bool wanted = false;
    uint64_t capacity_bytes = 0;
    uint64_t count = 0;
    absl::Status status;
  };
  std::array<Attempt, io::kClaimants> attempts_ ABSL_GUARDED_BY(append_mutex_);
  bool appending_stopped_ ABSL_GUARDED_BY(append_mutex_) = false;
  base::CondVar segment_prepared_;
  base::CondVar segment_sealed_;
  base::CondVar runway_longer_;
  bool prepare_failed_ ABSL_GUARDED_BY(append_mutex_) = false;  // for the next segment, as tried last
  std::atomic<bool> runway_short_{false};  // as RunwayIsShort() was last; written under append_mutex_

  // The flusher's role. Waiters of the group being flushed wait on one condition, those of the next on the other.
  mutable base::Mutex flush_mutex_;
  bool flushing_ ABSL_GUARDED_BY(flush_mutex_) = false;
  uint64_t flush_group_ ABSL_GUARDED_BY(flush_mutex_) = 0;
  std::atomic<uint64_t> flush_takes_up_to_{0};  // revisions above wait for the next group
  std::array<base::CondVar, 2> group_done_;
  // Gather(): who waits for this group and for the next, the flusher included; how many come again, about.
  std::array<uint32_t, 2> group_waiters_ ABSL_GUARDED_BY(flush_mutex_){};
  uint32_t expected_waiters_ ABSL_GUARDED_BY(flush_mutex_) = 0;
  uint32_t gathers_left_out_ ABSL_GUARDED_BY(flush_mutex_) = 0, gathers_to_leave_out_ ABSL_GUARDED_BY(flush_mutex_) = 0;
  uint64_t flush_nanos_ ABSL_GUARDED_BY(flush_mutex_) = 0;  // that the last one took which made anything durable
  base::CondVar gathered_;
  base::CondVar flush_done_;  // for those who wait for written data or buffers, not for a group
  std::vector<DurableWaiter*> waiters_ ABSL_GUARDED_BY(flush_mutex_);
  std::atomic<uint64_t> asked_revision_{0};  // by waiters: firn-flush makes it durable
  absl::Status poison_ ABSL_GUARDED_BY(flush_mutex_);
  const absl::Status out_of_memory_poison_;  // made before memory can run out
  std::atomic<bool> poisoned_{false};
  std::atomic<uint64_t> durable_revision_{0};
  std::atomic<uint64_t> written_revision_{0};
  std::atomic<uint64_t> durable_position_{0};  // segment << 32 | offset
  std::atomic<int64_t> recorded_time_ms_{0};
  std::shared_ptr<Segment> last_written_;  // this and the next touched by the flusher only
  int64_t written_time_ms_ = 0;

  // Background work.
  base::Worker flushing_full_;
  uint64_t next_sync_nanos_ = 0;  // of that thread
  base::Worker preparing_;
  std::vector<uint64_t> skipped_after_;  // revisions, ascending, after which a crash skipped some
  base::Mutex spares_mutex_;
  std::vector<SpareFile> spares_ ABSL_GUARDED_BY(spares_mutex_);
  std::atomic<SegmentId> next_segment_id_{1};
  std::atomic<bool> closed_for_good_{false};

  std::atomic<uint64_t> commits_{0}, commit_writes_{0}, commit_bytes_{0};
  // In a row. Fresh segments are filled ahead while these are many, and the first one of each open.
  std::atomic<uint32_t> small_synced_commits_{kSmallSyncedCommitsMin};
  base::Histogram group_sizes_;
};

}  // namespace firn::log
