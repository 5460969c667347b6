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
  // Operations since open, failed ones too. Puts: Put, PutStream (its last step) and SetExpiry. Gets: Get, GetInto,
  // GetRange and GetStream. A batch is one write; multi_gets count calls, multi_get_keys keys. Exists and iterators are
  // not counted.
  LatencySummary puts, deletes, batches, gets, multi_gets, syncs;
  uint64_t multi_get_keys = 0;
  uint64_t user_bytes_written = 0;  // keys, metadata and values
  uint64_t user_bytes_read = 0;

  // The device, since open.
  uint64_t device_reads = 0, device_read_bytes = 0;
  uint64_t device_writes = 0, device_written_bytes = 0, device_syncs = 0;
  uint64_t open_read_bytes = 0;  // of them, read by Open
  double open_seconds = 0;
  uint64_t open_image_records = 0;  // that Open had from the index image; 0: it read footers alone

  // The log. Live bytes are records that a read could still need; dead bytes are the rest of the sealed and active
  // segments: overwritten records, padding, footers.
  uint64_t segments = 0, sealed_segments = 0, spare_segments = 0;
  uint64_t log_bytes = 0, live_bytes = 0, dead_bytes = 0;
  // Of the dead ones: padding and headers of sealed segments; footers; what unsealed segments have not written yet.
  uint64_t padding_bytes = 0, footer_bytes = 0, unwritten_bytes = 0;

  // Space, all files. Amplification is disk bytes / user bytes; the ceiling is what Options ask for, or what is
  // possible.
  uint64_t disk_bytes = 0;       // segments, spare files, value files, TAIL, SUPERBLOCK, RESERVE, IMAGE
  uint64_t live_user_bytes = 0;  // live keys, metadata and values
  uint64_t pinned_bytes = 0;     // records and values that only snapshots and iterators still need
  uint64_t spare_bytes = 0;      // of files ready to be used again, and of the next segment
  uint64_t tail_bytes = 0, superblock_bytes = 0, image_bytes = 0;  // of these files
  uint64_t space_ceiling_bytes = 0;                                // pinned bytes come on top, and are in it
  // What is pinned and what lives would by themselves be above what the ceiling would be without pinned bytes: no
  // reclaim can help before snapshots end.
  bool pinned_over_ceiling = false;
  // Room. Quota: max_disk_bytes, 0 if there is none; used: of it, as the file system counts. Free: what writes could
  // still claim, of the quota and of the disk, beside the reserve, which is kept for deletes and reclaim.
  uint64_t quota_bytes = 0, quota_used_bytes = 0;
  uint64_t free_bytes = 0, reserve_bytes = 0;
  bool disk_full = false;  // a write was refused, and there has been no room since
  double space_amplification = 0;
  double write_amplification = 0;  // device bytes written / user bytes written, since open

  // Separated values: extents of equal values count once. Waiting: nobody refers to them, and they will be given back
  // once the changes that say so are durable.
  uint64_t value_files = 0, value_extents = 0;
  uint64_t value_live_bytes = 0, value_slack_bytes = 0, value_waiting_bytes = 0;
  uint64_t value_files_bytes = 0;  // as the file system counts: these three, headers, and what is claimed ahead
  uint64_t value_dedup_hits = 0, value_dedup_bytes = 0, values_healed = 0;  // since open
  // Since open: copied out of files that were mostly dead, where holes cannot be punched.
  uint64_t values_evacuated = 0;

  // Reclaim, since open.
  uint64_t relocated_records = 0, relocated_bytes = 0, reclaimed_bytes = 0;
  uint64_t read_ahead_bytes = 0;  // of what was relocated: read while the round before copied
  uint64_t throttled_ns = 0;      // that writers were held back, in all: for space, or for a device that stood still
  double reclaim_debt = 0;        // 0: nothing to do; 1: space is at the ceiling

  // Group commit since open: units flushed, and how many writes they carried.
  uint64_t commits = 0, commit_writes = 0, commit_bytes = 0;
  uint64_t group_size_p50 = 0, group_size_max = 0;

  // The index. index_bytes is everything allocated for it.
  uint64_t keys = 0;  // of all namespaces, entries past their expiry but not yet swept included
  uint64_t index_bytes = 0;
  double index_bytes_per_key = 0;
  // The value cache: what it may take by now, takes and holds; and reads of values, by Get and MultiGet, that found
  // theirs there or did not (those from the tail buffers included).
  uint64_t cache_capacity_bytes = 0, cache_bytes = 0, cache_values = 0;
  uint64_t cache_hits = 0, cache_misses = 0;
  uint64_t kept_versions = 0;  // older versions that snapshots and iterators hold
  uint64_t snapshots = 0;      // open snapshots and iterators

  uint64_t namespaces = 0;
  Revision last_revision = 0, durable_revision = 0;
  std::string disk_kind;  // "io_uring" or "pread"
  bool poisoned = false;

  std::string ToString() const;  // a readable table
};

}  // namespace firn
