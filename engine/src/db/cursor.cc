#include "db/cursor.h"

#include <algorithm>

#include "base/memory.h"

namespace firn {
namespace {

// The smallest string above every string that starts with `prefix`; empty when there is none.
std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

std::string JoinKey(uint32_t namespace_id, std::string_view key) {
  return std::string(IndexKey(namespace_id, key).view());
}

}  // namespace

Cursor::Cursor(Store& store, uint32_t namespace_id, IteratorOptions options)
    : store_(store), namespace_id_(namespace_id), keys_only_(options.keys_only) {
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
  loaded_ = false;
  value_.clear();
  metadata_.clear();
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

// The page is a copy: since it was filled the record may have moved to another segment, and its extent's slot may have
// become another value's. What the index names inside an epoch guard stays until the guard ends.
absl::Status Cursor::FindAgain() {
  const auto found = store_.Locate(page_.key(at_), revision_);
  if (!found) return base::NotFound("the entry has expired, or its namespace was dropped");
  version_ = *found;
  return absl::OkStatus();
}

absl::Status Cursor::ReadFound() {
  FIRN_RETURN_IF_ERROR(store_.CheckServable(version_));
  return store_.ReadRecord(page_.key(at_), version_, &value_, &metadata_, Store::Caching::kPassBy);
}

void Cursor::LoadRecord() {
  if (loaded_ || !valid_ || keys_only_) return;
  loaded_ = true;
  base::EpochGuard guard(store_.epochs());
  const bool separated = IsSeparated(version_.entry);
  status_ = separated ? FindAgain() : absl::OkStatus();
  if (status_.ok()) status_ = ReadFound();
  // Where the page says there may be no segment any more, or it may go at this moment; any other has the record.
  if (!separated && absl::IsNotFound(status_)) {
    status_ = FindAgain();
    if (status_.ok()) status_ = ReadFound();
  }
  if (status_.ok()) return;
  value_.clear();
  metadata_.clear();
  if (store_.IsAlive(namespace_id_)) return;
  status_ = base::NotFound("no such namespace");
  broken_ = true;
  valid_ = false;
}

// As LoadRecord(), for the user, who may ask again.
void Cursor::EnsureRecord() {
  if (base::IfMemoryPermits([this] { LoadRecord(); })) return;
  loaded_ = false;
  value_.clear();
  metadata_.clear();
  status_ = base::OutOfMemory();
}

std::string_view Cursor::value() {
  EnsureRecord();
  return value_;
}

std::string_view Cursor::metadata() {
  EnsureRecord();
  return metadata_;
}

// A walk in the order of keys is one through memory at random: what it will come to is asked for ahead.
void Cursor::Prefetch() const {
  constexpr size_t kFewSteps = 8, kSoonSteps = 4;
  if (keys_only_) return;
  if (at_ + kFewSteps < page_.size()) store_.PrefetchCached(page_.entry(at_ + kFewSteps), Store::Ahead::kFew);
  if (at_ + kSoonSteps < page_.size()) store_.PrefetchCached(page_.entry(at_ + kSoonSteps), Store::Ahead::kSoon);
}

bool Cursor::Accept() {
  base::EpochGuard guard(store_.epochs());
  Prefetch();
  const auto version = store_.LocateFrom(page_.key(at_), page_.entry(at_), revision_);
  if (!version) return false;
  version_ = *version;
  status_ = store_.CheckServable(version_);
  valid_ = true;
  if (version_.expiry.at_ms == 0) return true;
  // It may expire while the iterator stands on it, and then its record and extent go: read it now, inside the guard.
  LoadRecord();
  if (broken_ || !absl::IsNotFound(status_)) return true;
  valid_ = loaded_ = false;  // it has gone just now
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

void Cursor::SettleForward() {
  WalkForward();
  CheckEnd();
}

void Cursor::SettleBackward() {
  WalkBackward();
  CheckEnd();
}

void Cursor::WalkForward() {
  for (;;) {
    for (; at_ < page_.size(); ++at_) {
      if (page_.key(at_) >= upper_) return;
      if (Accept()) return;
    }
    if (!page_.has_high() || page_.high() >= upper_) return;
    const std::string from(page_.high());
    store_.tree().ReadLeaf(from, page_);
    at_ = 0;
    while (at_ < page_.size() && page_.key(at_) < from) ++at_;
  }
}

void Cursor::WalkBackward() {
  for (;;) {
    for (; at_ < page_.size(); --at_) {  // wraps below zero to the page's end
      if (page_.key(at_) < lower_) return;
      if (Accept()) return;
      if (at_ == 0) break;
    }
    const std::string before(page_.low());
    if (before.empty() || before <= lower_) return;
    store_.tree().ReadLeafBefore(before, page_);
    at_ = page_.size();
    while (at_ > 0 && page_.key(at_ - 1) >= before) --at_;
    --at_;  // an empty page wraps and goes on with the leaf before
  }
}

void Cursor::SeekForwardTo(const std::string& index_key) {
  const std::string& from = std::max(index_key, lower_);
  store_.tree().ReadLeaf(from, page_);
  at_ = 0;
  while (at_ < page_.size() && page_.key(at_) < from) ++at_;
  SettleForward();
}

void Cursor::SeekBackwardBefore(const std::string& index_key) {
  const std::string& before = std::min(index_key, upper_);
  store_.tree().ReadLeafBefore(before, page_);
  at_ = page_.size();
  while (at_ > 0 && page_.key(at_ - 1) >= before) --at_;
  --at_;
  SettleBackward();
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
    SettleForward();
  });
}

void Cursor::Prev() {
  Guarded([&] {
    if (!valid_ || !Ready()) return;
    if (at_ == 0) {
      const std::string before(page_.key(0));
      SeekBackwardBefore(before);
      return;
    }
    --at_;
    SettleBackward();
  });
}

}  // namespace firn
