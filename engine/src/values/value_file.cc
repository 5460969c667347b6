#include "values/value_file.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/memory.h"
#include "format/value_header.h"

namespace firn::values {
namespace {

constexpr std::string_view kSuffix = ".val";
constexpr size_t kIdDigits = 10;

// 0 when the name is none of ours.
uint32_t IdOfName(std::string_view name) {
  if (name.size() != kIdDigits + kSuffix.size() || !name.ends_with(kSuffix)) return 0;
  uint64_t id = 0;
  for (const char digit : name.substr(0, kIdDigits)) {
    if (digit < '0' || digit > '9') return 0;
    id = id * 10 + static_cast<uint64_t>(digit - '0');
  }
  return id < UINT32_MAX - 1 ? static_cast<uint32_t>(id) : 0;
}

}  // namespace

std::string ValueFileName(uint32_t id) {
  char name[32];
  std::snprintf(name, sizeof(name), "values/%010u.val", id);
  return name;
}

void ValueFile::AddFreeRange(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  auto next = free_ranges.upper_bound(begin);
  if (next != free_ranges.begin() && std::prev(next)->second >= begin) {
    --next;
    begin = next->first;
  }
  decltype(free_ranges)::node_type grown;
  while (next != free_ranges.end() && next->first <= end) {
    end = std::max(end, next->second);
    free_bytes -= next->second - next->first;
    grown = free_ranges.extract(next++);
  }
  if (grown.empty()) {
    free_ranges.emplace(begin, end);
  } else {
    grown.key() = begin;
    grown.mapped() = end;
    free_ranges.insert(std::move(grown));
  }
  free_bytes += end - begin;
}

void ValueFile::RemoveFreeRange(uint64_t begin) {
  const auto range = free_ranges.find(begin);
  free_bytes -= range->second - range->first;
  free_ranges.erase(range);
}

FileTable::FileTable(io::Disk& disk, io::Room& room, const format::Superblock& superblock, bool read_only,
                     size_t open_files_max)
    : disk_(disk), room_(room), superblock_(superblock), read_only_(read_only), open_files_max_(open_files_max) {}

FileTable::~FileTable() = default;

absl::Status FileTable::Load() {
  auto names = disk_.List(kValuesFolder);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  FIRN_RETURN_IF_ERROR(names.status());
  std::sort(names->begin(), names->end());
  for (const std::string& name : *names) {
    const uint32_t id = IdOfName(name);
    if (id == 0) continue;
    auto file = std::make_shared<ValueFile>();
    file->id = id;
    file->alignment_bytes = format::kValueAlignmentBytesMin;
    Register(file);
    FIRN_ASSIGN_OR_RETURN(const Handle handle, Open(*file));
    FIRN_RETURN_IF_ERROR(ReadHeader(*file, *handle));
    next_id_ = std::max(next_id_.load(), id + 1);
  }
  return absl::OkStatus();
}

absl::Status FileTable::ReadHeader(ValueFile& file, io::File& opened) {
  base::AlignedBuffer block(format::kBlockBytes);
  absl::Status status = opened.Read(0, block.bytes());
  if (status.ok()) {
    auto header = format::DecodeValueHeader(block.bytes(), superblock_.secret, superblock_.uuid);
    status = header.status();
    if (header.ok() && header->file == file.id) {
      file.alignment_bytes = header->alignment_bytes;
      file.header_ok = true;
      return absl::OkStatus();
    }
  }
  const bool damaged =
      status.ok() || absl::IsNotFound(status) || absl::IsDataLoss(status) || absl::IsOutOfRange(status);
  if (!damaged) return base::MakeStatus(status.code(), opened.name() + ": " + std::string(status.message()));
  ++damaged_headers_;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<ValueFile>> FileTable::Create(uint64_t alignment_bytes, base::ForwardClock& clock,
                                                             base::Random& random, io::Claimant claimant) {
  FIRN_RETURN_IF_ERROR(MakeFolder());
  auto file = std::make_shared<ValueFile>();
  file->id = next_id_.fetch_add(1);
  if (file->id >= UINT32_MAX - 1) {
    next_id_ = UINT32_MAX - 1;
    return base::ResourceExhausted("the ids of value files are used up");
  }
  file->alignment_bytes = alignment_bytes;
  file->header_ok = true;
  file->pinned = true;
  auto handle = base::OrOutOfMemory([&]() -> absl::StatusOr<Handle> {
    FIRN_ASSIGN_OR_RETURN(Handle begun, BeginFile(*file, clock, random, claimant));
    Register(file);
    return begun;
  });
  if (!handle.ok()) {
    static_cast<void>(disk_.Remove(ValueFileName(file->id)));  // what stays is removed at the next open
    return handle.status();
  }
  {
    base::MutexLock lock(file->handle_mutex);
    file->handle = *std::move(handle);
  }
  Opened(*file);
  return file;
}

absl::StatusOr<Handle> FileTable::BeginFile(ValueFile& file, base::ForwardClock& clock, base::Random& random,
                                            io::Claimant claimant) {
  FIRN_ASSIGN_OR_RETURN(Handle handle, disk_.Open(ValueFileName(file.id), io::OpenMode::kCreate));
  FIRN_RETURN_IF_ERROR(room_.Claim(*handle, format::kBlockBytes, 0, claimant));
  format::ValueHeader header;
  header.file = file.id;
  header.store_uuid = superblock_.uuid;
  header.alignment_bytes = static_cast<uint32_t>(file.alignment_bytes);
  header.created_ms = clock.NowMs();
  {
    base::MutexLock lock(mutex_);  // a seeded generator is for one thread at a time
    base::StoreLe(header.salt.data(), random.Next());
    base::StoreLe(header.salt.data() + sizeof(uint64_t), random.Next());
  }
  base::AlignedBuffer block(format::kBlockBytes);
  format::EncodeValueHeader(header, superblock_.secret, block.bytes());
  FIRN_RETURN_IF_ERROR(handle->Write(0, block.bytes(), io::Flush::kData));
  FIRN_RETURN_IF_ERROR(disk_.SyncFolder(kValuesFolder));
  return handle;
}

absl::Status FileTable::MakeFolder() {
  base::MutexLock lock(folder_mutex_);
  if (folder_durable_) return absl::OkStatus();
  FIRN_RETURN_IF_ERROR(disk_.MakeFolder(kValuesFolder));
  // Even if it was there: a process that was killed may have made it and not have come to this.
  FIRN_RETURN_IF_ERROR(disk_.SyncFolder(""));
  folder_durable_ = true;
  return absl::OkStatus();
}

void FileTable::Register(const std::shared_ptr<ValueFile>& file) {
  base::MutexLock lock(mutex_);
  const bool fresh_slot = free_slots_.empty();
  const uint32_t slot = fresh_slot ? slots_used_ : free_slots_.back();
  if (fresh_slot) {
    free_slots_.reserve(slots_used_ + 1);
    by_slot_.Grow(slot);
  }
  by_id_[file->id] = file;
  if (fresh_slot) {
    ++slots_used_;
  } else {
    free_slots_.pop_back();
  }
  file->slot = slot;
  by_slot_[slot].store(file.get(), std::memory_order_release);
}

absl::Status FileTable::Remove(ValueFile& file) {
  FIRN_CHECK(file.extents == 0 && !file.pinned);
  if (absl::Status status = disk_.Remove(ValueFileName(file.id)); !status.ok() && !absl::IsNotFound(status)) {
    return status;
  }
  removed_ = true;
  Close(file);
  std::shared_ptr<ValueFile> last;  // destroyed outside the lock
  base::MutexLock lock(mutex_);
  const auto found = by_id_.find(file.id);
  last = std::move(found->second);
  free_slots_.push_back(last->slot);
  by_id_.erase(found);
  return absl::OkStatus();
}

absl::Status FileTable::SyncRemovals() {
  if (!removed_.exchange(false)) return absl::OkStatus();
  return disk_.SyncFolder(kValuesFolder);
}

ValueFile* FileTable::Find(uint32_t id) {
  next_id_ = std::max(next_id_.load(), std::min(id, UINT32_MAX - 2) + 1);
  base::MutexLock lock(mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

std::shared_ptr<ValueFile> FileTable::Newest() {
  base::MutexLock lock(mutex_);
  return by_id_.empty() ? nullptr : by_id_.rbegin()->second;
}

std::vector<std::shared_ptr<ValueFile>> FileTable::All() {
  std::vector<std::shared_ptr<ValueFile>> files;
  base::MutexLock lock(mutex_);
  files.reserve(by_id_.size());
  for (const auto& [id, file] : by_id_) files.push_back(file);
  return files;
}

absl::StatusOr<Handle> FileTable::Open(ValueFile& file) {
  Handle handle;
  {
    base::MutexLock lock(file.handle_mutex);
    if (file.handle != nullptr) {
      file.used_lately.store(true, std::memory_order_relaxed);
      return file.handle;
    }
    FIRN_ASSIGN_OR_RETURN(
        file.handle, disk_.Open(ValueFileName(file.id), read_only_ ? io::OpenMode::kRead : io::OpenMode::kReadWrite));
    handle = file.handle;
  }
  Opened(file);
  return handle;
}

// Second chance: the file opened longest ago that nobody holds and that was not used since the last look.
void FileTable::CloseOneUnused(const ValueFile& except) {
  size_t looks;
  {
    base::MutexLock lock(mutex_);
    looks = 2 * opened_.size();
  }
  for (; looks > 0; --looks) {
    std::shared_ptr<ValueFile> file;
    {
      base::MutexLock lock(mutex_);
      if (opened_.empty()) return;
      const auto found = by_id_.find(opened_.front());
      opened_.pop_front();
      if (found == by_id_.end()) continue;
      file = found->second;
    }
    bool open, busy;
    {
      base::MutexLock lock(file->handle_mutex);
      open = file->handle != nullptr;
      busy = file->pinned || file->handle.use_count() > 1 || file.get() == &except;
    }
    if (open && !busy && !file->used_lately.exchange(false, std::memory_order_relaxed)) {
      Close(*file);
      return;
    }
    base::MutexLock lock(mutex_);
    if (open) opened_.push_back(file->id);
  }
}

// A file that there is no memory to note stays open until it is removed.
void FileTable::Opened(ValueFile& file) {
  file.used_lately.store(true, std::memory_order_relaxed);
  base::IfMemoryPermits([&] {
    bool too_many;
    {
      base::MutexLock lock(mutex_);
      opened_.push_back(file.id);
      too_many = opened_.size() > open_files_max_;
    }
    if (too_many) CloseOneUnused(file);
  });
}

void FileTable::Close(ValueFile& file) {
  Handle last;  // closed outside the locks
  {
    base::MutexLock lock(file.handle_mutex);
    if (file.handle == nullptr) return;
    file.allocated_bytes = file.handle->AllocatedBytes().value_or(file.allocated_bytes);
    last = std::exchange(file.handle, nullptr);
  }
  base::MutexLock lock(mutex_);
  if (const auto found = std::find(opened_.begin(), opened_.end(), file.id); found != opened_.end()) {
    opened_.erase(found);
  }
}

uint64_t FileTable::AllocatedBytes(ValueFile& file) {
  base::MutexLock lock(file.handle_mutex);
  if (file.handle != nullptr) file.allocated_bytes = file.handle->AllocatedBytes().value_or(file.allocated_bytes);
  return file.allocated_bytes;
}

void FileTable::MarkUntidy(ValueFile& file) {
  base::MutexLock lock(mutex_);
  file.untidy = true;
}

void FileTable::MarkAllUntidy() {
  base::MutexLock lock(mutex_);
  for (const auto& [id, file] : by_id_) file->untidy = true;
}

std::vector<std::shared_ptr<ValueFile>> FileTable::TakeUntidy() {
  std::vector<std::shared_ptr<ValueFile>> files;
  base::MutexLock lock(mutex_);
  const auto untidy = std::count_if(by_id_.begin(), by_id_.end(), [](const auto& each) { return each.second->untidy; });
  files.reserve(static_cast<size_t>(untidy));
  for (const auto& [id, file] : by_id_) {
    if (std::exchange(file->untidy, false)) files.push_back(file);
  }
  return files;
}

}  // namespace firn::values
