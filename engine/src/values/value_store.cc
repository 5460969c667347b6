#include "values/value_store.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "format/value_header.h"
#include "values/stream_writer.h"

namespace firn::values {
namespace {

// A file may take this much more than its extents, for what the file system needs to find them, before it is searched
// for ranges that were not given back.
constexpr uint64_t kUnexplainedBytesMax = uint64_t{256} << 10;
constexpr uint64_t kUnexplainedPart = 64;

}  // namespace

ValueStore::ValueStore(io::Disk& disk, const format::Superblock& superblock, base::EpochDomain& epochs,
                       const ValueOptions& options)
    : disk_(disk),
      epochs_(epochs),
      options_(options),
      secret_(superblock.secret),
      own_room_(options.room == nullptr ? std::make_unique<io::Room>(disk, io::RoomOptions{}) : nullptr),
      room_(options.room == nullptr ? *own_room_ : *options.room),
      files_(disk, room_, superblock, options.read_only, options.open_files_max) {}

ValueStore::~ValueStore() = default;

absl::StatusOr<std::unique_ptr<ValueStore>> ValueStore::Open(io::Disk& disk, const format::Superblock& superblock,
                                                             base::EpochDomain& epochs, const ValueOptions& options) {
  FIRN_CHECK(options.clock != nullptr && options.random != nullptr && options.hash != nullptr);
  if (!format::IsValueAlignment(options.alignment_bytes)) {
    return base::InvalidArgument("values are aligned to a power of two from 4 KiB to 128 KiB, not to " +
                                 std::to_string(options.alignment_bytes));
  }
  std::unique_ptr<ValueStore> store(new ValueStore(disk, superblock, epochs, options));
  FIRN_RETURN_IF_ERROR(store->files_.Load());
  return store;
}

// Contents may share the hash by which extents are found. One is written over as rotten only where `check` agrees too.
format::ExtentName NameOf(const format::ValuePointer& pointer) {
  return {pointer.hash_low, pointer.hash_high, pointer.length,
          pointer.file,     pointer.offset,    ValueStore::CheckOf(pointer.piece_checksums)};
}

format::ExtentName ValueStore::NameOf(Slot slot) const {
  const base::Hash128Value hash = table_.HashOf(slot);
  const Place place = table_.PlaceOf(slot);
  return {hash.low, hash.high, place.length, files_.At(place.file).id, place.offset, table_.CheckOf(slot)};
}

absl::StatusOr<Slot> ValueStore::Adopt(const format::ExtentName& extent) {
  ValueFile* const file = files_.Find(extent.file);
  const auto outside = [&](const char* what) {
    return base::DataLoss(ValueFileName(extent.file) + " at " + std::to_string(extent.offset) + ", " +
                          std::to_string(extent.length) + " bytes: " + what);
  };
  if (file == nullptr) return outside("there is no such file");
  if (extent.length == 0 || extent.length > kValueBytesMax) return outside("no value has this length");
  if (extent.offset % format::kBlockBytes != 0 || extent.offset < file->first_extent()) {
    return outside("no value lies at this offset");
  }
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(*file));
  const uint64_t size_bytes = handle->size_bytes();
  const uint64_t padded_bytes = base::RoundUp(extent.length, format::kBlockBytes);
  if (extent.offset > size_bytes || padded_bytes > size_bytes - extent.offset) return outside("beyond its end");

  const Place place{file->slot, extent.offset, extent.length};
  const ExtentTable::Acquired adopted = table_.Adopt({extent.hash_low, extent.hash_high}, place, extent.check);
  if (adopted.is_new) file->extents.fetch_add(1, std::memory_order_relaxed);
  return adopted.slot;
}

absl::StatusOr<bool> ValueStore::Restore(const format::ValuePointer& pointer) {
  ValueFile* const file = files_.Find(pointer.file);
  if (file == nullptr || pointer.length == 0 || pointer.length > kValueBytesMax) return false;
  if (pointer.offset % format::kBlockBytes != 0 || pointer.offset < file->first_extent()) return false;
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(*file));
  const uint64_t size_bytes = handle->size_bytes();
  if (pointer.offset > size_bytes) return false;
  if (base::RoundUp(pointer.length, format::kBlockBytes) > size_bytes - pointer.offset) return false;
  FIRN_ASSIGN_OR_RETURN(const auto hash, HashOnDisk(*handle, pointer.offset, pointer.length));
  if (hash != base::Hash128Value{pointer.hash_low, pointer.hash_high}) return false;
  if (options_.read_only) return true;

  BufferPool::Lease buffer(buffers_);
  const uint64_t end = base::RoundUp(pointer.length, format::kBlockBytes);
  for (uint64_t at = 0; at < end; at += kPieceBytes) {
    const base::MutableBytes piece = buffer.bytes().first(std::min<uint64_t>(kPieceBytes, end - at));
    FIRN_RETURN_IF_ERROR(ReadBlocks(*handle, pointer.offset + at, piece));
    FIRN_RETURN_IF_ERROR(handle->Write(pointer.offset + at, piece, io::Flush::kNone));
  }
  written_bytes_.fetch_add(end, std::memory_order_relaxed);
  dirty_.Mark(handle);
  return true;
}

