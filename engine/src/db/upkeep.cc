// Background work on the index: entries that expired, entries of dropped namespaces, and segments nobody needs.
#include <algorithm>

#include "base/memory.h"
#include "db/store.h"

namespace firn {
namespace {

constexpr uint64_t kTurnNanos = 250'000'000;
// An empty store that nobody has written to for so long gives back what it keeps ready.
constexpr uint64_t kQuietNanos = 5'000'000'000;
// Of extents, at once.
constexpr uint64_t kFreeBytesMax = uint64_t{8} << 20;
// In a store that is otherwise idle, one commit for each of these spans at most goes to the time alone.
constexpr uint64_t kTimeRecordPauseNanos = 5'000'000'000;
// Looking for expired entries walks the whole expiry table: it may take this part of one core's time.
constexpr uint64_t kSweepPauseFactor = 20;

}  // namespace

void Store::WakeUpkeep() {
  base::MutexLock lock(upkeep_mutex_);
  upkeep_kicked_ = true;
  upkeep_wake_.NotifyOne();
}

void Store::RunUpkeep() {
  for (;;) {
    uint64_t room_requests;
    {
      base::MutexLock lock(upkeep_mutex_);
      bool in_time = true;
      while (!upkeep_stop_ && !upkeep_kicked_ && in_time) in_time = upkeep_wake_.WaitFor(upkeep_mutex_, kTurnNanos);
      if (upkeep_stop_) return;
      upkeep_kicked_ = false;
      room_requests = room_requests_;
    }
    const uint64_t rounds_before = rounds_.load(std::memory_order_relaxed);
    bool made_room = false;
    // What there was no memory for has its turn again when the next one comes.
    base::IfMemoryPermits([&] { TryUpkeep(made_room); });
    ServeRoom(room_requests, made_room || rounds_.load(std::memory_order_relaxed) != rounds_before);
  }
}

void Store::TryUpkeep(bool& made_room) {
  // From here on this thread can enter epochs without memory, as those who let go of things have to.
  { base::EpochGuard guard(epochs_); }
  if (!log_->health().ok()) return;
  UpkeepTurn();
  made_room = !room_->full() || MakeRoom();
}

void Store::UpkeepTurn() {
  {
    base::MutexLock lock(reclaim_mutex_);
    SweepExpired();
    FreeDropped();
    versions_->DropLeftovers(DropCallbacks());
    // A full disk is met again by the next write, a failed one is in the log's health: both are reported there.
    static_cast<void>(log_->RetireDead());
    // Rule 5. Holes can wait while there come more to grow together with: ReclaimTurn() sees to it that there is room.
    const uint64_t waiting_bytes = values_->GetStats().waiting_bytes;
    const bool wait = waiting_bytes > waiting_bytes_seen_ && HolesMayWait();
    values_->FreeDropped(log_->durable_revision(), wait ? 0 : kFreeBytesMax, values::ValueStore::ActiveFile::kLast);
  }
  ReclaimTurn();
  {
    base::MutexLock lock(reclaim_mutex_);
    waiting_bytes_seen_ = values_->GetStats().waiting_bytes;
  }
  ShedWhenEmptied();
  ImageTurn();
  LetCacheGrow();
  epochs_.Drain();
}

// A store that was emptied, and is left alone, takes no more than one that was just made.
void Store::ShedWhenEmptied() {
  const uint64_t now = raw_clock_.MonotonicNanos(), revision = log_->published().Get();
  if (revision != quiet_revision_ || tree_->entries() > namespaces_.All().size()) {
    quiet_revision_ = revision;
    quiet_since_nanos_ = now;
    return;
  }
  if (now - quiet_since_nanos_ < kQuietNanos || quiet_shed_revision_ == revision) return;
  if (!log_->BecomeYoung()) return;
  quiet_shed_revision_ = revision;
  base::MutexLock lock(reclaim_mutex_);
  values_->GiveBackAhead();
}

// Removes entries that have expired. Their records become tombstones (rule 2), which holds for good only once the log
// has recorded a time past their expiry: until then they stay. Views do not hold them: no read sees what has expired,
// and an iterator has read the value of an entry that may expire under it.
void Store::SweepExpired() {
  if (expiries_->entries() == 0) return;
  const uint64_t began_nanos = raw_clock_.MonotonicNanos();
  if (began_nanos < next_sweep_nanos_) return;
  const int64_t now_ms = clock_.NowMs();
  const int64_t recorded_ms = log_->recorded_time_ms();
  int64_t unrecorded_ms = 0;
  expiries_->ForEachPage(index::Tree::kLowest, [&](const index::Tree::Page& page) {
    for (size_t i = 0; i < page.size(); ++i) {
      const Expiry expiry = Expiry::Unpack(page.entry(i));
      if (expiry.at_ms == 0 || expiry.at_ms > now_ms) continue;
      if (expiry.at_ms > recorded_ms) {
        unrecorded_ms = std::max(unrecorded_ms, expiry.at_ms);
        continue;
      }
      base::MutexLock stripe(StripeOf(page.key(i)));
      const auto entry = tree_->Find(page.key(i));
      // A view may find an older version by the entry.
      if (!entry || entry->revision != expiry.revision || versions_->Keeps(page.key(i))) continue;
      Forget(page.key(i), *entry, /*leaves_tombstone=*/true);
    }
    return true;
  });
  const uint64_t ended_nanos = raw_clock_.MonotonicNanos();
  next_sweep_nanos_ = ended_nanos + kSweepPauseFactor * (ended_nanos - began_nanos);
  if (unrecorded_ms == 0 || ended_nanos < next_time_record_nanos_) return;
  next_time_record_nanos_ = ended_nanos + kTimeRecordPauseNanos;
  static_cast<void>(log_->RecordTime(unrecorded_ms));  // as above, a failure is reported elsewhere
}

// Frees the memory of dropped namespaces, leaf by leaf.
void Store::FreeDropped() {
  for (;;) {
    uint32_t id;
    {
      base::MutexLock lock(upkeep_mutex_);
      if (dropped_namespaces_.empty() || upkeep_stop_) return;
      id = dropped_namespaces_.back();
    }
    std::string prefix(kNamespacePrefixBytes, '\0'), end = prefix;
    StoreNamespacePrefix(prefix.data(), id);
    StoreNamespacePrefix(end.data(), id + 1);
    bool stopped = false;
    tree_->ForEachPage(prefix, [&](const index::Tree::Page& page) {
      for (size_t i = 0; i < page.size(); ++i) {
        if (page.key(i) < prefix || page.key(i) >= end) continue;
        base::MutexLock stripe(StripeOf(page.key(i)));
        if (const auto entry = tree_->Find(page.key(i))) Forget(page.key(i), *entry, /*leaves_tombstone=*/false);
      }
      base::MutexLock lock(upkeep_mutex_);
      stopped = upkeep_stop_;
      return !stopped && page.high() < end;
    });
    if (stopped) return;
    versions_->DropPrefix(prefix, [this](const Version& version) { DropVersion(version, log_->LastReserved()); });
    base::MutexLock lock(upkeep_mutex_);
    std::erase(dropped_namespaces_, id);
  }
}

// Takes an entry out of the index for good. The key's lock is held.
void Store::Forget(std::string_view index_key, const index::Entry& entry, bool leaves_tombstone) {
  Version version{entry, {}};
  if ((entry.flags & entry_flags::kHasExpiry) != 0) {
    if (const auto expiry = expiries_->Find(index_key)) version.expiry = Expiry::Unpack(*expiry);
  }
  if (leaves_tombstone) {
    base::EpochGuard guard(epochs_);
    for (const uint32_t id : {entry.segment, version.expiry.change_segment}) {
      if (log::Segment* segment = id != 0 ? log_->segments().Find(id) : nullptr) {
        segment->tombstones.fetch_add(1, std::memory_order_relaxed);
      }
    }
    RaiseTo(erased_revision_, entry.revision);
  }
  tree_->Erase(index_key, entry.revision);
  if ((entry.flags & entry_flags::kHasExpiry) != 0) expiries_->Erase(index_key, entry.revision);
  DropVersion(version, log_->LastReserved());
}

}  // namespace firn
