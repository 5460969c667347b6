// The one seam to the operating system for files. A Disk is one store's directory; a File is one open file in
// it. Three implementations: io_uring and pread/pwrite (OpenDisk chooses), and the simulated disk in
// tests/support.
//
// Public functions are not virtual: they check bounds and alignment, count, and then call the small virtual
// hooks. Every failure is a status that names the operation, the file, the offset and the errno. Nothing here
// retries a failed fsync, and nothing reports a short transfer as success.
//
// Thread-safety: all functions of Disk and File may be called from any thread at once. A File outlives the
// calls that use it; transfers that overlap are the caller's to order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/status.h"
#include "io/ledger.h"

namespace firn::io {

// What a Disk has done since it was opened. Bytes as asked for, before the device rounds them.
struct Counters {
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> read_bytes{0};
  std::atomic<uint64_t> writes{0};
  std::atomic<uint64_t> written_bytes{0};
  std::atomic<uint64_t> syncs{0};
};

enum class Flush {
  kBehind,  // the page cache has the data, and the device gets it in the background
  kNone,    // the device has the data, perhaps in a cache of its own; without direct I/O the page cache
  kData,    // fdatasync after the write, in one submission where the disk can
};

class File {
 public:
  explicit File(std::string name, Counters& counters) : name_(std::move(name)), counters_(counters) {}
  virtual ~File() = default;
  File(const File&) = delete;

  // Offsets, sizes and buffer addresses of transfers are multiples of this (a power of two, 512..4096); only the
  // address of what is written with Flush::kBehind is free.
  static constexpr uint64_t kAlignmentBytes = 4096;

  // Fills `out` from `offset`; bytes past the end of the file give OutOfRange.
  absl::Status Read(uint64_t offset, base::MutableBytes out);
  // Writes all of `data`. With Flush::kData an OK means the data, and the size that reaches it, are durable. Whichever
  // it is, the data survives this process; with Flush::kBehind a device's failure may show only in the next Sync().
  absl::Status Write(uint64_t offset, base::Bytes data, Flush flush);
  // fdatasync. A failure is final: what was written before must be taken as lost.
  absl::Status Sync();
  // Claims disk space for [from_bytes, size_bytes) and makes the file that long. Existing bytes stay. Holes in the
  // range are filled again, so whoever punches claims from its end on only. ResourceExhausted when the disk is full;
  // the file is then unchanged in size.
  absl::Status Allocate(uint64_t size_bytes, uint64_t from_bytes = 0);
  // Cuts the file to `size_bytes` (any size up to the current one) and gives the space back.
  absl::Status Truncate(uint64_t size_bytes);
  // Gives the space of [offset, offset + size_bytes) back; the range then reads as zeros, and the size stays. Both are
  // multiples of kAlignmentBytes. Unimplemented where the file system cannot. After a power cut what was not synced
  // may be there again.
  absl::Status PunchHole(uint64_t offset, uint64_t size_bytes);

  virtual uint64_t size_bytes() const = 0;
  // Space the file takes on the disk, holes not counted; with what the file system needs to find it.
  virtual absl::StatusOr<uint64_t> AllocatedBytes() = 0;
  // The same as of the last operation that changed it, from the disk's ledger.
  uint64_t counted_bytes() const { return account_ == nullptr ? 0 : account_->bytes.load(std::memory_order_relaxed); }
  // Hard links to this file; 1 for a file of ours alone.
  virtual absl::StatusOr<uint64_t> Links() = 0;
  const std::string& name() const { return name_; }

 protected:
  virtual absl::Status DoRead(uint64_t offset, base::MutableBytes out) = 0;
  virtual absl::Status DoWrite(uint64_t offset, base::Bytes data, Flush flush) = 0;
  virtual absl::Status DoSync() = 0;
  virtual absl::Status DoAllocate(uint64_t size_bytes, uint64_t from_bytes) = 0;
  virtual absl::Status DoTruncate(uint64_t size_bytes) = 0;
  virtual absl::Status DoPunchHole(uint64_t offset, uint64_t size_bytes) = 0;

  Counters& counters() { return counters_; }

 private:
  friend class AsyncReads;
  friend class Disk;
  absl::Status CheckRead(uint64_t offset, base::MutableBytes out) const;
  void Settle();

  const std::string name_;
  Counters& counters_;
  Ledger* ledger_ = nullptr;
  std::shared_ptr<Ledger::Account> account_;  // null for a file that was not opened through a Disk
};

// Memory shared with a file: it survives the death of the process, not that of the machine. Unmapped when
// destroyed. A forked child does not have it.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;
  virtual base::MutableBytes bytes() = 0;
  // False where RLIMIT_MEMLOCK forbids: the pages may then be evicted and read again.
  virtual bool locked() const = 0;
  // Whether an access has failed, as where the file system has shut down: some of it is memory of this process alone
  // since then, and will not survive it. Whoever stores first and asks then is told of its own store.
  virtual bool detached() const = 0;
};

