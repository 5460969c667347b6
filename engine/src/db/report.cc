// Syncing on request, and statistics.
#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "db/store.h"

namespace firn {

absl::Status Store::Sync() {
  OperationTimer timer(syncs_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckWritable());
  return log_->WaitDurable(log_->LastReserved());
}

absl::Status Store::Flush() {
  FIRN_RETURN_IF_ERROR(CheckWritable());
  const absl::Status status = log_->SealActive();
  // Where there is no room to go on behind a seal, what was written becomes durable all the same.
  if (absl::IsResourceExhausted(status)) FIRN_RETURN_IF_ERROR(log_->WaitDurable(log_->LastReserved()));
  return status;
}

Stats Store::GetStats() {
  Stats stats;
  // Another thread may have held a lock at the moment of the fork; nobody will ever release it here.
  if (base::ForkGeneration() != fork_generation_) return stats;
  stats.puts = puts_.Summary();
  stats.deletes = deletes_.Summary();
  stats.batches = batches_.Summary();
  stats.gets = gets_.Summary();
  stats.multi_gets = multi_gets_.Summary();
  stats.syncs = syncs_.Summary();
  stats.multi_get_keys = multi_get_keys_.Sum();
  stats.user_bytes_written = user_bytes_written_.Sum();
  stats.user_bytes_read = user_bytes_read_.Sum();

  const io::Counters& device = disk_->counters();
  stats.device_reads = device.reads.load();
  stats.device_read_bytes = device.read_bytes.load();
  stats.device_writes = device.writes.load();
  stats.device_written_bytes = device.written_bytes.load();
  stats.device_syncs = device.syncs.load();
  stats.open_read_bytes = open_read_bytes_;
  stats.open_seconds = open_seconds_;
  stats.open_image_records = open_image_records_;

  const log::LogStats log = log_->GetStats();
  stats.segments = log.segments;
  stats.sealed_segments = log.sealed_segments;
  stats.spare_segments = log.spare_segments;
  stats.log_bytes = log.log_bytes;
  stats.live_bytes = log.live_bytes;
  stats.dead_bytes = log.log_bytes - std::min(log.log_bytes, log.live_bytes);
  stats.padding_bytes = log.padding_bytes;
  stats.footer_bytes = log.footer_bytes;
  stats.unwritten_bytes = log.unwritten_bytes;
  stats.commits = log.commits;
  stats.commit_writes = log.commit_writes;
  stats.commit_bytes = log.commit_bytes;
  stats.group_size_p50 = log.group_size_p50;
  stats.group_size_max = log.group_size_max;

  const values::ValueStats values = values_->GetStats();
  stats.value_files = values.files;
  stats.value_extents = values.extents;
  stats.value_live_bytes = values.live_bytes;
  stats.value_slack_bytes = values.slack_bytes;
  stats.value_waiting_bytes = values.waiting_bytes;
  stats.value_files_bytes = values.allocated_bytes;
  stats.value_dedup_hits = values.dedup_hits;
  stats.value_dedup_bytes = values.dedup_bytes;
  stats.values_healed = values.healed;
  stats.values_evacuated = values.evacuated;
  const reclaim::Space space = MeasureSpace();
  stats.disk_bytes = space.disk_bytes;
  stats.live_user_bytes = space.user_bytes;
  stats.pinned_bytes = space.pinned_bytes;
  stats.spare_bytes = log.spare_bytes;
  stats.tail_bytes = log::kTailFileBytes;
  stats.superblock_bytes = format::kSuperblockFileBytes;
  stats.image_bytes = image_bytes_.load();
  const reclaim::Goal goal = GoalFor(space);
  stats.space_ceiling_bytes = goal.ceiling_bytes;
  stats.pinned_over_ceiling = reclaim::IsPinnedOver(space, goal);
  const auto ratio = [](uint64_t a, uint64_t b) {
    return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b);
  };
  stats.quota_bytes = room_->quota_bytes();
  stats.quota_used_bytes = room_->used_bytes();
  stats.free_bytes = room_->FreeBytes();
  stats.reserve_bytes = room_->reserve_bytes();
  stats.disk_full = room_->full();
  stats.space_amplification = ratio(stats.disk_bytes, stats.live_user_bytes);
  stats.write_amplification = ratio(stats.device_written_bytes, stats.user_bytes_written);
  stats.relocated_records = relocated_records_.load(std::memory_order_relaxed);
  stats.relocated_bytes = relocated_bytes_.load(std::memory_order_relaxed);
  stats.read_ahead_bytes = read_ahead_bytes_.load(std::memory_order_relaxed);
  stats.reclaimed_bytes = reclaimed_bytes_.load(std::memory_order_relaxed);
  stats.throttled_ns = pacer_.throttled_nanos() + runway_nanos_.load(std::memory_order_relaxed);
  stats.reclaim_debt = pacer_.debt();

