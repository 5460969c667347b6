// The value files of a store, and which of them have a descriptor open.
//
// A file is found by its slot without a lock, as an extent is. It is there for as long as it has extents or is pinned;
// readers of its last extents have left before FileTable::Remove().
//
// Lock order: FileTable::mutex_ and a file's handle_mutex are held alone. handle_mutex is held while the file is
// opened.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/sync.h"
#include "format/superblock.h"
#include "io/disk.h"
#include "io/room.h"
#include "values/growing_array.h"

namespace firn::values {

inline constexpr std::string_view kValuesFolder = "values";

using Handle = std::shared_ptr<io::File>;

struct ValueFile {
  uint32_t slot = 0;
  uint32_t id = 0;
  uint64_t alignment_bytes = 0;
  bool header_ok = false;  // else its extents are read all the same, as each is checked by itself, but none is added

  std::atomic<uint64_t> extents{0};  // live, or dropped and not yet freed
  std::atomic<bool> pinned{false};   // appended to: stays even without an extent
  std::atomic<bool> damaged{false};  // a value in it does not verify: no evacuation would get to its end
  std::atomic<bool> shrunk{false};   // punched or cut, which a power cut may still undo
  std::atomic<uint64_t> cut_to{0};   // what was claimed beyond is to be given back; 0: nothing is

  // Ranges nothing needs that still take space; begin to end, apart from each other. Of the thread that frees.
  std::map<uint64_t, uint64_t> free_ranges;
  uint64_t free_bytes = 0;
  void AddFreeRange(uint64_t begin, uint64_t end);  // or std::bad_alloc, and nothing has changed
  void RemoveFreeRange(uint64_t begin);

  // What an extent takes of this file: up to where the next one may begin.
  uint64_t ExtentEnd(uint64_t offset, uint64_t length) const { return base::RoundUp(offset + length, alignment_bytes); }
  uint64_t first_extent() const { return base::RoundUp(format::kBlockBytes, alignment_bytes); }

  base::Mutex handle_mutex;
  Handle handle ABSL_GUARDED_BY(handle_mutex);
  uint64_t allocated_bytes ABSL_GUARDED_BY(handle_mutex) = 0;  // when it was closed
  std::atomic<bool> used_lately{false};

  bool untidy = false;  // guarded by the table's mutex
};

std::string ValueFileName(uint32_t id);

class FileTable {
 public:
  FileTable(io::Disk& disk, io::Room& room, const format::Superblock& superblock, bool read_only,
            size_t open_files_max);
  ~FileTable();
  FileTable(const FileTable&) = delete;

  // Finds the files that are there. One whose header is damaged is kept; one of a newer format is an error.
  absl::Status Load();
  // A new, empty, pinned file: header and directory entry are durable.
  absl::StatusOr<std::shared_ptr<ValueFile>> Create(uint64_t alignment_bytes, base::ForwardClock& clock,
                                                    base::Random& random, io::Claimant claimant);
  // Unlinks the file, and forgets it if that succeeds. It has no extents and is not pinned.
  absl::Status Remove(ValueFile& file);

  ValueFile& At(uint32_t slot) const { return *by_slot_[slot].load(std::memory_order_acquire); }
  // What was unlinked stays so through a power cut.
  absl::Status SyncRemovals();
  // For recovery: null if there is none. The id is never given to a new file.
  ValueFile* Find(uint32_t id);
  std::shared_ptr<ValueFile> Newest();
  std::vector<std::shared_ptr<ValueFile>> All();

  // The open file; it stays usable for as long as the handle is held.
  absl::StatusOr<Handle> Open(ValueFile& file);
  uint64_t AllocatedBytes(ValueFile& file);

  // Files that may have something to be given back, in the order they were made. A file is handed out once for each
  // time it was marked. Marking needs no memory.
  void MarkUntidy(ValueFile& file);
  void MarkAllUntidy();
  std::vector<std::shared_ptr<ValueFile>> TakeUntidy();

  size_t damaged_headers() const { return damaged_headers_; }
  uint32_t next_id() const { return next_id_.load(); }

 private:
  absl::StatusOr<Handle> BeginFile(ValueFile& file, base::ForwardClock& clock, base::Random& random,
                                   io::Claimant claimant);
  absl::Status MakeFolder();
  absl::Status ReadHeader(ValueFile& file, io::File& opened);
  void Register(const std::shared_ptr<ValueFile>& file);
  void Opened(ValueFile& file);
  void CloseOneUnused(const ValueFile& except);
  void Close(ValueFile& file);

  io::Disk& disk_;
  io::Room& room_;
  const format::Superblock superblock_;
  const bool read_only_;
  const size_t open_files_max_;
  size_t damaged_headers_ = 0;

  // Elements are written under mutex_ and never while someone may still use the file they point to.
  GrowingArray<std::atomic<ValueFile*>, 64> by_slot_;
  std::atomic<bool> removed_{false};  // a file, since the folder was synced
  std::atomic<uint32_t> next_id_{1};  // never one that was seen before

  base::Mutex folder_mutex_;
  bool folder_durable_ ABSL_GUARDED_BY(folder_mutex_) = false;

  base::Mutex mutex_;
  std::map<uint32_t, std::shared_ptr<ValueFile>> by_id_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint32_t> free_slots_ ABSL_GUARDED_BY(mutex_);  // has room for all slots
  uint32_t slots_used_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<uint32_t> opened_ ABSL_GUARDED_BY(mutex_);  // ids of files with a handle, longest ago first
};

}  // namespace firn::values
