// Large values, outside the log: content-addressed, reference-counted, written once, and moved
// only where holes cannot be punched.
//
//   auto stored = store->Put(value);            // an extent holds the bytes; one reference is ours
//   store->Sync();                              // now they are durable, and
//   EncodeValuePointer(stored->pointer)         // may be named by a record that is to be durable (rule 4)
//   store->Read(stored->slot, out);
//   store->Release(stored->slot, revision);     // a change at `revision` no longer needs it
//   store->FreeDropped(durable_revision);       // its space is given back once that change is durable (rule 5)
//
// An extent is the raw bytes of a value at a multiple of the alignment in values/ID.val, padded with zeros to 4 KiB.
// Values of equal bytes share one, after a comparison byte for byte with what is on disk.
//
// Thread-safety: as said with each function. Lock order: prepare_mutex_, free_mutex_, append_mutex_; after them, each
// alone or in this order: FileTable's, a shard of ExtentTable, its slots and dropped lists; DirtyFiles' and
// BufferPool's. I/O is done under prepare_mutex_ (the next file is made) and free_mutex_ (freeing is one job), under
// append_mutex_ only to claim space, to give back what was claimed ahead or to change files, under handle_mutex only to
// open a file, and under none else.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/sync.h"
#include "format/record.h"
#include "format/superblock.h"
#include "io/disk.h"
#include "io/room.h"
#include "values/buffer_pool.h"
#include "values/dirty_files.h"
#include "values/extent_table.h"
#include "values/value_file.h"

namespace firn::values {

struct ValueOptions {
  uint64_t alignment_bytes = 4096;  // extents begin at multiples; a power of two, 4 KiB..128 KiB
  // A file is left when the next extent does not fit into 1/64 of what lives (1/16 where holes cannot be punched), 4
  // MiB or four times the extent, whatever is most, and this at most.
  uint64_t file_bytes_max = uint64_t{1} << 30;
  size_t open_files_max = 256;  // descriptors kept; those in use come on top
  base::ForwardClock* clock = nullptr;
  base::Random* random = nullptr;
  base::Hash128Value (*hash)(base::Bytes, uint64_t secret) = &base::Hash128;  // tests force collisions
  bool read_only = false;
  // False: always through buffers, aligned memory of the caller's or not. For simulations, which must not depend on
  // where the heap happens to put a string.
  bool use_callers_memory = true;
  io::Room* room = nullptr;  // where space comes from; null: from the disk
  // Called by writers, holding nothing of the value store's, when PrepareNext() should be. Null: nobody calls it.
  std::function<void()> on_next_due;
};

struct ValueStats {
  uint64_t files = 0, extents = 0;
  uint64_t live_bytes = 0;       // lengths of the values that are referred to
  uint64_t slack_bytes = 0;      // what their extents take beyond that
  uint64_t waiting_bytes = 0;    // of extents nobody refers to, and not yet given back
  uint64_t ahead_bytes = 0;      // claimed for the next values
  uint64_t ahead_bytes_max = 0;  // the most that will be, about, as long as no more lives
  uint64_t allocated_bytes = 0;  // of all files, as the file system counts
  uint64_t written_bytes = 0;    // values and padding
  uint64_t dedup_hits = 0, dedup_bytes = 0;
  uint64_t healed = 0;  // rotten extents written again with the same bytes
  uint64_t evacuated = 0;
  uint64_t punches = 0;
  uint64_t damaged_headers = 0;  // of files, at open
  uint64_t memory_bytes = 0;
};

class StreamWriter;

format::ExtentName NameOf(const format::ValuePointer& pointer);

class ValueStore {
 public:
  // Reads the headers of the files that are there. Nothing is written before the first Put.
  static absl::StatusOr<std::unique_ptr<ValueStore>> Open(io::Disk& disk, const format::Superblock& superblock,
                                                          base::EpochDomain& epochs, const ValueOptions& options);
  ~ValueStore();
  ValueStore(const ValueStore&) = delete;

  // Recovery: single-threaded, before anything else but Read and Release.

