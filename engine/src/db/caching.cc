// The value cache in the store: what is put there, and what of the memory budget it may take.
#include <algorithm>
#include <utility>

#include "db/planned.h"

namespace firn {
namespace {

using Part = memory::CacheKey::Part;

// The cache gives way to a growing index by this part of all it may take at a time, and takes back what is more than
// twice as much.
constexpr uint64_t kCacheSteps = 32;
// Of the budget, for a round of reclaim and what is read ahead for the next.
constexpr uint64_t kReclaimPart = 8;
constexpr uint64_t kReclaimBytesMax = uint64_t{16} << 20;

Part ValuePart(const index::Entry& entry) { return IsSeparated(entry) ? Part::kSeparatedValue : Part::kRecord; }

}  // namespace

memory::CacheKey Store::CacheKeyOf(std::string_view index_key, const index::Entry& entry, Part part) const {
  return {CacheHash(index_key), entry.segment, entry.offset, part};
}

bool Store::FindCached(std::string_view index_key, const index::Entry& entry, Part part, memory::Cached& found,
                       Caching caching) {
  if (!MayBeCached(entry.segment) || caching == Caching::kFromDisk) return false;
  const bool counts = caching == Caching::kFill;
  const bool is_there = cache_->Find(CacheKeyOf(index_key, entry, part), found, counts);
  if (counts) (is_there ? cache_hits_ : cache_misses_).Add(1);
  return is_there;
}

bool Store::PinCached(uint64_t key_hash, const index::Entry& entry, PinnedValue& value) {
  memory::Cached found;
  if (!MayBeCached(entry.segment) || !cache_->Find({key_hash, entry.segment, entry.offset, ValuePart(entry)}, found))
    return false;
  cache_hits_.Add(1);
  Pin(found, value);
  return true;
}

// Inside the guard in which it was found.
void Store::Pin(const memory::Cached& found, PinnedValue& value, size_t copied_bytes_max) {
  value.is_cached_ = true;
  const std::string_view bytes = base::AsText(found.value);
  if (bytes.size() <= copied_bytes_max) return value.Copy(bytes);
  value.frame_ = memory::CachePin(found).Leave();
  value.in_frame_ = bytes;
  value.place_ = PinnedValue::Place::kFrame;
}

void PinnedValue::Release() noexcept {
  // Of memory of its own what ordinary values need stays for the next one.
  constexpr size_t kKeptBytesMax = size_t{16} << 10;
  const memory::CachePin pin(std::exchange(frame_, nullptr));
  SetEmpty();
  if (own_.capacity() > kKeptBytesMax) own_ = std::string();
}

void Store::KeepCached(std::string_view index_key, const index::Entry& entry, Part part, base::Bytes value,
                       base::Bytes metadata) noexcept {
  if (!MayBeCached(entry.segment)) return;
  cache_->Insert(CacheKeyOf(index_key, entry, part), value, metadata);
}

// What was just written is likely to be read, and would otherwise be read from disk soon. Where it is large the copy is
// more than a small part of the write, so it is kept only where it replaces a value that is in the cache.
void Store::CacheWritten(const Planned& planned) noexcept {
  constexpr size_t kAlwaysBytesMax = size_t{16} << 10;
  const WriteOperation& operation = planned.operation;
  if (cache_ == nullptr || operation.kind != Batch::Operation::Kind::kPut) return;
  const bool separated = !planned.pointer.empty();
  if (separated && operation.value.empty()) return;  // it came as a stream
  if (operation.value.size() > kAlwaysBytesMax) {
    if (!planned.current) return;
    const index::Entry& old = planned.current->entry;
    const base::EpochGuard guard(epochs_);
    memory::Cached found;
    if (!MayBeCached(old.segment) ||
        !cache_->Find(CacheKeyOf(planned.key.view(), old, ValuePart(old)), found, /*counts=*/false))
      return;
  }
  const base::Bytes value = base::AsBytes(operation.value);
  if (separated) {
    KeepCached(planned.key.view(), planned.place, Part::kSeparatedValue, value, {});
  } else {
    KeepCached(planned.key.view(), planned.place, Part::kRecord, value, planned.record.metadata);
  }
}

// Reclaim has copied a record; its old place will go. With a new extent the copy is not the same: it names that.
void Store::CacheMoved(std::string_view index_key, const format::Position& from, const format::Position& to,
                       bool new_extent) noexcept {
  if (!MayBeCached(from.segment) || !MayBeCached(to.segment)) return;
  const uint64_t hash = CacheHash(index_key);
  for (const Part part : {Part::kRecord, Part::kSeparatedValue}) {
    if (part == Part::kRecord && new_extent) continue;
    cache_->Move({hash, from.segment, from.offset, part}, {hash, to.segment, to.offset, part});
  }
}

// What the budget leaves for the cache beside an index of that size, and beside what reclaim reads and copies.
uint64_t Store::CacheRoom(uint64_t index_bytes) const {
  const uint64_t reclaim_bytes = std::min(options_.memory_budget_bytes / kReclaimPart, kReclaimBytesMax);
  const uint64_t taken_bytes = std::min(kBuffersBytes + reclaim_bytes + index_bytes, options_.memory_budget_bytes);
  return std::min(options_.memory_budget_bytes - taken_bytes, cache_->capacity_bytes_max());
}

// Before the index grows to that size.
void Store::FitCache(uint64_t index_bytes) const {
  if (cache_ == nullptr) return;
  const uint64_t room_bytes = CacheRoom(index_bytes);
  if (cache_->capacity_bytes() <= room_bytes) return;
  base::MutexLock lock(cache_mutex_);
  const uint64_t step_bytes = cache_->capacity_bytes_max() / kCacheSteps;
  if (cache_->capacity_bytes() > room_bytes) cache_->SetCapacity(room_bytes - std::min(room_bytes, step_bytes));
}

// To what the index has given back since.
void Store::LetCacheGrow() {
  if (cache_ == nullptr) return;
  FitCache(IndexMemoryBytes());  // what grows beside the index asks nobody
  base::MutexLock lock(cache_mutex_);
  const uint64_t step_bytes = cache_->capacity_bytes_max() / kCacheSteps;
  const uint64_t room_bytes = CacheRoom(IndexMemoryBytes() + step_bytes);
  if (room_bytes > cache_->capacity_bytes() + 2 * step_bytes) cache_->SetCapacity(room_bytes);
}

}  // namespace firn
