#include "db/versions.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"

namespace firn {
Versions::Shard& Versions::ShardOf(std::string_view index_key) const {
  return shards_[base::Hash64(base::AsBytes(index_key)) % kShards];
}

uint64_t Versions::AcquireView() {
  uint64_t revision;
  {
    base::MutexLock lock(views_mutex_);
    views_.fetch_add(1, std::memory_order_seq_cst);
    revision = log_.LastReserved();
    revisions_.insert(revision);
  }
  log_.published().WaitFor(revision);
  return revision;
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

bool Versions::Keeps(std::string_view index_key) const {
  if (kept() == 0) return false;
  Shard& shard = ShardOf(index_key);
  base::MutexLock lock(shard.mutex);
  return shard.chains.contains(index_key);
}

void Versions::Keep(std::string_view index_key, const Version& old, uint64_t replaced_by) {
  Shard& shard = ShardOf(index_key);
  base::MutexLock lock(shard.mutex);
  auto chain = shard.chains.find(index_key);
  if (chain == shard.chains.end()) chain = shard.chains.emplace(index_key, std::vector<Kept>()).first;
  chain->second.push_back({old, replaced_by});
  kept_.fetch_add(1, std::memory_order_relaxed);
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

// Lets go of every version that was replaced at or below `bound`, the oldest view's revision.
void Versions::Prune(uint64_t bound, const Dropped& dropped) {
  for (Shard& shard : shards_) {
    std::vector<Version> released;
    std::vector<std::string> ended;
    {
      base::MutexLock lock(shard.mutex);
      for (auto chain = shard.chains.begin(); chain != shard.chains.end();) {
        std::vector<Kept>& kept = chain->second;
        const auto needed =
            std::find_if(kept.begin(), kept.end(), [bound](const Kept& k) { return k.replaced_by > bound; });
        for (auto k = kept.begin(); k != needed; ++k) released.push_back(k->version);
        kept_.fetch_sub(static_cast<uint64_t>(needed - kept.begin()), std::memory_order_relaxed);
        kept.erase(kept.begin(), needed);
        if (kept.empty()) {
          ended.push_back(chain->first);
          chain = shard.chains.erase(chain);
        } else {
          ++chain;
        }
      }
    }
    for (const Version& version : released) dropped.release(version);
    for (const std::string& key : ended) dropped.erase_tombstone(key);
  }
}

}  // namespace firn