  // An older record names this file: no new one gets its id. Else salvage, which may bring such records back, would
  // find another value's bytes where they point.
  void NoteFile(uint32_t file) { static_cast<void>(files_.Find(file)); }
  // The key that this value is of went without a change of its own: it expired while the store was closed, or its
  // namespace was dropped. So nobody released the extent, and unless somebody adopts it FinishRecovery() gives it back.
  void NoteDead(const format::ExtentName& extent);
  void NoteDead(const format::ValuePointer& pointer) { NoteDead(values::NameOf(pointer)); }
  // One more reference to the extent at this place. DataLoss when the place lies outside every file.
  absl::StatusOr<Slot> Adopt(const format::ExtentName& extent);
  absl::StatusOr<Slot> Adopt(const format::ValuePointer& pointer) { return Adopt(values::NameOf(pointer)); }
  // Of a record found in a killed process's shared memory only. Verifies the extent, and writes the same bytes again
  // (unless read_only), as a failed fsync may have left them in a cache alone; durable after the next Sync(). False
  // when it does not verify. A status when it cannot be read: that does not say that it was never written. To be
  // followed by Adopt().
  absl::StatusOr<bool> Restore(const format::ValuePointer& pointer);
  // Nothing further is adopted, and what was found is durable. Files nothing refers to are removed; what was noted as
  // dead is given back, and after an unclean end, or where files take more than they should, all that no extent lies
  // in. Appending begins in a fresh file, or after a clean end at the end of the newest: where a process crashed,
  // offsets it may have used are never used again.
  absl::Status FinishRecovery(bool clean);

  // Writing: any thread.

  struct Stored {
    Slot slot = kNoSlot;
    format::ValuePointer pointer;
  };
  // One reference is the caller's. The bytes are written, or were there; Sync() makes them durable. InvalidArgument for
  // an empty value and beyond kValueBytesMax; ResourceExhausted when the disk is full. After a failure nothing refers
  // to what may have been written, and later calls work again.
  // `flush` is for a value that has to be written: kBehind unless somebody waits for its Sync(); then it may be Sync()
  // that tells of the device's failure.
  absl::StatusOr<Stored> Put(base::Bytes value, io::Flush flush = io::Flush::kNone);
  // A value that comes in pieces. The store outlives the writer. Where there is no room for a piece, `await_room` is
  // asked, holding no lock, whether to try again.
  std::unique_ptr<StreamWriter> BeginStream(std::function<bool()> await_room = nullptr);
  // Called before Puts of `bytes`, holding nothing. While the file is nearly full and the next one is just being made,
  // waits for it, `nanos_max` at most: where the device stands still, many writes wait a little each instead of one for
  // all of it. Returns how long.
  uint64_t AwaitRunway(uint64_t bytes, base::Clock& clock, uint64_t nanos_max);
  // Makes the file that follows, if it is due: so that writers never wait for one. By one thread, holding no lock.
  void PrepareNext();
  // One reference fewer, because of the change at `revision`; 0 if no record ever named it. No I/O, no memory.
  void Release(Slot slot, uint64_t revision);
  // The caller holds a reference.
  void AddReference(Slot slot);
  // The extents of all Puts that returned before are durable. One atomic load each way when nothing is dirty, one
  // fdatasync for each dirty file. A failure is final: what was written may be lost, and every later call says so.
  absl::Status Sync() { return dirty_.Sync(); }

  // Reading: any thread that holds a reference, or an epoch guard begun while one was held.

  uint64_t length(Slot slot) const { return table_.PlaceOf(slot).length; }
  uint32_t references(Slot slot) { return table_.ReferencesTo(slot); }
  // `out` is length(slot) bytes long; read straight into it if it begins at a multiple of 4 KiB. Its hash is verified:
  // DataLoss names file and offset.
  absl::Status Read(Slot slot, base::MutableBytes out);
  // For who reads several at once: whole blocks at a multiple of 4 KiB, which begin with the value; then Verify() it.
  struct Blocks {
    Handle file;
    uint64_t offset = 0, size_bytes = 0;
    uint64_t length = 0;  // of the value
    base::Hash128Value hash{};
  };
  absl::StatusOr<Blocks> BlocksOf(Slot slot);
  // Whether it is the value of that time, whoever has the slot now.
  absl::Status Verify(const Blocks& blocks, base::Bytes value) const;
  // For reports.
  struct PlaceInFile {
    std::string file;
    uint64_t offset = 0;
  };
  PlaceInFile PlaceInFileOf(Slot slot) const;
  absl::Status Verify(Slot slot, base::Bytes value) const;
  base::Hash128Value HashOf(Slot slot) const { return table_.HashOf(slot); }
  format::ExtentName NameOf(Slot slot) const;
  uint32_t next_file_id() const { return files_.next_id(); }
  // Reads and verifies only the 64 KiB pieces that [offset, offset + out.size()) touches. OutOfRange beyond the value.
  absl::Status ReadPieces(Slot slot, std::span<const uint64_t> piece_checksums, uint64_t offset,
                          base::MutableBytes out);

  // Freeing: one thread at a time, holding no epoch guard.

