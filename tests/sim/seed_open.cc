// Opening a store, whole or interrupted, and looking at all it holds.
#include <algorithm>
#include <utility>

#include "db/open.h"
#include "sim/seed_life.h"
#include "support/sim_environment.h"

namespace firn::test {

absl::StatusOr<std::unique_ptr<DB>> SeedRun::Open(bool read_only, bool salvage) {
  Options options;
  options.create_if_missing = !read_only;
  options.read_only = read_only;
  options.salvage = salvage;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  options.flush_interval_ms = settings_.flush_interval_ms;
  options.value_separation_threshold_bytes = settings_.value_separation_threshold_bytes;
  options.value_alignment_bytes = settings_.value_alignment_bytes;
  options.max_space_amplification = settings_.max_space_amplification;
  options.max_disk_bytes = settings_.max_disk_bytes;
  options.listener = &listener_;
  Environment environment = SimEnvironment(world_.machine, world_.clock, world_.random, settings_.segment_bytes_min);
  environment.ceiling_floor_segments_for_test = settings_.ceiling_floor_segments;
  environment.index_bytes_max_for_test = settings_.index_bytes_max;
  environment.cache_bytes_max = settings_.cache_bytes_max;
  environment.image_keys_min_for_test = settings_.image_keys_min;
  crashes_at_open_ = world_.machine.crashes();
  opened_after_crash_ = false;
  claimed_at_open_ = world_.machine.claimed_bytes();
  auto db = OpenOn(options, std::move(environment));
  if (!damage_found_.empty()) throw Violation("on opening: " + damage_found_);
  if (db.ok() && (*db)->GetStats().open_image_records != 0) report_.Count(Feature::kImageUsed);
  return db;
}

void SeedRun::CrashInOpen() {
  const Crash crash = RandomCrash(rng_.OneIn(2) ? CrashKind::kKill : CrashKind::kPowerCut);
  const uint64_t crashes = world_.machine.crashes();
  world_.machine.CrashAfter(rng_.Below(30), crash);
  auto db = Open(false, false);
  if (db.ok()) (*db)->Close().IgnoreError();
  db = absl::UnknownError("");
  if (world_.machine.crashes() == crashes) return world_.machine.ClearFaults();
  Say("crashed while opening");
  report_.Count(Feature::kCrashInOpen);
  NoteCrash(crash.kind);
}

std::unique_ptr<DB> SeedRun::OpenSomehow() {
  if (!damaged_) {
    while (rng_.OneIn(5)) CrashInOpen();
    if (rng_.OneIn(6)) ReadOnlyLook();
  }
  auto told_of_faults = [this, before = world_.machine.faults_hit()]() mutable {
    return std::exchange(before, world_.machine.faults_hit()) != before;
  };
  auto db = Open(false, false);
  // What an earlier process left to the page cache, and the device has refused.
  while (!db.ok() && !damaged_ && told_of_faults()) {
    Say("refused: %s", std::string(db.status().message()).c_str());
    report_.Count(Feature::kWriteBackError);
    db = Open(false, false);
  }
  if (!db.ok() && damaged_) {
    Say("refused: %s", std::string(db.status().message()).c_str());
    db = Open(false, true);
    report_.Count(Feature::kSalvaged);
    // The damage may have hit what no salvage can do without.
    if (!db.ok()) return nullptr;
  }
  if (!db.ok()) throw Violation("the store cannot be opened: " + db.status().ToString());
  return *std::move(db);
}

void SeedRun::ReadOnlyLook() {
  const uint64_t writes = world_.machine.writes();
  auto db = Open(true, false);
  if (!db.ok()) {
    if (absl::IsNotFound(db.status()) && report_.lives <= 1) return;  // nothing has been created yet
    // An open that was cut short before the store was complete leaves none.
    if (absl::IsNotFound(db.status()) && history_.base.empty() && history_.writes.empty()) return;
    throw Violation("the store cannot be opened for reading only: " + db.status().ToString());
  }
  report_.Count(Feature::kReadOnlyOpen);
  Check(**db);
  if ((*db)->Put("k", "v").status().code() != absl::StatusCode::kFailedPrecondition) {
    throw Violation("a read-only store takes a put");
  }
  db = absl::UnknownError("");
  if (world_.machine.writes() != writes) throw Violation("a read-only open has written");
}

void SeedRun::LookAtSpace(DB& db, const std::string& name, std::map<std::string, Entry>& entries) {
  const absl::StatusOr<Namespace> space = name.empty() ? db.root() : db.OpenNamespace(name);
  if (!space.ok()) throw Violation("a listed namespace cannot be opened: " + space.status().ToString());
  const std::unique_ptr<Iterator> iterator = space->NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    Entry entry;
    entry.revision = iterator->revision();
    entry.expires_at_ms = iterator->expires_at_ms();
    entry.value = iterator->value();
    entry.metadata = iterator->metadata();
    if (!iterator->status().ok()) {
      if (!damaged_) throw Violation("a value cannot be read: " + iterator->status().ToString());
      continue;
    }
    if (!entries.emplace(std::string(iterator->key()), std::move(entry)).second) {
      throw Violation("an iterator shows a key twice");
    }
  }
  if (!iterator->status().ok() && !damaged_) throw Violation("a scan failed: " + iterator->status().ToString());
  if (damaged_) return;
  // Point reads agree with the scan.
  for (const auto& [key, entry] : entries) {
    if (!rng_.OneIn(4)) continue;
    std::string value;
    ValueInfo info;
    const absl::Status status = space->GetInto(key, &value, &info);
    if (absl::IsNotFound(status) && entry.expires_at_ms != 0) continue;
    if (!status.ok() || value != entry.value || info.revision != entry.revision || info.metadata != entry.metadata ||
        info.expires_at_ms != entry.expires_at_ms) {
      throw Violation("a get differs from the scan: key '" + key + "', " + status.ToString());
    }
    if (settings_.cache_bytes_max == 0) continue;
    const auto pinned = space->GetPinned(key);
    if (absl::IsNotFound(pinned.status()) && entry.expires_at_ms != 0) continue;
    if (!pinned.ok() || pinned->value() != value) {
      throw Violation("a pinned get differs: key '" + key + "', " + pinned.status().ToString());
    }
  }
}

