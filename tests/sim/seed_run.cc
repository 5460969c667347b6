#include "sim/seed_run.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "base/sync.h"
#include "sim/seed_life.h"

namespace firn::test {
namespace {

constexpr uint64_t kOperationsMin = 500, kSealsMin = 3, kCutsMin = 2, kKillsMin = 1;
constexpr uint64_t kLivesMax = 40;

}  // namespace

SeedRun::SeedRun(const SeedOptions& options, SimScheduler& scheduler, Rng rng, const Settings& settings)
    : options_(options), scheduler_(scheduler), rng_(rng), settings_(settings), world_(rng_.Next()), listener_(*this) {
  report_.seed = options.seed;
  lasting_.verbose = options.verbose;
  world_.machine.set_latency_nanos_max(settings_.latency_nanos_max);
  world_.machine.set_can_punch(settings_.can_punch);
  world_.machine.set_failed_sync_evicts(rng_.OneIn(2));
  if (options.trace_disk) {
    world_.machine.set_trace([](const std::string& line) { std::fprintf(stderr, "    disk: %s\n", line.c_str()); });
  }
  history_.spaces.emplace_back();
  history_.spaces[0].id = Batch::kDefaultNamespaceId;
}

void SeedRun::Say(const char* format, ...) {
  if (!options_.verbose) return;
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "  ");
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  va_end(arguments);
}

void SeedRun::OnStep() {
  constexpr uint64_t kWriteBackOneIn = 2'000;
  if (rng_.OneIn(kWriteBackOneIn)) world_.machine.WriteBackMappings();
  constexpr uint64_t kStepsPerLook = 256;
  if (settings_.max_disk_bytes != 0 && world_.machine.crashes() == crashes_at_open_ &&
      scheduler_.steps() % kStepsPerLook == 0 && world_.machine.claimed_bytes() > QuotaNow() && damage_found_.empty()) {
    damage_found_ = "the files take " + std::to_string(world_.machine.claimed_bytes()) + " bytes, above the quota of " +
                    std::to_string(settings_.max_disk_bytes);
  }
  if (crash_at_step_ && scheduler_.steps() >= crash_at_step_->first) {
    const Crash crash = crash_at_step_->second;
    crash_at_step_.reset();
    world_.machine.Crash(crash);
  }
}

void SeedRun::OnEvent(const Event& event) {
  if (world_.machine.crashes() != crashes_at_open_) return;  // a dead process's last words
  Say("event: %s", event.message.c_str());
  switch (event.kind) {
    case EventKind::kSegmentSealed:
      ++report_.seals;
      break;
    case EventKind::kRecovered:
      opened_after_crash_ = true;
      break;
    case EventKind::kTornTail:
      report_.Count(Feature::kTornTail);
      break;
    case EventKind::kFooterFallback:
      report_.Count(Feature::kFooterFallback);
      break;
    case EventKind::kDamageFound:
      if (!damaged_ && !errors_expected_) damage_found_ = event.message;
      break;
    case EventKind::kDiskFull:
      report_.Count(Feature::kDiskFull);
      break;
    case EventKind::kPoisoned:
      if (!errors_expected_) damage_found_ = "poisoned without cause: " + event.message;
      break;
    default:
      break;
  }
}

// A power cut may undo what gave space back. A store that is opened above its quota, or too near it for another
// segment, may take somewhat more until it has come down.
uint64_t SeedRun::QuotaNow() const {
  const uint64_t near_bytes = 2 * settings_.segment_bytes_min;
  if (claimed_at_open_ + near_bytes <= settings_.max_disk_bytes) return settings_.max_disk_bytes;
  return std::max(settings_.max_disk_bytes, claimed_at_open_ + 6 * settings_.segment_bytes_min);
}

bool SeedRun::Done() const {
  return report_.operations >= kOperationsMin && report_.seals >= kSealsMin && report_.cuts >= kCutsMin &&
         report_.kills >= kKillsMin;
}

void SeedRun::Run() {
  while (!Done() && report_.lives < kLivesMax) Life(false);
  const bool as_drawn = options_.simpler == Simpler{};
  if (!Done() && as_drawn) throw Violation("the seed did not come to enough operations, seals and crashes");
  if (rng_.OneIn(3) && !options_.simpler.no_faults) Life(true);
  if (rng_.OneIn(2)) SalvageElsewhere();
  if (stale_reads_) world_.machine.Inject(*stale_reads_);
  std::unique_ptr<DB> db = OpenSomehow();
  if (db == nullptr) return;
  Check(*db);
  db->Close().IgnoreError();
  JudgeSharedFiles();
}

