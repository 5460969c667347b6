// The index image: found and asked at open, written at a clean close and now and then when there is nothing else to do,
// given up when space is short. Nothing depends on it (rule 7).
#include <algorithm>

#include "base/memory.h"
#include "db/image_reader.h"
#include "db/image_writer.h"
#include "db/store.h"

namespace firn {
namespace {

// An image is written when of all keys this part or more came since the last one: at a close, which somebody waits for
// at the next open, and in a store that has been left alone for a while, which may yet be killed.
constexpr uint64_t kClosePart = 16, kIdlePart = 4;
constexpr uint64_t kIdleNanos = 2'000'000'000;
// Where it could not be written, as for want of room or while older versions are kept.
constexpr uint64_t kRetryNanos = 30'000'000'000;
// A close is not to take more than a few seconds: of larger stores only an idle one writes images.
constexpr uint64_t kCloseKeysMax = 32'000'000;
// One of a store that has shrunk is given up when this part of its records is left.
constexpr uint64_t kShrunkPart = 4;

}  // namespace

void Store::OpenImage() {
  if (!options_.read_only) static_cast<void>(disk_->Remove(format::kUnfinishedImageFile));
  image_found_ = true;
  if (ignore_image_ || options_.salvage) return;
  auto image = base::OrOutOfMemory([this] { return ImageReader::Open(*disk_, superblock_); });
  image_found_ = !absl::IsNotFound(image.status());
  if (image.ok()) {
    image_ = *std::move(image);
  } else if (image_found_) {
    IgnoreImage(std::string(image.status().message()));
  }
}

void Store::IgnoreImage(std::string_view why) {
  ignore_image_ = true;
  image_.reset();
  Emit(EventKind::kImageIgnored, std::string(disk_->path()) + "/" + std::string(format::kImageFile) + ": " +
                                     std::string(why) + "; the footers were read instead");
}

// The log has been recovered. An image that is not used must never be found again: later on it might seem to fit.
absl::Status Store::AskImage(log::RecoveredLog& recovered) {
  if (image_ != nullptr && !recovered.image_agrees) IgnoreImage("it does not agree with the segments");
  if (image_ == nullptr) return image_found_ && !options_.read_only ? DropImage() : absl::OkStatus();
  const absl::Status taken = image_->TakeSegments(recovered.segments, options_.read_only);
  image_failed_ = !taken.ok();
  if (!taken.ok()) return taken;
  // Ids that nothing alive names any more are not told by anything else, and must not be given again.
  values_->NoteFile(image_->head().next_value_file - 1);
  recovered.next_namespace_id = std::max(recovered.next_namespace_id, image_->head().next_namespace_id);
  return absl::OkStatus();
}

// Durably, or it might be there again.
absl::Status Store::DropImage() {
  image_bytes_ = 0;
  image_records_ = 0;
  image_segments_.clear();
  const absl::Status removed = disk_->Remove(format::kImageFile);
  if (!absl::IsNotFound(removed)) FIRN_RETURN_IF_ERROR(removed);
  return disk_->SyncFolder("");
}

// Records in sealed segments that the image on disk knows not of.
uint64_t Store::RecordsBesideImage() {
  uint64_t records = 0;
  for (const auto& segment : log_->segments().All()) {
    const bool sealed = segment->sealed.load(std::memory_order_acquire);
    if (sealed && !std::binary_search(image_segments_.begin(), image_segments_.end(), segment->id)) {
      records += segment->records;
    }
  }
  return records;
}

// Of all that fails here nobody is told: the next open reads footers.
void Store::WriteImage(const std::function<bool()>& keep_going) noexcept {
  const absl::Status written = base::OrOutOfMemory([&]() -> absl::Status {
    ImageWriter writer(*this, keep_going);
    FIRN_RETURN_IF_ERROR(writer.Run());
    FIRN_RETURN_IF_ERROR(disk_->Rename(format::kUnfinishedImageFile, format::kImageFile));
    NoteImage(writer.head(), writer.file_bytes());
    return disk_->SyncFolder("");
  });
  if (!written.ok()) base::IfMemoryPermits([&] { static_cast<void>(disk_->Remove(format::kUnfinishedImageFile)); });
}

void Store::NoteImage(const format::ImageHead& head, uint64_t file_bytes) {
  std::vector<log::SegmentId> segments;
  for (const format::ImageSegment& each : head.segments) segments.push_back(each.id);
  image_segments_ = std::move(segments);
  image_records_ = head.records;
  image_bytes_ = file_bytes;
}

void Store::ImageAtClose() noexcept {
  base::IfMemoryPermits([this] {
    if (options_.read_only || succession_.unfinished) return;
    if (tree_->entries() < image_records_ / kShrunkPart) static_cast<void>(DropImage());
    if (tree_->entries() < image_keys_min_ || tree_->entries() > kCloseKeysMax) return;
    if (RecordsBesideImage() * kClosePart < tree_->entries()) return;
    WriteImage([] { return true; });
  });
}

// Of the upkeep thread.
void Store::ImageTurn() {
  const uint64_t revision = log_->published().Get(), now = raw_clock_.MonotonicNanos();
  if (image_bytes_ != 0 && (room_->full() || tree_->entries() < image_records_ / kShrunkPart)) {
    static_cast<void>(DropImage());  // tried again with the next turn
  }
  if (revision != image_quiet_revision_) {
    image_quiet_revision_ = revision;
    image_quiet_since_nanos_ = now;
    return;
  }
  if (now < image_quiet_since_nanos_ + kIdleNanos || tree_->entries() < image_keys_min_ || room_->full()) return;
  if (RecordsBesideImage() * kIdlePart < tree_->entries()) return;
  image_quiet_since_nanos_ = now + kRetryNanos;
  base::MutexLock lock(reclaim_mutex_);
  WriteImage([this, revision] {
    base::MutexLock upkeep(upkeep_mutex_);
    return !upkeep_stop_ && log_->published().Get() == revision;
  });
}

}  // namespace firn
