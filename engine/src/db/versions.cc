#include "db/versions.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/hash.h"
#include "base/memory.h"

namespace firn {
namespace {

uint64_t OwnBytes(const Version& version, bool put_is_shared) {
  return version.record_bytes() - (put_is_shared ? RecordBytes(version.entry) : 0);
}

}  // namespace

Versions::Shard& Versions::ShardOf(std::string_view index_key) const {
  return shards_[base::Hash64(base::AsBytes(index_key)) % kShards];
}

uint64_t Versions::AcquireView() {
  uint64_t revision;
  {
    base::MutexLock lock(views_mutex_);
    revisions_.insert(UINT64_MAX);  // while it can still fail
    views_.fetch_add(1, std::memory_order_seq_cst);
    revision = log_.LastReserved();
    auto view = revisions_.extract(std::prev(revisions_.end()));
    view.value() = revision;
    revisions_.insert(std::move(view));
  }
  log_.published().WaitFor(revision);
  return revision;
}

void Versions::ShareView(uint64_t revision) {
  base::MutexLock lock(views_mutex_);
  revisions_.insert(revision);
  views_.fetch_add(1, std::memory_order_seq_cst);
}

void Versions::ReleaseView(uint64_t revision, const Dropped& dropped) {
  uint64_t bound;
  {
    base::MutexLock lock(views_mutex_);
    const bool was_oldest = *revisions_.begin() == revision;
    revisions_.erase(revisions_.find(revision));
    views_.fetch_sub(1, std::memory_order_seq_cst);
    if (!was_oldest) return;
    // Without views the bound is what has been reserved: a later view and the writers it makes keep versions are above.
    bound = revisions_.empty() ? log_.LastReserved() : *revisions_.begin();
  }
  if (kept() != 0) Prune(bound, dropped);
}

void Versions::DropLeftovers(const Dropped& dropped) {
  if (kept() == 0) return;
  uint64_t bound;
  {
    base::MutexLock lock(views_mutex_);
    if (!revisions_.empty()) return;  // the end of the last view comes by itself
    bound = log_.LastReserved();
  }
  Prune(bound, dropped);
}

void Versions::DropPrefix(std::string_view prefix, const std::function<void(const Version&)>& release) {
  if (kept() == 0) return;
  for (Shard& shard : shards_) {
    base::MutexLock lock(shard.mutex);
    auto chain = shard.chains.lower_bound(prefix);
    while (chain != shard.chains.end() && chain->first.starts_with(prefix)) {
      for (Kept& kept : chain->second) {
        release(kept.version);
        Uncount(kept);
      }
      chain = shard.chains.erase(chain);
    }
  }
}

bool Versions::Keeps(std::string_view index_key) const {
  if (kept() == 0) return false;
  Shard& shard = ShardOf(index_key);
  base::MutexLock lock(shard.mutex);
  return shard.chains.contains(index_key);
}

bool Versions::Names(std::string_view index_key, format::Position place, uint64_t revision) const {
  if (kept() == 0) return false;
  Shard& shard = ShardOf(index_key);
  base::MutexLock lock(shard.mutex);
  const auto chain = shard.chains.find(index_key);
  if (chain == shard.chains.end()) return false;
  return std::any_of(chain->second.begin(), chain->second.end(), [&](const Kept& kept) {
    return kept.version.NamesPut(place) || kept.version.NamesChange(place.segment, revision);
  });
}

std::optional<index::Entry> Versions::EntryAt(std::string_view index_key, format::Position place) const {
  if (kept() == 0) return std::nullopt;
  Shard& shard = ShardOf(index_key);
  base::MutexLock lock(shard.mutex);
  const auto chain = shard.chains.find(index_key);
  if (chain == shard.chains.end()) return std::nullopt;
  for (const Kept& kept : chain->second) {
    if (kept.version.NamesPut(place)) return kept.version.entry;
  }
  return std::nullopt;
}

void Versions::Move(std::string_view index_key, format::Position from, const Moved& to, uint64_t revision,
                    const std::function<void()>& moved) {
  if (kept() == 0) return;
  Shard& shard = ShardOf(index_key);
  base::MutexLock lock(shard.mutex);
  const auto chain = shard.chains.find(index_key);
  if (chain == shard.chains.end()) return;
  for (Kept& kept : chain->second) {
    if (kept.version.NamesPut(from)) {
      RemoveBytes(kept);
      kept.version.entry.segment = to.place.segment;
      kept.version.entry.offset = to.place.offset;
      SetRecordBytes(kept.version.entry, to.size);
      if (to.extent) kept.version.entry.size = *to.extent;
      AddBytes(kept);
    } else if (kept.version.NamesChange(from.segment, revision)) {
      kept.version.expiry.change_segment = to.place.segment;
    } else {
      continue;
    }
    moved();
  }
}

void Versions::ForEach(const std::function<void(const Version&)>& each) const {
  for (const Shard& shard : shards_) {
    base::MutexLock lock(shard.mutex);
    for (const auto& [key, chain] : shard.chains) {
      for (const Kept& kept : chain) each(kept.version);
    }
  }
}

bool Versions::Keep(std::string_view index_key, const Version& old, bool put_is_shared, uint64_t replaced_by) {
  Shard& shard = ShardOf(index_key);
  const bool kept = base::IfMemoryPermits([&] {
    base::MutexLock lock(shard.mutex);
    auto chain = shard.chains.find(index_key);
    if (chain == shard.chains.end()) {
      std::vector<Kept> first;
      first.reserve(1);
      chain = shard.chains.emplace(index_key, std::move(first)).first;
    }
    chain->second.push_back({old, put_is_shared, replaced_by});
    kept_.fetch_add(1, std::memory_order_relaxed);
    AddBytes(chain->second.back());
  });
  if (kept) return true;
  uint64_t lost = lost_revision_.load(std::memory_order_relaxed);
  while (lost < replaced_by && !lost_revision_.compare_exchange_weak(lost, replaced_by, std::memory_order_acq_rel)) {
  }
  return false;
}

void Versions::AddBytes(Kept& kept) {
  const Version& version = kept.version;
  if (version.is_tombstone()) return;
  kept_records_.fetch_add(version.expiry.change_segment != 0 ? 2 : 1, std::memory_order_relaxed);
  kept_bytes_.fetch_add(version.record_bytes(), std::memory_order_relaxed);
  kept_own_bytes_.fetch_add(OwnBytes(version, kept.put_is_shared), std::memory_order_relaxed);
  if (!IsSeparated(version.entry)) return;
  kept.extent_counted = base::IfMemoryPermits([&] {
    base::MutexLock lock(extents_mutex_);
    ++extents_[version.entry.size];
  });
}

void Versions::Uncount(Kept& kept) {
  kept_.fetch_sub(1, std::memory_order_relaxed);
  RemoveBytes(kept);
}

void Versions::RemoveBytes(Kept& kept) {
  const Version& version = kept.version;
  if (version.is_tombstone()) return;
  kept_records_.fetch_sub(version.expiry.change_segment != 0 ? 2 : 1, std::memory_order_relaxed);
  kept_bytes_.fetch_sub(version.record_bytes(), std::memory_order_relaxed);
  kept_own_bytes_.fetch_sub(OwnBytes(version, kept.put_is_shared), std::memory_order_relaxed);
  if (!std::exchange(kept.extent_counted, false)) return;
  base::MutexLock lock(extents_mutex_);
  const auto named = extents_.find(version.entry.size);
  if (--named->second == 0) extents_.erase(named);
}

std::vector<std::pair<uint32_t, uint32_t>> Versions::KeptExtents() const {
  base::MutexLock lock(extents_mutex_);
  return {extents_.begin(), extents_.end()};
}

std::optional<Version> Versions::Find(std::string_view index_key, uint64_t revision) const {
  Shard& shard = ShardOf(index_key);
  base::MutexLock lock(shard.mutex);
  const auto chain = shard.chains.find(index_key);
  if (chain == shard.chains.end()) return std::nullopt;
  for (auto kept = chain->second.rbegin(); kept != chain->second.rend(); ++kept) {
    if (kept->version.entry.revision <= revision && kept->replaced_by > revision) return kept->version;
  }
  return std::nullopt;
}

// Lets go of every version that was replaced at or below `bound`, the oldest view's revision. Needs no memory.
void Versions::Prune(uint64_t bound, const Dropped& dropped) {
  for (Shard& shard : shards_) {
    Chains ended;
    {
      base::MutexLock lock(shard.mutex);
      for (auto chain = shard.chains.begin(); chain != shard.chains.end();) {
        std::vector<Kept>& kept = chain->second;
        const auto needed =
            std::find_if(kept.begin(), kept.end(), [bound](const Kept& k) { return k.replaced_by > bound; });
        for (auto k = kept.begin(); k != needed; ++k) {
          dropped.release(k->version);
          Uncount(*k);
        }
        kept.erase(kept.begin(), needed);
        const auto here = chain++;
        if (kept.empty()) ended.insert(shard.chains.extract(here));
      }
    }
    for (const auto& [key, none] : ended) dropped.erase_tombstone(key);
  }
}

}  // namespace firn