void ValueStore::NoteDead(const format::ExtentName& extent) {
  ValueFile* const file = files_.Find(extent.file);
  constexpr uint64_t kOffsetMax = uint64_t{UINT32_MAX - 1} * format::kBlockBytes - kValueBytesMax;
  if (file == nullptr || options_.read_only || extent.offset % format::kBlockBytes != 0) return;
  if (extent.offset < file->first_extent() || extent.offset > kOffsetMax || extent.length > kValueBytesMax) return;
  const uint64_t end = file->ExtentEnd(extent.offset, extent.length);
  dead_ranges_.push_back({file->slot, static_cast<uint32_t>(extent.offset / format::kBlockBytes),
                          static_cast<uint32_t>(end / format::kBlockBytes)});
}

absl::Status ValueStore::FinishRecovery(bool clean) {
  base::MutexLock free_lock(free_mutex_);
  struct Taken {
    uint32_t file;
    uint64_t begin, end;
    uint64_t padded_bytes;  // claimed for certain; what lies between it and the end may be a hole
  };
  std::vector<Taken> taken;
  const auto take = [&](Slot slot) {
    const Place place = table_.PlaceOf(slot);
    taken.push_back({place.file, place.offset, files_.At(place.file).ExtentEnd(place.offset, place.length),
                     base::RoundUp(place.length, format::kBlockBytes)});
  };
  table_.EndRecovery(
      [&](Slot slot) {
        take(slot);
        const Place place = table_.PlaceOf(slot);
        slack_bytes_.fetch_add(TakenBytes(place) - place.length, std::memory_order_relaxed);
      },
      [&](Slot slot) {
        take(slot);  // until the change that dropped it is known durable (rule 5)
        waiting_bytes_.fetch_add(TakenBytes(table_.PlaceOf(slot)), std::memory_order_relaxed);
      });
  if (options_.read_only) return absl::OkStatus();

  const std::shared_ptr<ValueFile> newest = files_.Newest();
  if (clean && newest != nullptr && newest->header_ok && newest->alignment_bytes == options_.alignment_bytes) {
    FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(*newest));
    const auto links = handle->Links();
    if (links.ok() && *links == 1 && handle->size_bytes() < options_.file_bytes_max) {
      // A file whose making failed half-way, and could not be undone, may be there without a durable name.
      FIRN_RETURN_IF_ERROR(disk_.SyncFolder(kValuesFolder));
      base::MutexLock lock(append_mutex_);
      newest->pinned = true;
      active_ = newest;
      active_claimed_ = active_end_ = base::RoundUp(handle->size_bytes(), format::kBlockBytes);
      active_limit_ = FileBytesMax();
    }
  }
  needs_fresh_file_ = !clean && newest != nullptr;

  std::sort(taken.begin(), taken.end(),
            [](const Taken& a, const Taken& b) { return a.file != b.file ? a.file < b.file : a.begin < b.begin; });
  std::vector<DeadRange> all_dead = std::exchange(dead_ranges_, {});
  std::sort(all_dead.begin(), all_dead.end());
  for (const std::shared_ptr<ValueFile>& file : files_.All()) {
    const auto first = std::lower_bound(taken.begin(), taken.end(), file->slot,
                                        [](const Taken& range, uint32_t slot) { return range.file < slot; });
    auto dead = std::lower_bound(all_dead.begin(), all_dead.end(), DeadRange{file->slot, 0, 0});
    const bool has_dead = dead != all_dead.end() && dead->file == file->slot;
    uint64_t taken_bytes = format::kBlockBytes, claimed_bytes_min = format::kBlockBytes;
    for (auto range = first; range != taken.end() && range->file == file->slot; ++range) {
      taken_bytes += range->end - range->begin;
      claimed_bytes_min += range->padded_bytes;
    }
    const uint64_t explained_bytes = taken_bytes + kUnexplainedBytesMax + taken_bytes / kUnexplainedPart;
    const uint64_t allocated_bytes = clean ? files_.AllocatedBytes(*file) : UINT64_MAX;
    const bool search = allocated_bytes > explained_bytes;
    // Records of what died long ago are noted as well.
    if ((search || (has_dead && allocated_bytes > claimed_bytes_min)) && (file->extents > 0 || file->pinned)) {
      FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(*file));
      // A killed process may have healed an extent and not come to its sync. Whoever shares the extent from now on
      // finds the right bytes, and must not have them from the cache alone.
      if (!clean) FIRN_RETURN_IF_ERROR(handle->Sync());
      const auto add_free = [&](uint64_t begin, uint64_t end) {
        if (search) return file->AddFreeRange(begin, end);
        for (; dead != all_dead.end() && dead->file == file->slot; ++dead) {
          const uint64_t dead_begin = uint64_t{dead->begin} * format::kBlockBytes;
          const uint64_t dead_end = uint64_t{dead->end} * format::kBlockBytes;
          if (dead_begin < end) file->AddFreeRange(std::max(begin, dead_begin), std::min(end, dead_end));
          if (dead_end > end) return;  // it may go on behind what lies there
        }
      };
      uint64_t at = format::kBlockBytes;
      for (auto range = first; range != taken.end() && range->file == file->slot; ++range) {
        add_free(at, range->begin);
        at = std::max(at, range->end);
      }
      add_free(at, base::RoundUp(handle->size_bytes(), format::kBlockBytes));
      waiting_bytes_.fetch_add(file->free_bytes, std::memory_order_relaxed);
    }
    // What fails here is tried again with every FreeDropped().
    GiveBack(*file);
  }
  recovered_ = true;
  writable_ = true;
  return absl::OkStatus();
}

