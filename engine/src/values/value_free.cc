// Letting go of extents, and giving their space back.
//
// An extent whose last reference went is out of the hash map at once. Its space goes only when the change that dropped
// it is durable (rule 5: else a crash could bring back a record that names it) and every reader that may have found it
// before has left.
#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/memory.h"
#include "values/value_store.h"

namespace firn::values {
namespace {

// Copying what lives must not cost more than three times what it frees.
constexpr double kDeadPartMin = 0.25;
// As many are looked through for the largest ones.
constexpr size_t kRangesMax = size_t{64} << 10;

using Range = std::pair<uint64_t, uint64_t>;  // begin and end

// Those that come to `bytes_max`. A hole costs much the same whatever its size, and small ones may yet grow
// together with what is freed beside them.
std::vector<Range> LargestRanges(const std::map<uint64_t, uint64_t>& ranges, uint64_t bytes_max) {
  std::vector<Range> largest;
  for (auto at = ranges.begin(); at != ranges.end() && largest.size() < kRangesMax; ++at) largest.push_back(*at);
  std::stable_sort(largest.begin(), largest.end(),
                   [](const Range& a, const Range& b) { return a.second - a.first > b.second - b.first; });
  uint64_t bytes = 0;
  const auto enough = [&](const Range& range) {
    return std::exchange(bytes, bytes + range.second - range.first) >= bytes_max;
  };
  largest.erase(std::find_if(largest.begin(), largest.end(), enough), largest.end());
  return largest;
}

}  // namespace

void ValueStore::AddReference(Slot slot) { table_.AddReference(slot); }

void ValueStore::Release(Slot slot, uint64_t revision) {
  // Now: without our reference the extent, and its file, may go at once.
  const uint64_t taken_bytes = TakenBytes(table_.PlaceOf(slot)), length_bytes = length(slot);
  if (table_.Release(slot, revision)) CountDropped(taken_bytes, length_bytes);
}

void ValueStore::CountDropped(uint64_t taken_bytes, uint64_t length_bytes) {
  slack_bytes_.fetch_sub(taken_bytes - length_bytes, std::memory_order_relaxed);
  waiting_bytes_.fetch_add(taken_bytes, std::memory_order_relaxed);
}

uint64_t ValueStore::FreeDropped(uint64_t durable_revision, uint64_t bytes_max, ActiveFile active) {
  base::MutexLock lock(free_mutex_);
  durable_revision_ = durable_revision;
  uint64_t given_back = 0;
  // Marks may have been taken and nothing come of them.
  const bool whole =
      base::IfMemoryPermits([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { FreeDroppedLocked(bytes_max, active, given_back); });
  if (!whole) files_.MarkAllUntidy();
  return given_back;
}

void ValueStore::FreeDroppedLocked(uint64_t bytes_max, ActiveFile active, uint64_t& given_back) {
  if (const std::vector<Slot> slots = table_.TakeDropped(durable_revision_); !slots.empty()) {
    base::SchedulePoint();
    epochs_.Synchronize();
    FreeTaken(slots);
  }
  if (options_.read_only) return;
  // The most for each hole first; the longer a file waits, the more of its holes have grown together. Those that are
  // written to come last.
  std::vector<std::pair<uint64_t, std::shared_ptr<ValueFile>>> by_free_bytes;
  for (std::shared_ptr<ValueFile>& file : RemoveDead(given_back)) {
    const uint64_t free_bytes = file->pinned ? 0 : file->free_bytes;
    by_free_bytes.emplace_back(free_bytes, std::move(file));
  }
  std::stable_sort(by_free_bytes.begin(), by_free_bytes.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [bytes, file] : by_free_bytes) {
    const bool in_peace = file->pinned && given_back != 0 && active == ActiveFile::kLast;
    if (given_back < bytes_max && !in_peace) {
      given_back += GiveBack(*file, bytes_max - given_back);
    } else {
      files_.MarkUntidy(*file);
    }
  }
  TrimClaim(LookAheadBytes());
}

// Nobody can reach these extents any more.
void ValueStore::FreeTaken(const std::vector<Slot>& slots) {
  for (const Slot slot : slots) {
    const Place place = table_.PlaceOf(slot);
    ValueFile& file = files_.At(place.file);
    const uint64_t end = file.ExtentEnd(place.offset, place.length);
    if (!base::IfMemoryPermits([&] { file.AddFreeRange(place.offset, end); })) {
      table_.PutBackDropped(slot);  // readers have left for good: the next time will do
      continue;
    }
    // Last, because a file without extents may go.
    file.extents.fetch_sub(1, std::memory_order_relaxed);
    files_.MarkUntidy(file);
    table_.Recycle(slot);
  }
}

// A file that is not pinned never gets another extent.
bool ValueStore::IsDead(const ValueFile& file) {
  return !file.pinned && file.extents.load(std::memory_order_relaxed) == 0;
}

// What does not succeed now is tried again with the next FreeDropped().
uint64_t ValueStore::GiveBack(ValueFile& file, uint64_t bytes_max) {
  if (IsDead(file)) {
    const uint64_t bytes = file.free_bytes;
    if (!files_.Remove(file).ok()) {
      files_.MarkUntidy(file);
      return 0;
    }
    waiting_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return bytes;
  }
  const uint64_t bytes = PunchFreeRanges(file, bytes_max);
  if (!file.free_ranges.empty()) files_.MarkUntidy(file);
  return bytes;
}

uint64_t ValueStore::PunchFreeRanges(ValueFile& file, uint64_t bytes_max) {
  if (file.free_ranges.empty() || !can_punch_) return 0;
  const auto handle = files_.Open(file);
  if (!handle.ok()) return 0;
  // Whoever has the other link still needs what lies there (rule 6).
  const auto links = (*handle)->Links();
  if (!links.ok() || *links != 1) return 0;
  uint64_t bytes = 0;
  const std::vector<Range> ranges = file.free_bytes <= bytes_max
                                        ? std::vector<Range>(file.free_ranges.begin(), file.free_ranges.end())
                                        : LargestRanges(file.free_ranges, bytes_max);
  for (const auto& [begin, end] : ranges) {
    const absl::Status status = (*handle)->PunchHole(begin, end - begin);
    if (absl::IsUnimplemented(status)) can_punch_ = false;
    if (!status.ok()) break;
    file.shrunk = true;
    punches_.fetch_add(1, std::memory_order_relaxed);
    bytes += end - begin;
    file.RemoveFreeRange(begin);
    waiting_bytes_.fetch_sub(end - begin, std::memory_order_relaxed);
  }
  return bytes;
}

std::vector<uint32_t> ValueStore::FilesToEvacuate(uint32_t last_id) {
  if (can_punch_ || options_.read_only) return {};
  base::MutexLock lock(free_mutex_);
  base::MutexLock append_lock(append_mutex_);
  std::vector<std::pair<double, uint32_t>> dead_parts;
  for (const std::shared_ptr<ValueFile>& file : files_.All()) {
    const bool active = file == active_;
    if (file->id > last_id || file->free_ranges.empty() || file->damaged) continue;
    if (file->pinned && !active) continue;  // it is just being streamed to
    const uint64_t bytes = active ? active_end_ : files_.AllocatedBytes(*file);
    const double dead = static_cast<double>(file->free_bytes) / static_cast<double>(std::max<uint64_t>(1, bytes));
    if (dead < kDeadPartMin) continue;
    const auto handle = files_.Open(*file);
    const auto links = handle.ok() ? (*handle)->Links() : handle.status();
    if (links.ok() && *links == 1) dead_parts.emplace_back(-dead, file->slot);  // else another link keeps the space
  }
  std::sort(dead_parts.begin(), dead_parts.end());
  std::vector<uint32_t> files;
  files.reserve(dead_parts.size());
  for (const auto& [dead, slot] : dead_parts) files.push_back(slot);
  return files;
}

uint32_t ValueStore::NewestFileId() {
  const std::shared_ptr<ValueFile> newest = files_.Newest();  // whoever frees may be about to remove it
  return newest == nullptr ? 0 : newest->id;
}

absl::Status ValueStore::Leave(uint32_t file) {
  base::MutexLock lock(append_mutex_);
  return active_ != nullptr && active_->slot == file ? ChangeFile(0) : absl::OkStatus();
}

// After much was freed, the space claimed ahead shrinks too.
void ValueStore::GiveBackAhead() {
  base::MutexLock lock(free_mutex_);
  TrimClaim(0);
  uint64_t given_back = 0;
  for (const std::shared_ptr<ValueFile>& file : RemoveDead(given_back)) files_.MarkUntidy(*file);
}

// Of the files that may have something to give back: cuts those that were left, removes those that are dead, and
// returns the others.
std::vector<std::shared_ptr<ValueFile>> ValueStore::RemoveDead(uint64_t& given_back) {
  std::vector<std::shared_ptr<ValueFile>> files = files_.TakeUntidy();
  std::erase_if(files, [&](const std::shared_ptr<ValueFile>& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(free_mutex_) {
    const bool dead = IsDead(*file);
    if (dead) {
      given_back += GiveBack(*file);
    } else if (const uint64_t end = file->cut_to.exchange(0); end != 0) {
      CutToEnd(*file, end);  // what was claimed came to no use
    }
    return dead;
  });
  return files;
}

void ValueStore::TrimClaim(uint64_t ahead_bytes) {
  const auto next_is_too_large = [&] {
    base::MutexLock lock(append_mutex_);
    return next_ != nullptr && next_claimed_ > 2 * ahead_bytes + format::kBlockBytes;
  };
  if (next_is_too_large()) DropNext();
  base::MutexLock lock(append_mutex_);
  if (active_ == nullptr || active_claimed_ <= active_end_ + 2 * ahead_bytes) return;
  const uint64_t end = active_end_ + base::RoundDown(ahead_bytes, format::kBlockBytes);
  CutToEnd(*active_, end);
  const auto handle = files_.Open(*active_);
  if (handle.ok() && (*handle)->size_bytes() == end) active_claimed_ = end;
}

// What cannot be cut now stays claimed until the next open finds it.
void ValueStore::CutToEnd(ValueFile& file, uint64_t end) {
  const auto handle = files_.Open(file);
  if (!handle.ok() || (*handle)->size_bytes() <= end) return;
  const auto links = (*handle)->Links();
  if (!links.ok() || *links != 1) return;
  file.shrunk = true;
  static_cast<void>((*handle)->Truncate(end));
}

}  // namespace firn::values
