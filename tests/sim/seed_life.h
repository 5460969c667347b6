// The run of one seed: what it decides, what it remembers. seed_run.cc has its lives, seed_open.cc opening and looking,
// seed_space.cc what the store takes, seed_faults.cc what goes wrong, seed_copies.cc what others make of its files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "sim/seed_run.h"
#include "sim/session.h"
#include "support/recovery_check.h"
#include "support/scheduler.h"

namespace firn::test {

Settings DrawSettings(Rng& rng);
// Draws nothing, so that what is drawn later stays as it was.
void Simplify(const Simpler& simpler, Settings& settings);

class SeedRun {
 public:
  SeedRun(const SeedOptions& options, SimScheduler& scheduler, Rng rng, const Settings& settings);

  void Run();
  SeedReport report() const {
    SeedReport report = report_;
    report.disk_operations = world_.machine.operations();
    if (world_.machine.stale_pages_read() > 0) report.Count(Feature::kStaleRead);
    if (world_.machine.pages_evicted() > 0) report.Count(Feature::kEvicted);
    return report;
  }
  void OnStep();

 private:
  class Listener final : public EventListener {
   public:
    explicit Listener(SeedRun& run) : run_(run) {}
    void OnEvent(const Event& event) override { run_.OnEvent(event); }

   private:
    SeedRun& run_;
  };

  enum class Ending { kClose, kDestroy, kKill, kPowerCut };

  uint64_t QuotaNow() const;
  bool Done() const;
  void Life(bool finale);
  absl::StatusOr<std::unique_ptr<DB>> Open(bool read_only, bool salvage);
  std::unique_ptr<DB> OpenSomehow();
  void CrashInOpen();
  void ReadOnlyLook();
  void SalvageElsewhere();
  void ShareFiles();
  void JudgeSharedFiles() const;
  Recovered Check(DB& db);
  Found Look(DB& db);
  void LookAtSpace(DB& db, const std::string& name, std::map<std::string, Entry>& entries);
  void Begin(Recovered recovered);
  void PlanFault(Session& session, bool finale);
  void PlanDamage();
  void PlanError(Session::Tolerance& tolerance);
  void RunClients(Session& session, Ending ending);
  void End(Session& session, std::unique_ptr<DB> db, Ending ending);
  void PlanCrash(Ending ending);
  void NoteCrash(CrashKind kind);
  void NoteFlushInterval();
  void JudgeHistory();
  void JudgeSpace(const Session& session, DB& db);
  void JudgeReferences(DB& db, const std::string& when);
  void JudgeRecovered(DB& db);
  void JudgeValueBytes(DB& db, const std::string& when);
  void AwaitSettledSpace(DB& db);
  void AwaitFreedValues(DB& db);
  void OnEvent(const Event& event);
  Crash RandomCrash(CrashKind kind) { return {kind, kSurvivals[rng_.Below(std::size(kSurvivals))]}; }
  void Say(const char* format, ...) __attribute__((format(printf, 2, 3)));

  const SeedOptions options_;
  SimScheduler& scheduler_;
  Rng rng_;
  const Settings settings_;
  SimWorld world_;
  Listener listener_;
  Session::Lasting lasting_;
  SeedReport& report_ = lasting_.report;
  History history_;
  EverPut ever_put_;

  Promise promise_ = Promise::kEverything;
  bool io_errors_ = false;            // in the life that is being judged
  bool writes_have_failed_ = false;   // in any life
  bool damaged_ = false;              // the medium lies; only in the last life of a seed
  std::optional<Fault> stale_reads_;  // these lies go on when the store is opened for the last time
  bool clean_ = true;                 // nothing has crashed since the store was last closed
  bool errors_expected_ = false;
  uint64_t crashes_at_open_ = 0;
  bool opened_after_crash_ = false;            // as the store itself says
  bool value_bytes_may_be_lost_ = false;       // since something failed, and until the next recovery looks for them
  uint64_t claimed_at_open_ = UINT64_MAX / 2;  // of the disk; a crash may have changed it until the next open
  std::set<std::string> space_names_;          // of all that ever were
  std::map<std::string, std::string> shared_files_;  // by the copy's names, and what was in them then
  std::string damage_found_;
  std::optional<std::pair<uint64_t, Crash>> crash_at_step_;
};

}  // namespace firn::test