void SeedRun::NoteCrash(CrashKind kind) {
  clean_ = false;
  if (kind == CrashKind::kPowerCut) {
    ++report_.cuts;
    report_.Count(Feature::kPowerCut);
    promise_ = std::max(promise_, Promise::kDurable);
  } else {
    ++report_.kills;
    report_.Count(Feature::kKill);
    // A store whose writes fail promises no more than a power cut would leave.
    if (io_errors_) promise_ = std::max(promise_, Promise::kDurable);
  }
}

void SeedRun::Begin(Recovered recovered) {
  history_ = History{};
  history_.base = std::move(recovered.base);
  history_.base_revision = recovered.base_revision;
  history_.spaces = std::move(recovered.spaces);
  promise_ = Promise::kEverything;
  io_errors_ = false;
  clean_ = true;
}

void SeedRun::RunClients(Session& session, Ending ending) {
  const uint64_t quiet_calls = rng_.Between(10, 120);
  session.set_calls_max(std::min(options_.simpler.calls_max,
                                 quiet_calls + (ending == Ending::kClose || ending == Ending::kDestroy ? 0 : 100)));
  std::vector<base::Thread> threads;
  for (size_t i = 0; i < settings_.clients; ++i) {
    threads.emplace_back("client " + std::to_string(i), [this, &session, quiet_calls, ending, i, rng = rng_.Fork()] {
      Client client(session, rng);
      bool planned = i != 0;
      try {
        while (!session.over()) {
          if (!planned && session.calls() >= quiet_calls) {
            planned = true;
            PlanCrash(ending);
          }
          client.OneCall();
        }
      } catch (const Violation& violation) {
        if (damage_found_.empty()) damage_found_ = violation.what();
        session.set_calls_max(0);
      }
    });
  }
  for (base::Thread& thread : threads) thread.Join();
  if (!damage_found_.empty()) throw Violation(damage_found_);
}

void SeedRun::NoteFlushInterval() {
  if (settings_.nanos_per_step != 0 || io_errors_) return;
  // Twice the interval: it may just have begun when the write came, and the flush itself takes its time.
  const uint64_t allowed_nanos =
      2 * uint64_t{settings_.flush_interval_ms} * 1'000'000 + 100 * settings_.latency_nanos_max;
  for (const WriteCall& call : history_.writes) {
    if (call.outcome == WriteCall::Outcome::kDone &&
        call.replied_nanos + allowed_nanos + scheduler_.ForcedNanosSince(call.replied_nanos) <
            world_.machine.crashed_at_nanos()) {
      history_.durable.push_back({call.revision, "the flush interval has passed"});
    }
  }
}

void SeedRun::End(Session& session, std::unique_ptr<DB> db, Ending ending) {
  const Crash crash = RandomCrash(ending == Ending::kKill ? CrashKind::kKill : CrashKind::kPowerCut);
  const bool in_close = !session.crashed() && ending != Ending::kDestroy && rng_.OneIn(4);
  if (ending == Ending::kKill || ending == Ending::kPowerCut) {
    if (!session.crashed() && in_close) {
      crash_at_step_.reset();
      world_.machine.CrashAfter(rng_.Below(10), crash);
      db->Close().IgnoreError();
      if (session.crashed()) report_.Count(Feature::kCrashInClose);
    }
    if (!session.crashed()) world_.machine.Crash(crash);
  }
  const bool crashed = session.crashed();
  if (crashed) {
    NoteCrash(ending == Ending::kKill ? CrashKind::kKill : CrashKind::kPowerCut);
    NoteFlushInterval();
  }
  const Revision acknowledged = session.acknowledged_max();
  if (ending != Ending::kDestroy || crashed) {
    const absl::Status status = db->Close();
    if (!crashed && status.ok()) {
      session.NoteDurable(acknowledged, "Close()");
      report_.Count(Feature::kCleanClose);
      if (!db->Close().ok()) throw Violation("a second Close is not OK");
    }
    if (!crashed && !status.ok()) {
      if (!io_errors_ && !session.tolerance().no_room && !damaged_) {
        throw Violation("Close failed without cause: " + status.ToString());
      }
      promise_ = std::max(promise_, Promise::kDurable);
      clean_ = false;
    }
  } else {
    report_.Count(Feature::kDestroyedOpen);
    if (io_errors_ || session.tolerance().no_room) promise_ = std::max(promise_, Promise::kDurable);
  }
  db.reset();
  crash_at_step_.reset();
  world_.machine.ClearFaults();
  world_.machine.set_capacity_bytes(UINT64_MAX);
  if (!damage_found_.empty()) throw Violation(damage_found_);
  // A machine that loses power after a clean close loses nothing.
  if (!crashed && clean_ && promise_ == Promise::kEverything && rng_.OneIn(2)) {
    world_.machine.Crash(RandomCrash(CrashKind::kPowerCut));
  }
}