absl::Status ValueStore::Close() {
  writable_ = false;
  if (options_.read_only) return absl::OkStatus();
  if (!recovered_) return base::FailedPrecondition("what the value store found was not taken over");
  FIRN_RETURN_IF_ERROR(Sync());
  uint64_t durable_revision;
  {
    base::MutexLock lock(free_mutex_);
    durable_revision = durable_revision_;
  }
  {
    base::MutexLock lock(prepare_mutex_);  // the last one has ended
    DropNext();
  }
  FreeDropped(durable_revision);
  if (needs_fresh_file_ && files_.Newest() != nullptr)
    FIRN_RETURN_IF_ERROR(CreateFile(io::Claimant::kControl).status());
  FIRN_RETURN_IF_ERROR(CutActive());
  // After a clean end nobody looks for what a power cut may have brought back.
  FIRN_RETURN_IF_ERROR(files_.SyncRemovals());
  for (const std::shared_ptr<ValueFile>& file : files_.All()) {
    if (!file->shrunk.exchange(false)) continue;
    FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(*file));
    FIRN_RETURN_IF_ERROR(handle->Sync());
  }
  return absl::OkStatus();
}

// At a clean end the newest file ends with its last extent.
absl::Status ValueStore::CutActive() {
  base::MutexLock lock(append_mutex_);
  if (active_ == nullptr) return absl::OkStatus();
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(*active_));
  FIRN_ASSIGN_OR_RETURN(const uint64_t links, handle->Links());
  if (links != 1 || handle->size_bytes() <= active_end_) return absl::OkStatus();
  active_->shrunk = true;
  return handle->Truncate(active_end_);
}

ValueStats ValueStore::GetStats() {
  ValueStats stats;
  for (const std::shared_ptr<ValueFile>& file : files_.All()) {
    ++stats.files;
    stats.allocated_bytes += files_.AllocatedBytes(*file);
  }
  const auto value = [](const std::atomic<uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  {
    base::MutexLock lock(append_mutex_);
    stats.ahead_bytes = active_claimed_ - std::min(active_claimed_, active_end_);
    stats.ahead_bytes += preparing_bytes_.load(std::memory_order_relaxed);
    if (next_ != nullptr) stats.ahead_bytes += next_claimed_ - format::kBlockBytes;
    // Half of one file is left when the next one is made.
    if (active_ != nullptr) stats.ahead_bytes_max = std::max(stats.ahead_bytes, LookAheadBytes() / 2 * 3);
  }
  stats.extents = table_.extents();
  stats.live_bytes = table_.live_bytes();
  stats.slack_bytes = value(slack_bytes_);
  stats.waiting_bytes = value(waiting_bytes_);
  stats.written_bytes = value(written_bytes_);
  stats.dedup_hits = value(dedup_hits_);
  stats.dedup_bytes = value(dedup_bytes_);
  stats.healed = value(healed_);
  stats.evacuated = value(evacuated_);
  stats.punches = value(punches_);
  stats.damaged_headers = files_.damaged_headers();
  stats.memory_bytes = table_.memory_bytes() + buffers_.memory_bytes() + stats.files * sizeof(ValueFile);
  return stats;
}

std::unique_ptr<StreamWriter> ValueStore::BeginStream(std::function<bool()> await_room) {
  return std::unique_ptr<StreamWriter>(new StreamWriter(*this, std::move(await_room)));
}

}  // namespace firn::values