Found SeedRun::Look(DB& db) {
  Found found;
  found.window.wall_ms_min = world_.clock.WallTimeMs();
  LookAtSpace(db, "", found.entries[""]);
  for (const std::string& name : db.ListNamespaces()) {
    LookAtSpace(db, name, found.entries[name]);
    const absl::StatusOr<Namespace> space = db.OpenNamespace(name);
    if (space.ok()) found.spaces[name] = space->id();
  }
  const int64_t now = world_.clock.WallTimeMs();
  found.window.wall_ms_min = std::min(found.window.wall_ms_min, now);
  lasting_.wall_ms_max = std::max(lasting_.wall_ms_max, now);
  found.window.wall_ms_max = lasting_.wall_ms_max;
  return found;
}

Recovered SeedRun::Check(DB& db) {
  const Model model(history_);
  Recovered recovered = CheckRecovered(model, Look(db), promise_, ever_put_);
  if (recovered.lost_writes > 0) report_.Count(Feature::kUnsyncedLost);
  if (recovered.unanswered_found > 0) report_.Count(Feature::kUnackedKept);
  for (const auto& [key, entry] : recovered.base) {
    if (entry.expires_at_ms != 0 && entry.expires_at_ms <= world_.clock.WallTimeMs()) {
      report_.Count(Feature::kExpiredHidden);
      break;
    }
  }
  Say("recovered up to revision %llu: %zu entries, %llu lost, %llu unanswered found",
      static_cast<unsigned long long>(recovered.base_revision), recovered.base.size(),
      static_cast<unsigned long long>(recovered.lost_writes),
      static_cast<unsigned long long>(recovered.unanswered_found));
  return recovered;
}

}  // namespace firn::test