// The store's LOCK file, held until destroyed. A child made by fork() does not hold it.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

struct ReadRequest {
  File* file = nullptr;
  uint64_t offset = 0;
  base::MutableBytes out;
  absl::Status status;  // result
};

class AsyncReads;

enum class OpenMode { kRead, kReadWrite, kCreate };  // kCreate: AlreadyExists if it is there

class Disk {
 public:
  virtual ~Disk() = default;

  // Names are relative to the store's directory: "SUPERBLOCK", "log/000001.seg".
  absl::StatusOr<std::unique_ptr<File>> Open(std::string_view name, OpenMode mode);
  // Plain names of the files in `folder` ("" is the store's directory), in no particular order.
  virtual absl::StatusOr<std::vector<std::string>> List(std::string_view folder) = 0;
  absl::Status Remove(std::string_view name);
  // Replaces `to` if it is there.
  absl::Status Rename(std::string_view from, std::string_view to);
  // OK if it exists already.
  virtual absl::Status MakeFolder(std::string_view name) = 0;
  // Makes creations, removals and renames in `folder` durable.
  virtual absl::Status SyncFolder(std::string_view folder) = 0;

  // All reads are in flight together; each request gets its own status. Same rules as File::Read. `ended` is called for
  // each once it has its status, in any order, while others are still in flight: it must not throw, and uses no file of
  // this disk.
  using Ended = std::function<void(ReadRequest& request)>;
  void ReadMany(std::span<ReadRequest> requests, const Ended& ended = nullptr);
  // For the calling thread: reads of this disk's files, `depth` of them at a time. The default does one after the
  // other.
  virtual absl::StatusOr<std::unique_ptr<AsyncReads>> NewAsyncReads(size_t depth);

  // Unavailable when another process, or another open store of this one, holds it. Creates the file when
  // `exclusive`.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(std::string_view name, bool exclusive) = 0;

  // Maps the whole file `name`, created with `size_bytes` allocated zero bytes if missing; an existing file
  // keeps its content and must have this size (FailedPrecondition if not). Prefaulted; locked if permitted.
  absl::StatusOr<std::unique_ptr<SharedMemory>> MapShared(std::string_view name, uint64_t size_bytes);

  // Space a new file could still claim.
  virtual absl::StatusOr<uint64_t> FreeBytes() = 0;

  // "io_uring", "pread", "simulated"; and why this one, empty when it is the first choice.
  virtual std::string_view kind() const = 0;
  virtual std::string_view fallback_reason() const = 0;
  // For messages: the directory's path.
  virtual std::string_view path() const = 0;

  const Counters& counters() const { return counters_; }
  // Space of the files that were opened at least once.
  const Ledger& ledger() const { return ledger_; }
  // Opens what lies in these folders and is not in the ledger yet, to count it.
  absl::Status CountFiles(std::span<const std::string_view> folders);

 protected:
  virtual absl::StatusOr<std::unique_ptr<File>> DoOpen(std::string_view name, OpenMode mode) = 0;
  virtual absl::Status DoRemove(std::string_view name) = 0;
  virtual absl::Status DoRename(std::string_view from, std::string_view to) = 0;
  virtual absl::StatusOr<std::unique_ptr<SharedMemory>> DoMapShared(std::string_view name, uint64_t size_bytes) = 0;
  // Requests are valid and aligned. The default reads one after the other.
  virtual void DoReadMany(std::span<ReadRequest> requests, const Ended& ended);

  static absl::Status DoReadOf(File& file, uint64_t offset, base::MutableBytes out) { return file.DoRead(offset, out); }
  Counters counters_;

 private:
  Ledger ledger_;
};

struct DiskOptions {
  bool create_if_missing = false;  // makes the directory (one level)
  bool read_only = false;
  bool use_io_uring = true;  // false: pread/pwrite at once
  bool use_direct_io = true;
};

// Opens a directory. It must exist (NotFound), be a directory (InvalidArgument) and be permitted
// (PermissionDenied). io_uring is probed; where it is forbidden, too old, or lacks an opcode, the disk is
// pread/pwrite and says why. Where the file system refuses O_DIRECT the page cache is used, and that too is
// said.
absl::StatusOr<std::unique_ptr<Disk>> OpenDisk(std::string_view path, const DiskOptions& options);

// Whether `path`, which need not exist, is `directory` or lies in it, whatever links and dots they are named with.
// False where there is no `directory`.
absl::StatusOr<bool> LiesIn(std::string_view path, std::string_view directory);

}  // namespace firn::io