  // Gives back the space of extents whose last reference went at a revision up to `durable_revision`, once readers have
  // left: files that are dead whole are unlinked, in others holes are punched until `bytes_max` have been given back,
  // and the next call goes on. Returns the bytes given back. A file with more than one link is not punched.
  // Files that were left are cut to their end as well. kLast: the file that is written to is not punched, which would
  // hold its writers up, if others gave anything back.
  enum class ActiveFile { kToo, kLast };
  uint64_t FreeDropped(uint64_t durable_revision, uint64_t bytes_max = UINT64_MAX,
                       ActiveFile active = ActiveFile::kToo);

  // Evacuation, the only thing that ever moves a value: where holes cannot be punched, a file gives back what is dead
  // in it only when nothing in it lives. By the thread that frees.

  // Files of which so large a part is dead that copying the rest is worth it, the deadest first; by slot, and none with
  // an id above `last_id`. None where holes can be punched.
  std::vector<uint32_t> FilesToEvacuate(uint32_t last_id);
  uint32_t NewestFileId();  // 0: there is no file
  // Nothing is added to the file any more.
  absl::Status Leave(uint32_t file);
  uint32_t FileOf(Slot slot) const { return table_.PlaceOf(slot).file; }
  // The same bytes in another extent, with one reference for the caller, as after Put(). The slot has references, or is
  // not freed yet. DataLoss when its bytes do not verify.
  absl::StatusOr<Stored> CopyOut(Slot slot, std::vector<uint64_t> piece_checksums);

  // No other call runs or follows but GetStats. Syncs, frees what the last FreeDropped() revision permits, cuts the
  // newest file to its end, and makes what was given back durable. FailedPrecondition unless FinishRecovery()
  // succeeded. Unless it returns OK the next FinishRecovery() must not be told of a clean end.
  absl::Status Close();
  // As the thread that frees: gives back what was claimed ahead of the next values. For when the disk is full.
  void GiveBackAhead();

  ValueStats GetStats();

  // For tests, while no other call runs (value_check.cc).

  // `names`: how often each extent is named. Says which extents count otherwise, and what is in use twice.
  std::string CheckReferences(const std::map<Slot, uint64_t>& names);
  // What files take beyond extents, what waits to be given back, and what is claimed ahead.
  uint64_t UnexplainedBytes();

  static uint32_t CheckOf(std::span<const uint64_t> piece_checksums);

 private:
  friend class StreamWriter;

  // Gives the bytes [offset, offset + size) of a value, size at most kPieceBytes. The view lives until the next call.
  using Source = std::function<absl::StatusOr<base::Bytes>(uint64_t offset, uint64_t size_bytes)>;
  struct Reserved {
    std::shared_ptr<ValueFile> file;
    uint64_t offset = 0;
  };

  ValueStore(io::Disk& disk, const format::Superblock& superblock, base::EpochDomain& epochs,
             const ValueOptions& options);