  const uint64_t namespaces = namespaces_.All().size();
  stats.keys = tree_->entries() - std::min(tree_->entries(), namespaces);
  stats.index_bytes = tree_->memory_bytes() + expiries_->memory_bytes();
  stats.index_bytes_per_key =
      stats.keys == 0 ? 0 : static_cast<double>(stats.index_bytes) / static_cast<double>(stats.keys);
  if (cache_ != nullptr) {
    const memory::CacheStats cache = cache_->GetStats();
    stats.cache_capacity_bytes = cache.capacity_bytes;
    stats.cache_bytes = cache.used_bytes;
    stats.cache_values = cache.values;
  }
  stats.cache_hits = cache_hits_.Sum();
  stats.cache_misses = cache_misses_.Sum();
  stats.kept_versions = versions_->kept();
  stats.snapshots = versions_->views();
  stats.namespaces = namespaces;
  stats.last_revision = log_->published().Get();
  stats.durable_revision = log_->durable_revision();
  stats.disk_kind = std::string(disk_->kind());
  stats.poisoned = !log_->health().ok();
  return stats;
}

std::string Stats::ToString() const {
  std::string text;
  const auto add = [&text](const char* format, auto... values) {
    char line[256];
    std::snprintf(line, sizeof(line), format, values...);
    text += line;
  };
  const auto latency = [&add](const char* name, const LatencySummary& s) {
    add("%-10s %12" PRIu64 "   p50 %8.1f us   p99 %8.1f us   p99.9 %8.1f us   max %10.1f us\n", name, s.count,
        static_cast<double>(s.p50_ns) / 1e3, static_cast<double>(s.p99_ns) / 1e3, static_cast<double>(s.p999_ns) / 1e3,
        static_cast<double>(s.max_ns) / 1e3);
  };
  constexpr double kMiB = 1 << 20;
  const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / kMiB; };
  latency("puts", puts);
  latency("deletes", deletes);
  latency("batches", batches);
  latency("gets", gets);
  latency("multi-gets", multi_gets);
  latency("syncs", syncs);
  add("user       %.1f MiB written, %.1f MiB read\n", mib(user_bytes_written), mib(user_bytes_read));
  add("device     %s: %.1f MiB written in %" PRIu64 " writes, %.1f MiB read in %" PRIu64 " reads, %" PRIu64 " syncs\n",
      disk_kind.c_str(), mib(device_written_bytes), device_writes, mib(device_read_bytes), device_reads, device_syncs);
  add("open       %.3f s, %.2f MiB read; %" PRIu64 " records from the index image\n", open_seconds,
      mib(open_read_bytes), open_image_records);
  add("log        %" PRIu64 " segments (%" PRIu64 " sealed, %" PRIu64 " spare), %.1f MiB: %.1f live, %.1f dead\n",
      segments, sealed_segments, spare_segments, mib(log_bytes), mib(live_bytes), mib(dead_bytes));
  add("values     %" PRIu64 " extents in %" PRIu64 " files, %.1f MiB; %.1f slack, %.1f waiting to be freed; %" PRIu64
      " shared, %" PRIu64 " healed, %" PRIu64 " evacuated\n",
      value_extents, value_files, mib(value_live_bytes), mib(value_slack_bytes), mib(value_waiting_bytes),
      value_dedup_hits, values_healed, values_evacuated);
  add("space      %.1f MiB on disk, %.1f MiB of live keys and values: amplification %.2f, ceiling %.1f MiB; "
      "%.1f spare, %.1f pinned by snapshots%s\n",
      mib(disk_bytes), mib(live_user_bytes), space_amplification, mib(space_ceiling_bytes), mib(spare_bytes),
      mib(pinned_bytes), pinned_over_ceiling ? ", MORE THAN THE CEILING ALLOWS" : "");
  if (quota_bytes != 0) add("quota      %.1f of %.1f MiB used\n", mib(quota_used_bytes), mib(quota_bytes));
  add("room       %.1f MiB free for writes, %.1f kept back for deletes and reclaim%s\n", mib(free_bytes),
      mib(reserve_bytes), disk_full ? "; FULL" : "");
  char amplification[32] = "not known, nothing put";
  if (user_bytes_written != 0) std::snprintf(amplification, sizeof(amplification), "%.2f", write_amplification);
  add("reclaim    %.1f MiB given back, %.1f MiB in %" PRIu64
      " records moved, %.1f MiB of it read ahead; write amplification %s; debt %.2f, writers held back %.3f s in "
      "all\n",
      mib(reclaimed_bytes), mib(relocated_bytes), relocated_records, mib(read_ahead_bytes), amplification, reclaim_debt,
      static_cast<double>(throttled_ns) / 1e9);
  add("commits    %" PRIu64 " with %" PRIu64 " writes, %.1f MiB; group size p50 %" PRIu64 ", max %" PRIu64 "\n",
      commits, commit_writes, mib(commit_bytes), group_size_p50, group_size_max);
  add("index      %" PRIu64 " keys, %.1f MiB, %.1f bytes a key; %" PRIu64 " older versions for %" PRIu64 " views\n",
      keys, mib(index_bytes), index_bytes_per_key, kept_versions, snapshots);
  add("cache      %.1f of %.1f MiB, %" PRIu64 " values; %" PRIu64 " hits, %" PRIu64 " misses\n", mib(cache_bytes),
      mib(cache_capacity_bytes), cache_values, cache_hits, cache_misses);
  add("revisions  last %" PRIu64 ", durable %" PRIu64 "; %" PRIu64 " namespaces%s\n", last_revision, durable_revision,
      namespaces, poisoned ? "; NO MORE WRITES after a failed one" : "");
  return text;
}

}  // namespace firn
