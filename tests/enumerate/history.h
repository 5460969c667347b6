// Short histories of a store, recorded with the state of the disk at every moment at which a crash could come.
#pragma once

#include <firn/db.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/sim_disk.h"

namespace firn::test {

enum class Step : uint32_t {
  kPut,
  kOverwrite,
  kLargePut,  // separated from its record
  kDelete,
  kBatch,  // over two namespaces
  kExpire,
  kDrop,  // of a namespace
  kSeal,
  kRotate,   // puts until the log goes on in another segment
  kClose,    // and opened again
  kRecover,  // after a kill
  kRelocate,
  kFree,         // an extent, up to the hole in its file
  kSecondCrash,  // a power cut, and another in the recovery from it
  kInFlight,     // puts of one thread, all in flight before the first is answered
  kCount,
};
inline constexpr size_t kSteps = static_cast<size_t>(Step::kCount);
extern const std::array<const char*, kSteps> kStepNames;

struct HistoryPlan {
  std::vector<Step> steps;
  Durability durability = Durability::kSynced;
};
std::string NameOf(const HistoryPlan& plan);

// What a store shows: "namespace/key" -> value, metadata and expiry in short; "namespace/" for the namespace itself.
struct Shown {
  std::string value;
  int64_t expires_at_ms = 0;

  bool operator==(const Shown&) const = default;
};
using State = std::map<std::string, Shown>;

struct CrashMoment {
  DiskMoment disk;
  // States by number: what was acknowledged, what of it is durable, and the newest that may be there.
  size_t acknowledged = 0, durable = 0, newest = 0;
  Revision revision_max = 0;  // handed out so far
  int64_t wall_ms = 0;
};

struct History {
  std::vector<State> states;  // after each change, in order
  std::vector<CrashMoment> moments;
  std::vector<size_t> step_begins;  // at which moment
};

// Plays the plan after a prologue that fills a store for it. The same plan gives the same history. Throws
// std::runtime_error when the store breaks a promise on the way.
History Play(const HistoryPlan& plan);

// Opens the store on a machine, as the histories do. `listener` may be null.
absl::StatusOr<std::unique_ptr<DB>> OpenEnumerated(SimMachine& machine, SimClock& clock, Rng& random,
                                                   EventListener* listener);

// All that a store shows, each value read. Throws std::runtime_error when something cannot be read.
struct View {
  State state;
  Revision revision_max = 0;
};
View ViewOf(DB& db);

// States that differ in what has expired at `wall_ms` look the same.
bool LooksLike(const State& a, const State& b, int64_t wall_ms);

}  // namespace firn::test
