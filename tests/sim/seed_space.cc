// What a store takes when its clients are gone: references are exact, figures agree with the disk, and reclaim comes to
// where it was told to.
#include "db/open.h"
#include "sim/seed_life.h"

namespace firn::test {
namespace {

constexpr uint64_t kTurnNanos = 500'000'000;
// Reclaim leaves alone for 10 s what it could not free.
constexpr int kTurnsMax = 120;

void Pass(uint64_t nanos) {
  base::Scheduler* scheduler = base::Scheduler::Current();
  const uint64_t until = scheduler->NowNanos() + nanos;
  while (scheduler->NowNanos() < until) scheduler->Wait(&until, until);
}

}  // namespace

void SeedRun::JudgeSpace(const Session& session, DB& db) {
  const Session::Tolerance& tolerance = session.tolerance();
  const Stats stats = db.GetStats();
  if (session.crashed()) return;
  if (stats.relocated_records > 0) report_.Count(Feature::kRelocated);
  if (stats.read_ahead_bytes > 0) report_.Count(Feature::kReadAhead);
  if (stats.relocated_records > 0 && session.compacts() == 0) report_.Count(Feature::kReclaimedAlone);
  if (stats.throttled_ns > 0) report_.Count(Feature::kThrottled);
  if (stats.values_evacuated > 0) report_.Count(Feature::kEvacuated);
  // A write that failed counts as a reference for good; nothing is reclaimed in that store any more.
  if (stats.poisoned || damaged_) return;
  if (stats.value_waiting_bytes > 0) report_.Count(Feature::kExtentsWaiting);
  if (stats.value_dedup_hits > 0) report_.Count(Feature::kExtentShared);
  JudgeReferences(db, "when the clients are gone");
  if (session.crashed()) return;
  const bool faults = tolerance.write_errors || tolerance.read_errors || tolerance.no_room;
  if (faults || !shared_files_.empty()) return;
  JudgeValueBytes(db, "when the clients are gone");
  if (!rng_.OneIn(3)) return;
  AwaitSettledSpace(db);
  if (session.crashed()) return;
  report_.Count(Feature::kSpaceSettled);
  JudgeReferences(db, "once space has settled");
  if (!session.crashed()) AwaitFreedValues(db);
}

void SeedRun::JudgeReferences(DB& db, const std::string& when) {
  const uint64_t crashes = world_.machine.crashes();
  const uint64_t extents = db.GetStats().value_extents;
  const std::string wrong = CheckReferences(db);
  if (world_.machine.crashes() != crashes || db.GetStats().poisoned) return;
  if (!wrong.empty()) throw Violation("references are not exact " + when + ": " + wrong);
  report_.Count(Feature::kReferencesExact);
  if (extents > 0) report_.Count(Feature::kExtentsExact);
}

// What a recovery found is counted as it was, and what a crash had left behind is found.
void SeedRun::JudgeRecovered(DB& db) {
  if (damaged_) return;
  JudgeReferences(db, "after opening");
  if (opened_after_crash_) value_bytes_may_be_lost_ = false;
  JudgeValueBytes(db, "after opening");
}

void SeedRun::JudgeValueBytes(DB& db, const std::string& when) {
  if (value_bytes_may_be_lost_ || !shared_files_.empty()) return;
  const uint64_t crashes = world_.machine.crashes();
  const uint64_t lost = UnexplainedValueBytes(db);
  if (world_.machine.crashes() != crashes) return;
  if (lost > 0) {
    throw Violation(when + ", value files take " + std::to_string(lost) + " bytes that nothing accounts for");
  }
  report_.Count(Feature::kNoValueBytesLost);
}

// What nobody names is given back, once the changes that say so are durable.
void SeedRun::AwaitFreedValues(DB& db) {
  if (!settings_.can_punch) return;  // then only a file's end, or too much space, gives anything back
  const uint64_t crashes = world_.machine.crashes();
  const absl::Status status = db.Sync();
  if (!status.ok() && world_.machine.crashes() == crashes) throw Violation("Sync failed: " + status.ToString());
  uint64_t waiting_bytes = 0;
  for (int turn = 0; turn < kTurnsMax && world_.machine.crashes() == crashes; ++turn) {
    waiting_bytes = db.GetStats().value_waiting_bytes;
    if (waiting_bytes == 0) return;
    Pass(kTurnNanos);
  }
  if (world_.machine.crashes() != crashes) return;
  throw Violation(std::to_string(waiting_bytes) + " bytes of extents that nobody names are not given back");
}

void SeedRun::AwaitSettledSpace(DB& db) {
  const uint64_t crashes = world_.machine.crashes();
  std::string why;
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    const Stats stats = db.GetStats();
    const uint64_t claimed = world_.machine.claimed_bytes();
    if (world_.machine.crashes() != crashes) return;
    why.clear();
    if (stats.disk_bytes != claimed) {
      why = "Stats.disk_bytes is " + std::to_string(stats.disk_bytes) + ", the files take " + std::to_string(claimed);
    } else if (stats.live_user_bytes > stats.disk_bytes || stats.live_bytes > stats.log_bytes) {
      why = "more is live than there is";
    } else if (stats.pinned_bytes != 0) {
      why = "something is pinned, and nobody holds a snapshot";
    } else if (stats.disk_bytes > stats.space_ceiling_bytes) {
      why = "the store takes " + std::to_string(stats.disk_bytes) + " bytes, above its ceiling of " +
            std::to_string(stats.space_ceiling_bytes);
    } else {
      return;
    }
    Pass(kTurnNanos);
  }
  if (world_.machine.crashes() == crashes)
    throw Violation("after a minute without clients, " + why + "\n" + db.GetStats().ToString());
}

}  // namespace firn::test
