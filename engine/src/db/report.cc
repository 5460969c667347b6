// Syncing on request, statistics, and checking every byte.
#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "db/store.h"
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

absl::Status Store::Sync() {
  OperationTimer timer(syncs_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckWritable());
  return log_->WaitDurable(log_->LastReserved());
}

absl::Status Store::Flush() {
  FIRN_RETURN_IF_ERROR(CheckWritable());
  return log_->SealActive();
}

absl::StatusOr<VerifyReport> Store::Verify(const ProgressCallback& progress) {
  FIRN_RETURN_IF_ERROR(CheckUsable());
  VerifyReport report;
  const auto segments = log_->segments().All();
  uint64_t total_bytes = 0, done_bytes = 0;
  for (const auto& segment : segments) total_bytes += segment->written_end.load();
  for (const auto& segment : segments) {
    if (progress && !progress(done_bytes, total_bytes)) {
      return base::MakeStatus(absl::StatusCode::kCancelled, "verify was cancelled after " + std::to_string(done_bytes) +
                                                                " of " + std::to_string(total_bytes) + " bytes");
    }
    // A segment retired on the way is checked all the same: its file is reused only when nobody holds it.
    base::EpochGuard guard(epochs_);
    if (log_->segments().Find(segment->id) != segment.get()) continue;
    VerifyUnits(*segment, report);
    ++report.segments;
    done_bytes += segment->written_end.load();
  }
  if (progress) static_cast<void>(progress(total_bytes, total_bytes));
  return report;
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
  stats.commits = log.commits;
  stats.commit_writes = log.commit_writes;
  stats.commit_bytes = log.commit_bytes;
  stats.group_size_p50 = log.group_size_p50;
  stats.group_size_max = log.group_size_max;

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
  add("commits    %" PRIu64 " with %" PRIu64 " writes, %.1f MiB; group size p50 %" PRIu64 ", max %" PRIu64 "\n",
      commits, commit_writes, mib(commit_bytes), group_size_p50, group_size_max);
  add("index      %" PRIu64 " keys, %.1f MiB, %.1f bytes a key; %" PRIu64 " older versions for %" PRIu64 " views\n",
      keys, mib(index_bytes), index_bytes_per_key, kept_versions, snapshots);
  add("revisions  last %" PRIu64 ", durable %" PRIu64 "; %" PRIu64 " namespaces%s\n", last_revision, durable_revision,
      namespaces, poisoned ? "; NO MORE WRITES after a failed one" : "");
  return text;
}

}  // namespace firn
