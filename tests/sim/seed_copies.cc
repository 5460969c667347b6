// What others make of a store's files while it is closed: another store by salvage, and a copy that shares them.
#include <algorithm>

#include "db/open.h"
#include "sim/seed_life.h"
#include "support/sim_environment.h"

namespace firn::test {

// Salvage reads all, changes nothing, and loses no more of a store that is whole than opening it does.
void SeedRun::SalvageElsewhere() {
  if (history_.base.empty() && history_.writes.empty()) return;  // there may be none yet
  const uint64_t writes = world_.machine.writes();
  SimWorld other(rng_.Next());
  const auto environment = [&] {
    return SimEnvironment(other.machine, world_.clock, world_.random, settings_.segment_bytes_min);
  };
  const absl::StatusOr<SalvageReport> salvaged = SalvageOn(world_.machine.Attach(), environment, {});
  if (world_.machine.writes() != writes) throw Violation("salvage has written to what it reads");
  const bool made = salvaged.ok() && salvaged->outcome != SalvageReport::Outcome::kNothing;
  if (!made && damaged_) return;
  if (!made) throw Violation("nothing was salvaged of a whole store: " + salvaged.status().ToString());
  const bool whole = salvaged->outcome == SalvageReport::Outcome::kWhole;
  Say("salvaged%s: %llu keys", whole ? " whole" : "", static_cast<unsigned long long>(salvaged->keys));
  for (const std::string& note : salvaged->notes) Say("salvage: %s", note.c_str());
  for (const Damage& damage : salvaged->lost) Say("salvage: lost: %s", damage.ToString().c_str());
  for (const uint32_t id : salvaged->missing_segments) Say("salvage: segment %u is missing", id);
  for (const uint32_t id : salvaged->segments_in_doubt) Say("salvage: segment %u is in doubt", id);
  for (const LostKey& key : salvaged->lost_keys)
    Say("salvage: lost key %s of namespace '%s', revision %llu: %s", key.key.c_str(), key.namespace_name.c_str(),
        static_cast<unsigned long long>(key.revision), key.why.c_str());

  Options options;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  const absl::StatusOr<std::unique_ptr<DB>> db = OpenOn(options, environment());
  if (!db.ok()) throw Violation("what salvage made cannot be opened: " + db.status().ToString());
  const auto verified = (*db)->Verify();
  if (!verified.ok() || !verified->damages.empty()) throw Violation("what salvage made does not verify");
  report_.Count(Feature::kSalvagedElsewhere);
  if (whole) report_.Count(Feature::kSalvagedWhole);
  // What a crash tore at the end of the log looks like damage, of copies that reclaim was just making nobody can tell
  // whether they were adopted, and what never came to be durable is not left out.
  const bool lost_keys =
      !salvaged->missing_segments.empty() || salvaged->lost_keys_in_all != 0 || !salvaged->renamed_namespaces.empty();
  const bool lost_some = clean_ ? !whole : lost_keys;
  if (lost_some && !damaged_ && promise_ == Promise::kEverything) {
    throw Violation("salvage lost something of a whole store");
  }
  Found found = Look(**db);
  for (const RenamedNamespace& renamed : salvaged->renamed_namespaces) {
    for (const auto& [key, entry] : found.entries[renamed.name]) {
      const bool was_put = std::any_of(space_names_.begin(), space_names_.end(), [&](const std::string& name) {
        return ever_put_.contains(Remember(name, key, entry.value, entry.metadata));
      });
      if (!was_put) throw Violation("salvaged, and never written: " + renamed.name + " " + key);
    }
    found.entries.erase(renamed.name);
  }
  for (const LostKey& key : salvaged->lost_keys) {
    if (key.instead == LostKey::Instead::kWithoutMetadata) found.entries[key.namespace_name].erase(key.key);
  }
  try {
    CheckRecovered(Model(history_), found, whole && !damaged_ ? promise_ : Promise::kNoLies, ever_put_);
  } catch (const Violation& violation) {
    throw Violation(std::string("salvaged: ") + violation.what());
  }
  if (!(*db)->Close().ok()) throw Violation("what salvage made cannot be closed");
}

// A copy of links to all that is sealed comes, or goes.
void SeedRun::ShareFiles() {
  if (!settings_.links || !rng_.OneIn(3)) return;
  if (!shared_files_.empty()) {
    const std::unique_ptr<io::Disk> disk = world_.machine.Attach();
    for (const auto& [name, content] : shared_files_) {
      if (!disk->Remove(name).ok()) throw Violation("a copy cannot be removed");
    }
    if (!disk->SyncFolder("copy").ok()) throw Violation("a copy's folder cannot be synced");
    shared_files_.clear();
    return;
  }
  for (const std::string& name : world_.machine.FileNames()) {
    if (!name.starts_with("log/") && !name.starts_with("values/")) continue;
    const std::string copy = "copy/" + name.substr(name.find('/') + 1);
    world_.machine.Link(name, copy);
    shared_files_[copy] = world_.machine.ReadFile(copy);
  }
  report_.Count(Feature::kLinked);
}

// Rule 6.
void SeedRun::JudgeSharedFiles() const {
  if (damaged_) return;
  for (const auto& [name, content] : shared_files_) {
    if (world_.machine.ReadFile(name) != content) throw Violation("a file that a copy shares has changed: " + name);
  }
}

}  // namespace firn::test