  // value_write.cc
  format::ValuePointer PointerOf(Slot slot, std::vector<uint64_t> piece_checksums) const;
  absl::StatusOr<ExtentTable::Acquired> Share(const base::Hash128Value& hash, uint64_t length, uint32_t check,
                                              const Source& source, Slot except = kNoSlot);
  absl::StatusOr<bool> Holds(Slot slot, uint32_t check, const Source& source);
  absl::Status Heal(const Place& place, const Source& source);
  absl::Status WriteFrom(io::File& file, const Place& place, const Source& source, io::Flush flush);
  Source SourceAt(io::File& file, const Place& place, base::MutableBytes buffer);
  absl::Status StoreNew(Slot slot, uint64_t length, const std::function<absl::Status(io::File&, const Place&)>& write);
  void Abandon(Slot slot);
  absl::StatusOr<Reserved> Reserve(uint64_t length);
  absl::StatusOr<Reserved> ReserveOwnFile(uint64_t length);
  absl::Status ChangeFile(uint64_t padded_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  absl::StatusOr<Reserved> ReserveLocked(uint64_t padded_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  uint64_t LeftBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  void DropNext();
  absl::StatusOr<std::shared_ptr<ValueFile>> CreateFile(io::Claimant claimant = io::Claimant::kWrite);
  void Unpin(ValueFile& file);
  // Of a pinned file without an extent: it goes now, or with the next FreeDropped().
  void Discard(std::shared_ptr<ValueFile> file);
  // `*claimed` is how far the file was claimed so far.
  absl::Status Claim(ValueFile& file, uint64_t end, uint64_t ahead_bytes, uint64_t* claimed);
  absl::Status WriteBytes(io::File& file, uint64_t offset, base::Bytes value, io::Flush flush);
  uint64_t LookAheadBytes() const;
  uint64_t FileBytesMax() const;
  uint64_t TakenBytes(const Place& place) const;

  // value_read.cc
  absl::Status ReadInto(io::File& file, uint64_t offset, base::MutableBytes out);
  absl::Status ReadBlocks(io::File& file, uint64_t offset, base::MutableBytes out);
  absl::StatusOr<bool> Compare(io::File& file, const Place& place, const Source& source);
  absl::StatusOr<base::Hash128Value> HashOnDisk(io::File& file, uint64_t offset, uint64_t length);
  absl::Status Damage(const Place& place, std::string_view what) const;

  // Of a file, in blocks; 12 bytes, as there may be many.
  struct DeadRange {
    uint32_t file, begin, end;
    bool operator<(const DeadRange& other) const {
      return std::tie(file, begin, end) < std::tie(other.file, other.begin, other.end);
    }
  };

  // value_free.cc
  void CountDropped(uint64_t taken_bytes, uint64_t length_bytes);
  void FreeDroppedLocked(uint64_t bytes_max, ActiveFile active, uint64_t& given_back)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(free_mutex_);
  void FreeTaken(const std::vector<Slot>& slots) ABSL_EXCLUSIVE_LOCKS_REQUIRED(free_mutex_);
  static bool IsDead(const ValueFile& file);
  uint64_t GiveBack(ValueFile& file, uint64_t bytes_max = UINT64_MAX) ABSL_EXCLUSIVE_LOCKS_REQUIRED(free_mutex_);
  uint64_t PunchFreeRanges(ValueFile& file, uint64_t bytes_max) ABSL_EXCLUSIVE_LOCKS_REQUIRED(free_mutex_);
  void TrimClaim(uint64_t ahead_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(free_mutex_);
  void CutToEnd(ValueFile& file, uint64_t end);
  std::vector<std::shared_ptr<ValueFile>> RemoveDead(uint64_t& given_back) ABSL_EXCLUSIVE_LOCKS_REQUIRED(free_mutex_);
  absl::Status CutActive();

  io::Disk& disk_;
  base::EpochDomain& epochs_;
  const ValueOptions options_;
  const uint64_t secret_;
  const std::unique_ptr<io::Room> own_room_;  // where the options name none
  io::Room& room_;

  FileTable files_;
  ExtentTable table_;
  DirtyFiles dirty_;
  BufferPool buffers_;

  std::atomic<bool> recovered_{false};  // all of it: else nothing may pass for a clean end
  std::atomic<bool> writable_{false};   // after recovery, until closed
  std::atomic<bool> can_punch_{true};

  base::Mutex prepare_mutex_;  // held while the next file is made
  base::Mutex append_mutex_;
  std::shared_ptr<ValueFile> active_ ABSL_GUARDED_BY(append_mutex_);
  uint64_t active_end_ ABSL_GUARDED_BY(append_mutex_) = 0;      // of the last extent; the next begins aligned
  uint64_t active_claimed_ ABSL_GUARDED_BY(append_mutex_) = 0;  // space is claimed up to here
  uint64_t active_limit_ ABSL_GUARDED_BY(append_mutex_) = 0;    // where the file is left
  // The file that follows, with space claimed. Where making it failed, that is tried again for the next one only.
  enum class Next { kNotDue, kDue, kReady, kFailed };
  Next next_state_ ABSL_GUARDED_BY(append_mutex_) = Next::kNotDue;
  std::shared_ptr<ValueFile> next_ ABSL_GUARDED_BY(append_mutex_);
  uint64_t next_claimed_ ABSL_GUARDED_BY(append_mutex_) = 0;
  std::atomic<uint64_t> preparing_bytes_{0};  // claimed for one that is just being made
  base::CondVar next_made_;

  std::vector<DeadRange> dead_ranges_;  // until FinishRecovery()

  base::Mutex free_mutex_;
  uint64_t durable_revision_ ABSL_GUARDED_BY(free_mutex_) = 0;

  // No file of this store may be appended to after a restart, whatever its end was like: a process crashed before, and
  // none was made since. Close() then makes an empty one.
  std::atomic<bool> needs_fresh_file_{false};

  std::atomic<uint64_t> slack_bytes_{0}, waiting_bytes_{0}, written_bytes_{0}, dedup_hits_{0}, dedup_bytes_{0},
      healed_{0}, evacuated_{0}, punches_{0};
};

}  // namespace firn::values
