// A store's figures at one moment.
#pragma once

#include <cstdint>
#include <string>

#include <firn/options.h>

namespace firn {

// Of one kind of operation. Latencies are measured for one operation in 16; percentiles are within 12 %.
struct LatencySummary {
  uint64_t count = 0;  // all operations
  uint64_t p50_ns = 0, p99_ns = 0, p999_ns = 0, max_ns = 0;
};

struct Stats {
  // Operations since open. A batch is one write; multi_gets count calls, multi_get_keys keys.
  LatencySummary puts, deletes, batches, gets, multi_gets, syncs;
  uint64_t multi_get_keys = 0;
  uint64_t user_bytes_written = 0;  // keys, metadata and values
  uint64_t user_bytes_read = 0;

  // The device, since open.
  uint64_t device_reads = 0, device_read_bytes = 0;
  uint64_t device_writes = 0, device_written_bytes = 0, device_syncs = 0;
  uint64_t open_read_bytes = 0;  // of them, read by Open
  double open_seconds = 0;

  // The log. Live bytes are records that a read could still need; dead bytes are the rest of the sealed and active
  // segments: overwritten records, padding, footers.
  uint64_t segments = 0, sealed_segments = 0, spare_segments = 0;
  uint64_t log_bytes = 0, live_bytes = 0, dead_bytes = 0;

  // Group commit since open: units flushed, and how many writes they carried.
  uint64_t commits = 0, commit_writes = 0, commit_bytes = 0;
  uint64_t group_size_p50 = 0, group_size_max = 0;

  // The index. index_bytes is everything allocated for it.
  uint64_t keys = 0;  // of all namespaces, entries past their expiry but not yet swept included
  uint64_t index_bytes = 0;
  double index_bytes_per_key = 0;
  uint64_t kept_versions = 0;  // older versions that snapshots and iterators hold
  uint64_t snapshots = 0;      // open snapshots and iterators

  uint64_t namespaces = 0;
  Revision last_revision = 0, durable_revision = 0;
  std::string disk_kind;  // "io_uring" or "pread"
  bool poisoned = false;

  std::string ToString() const;  // a readable table
};

}  // namespace firn
