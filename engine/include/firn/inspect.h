// For tools: reading a store's files without opening it, and checking every byte of one that is open.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <firn/options.h>

namespace firn {

// A key that damage makes unreadable, at the time of the report. `namespace_name` is empty for the default namespace.
struct AffectedKey {
  std::string namespace_name;
  std::string key;
  bool operator==(const AffectedKey&) const = default;
};

// Bytes that do not verify, or cannot be read.
struct Damage {
  std::string file;  // within the store: "log/0000000001.seg"
  uint64_t offset = 0;
  uint64_t bytes = 0;  // what of the file is in doubt
  std::string what;
  // Keys whose newest version lies there and does not verify: the first kAffectedKeysMax, by namespace and key, and how
  // many there are. None where the damage hides no key's value: in a footer, a header, or a version nobody reads.
  std::vector<AffectedKey> keys;
  uint64_t keys_in_all = 0;

  std::string ToString() const;  // one sentence: "FILE at offset N: WHAT"
};
inline constexpr size_t kAffectedKeysMax = 1'000;

// What DB::Verify() and DB::Scrub() have read and checked, which is every live byte. A byte is *live* if an open, a
// read or a recovery may believe it, now or after the next close or crash:
//   - both copies of the superblock, whole;
//   - of each segment of the store the header's block, every commit unit up to where the units end (header, records,
//     and the zeros that fill its last block; live records and dead ones alike), and, once it is sealed, the footer up
//     to the end of the file, trailer included;
//   - each separated value that a key has now, and the header's block of the file it lies in;
//   - in a store that is open for reading only, the index image, if there is one, and the size of TAIL and the close
//     mark in it; and that there is a TAIL, unless the log ends as a close leaves it, which is whole without.
// A single wrong bit in any of these is found. Everything else is dead, and may be anything: LOCK, RESERVE, spare
// files, what an unsealed segment has behind its last unit, the rest of TAIL, and in value files what no key names: the
// up to 4,095 zeros behind a value, extents that were dropped, holes, what is claimed ahead. Three things are live and
// cannot be told from what a crash leaves: the units of a killed process that only TAIL holds, the last units of an
// unsealed segment above every watermark (docs/limitations.md), and, in a store that was not closed, a footer that the
// open found not to verify (kFooterFallback tells). They are checked from when an open for writing has taken them, and
// has written the footer again.
// Of a store that is open for reading only with Options::salvage, what that open went on without is reported first:
// segments that are missing, and for each value file the values that are, with their keys.
// What is written, or moved by reclaim, after the check began need not be part of it, nor are versions that only
// snapshots and iterators still see.
struct VerifyReport {
  uint64_t segments = 0;
  uint64_t records = 0;
  uint64_t values = 0;  // separated ones, each once
  uint64_t bytes = 0;
  uint64_t segments_skipped = 0;  // retired before their turn, or during it
  std::vector<Damage> damages;    // empty when all is well
  // Where a scrub that was cancelled goes on (ScrubOptions::from); empty when it went through.
  std::string cursor;
};

// One segment as reclaim sees it.
struct SegmentReport {
  uint32_t segment = 0;
  uint64_t file_bytes = 0;
  uint64_t live_bytes = 0, live_records = 0;  // records that reads, snapshots and expiries still name
  uint64_t tombstones = 0;                    // deletes in it that may still hide older records
  double live_fraction = 0;                   // live bytes / file bytes
  uint64_t age_revisions = 0;                 // writes to the store since its newest record
  uint32_t generation = 0;  // temperature: 0 as written; n: its records have outlived n rounds of reclaim
  bool sealed = false;
};

// Called now and then during long work with bytes done and bytes in all. Return false to cancel. No lock is held.
using ProgressCallback = std::function<bool(uint64_t done_bytes, uint64_t total_bytes)>;

// How DB::Scrub() goes about it.
struct ScrubOptions {
  // What is read in a second, on average over any second; 0: as fast as it goes. The default takes about a quarter of
  // an hour for 50 GiB and leaves a disk of today most of its bandwidth.
  uint64_t bytes_per_second = uint64_t{64} << 20;
  // The cursor of a scrub that was cancelled, of this process or an earlier one: what lies before it is not read again.
  // It goes on with the segment, or the value, that it had begun. Empty: from the start.
  std::string from;
  // Told of bytes done and in all, at least ten times a second. False: Scrub() returns what it has, with a cursor.
  ProgressCallback progress;
};

// Writes a segment (or SUPERBLOCK) file in words, one line per unit, record and footer entry, to `line`. Damaged parts
// are described, not skipped. `store_path` is the directory a segment belongs to: its SUPERBLOCK holds the hash secret
// without which no checksum can be told right from wrong. InvalidArgument for a file that is neither; DataLoss, after
// everything that still verifies was described, when a segment's header or a copy of the superblock does not verify.
absl::Status DumpFile(std::string_view store_path, std::string_view file_path,
                      const std::function<void(std::string_view line)>& line);

}  // namespace firn
