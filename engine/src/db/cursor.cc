#include "db/cursor.h"

#include <algorithm>

#include "base/memory.h"

namespace firn {
namespace {

// Memory answers many at once, so a window has more entries each time, the longer the walk the more. Who asks for one
// value may want no other: the disk is asked for one, then for more each time, until it has enough to do.
constexpr size_t kRowsMin = 16, kRowsMax = 64, kDiskRowsMax = 128, kDiskRowsGrowth = 8;
// Values of a window take so much in all, or there is one.
constexpr uint64_t kWindowBytesMax = uint64_t{512} << 10;
// Cached values up to this size are copied, to keep nothing in the cache: an iterator may stand for long.
constexpr size_t kCopiedBytesMax = 4'096;

// The smallest string above every string that starts with `prefix`; empty when there is none.
std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

absl::Status NoLongerThere() { return base::NotFound("the entry has expired, or its namespace was dropped"); }

std::string JoinKey(uint32_t namespace_id, std::string_view key) {
  return std::string(IndexKey(namespace_id, key).view());
}

}  // namespace

Cursor::Cursor(Store& store, uint32_t namespace_id, IteratorOptions options)
    : store_(store),
      namespace_id_(namespace_id),
      keys_only_(options.keys_only),
      rows_max_(kRowsMin),
      disk_rows_max_(1) {
  lower_ = JoinKey(namespace_id, options.prefix);
  upper_ = PrefixEnd(lower_);
  if (options.lower) lower_ = std::max(lower_, JoinKey(namespace_id, *options.lower));
  if (options.upper) upper_ = std::min(upper_, JoinKey(namespace_id, *options.upper));
  status_ = store_.CheckUsable();
  broken_ = !status_.ok();
  if (broken_) return;
  if (options.snapshot != nullptr) {
    revision_ = options.snapshot->revision();
    store_.ShareView(revision_);  // the snapshot may be let go before the iterator
  } else {
    revision_ = store_.AcquireView();
  }
  has_view_ = true;
}

Cursor::~Cursor() {
  if (has_view_ && store_.IsUsable()) store_.ReleaseView(revision_);
}

// Where memory ends the walk does: the iterator can be positioned again.
template <typename Walk>
void Cursor::Guarded(const Walk& walk) {
  if (base::IfMemoryPermits(walk)) return;
  valid_ = false;
  status_ = base::OutOfMemory();
}

bool Cursor::Ready() {
  valid_ = false;
  if (broken_) return false;
  status_ = store_.CheckUsable();
  if (status_.ok() && !store_.IsAlive(namespace_id_)) status_ = base::NotFound("no such namespace");
  if (status_.ok()) status_ = store_.CheckAbsenceServable(revision_);
  broken_ = !status_.ok();
  return !broken_;
}

std::string_view Cursor::key() const {
  return valid_ ? page_.key(at_).substr(kNamespacePrefixBytes) : std::string_view();
}

void Cursor::DropWindow() {
  for (size_t i = 0; i < rows_count_; ++i) rows_[i].Clear();
  rows_count_ = 0;
}

// Looks at the page's entries from at_ on.
void Cursor::MakeWindow(Direction direction, bool with_values) {
  with_values = with_values && !keys_only_;
  DropWindow();
  rows_read_ = false;
  direction_ = direction;
  window_at_ = at_;
  base::EpochGuard guard(store_.epochs());
  MakeRows(with_values);
  rows_max_ = std::min(2 * rows_max_, kRowsMax);
  if (with_values) ReadRows();
  rows_read_ = with_values;
}

void Cursor::MakeRows(bool with_values) {
  const bool forward = direction_ == Direction::kForward;
  const size_t count_max =
      std::min(forward ? page_end_ - at_ : at_ + 1 - page_begin_, std::max(disk_rows_max_, rows_max_));
  if (rows_.size() < count_max) rows_.resize(count_max);
  uint64_t bytes = 0;
  for (; rows_count_ < count_max; ++rows_count_) {
    const size_t at = forward ? at_ + rows_count_ : at_ - rows_count_;
    Store::ManyRead& read = rows_[rows_count_];
    read.index_key = page_.key(at);
    auto version = store_.LocateFrom(read.index_key, page_.entry(at), revision_);
    // The page is a copy: by now the slot of an extent may be another value's. What the index names inside an epoch
    // guard stays until the guard ends.
    if (with_values && version && IsSeparated(version->entry)) version = store_.Locate(read.index_key, revision_);
    read.version = version ? *version : Version{};
    if (!version) continue;
    if (with_values) bytes += store_.BytesToRead(*version);
    if (rows_count_ > 0 && bytes > kWindowBytesMax) break;
    read.found = true;
  }
}

void Cursor::ReadRows() {
  const std::span<Store::ManyRead> rows(rows_.data(), rows_count_);
  for (Store::ManyRead& read : rows) {
    if (!read.found) continue;
    read.status = store_.CheckServable(read.version);
    read.found = read.status.ok();
  }
  const size_t from_disk = store_.ReadMany(rows, Store::Caching::kPassBy, kCopiedBytesMax, disk_rows_max_);
  if (from_disk > 0) disk_rows_max_ = std::min(kDiskRowsGrowth * disk_rows_max_, kDiskRowsMax);
  for (Store::ManyRead& read : rows) {
    if (!absl::IsNotFound(read.status)) continue;
    // Where the page says there may be no segment any more, or it may go at this moment; any other has the record.
    const auto version = store_.Locate(read.index_key, revision_);
    read.status = NoLongerThere();
    if (!version) continue;
    read.version = *version;
    read.found = true;
    store_.ReadMany({&read, 1}, Store::Caching::kPassBy, kCopiedBytesMax, 1);
  }
}

// So that the row has its value, or says why not.
void Cursor::LoadRecord() {
  if (rows_read_ && IsInWindow() && !row().found) return;
  const uint64_t revision = version_.entry.revision;
  MakeWindow(direction_, /*with_values=*/true);
  if (row().version.entry.revision != revision) row().status = NoLongerThere();
}

void Cursor::LoadMetadata() {
  LoadRecord();
  if (metadata_read_ || !IsSeparated(version_.entry) || !row().status.ok()) return;
  base::EpochGuard guard(store_.epochs());
  const auto version = store_.Locate(page_.key(at_), revision_);
  row().status = version ? store_.ReadRecord(page_.key(at_), *version, nullptr, &metadata_, Store::Caching::kPassBy)
                         : NoLongerThere();
  metadata_read_ = row().status.ok();
}

// For the user, who may ask again where memory ends. True if what was to be loaded is there.
bool Cursor::Ensured(void (Cursor::*load)()) {
  if (!valid_ || keys_only_) return false;
  if (!base::IfMemoryPermits([&] { (this->*load)(); })) {
    DropWindow();
    status_ = base::OutOfMemory();
    return false;
  }
  value_wanted_ = true;
  status_ = store_.CheckServable(version_);
  if (status_.ok()) status_ = row().status;
  if (status_.ok()) return true;
  if (!store_.IsAlive(namespace_id_)) {
    status_ = base::NotFound("no such namespace");
    broken_ = true;
    valid_ = false;
  }
  return false;
}

std::string_view Cursor::value() { return Ensured(&Cursor::LoadRecord) ? row().value.value() : std::string_view(); }

std::string_view Cursor::metadata() {
  if (!Ensured(&Cursor::LoadMetadata)) return {};
  return IsSeparated(version_.entry) ? metadata_ : row().metadata;
}

bool Cursor::Accept(Direction direction) {
  if (!IsInWindow() || direction != direction_) {
    // Where memory does not suffice for a value it has not been asked for yet.
    const bool with_values = value_wanted_;
    if (!base::IfMemoryPermits([&] { MakeWindow(direction, with_values); })) MakeWindow(direction, false);
  }
  version_ = row().version;
  if (version_.entry.revision == 0) return false;
  value_wanted_ = metadata_read_ = false;
  status_ = store_.CheckServable(version_);
  valid_ = true;
  if (version_.expiry.at_ms == 0) return true;
  if (version_.expiry.at_ms > store_.NowMs()) {
    if (keys_only_) return true;
    LoadMetadata();  // it may expire while the iterator stands on it, and then its record and extent go
    if (status_.ok()) status_ = row().status;
    if (!absl::IsNotFound(status_)) return true;
  }
  valid_ = false;  // it has gone just now
  status_ = absl::OkStatus();
  return false;
}

// A walk that found nothing more: in a namespace that was dropped meanwhile it may have passed entries that were there.
// One that found something may have passed what memory did not suffice to keep for it.
void Cursor::CheckEnd() {
  if (store_.MayHaveLost(revision_)) {
    status_ = base::OutOfMemory();
    broken_ = true;
    valid_ = false;
    return;
  }
  if (valid_ || store_.IsAlive(namespace_id_)) return;
  status_ = base::NotFound("no such namespace");
  broken_ = true;
}

// Of the page's entries the first that is not below `index_key`.
size_t Cursor::PlaceInPage(std::string_view index_key) const {
  size_t begin = 0;
  for (size_t left = page_.size(); left > 0;) {
    const size_t half = left / 2;
    if (page_.key(begin + half) < index_key) {
      begin += half + 1;
      left -= half + 1;
    } else {
      left = half;
    }
  }
  return begin;
}

// The leaf that `index_key` belongs to, or what is directly before it.
void Cursor::ReadPage(std::string_view index_key, Direction direction) {
  DropWindow();
  if (direction == Direction::kForward) {
    store_.tree().ReadLeaf(index_key, page_);
  } else {
    store_.tree().ReadLeafBefore(index_key, page_);
  }
  page_begin_ = page_.low() >= lower_ ? 0 : PlaceInPage(lower_);
  page_end_ = page_.has_high() && page_.high() <= upper_ ? page_.size() : PlaceInPage(upper_);
}

void Cursor::WalkForward() {
  for (;;) {
    for (; at_ < page_end_; ++at_) {
      if (Accept(Direction::kForward)) return;
    }
    if (!page_.has_high() || page_.high() >= upper_) return;
    const std::string from(page_.high());
    ReadPage(from, Direction::kForward);
    at_ = PlaceInPage(from);
  }
}

// Through those before `end`.
void Cursor::WalkBackward(size_t end) {
  for (;;) {
    while (end > page_begin_) {
      at_ = --end;
      if (Accept(Direction::kBackward)) return;
    }
    const std::string before(page_.low());
    if (before.empty() || before <= lower_) return;
    ReadPage(before, Direction::kBackward);
    end = std::min(PlaceInPage(before), page_end_);
  }
}

void Cursor::SeekForwardTo(const std::string& index_key) {
  const std::string& from = std::max(index_key, lower_);
  rows_max_ = kRowsMin;
  disk_rows_max_ = 1;
  ReadPage(from, Direction::kForward);
  at_ = PlaceInPage(from);
  WalkForward();
  CheckEnd();
}

void Cursor::SeekBackwardBefore(const std::string& index_key) {
  const std::string& before = std::min(index_key, upper_);
  rows_max_ = kRowsMin;
  disk_rows_max_ = 1;
  ReadPage(before, Direction::kBackward);
  WalkBackward(std::min(PlaceInPage(before), page_end_));
  CheckEnd();
}

void Cursor::SeekToFirst() {
  Guarded([&] {
    if (Ready()) SeekForwardTo(lower_);
  });
}

void Cursor::SeekToLast() {
  Guarded([&] {
    if (Ready()) SeekBackwardBefore(upper_);
  });
}

void Cursor::Seek(std::string_view key) {
  Guarded([&] {
    if (Ready()) SeekForwardTo(JoinKey(namespace_id_, key));
  });
}

void Cursor::SeekForPrev(std::string_view key) {
  // The smallest key above `key` is `key` with a zero byte after it.
  Guarded([&] {
    if (Ready()) SeekBackwardBefore(JoinKey(namespace_id_, key) + '\0');
  });
}

void Cursor::Next() {
  Guarded([&] {
    if (!valid_ || !Ready()) return;
    ++at_;
    WalkForward();
    CheckEnd();
  });
}

void Cursor::Prev() {
  Guarded([&] {
    if (!valid_ || !Ready()) return;
    WalkBackward(at_);
    CheckEnd();
  });
}

}  // namespace firn
