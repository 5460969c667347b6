// Getting out of a damaged store all that is left of it, into a new one.
//
//   absl::StatusOr<firn::SalvageReport> report = firn::Salvage("/data/store", "/data/rescued");
//
// For a store that DB::Open() refuses, or that has lost files. The source is only read. What an operator does when, and
// what cannot be saved: docs/repair.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <firn/inspect.h>
#include <firn/options.h>

namespace firn {

struct SalvageOptions {
  // A key whose newest version is known and lost gets the newest older one that verifies, and the report says so; else
  // it gets none, as whoever reads it would take the old value for the present one.
  bool older_versions = false;
  bool use_io_uring = true;
  // Told of bytes of the source's log that were dealt with, and in all. False: Cancelled; the destination is of no use.
  ProgressCallback progress;
};

// A key that is known, from a directory or an index, though what it had is not there any more, or not all of it.
struct LostKey {
  enum class Instead {
    kNothing,          // the key is not in the destination
    kOlderVersion,     // by SalvageOptions::older_versions
    kWithoutMetadata,  // the value is there
  };
  std::string namespace_name;  // empty: the default one
  std::string key;
  Revision revision = 0;  // of what is lost
  Instead instead = Instead::kNothing;
  std::string why;
};

// A namespace whose name is lost, and the one that has its keys now.
struct RenamedNamespace {
  uint32_t id = 0;
  std::string name;
};

struct SalvageReport {
  enum class Outcome {
    kWhole,    // nothing is lost: what had to be had by other means is in `notes`
    kPartly,   // something is lost, or may be
    kNothing,  // nothing verifies: no destination was made
  };
  Outcome outcome = Outcome::kNothing;
  std::string superblock_from;  // the file it was had from

  // In the destination.
  uint64_t segments = 0;  // of the source that were taken from
  uint64_t namespaces = 0;
  uint64_t keys = 0;
  uint64_t values = 0;  // of them separated ones
  uint64_t bytes = 0;   // keys, metadata and values

  // Ranges of log files in which something may have been that nobody can tell (keys is empty).
  std::vector<Damage> lost;
  uint64_t lost_bytes = 0;  // their sum
  std::vector<uint32_t> missing_segments;
  // The first kLostKeysMax, and how many there are.
  std::vector<LostKey> lost_keys;
  uint64_t lost_keys_in_all = 0;
  // Batches of which a part is lost: their revisions, ascending. The rest is in the destination.
  std::vector<Revision> incomplete_batches;
  std::vector<RenamedNamespace> renamed_namespaces;
  // Taken as part of the store, though the record that says so is lost.
  std::vector<uint32_t> segments_in_doubt;
  // Keys of the destination that are older than the newest record that was lost without a trace: one of those may have
  // been their delete, or a newer version.
  uint64_t keys_possibly_stale = 0;
  std::vector<std::string> notes;
};
inline constexpr size_t kLostKeysMax = 10'000;

// Reads all that still verifies of the store in the directory `source` and makes a store of it in `destination`, which
// must have none, nor remains of one (FailedPrecondition), and must not lie in the source (InvalidArgument). Revisions,
// expiry times, metadata and namespaces are kept; of each key the newest version counts; what was deleted stays so,
// unless its delete is lost. The destination is a whole store when this returns OK. Until all is copied
// it is none; what a run that did not end so left there is removed by the next one.
//
// Memory: as for opening the source without its index, a damaged stretch of one segment (a segment at most, most zeros
// at the end of its file not counted), and the largest value. The source's LOCK is held shared, so Unavailable while a
// process writes to it. NotFound where there is no directory `source`; DataLoss when no copy of the superblock is left,
// without which nothing can be verified.
absl::StatusOr<SalvageReport> Salvage(std::string_view source, std::string_view destination,
                                      const SalvageOptions& options = {});

}  // namespace firn
