// Counts the references to segments and extents anew, for tests: what is counted one too low is retired, or freed,
// while it is needed; what is counted one too high is never reclaimed.
#include <map>

#include "db/open.h"
#include "db/store.h"

namespace firn {
namespace {

struct Held {
  int64_t records = 0, bytes = 0;
};

// What each segment and each extent is held by.
class Count {
 public:
  void Add(uint32_t segment, uint32_t size) {
    held_[segment].records += 1;
    held_[segment].bytes += size;
  }
  void Add(const Version& version) {
    if (version.is_tombstone()) return;
    Add(version.entry.segment, RecordBytes(version.entry));
    if (IsSeparated(version.entry)) ++extents_[version.entry.size];
    if (version.expiry.change_segment != 0) Add(version.expiry.change_segment, version.expiry.change_size);
  }
  Held Take(uint32_t segment) {
    const auto node = held_.extract(segment);
    return node ? node.mapped() : Held{};
  }
  const std::map<uint32_t, Held>& left() const { return held_; }
  const std::map<values::Slot, uint64_t>& extents() const { return extents_; }

 private:
  std::map<values::Slot, uint64_t> extents_;
  std::map<uint32_t, Held> held_;
};

}  // namespace

std::string Store::CheckReferences() {
  base::MutexLock reclaim(reclaim_mutex_);
  base::MutexLock namespaces(namespaces_mutex_);
  const std::vector<base::Mutex*> stripes = AllStripes();
  base::MutexesLock locks(stripes);
  std::string wrong;
  Count count;
  uint64_t with_expiry = 0;
  const auto add = [&](std::string_view key, const index::Entry& entry) {
    Version version{entry, {}};
    if ((entry.flags & entry_flags::kHasExpiry) != 0) {
      ++with_expiry;
      const auto expiry = expiries_->Find(key);
      if (!expiry || expiry->revision != entry.revision) {
        wrong += "the expiry at revision " + std::to_string(entry.revision) + " is missing; ";
      } else {
        version.expiry = Expiry::Unpack(*expiry);
      }
    }
    count.Add(version);
  };
  tree_->ForEachPage(index::Tree::kLowest, [&](const index::Tree::Page& page) {
    for (size_t i = 0; i < page.size(); ++i) add(page.key(i), page.entry(i));
    return true;
  });
  if (with_expiry != expiries_->entries()) {
    wrong += std::to_string(with_expiry) + " entries have an expiry, the table has " +
             std::to_string(expiries_->entries()) + "; ";
  }
  versions_->ForEach([&](const Version& version) { count.Add(version); });
  for (const auto& segment : log_->segments().All()) {
    const Held held = count.Take(segment->id);
    const Held counted{segment->live_records.load(), segment->live_bytes.load()};
    if (held.records == counted.records && held.bytes == counted.bytes) continue;
    wrong += segment->file->name() + " counts " + std::to_string(counted.records) + " live records of " +
             std::to_string(counted.bytes) + " bytes, and is held by " + std::to_string(held.records) + " of " +
             std::to_string(held.bytes) + "; ";
  }
  for (const auto& [id, held] : count.left()) {
    wrong += std::to_string(held.records) + " references to segment " + std::to_string(id) + ", which is gone; ";
  }
  wrong += values_->CheckReferences(count.extents());
  return wrong;
}

uint64_t Store::UnexplainedValueBytes() {
  base::MutexLock reclaim(reclaim_mutex_);
  return values_->UnexplainedBytes();
}

std::string CheckReferences(DB& db) { return db.store_->CheckReferences(); }
uint64_t UnexplainedValueBytes(DB& db) { return db.store_->UnexplainedValueBytes(); }

}  // namespace firn
