// Letting go: of versions that nobody needs any more, with the references they hold, and of tombstones that hide
// nothing. None of it needs memory: it is done where there is no way back.
#include "base/memory.h"
#include "db/store.h"

namespace firn {

// Takes the key's tombstone out of the index if no older version is kept that it hides. Called by the writer when
// everything up to the tombstone's revision is published, and whenever the last older version of a key was dropped: of
// the two, whoever comes second finds both the tombstone in the index and no version kept. Under the key's lock: what a
// writer has found stays as it is until it is replaced.
void Store::EraseTombstone(std::string_view index_key) {
  base::MutexLock stripe(StripeOf(index_key));
  const auto entry = tree_->Find(index_key);
  // A version that this tombstone hides was kept before the tombstone came into the index.
  if (!entry || (entry->flags & entry_flags::kTombstone) == 0 || versions_->Keeps(index_key)) return;
  RaiseTo(erased_revision_, entry->revision);
  tree_->Erase(index_key, entry->revision);
}

void Store::AddReference(uint32_t segment, uint32_t size) {
  base::EpochGuard guard(epochs_);
  if (log::Segment* found = log_->segments().Find(segment)) {
    found->live_records.fetch_add(1, std::memory_order_relaxed);
    found->live_bytes.fetch_add(size, std::memory_order_relaxed);
  }
}

void Store::DropReference(uint32_t segment, uint32_t size) {
  base::EpochGuard guard(epochs_);
  if (log::Segment* found = log_->segments().Find(segment)) {
    found->live_bytes.fetch_sub(size, std::memory_order_relaxed);
    found->live_records.fetch_sub(1, std::memory_order_release);
  }
}

void Store::DropVersion(const Version& version, uint64_t revision) {
  NoteGarbage();
  if (version.is_tombstone()) return;
  DropReference(version.entry.segment, RecordBytes(version.entry));
  if (IsSeparated(version.entry)) values_->Release(version.entry.size, revision);
  if (version.expiry.change_segment != 0) DropReference(version.expiry.change_segment, version.expiry.change_size);
}

Versions::Dropped Store::DropCallbacks() {
  return {.release = [this](const Version& version) { DropVersion(version, log_->LastReserved()); },
          .erase_tombstone = [this](std::string_view key) { EraseTombstone(key); }};
}

void Store::ReleaseView(uint64_t revision) noexcept {
  // What may be left for want of memory to enter the epoch goes with the next view, or with DropLeftovers().
  base::IfMemoryPermits([&] { versions_->ReleaseView(revision, DropCallbacks()); });
}

}  // namespace firn
