// Syncing on request, statistics, and checking every byte.
#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include <absl/container/flat_hash_set.h>

#include "base/aligned_buffer.h"
#include "db/store.h"
#include "format/value_header.h"
#include "log/segment_scan.h"

namespace firn {
namespace {

// Checks the units of one segment, and every record in them by itself.
void VerifyUnits(const log::Segment& segment, VerifyReport& report) {
  log::SegmentScanner scanner(segment);
  const uint64_t end = segment.written_end.load(std::memory_order_acquire);
  const auto at_text = [&](uint64_t at) { return segment.file->name() + " at offset " + std::to_string(at) + ": "; };
  for (uint64_t at = log::kFirstUnitOffset; at < end;) {
    const auto unit = scanner.UnitAt(at);
    if (!unit) {
      const uint64_t next = scanner.FindUnit(at + format::kBlockBytes, end).value_or(end);
      std::string damage = at_text(at) + std::to_string(next - at) + " bytes of commit units do not verify";
      if (!scanner.read_error().ok()) damage += " (" + std::string(scanner.read_error().message()) + ")";
      report.damages.push_back(std::move(damage));
      at = next;
      continue;
    }
    const uint64_t payload_at = at + format::kUnitHeaderBytes;
    for (size_t done = 0; done < unit->payload.size();) {
      const auto record = format::DecodeRecord(unit->payload.subspan(done), segment.seed, payload_at + done);
      if (!record) {
        report.damages.push_back(at_text(payload_at + done) + "a record does not verify in a unit that does");
        break;
      }
      ++report.records;
      done += record->size_bytes;
    }
    const uint64_t bytes = uint64_t{unit->header.blocks} * format::kBlockBytes;
    report.bytes += bytes;
    at += bytes;
  }
  if (segment.sealed.load(std::memory_order_acquire) && !log::LoadFooter(segment)) {
    report.damages.push_back(at_text(end) + "the footer does not verify; opening will scan the segment");
  }
}

}  // namespace

void Store::VerifyValueHeader(io::File& file, VerifyReport& report) const {
  base::AlignedBuffer block(format::kBlockBytes);
  absl::Status status = file.Read(0, block.bytes());
  if (status.ok()) status = format::DecodeValueHeader(block.bytes(), superblock_.secret, superblock_.uuid).status();
  if (status.ok()) return;
  report.damages.push_back(file.name() + " at offset 0: the header does not verify (" + std::string(status.message()) +
                           "); its values are read all the same, and none is added");
}

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

struct Store::VerifyProgress {
  const ProgressCallback& callback;
  uint64_t done_bytes, total_bytes;

  // Before each part, outside of every epoch guard: the callback may take its time.
  absl::Status GoOn() const {
    // What was written since the total was taken is checked, but beyond it.
    const uint64_t done = std::min(done_bytes, total_bytes);
    if (!callback || callback(done, total_bytes)) return absl::OkStatus();
    return base::MakeStatus(absl::StatusCode::kCancelled, "verify was cancelled after " + std::to_string(done) +
                                                              " of " + std::to_string(total_bytes) + " bytes");
  }
};

absl::StatusOr<VerifyReport> Store::Verify(const ProgressCallback& progress) {
  FIRN_RETURN_IF_ERROR(CheckUsable());
  VerifyReport report;
  VerifySuperblock(report);
  VerifyProgress so_far{progress, 0, values_->GetStats().live_bytes};
  // By id: whoever held the segments would hold the blocks of those that are retired meanwhile.
  std::vector<std::pair<log::SegmentId, uint32_t>> segments;
  for (const auto& segment : log_->segments().All()) {
    segments.emplace_back(segment->id, segment->written_end.load());
    so_far.total_bytes += segments.back().second;
  }
  for (const auto& [id, bytes] : segments) {
    FIRN_RETURN_IF_ERROR(so_far.GoOn());
    so_far.done_bytes += bytes;
    // One that was retired on the way is left out: what lived in it lies in a segment that is newer than the list.
    // Under the guard none of them goes, and no id is used again.
    base::EpochGuard guard(epochs_);
    log::Segment* const segment = log_->segments().Find(id);
    if (segment == nullptr) continue;
    VerifyUnits(*segment, report);
    ++report.segments;
  }
  FIRN_RETURN_IF_ERROR(VerifyValues(report, so_far));
  if (progress) static_cast<void>(progress(so_far.total_bytes, so_far.total_bytes));
  return report;
}

// Reads every extent that the index names, once, and the headers of their files.
absl::Status Store::VerifyValues(VerifyReport& report, VerifyProgress& progress) {
  absl::flat_hash_set<values::Slot> seen;
  absl::flat_hash_set<std::string> seen_files;
  std::string value;
  absl::Status go_on;
  tree_->ForEachPage(index::Tree::kLowest, [&](const index::Tree::Page& page) {
    for (size_t i = 0; i < page.size(); ++i) {
      if (!IsSeparated(page.entry(i))) continue;
      if (go_on = progress.GoOn(); !go_on.ok()) return false;
      base::EpochGuard guard(epochs_);
      const auto entry = tree_->Find(page.key(i));
      if (!entry || !IsSeparated(*entry) || !seen.insert(entry->size).second) continue;
      const auto blocks = values_->BlocksOf(entry->size);
      if (blocks.ok() && seen_files.insert(blocks->file->name()).second) VerifyValueHeader(*blocks->file, report);
      value.resize(values_->length(entry->size));
      const absl::Status status =
          values_->Read(entry->size, std::as_writable_bytes(std::span(value.data(), value.size())));
      if (!status.ok()) report.damages.push_back(std::string(status.message()));
      ++report.values;
      report.bytes += value.size();
      progress.done_bytes += value.size();
    }
    return true;
  });
  return go_on;
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
  stats.multi_get_keys = multi_get_keys_.load(std::memory_order_relaxed);
  stats.user_bytes_written = user_bytes_written_.load(std::memory_order_relaxed);
  stats.user_bytes_read = user_bytes_read_.load(std::memory_order_relaxed);

  const io::Counters& device = disk_->counters();
  stats.device_reads = device.reads.load();
  stats.device_read_bytes = device.read_bytes.load();
  stats.device_writes = device.writes.load();
  stats.device_written_bytes = device.written_bytes.load();
  stats.device_syncs = device.syncs.load();
  stats.open_read_bytes = open_read_bytes_;
  stats.open_seconds = open_seconds_;

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
  add("open       %.3f s, %.2f MiB read\n", open_seconds, mib(open_read_bytes));
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
  add("revisions  last %" PRIu64 ", durable %" PRIu64 "; %" PRIu64 " namespaces%s\n", last_revision, durable_revision,
      namespaces, poisoned ? "; NO MORE WRITES after a failed one" : "");
  return text;
}

}  // namespace firn
