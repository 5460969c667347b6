// Background work on the index: entries that expired, entries of dropped namespaces, and segments nobody needs.
#include "db/store.h"

namespace firn {
namespace {

constexpr uint64_t kTurnNanos = 250'000'000;
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
    {
      base::MutexLock lock(upkeep_mutex_);
      bool in_time = true;
      while (!upkeep_stop_ && !upkeep_kicked_ && in_time) in_time = upkeep_wake_.WaitFor(upkeep_mutex_, kTurnNanos);
      if (upkeep_stop_) return;
      upkeep_kicked_ = false;
    }
    if (!log_->health().ok()) continue;
    UpkeepTurn();
  }
}

void Store::UpkeepTurn() {
  SweepExpired();
  FreeDropped();
  versions_->DropLeftovers(DropCallbacks());
  // A full disk is met again by the next write, a failed one is in the log's health: both are reported there.
  static_cast<void>(log_->RetireDead());
  epochs_.Drain();
}

// Removes entries that have expired. Their records become tombstones (rule 2). While a view is open they stay: an
// iterator may just be reading one.
void Store::SweepExpired() {
  if (expiries_->entries() == 0 || versions_->AnyView()) return;
  const uint64_t began_nanos = raw_clock_.MonotonicNanos();
  if (began_nanos < next_sweep_nanos_) return;
  const int64_t now_ms = clock_.NowMs();
  index::Tree::Page page;
  std::string from(1, '\0');
  for (bool more = true; more;) {
    expiries_->ReadLeaf(from, page);
    for (size_t i = 0; i < page.size(); ++i) {
      const Expiry expiry = Expiry::Unpack(page.entry(i));
      if (expiry.at_ms == 0 || expiry.at_ms > now_ms) continue;
      base::MutexLock stripe(StripeOf(page.key(i)));
      const auto entry = tree_->Find(page.key(i));
      if (entry && entry->revision == expiry.revision) Forget(page.key(i), *entry, /*leaves_tombstone=*/true);
    }
    more = page.has_high();
    from = page.high();
  }
  const uint64_t ended_nanos = raw_clock_.MonotonicNanos();
  next_sweep_nanos_ = ended_nanos + kSweepPauseFactor * (ended_nanos - began_nanos);
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
    std::string from(kNamespacePrefixBytes, '\0'), end = from;
    StoreNamespacePrefix(from.data(), id);
    StoreNamespacePrefix(end.data(), id + 1);
    index::Tree::Page page;
    for (bool more = true; more;) {
      tree_->ReadLeaf(from, page);
      for (size_t i = 0; i < page.size(); ++i) {
        if (page.key(i) < from || page.key(i) >= end) continue;
        base::MutexLock stripe(StripeOf(page.key(i)));
        if (const auto entry = tree_->Find(page.key(i))) Forget(page.key(i), *entry, /*leaves_tombstone=*/false);
      }
      more = page.has_high() && page.high() < end;
      from = page.high();
      base::MutexLock lock(upkeep_mutex_);
      if (upkeep_stop_) return;
    }
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
  }
  tree_->Erase(index_key, entry.revision);
  if ((entry.flags & entry_flags::kHasExpiry) != 0) expiries_->Erase(index_key, entry.revision);
  DropVersion(version);
}

}  // namespace firn