void SeedRun::JudgeHistory() {
  for (const Space& space : history_.spaces) space_names_.insert(space.name);
  for (const WriteCall& call : history_.writes) {
    for (const WriteStep& step : call.steps) {
      if (step.kind != WriteStep::Kind::kPut) continue;
      ever_put_.insert(Remember(history_.spaces[step.key.space].name, step.key.key, step.value, step.metadata));
    }
  }
  Model model(history_);
  model.CheckReads();
}

void SeedRun::Life(bool finale) {
  ++report_.lives;
  errors_expected_ = false;
  if (rng_.OneIn(8)) SalvageElsewhere();
  std::unique_ptr<DB> db = OpenSomehow();
  Begin(Check(*db));
  JudgeRecovered(*db);
  if (rng_.OneIn(8)) {
    const uint64_t crashes = crashes_at_open_;
    if (!absl::IsUnavailable(Open(false, false).status())) throw Violation("an open store was opened again");
    crashes_at_open_ = crashes;
    report_.Count(Feature::kSecondOpenRefused);
  }

  Ending ending = static_cast<Ending>(rng_.Below(4));
  if (report_.cuts < kCutsMin && report_.operations > kOperationsMin) ending = Ending::kPowerCut;
  Session session(world_, settings_, history_, lasting_);
  session.Attach(db.get());
  PlanFault(session, finale);
  Say("life %llu from revision %llu, ending %d", static_cast<unsigned long long>(report_.lives),
      static_cast<unsigned long long>(history_.base_revision), static_cast<int>(ending));
  RunClients(session, ending);
  if (!session.crashed() && report_.seals < kSealsMin && rng_.OneIn(2)) db->Flush().IgnoreError();
  if (!session.crashed()) JudgeSpace(session, *db);
  const Session::Tolerance& tolerance = session.tolerance();
  // What cannot be given back now is looked for after a crash only.
  const bool faults = tolerance.write_errors || tolerance.read_errors || tolerance.no_room;
  writes_have_failed_ |= tolerance.write_errors;
  if (faults || !settings_.can_punch || !shared_files_.empty()) value_bytes_may_be_lost_ = true;
  End(session, std::move(db), ending);
  JudgeSharedFiles();
  // Else the files may hold what is in the page cache alone, and goes with the power.
  if (clean_ && !faults && !writes_have_failed_) ShareFiles();
  JudgeHistory();
  if (finale) promise_ = Promise::kNoLies;
}

SeedReport RunSeed(const SeedOptions& options) {
  Rng rng(options.seed * 0x9E3779B97F4A7C15u + 1);
  Settings settings = DrawSettings(rng);
  Simplify(options.simpler, settings);
  SimScheduler scheduler({.seed = rng.Next(),
                          .switch_probability = settings.switch_probability,
                          .nanos_per_step = settings.nanos_per_step,
                          .steps_max = 20'000'000,
                          .on_stuck = [seed = options.seed](const std::string& report) {
                            std::fprintf(stderr, "seed %llu: stuck: %s\n", static_cast<unsigned long long>(seed),
                                         report.c_str());
                            std::_Exit(1);
                          }});
  SeedRun run(options, scheduler, rng.Fork(), settings);
  scheduler.SetStepHook([&run] { run.OnStep(); });
  scheduler.Run([&run, seed = options.seed] {
    try {
      run.Run();
    } catch (const Violation& violation) {
      // Other threads may be waiting for good: there is no way back.
      std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed), violation.what());
      std::_Exit(1);
    }
  });
  SeedReport report = run.report();
  report.steps = scheduler.steps();
  report.switches = scheduler.switches();
  report.trace_hash = scheduler.trace_hash();
  return report;
}

}  // namespace firn::test
