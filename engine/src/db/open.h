// Opening a store on any disk: what DB::Open does with the machine's, and tests with a simulated one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <firn/db.h>
#include <firn/salvage.h>

#include "base/clock.h"
#include "base/hash.h"
#include "io/disk.h"

namespace firn {

struct Environment {
  std::unique_ptr<io::Disk> disk;
  base::Clock* clock = &base::Clock::System();
  base::Random* random = &base::Random::System();
  // Smaller segments than any real store has, so that a short test seals some. 0: as in production.
  uint64_t segment_bytes_min_for_test = 0;
  // Nothing may depend on where the heap puts things: a simulation has to replay.
  bool replayable = false;
  // A lower floor under the space ceiling, in smallest segments, so that a small store is reclaimed. 0: as in
  // production.
  uint64_t ceiling_floor_segments_for_test = 0;
  // What the index may take, in the place of the part of the memory budget that is its own. 0: as in production.
  uint64_t index_bytes_max_for_test = 0;
  // How many keys a store has at least that gets an index image. 0: as in production.
  uint64_t image_keys_min_for_test = 0;
  // What the value cache may take at most; 0: there is none. For tests that look at the disk.
  uint64_t cache_bytes_max = UINT64_MAX;
  // Of a store that is made in the place of another: what it must not fall behind.
  struct Succession {
    uint64_t revision_floor = 0;
    uint32_t next_namespace_id = 0;
    int64_t time_ms = 0;
    bool unfinished = false;  // no store until Store::FinishMaking(): whoever made it fills it first
  };
  Succession succession;
  // Makes contents collide. Null: as in production.
  base::Hash128Value (*value_hash_for_test)(base::Bytes value, uint64_t secret) = nullptr;
};

absl::StatusOr<std::unique_ptr<DB>> OpenOn(const Options& options, Environment environment);

// Salvage() on any disks. `destination` is asked for once there is something to be put there.
absl::StatusOr<SalvageReport> SalvageOn(std::unique_ptr<io::Disk> source,
                                        const std::function<absl::StatusOr<Environment>()>& destination,
                                        const SalvageOptions& options);

// For tests, while no snapshot and no iterator comes or goes: the references that segments and extents count are those
// that the index, the expiry table and kept versions hold. Says what is not so.
std::string CheckReferences(DB& db);
// For tests: what value files take beyond their extents and what is still to be given back. It is lost until a crash or
// a later open finds it.
uint64_t UnexplainedValueBytes(DB& db);

}  // namespace firn
