#include "sim/seed_run.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "base/sync.h"
#include "db/open.h"
#include "sim/session.h"
#include "support/recovery_check.h"
#include "support/scheduler.h"

namespace firn::test {
namespace {

constexpr uint64_t kOperationsMin = 500, kSealsMin = 3, kCutsMin = 2, kKillsMin = 1;
constexpr uint64_t kLivesMax = 40;

Settings Draw(Rng& rng) {
  Settings settings;
  settings.clients = rng.Between(1, 4);
  settings.keys = rng.OneIn(3) ? 12 : rng.Between(30, 150);
  settings.value_bytes_max = rng.OneIn(4) ? 3'000 : 200;
  static constexpr double kSwitches[] = {0.02, 0.1, 0.3, 0.6};
  settings.switch_probability = kSwitches[rng.Below(std::size(kSwitches))];
  static constexpr uint64_t kStepNanos[] = {0, 0, 1'000, 100'000};
  settings.nanos_per_step = kStepNanos[rng.Below(std::size(kStepNanos))];
  settings.latency_nanos_max = rng.OneIn(2) ? 0 : 200'000;
  static constexpr uint32_t kFlushMs[] = {1, 50, 1'000, 60'000};
  settings.flush_interval_ms = kFlushMs[rng.Below(std::size(kFlushMs))];
  static constexpr uint64_t kSegmentBytes[] = {64 * 1024, 128 * 1024, 512 * 1024};
  settings.segment_bytes_min = kSegmentBytes[rng.Below(std::size(kSegmentBytes))];
  static constexpr double kBuffered[] = {0.1, 0.5, 0.95};
  settings.buffered_share = kBuffered[rng.Below(std::size(kBuffered))];
  settings.clock_jumps_back = rng.OneIn(4);
  return settings;
}

class SeedRun {
 public:
  SeedRun(const SeedOptions& options, SimScheduler& scheduler, Rng rng, const Settings& settings)
      : options_(options), scheduler_(scheduler), rng_(rng), settings_(settings), world_(rng_.Next()), listener_(*this) {
    report_.seed = options.seed;
    world_.machine.set_latency_nanos_max(settings_.latency_nanos_max);
    if (options.trace_disk) {
      world_.machine.set_trace([](const std::string& line) { std::fprintf(stderr, "    disk: %s\n", line.c_str()); });
    }
    history_.spaces.emplace_back();
    history_.spaces[0].id = Batch::kDefaultNamespaceId;
  }

  void Run();
  SeedReport report() const {
    SeedReport report = report_;
    report.disk_operations = world_.machine.operations();
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

  bool Done() const;
  void Life(bool finale);
  absl::StatusOr<std::unique_ptr<DB>> Open(bool read_only, bool salvage);
  std::unique_ptr<DB> OpenSomehow();
  void CrashInOpen();
  void ReadOnlyLook();
  Recovered Check(DB& db);
  Found Look(DB& db);
  void LookAtSpace(DB& db, const std::string& name, std::map<std::string, Entry>& entries);
  void Begin(Recovered recovered);
  void PlanFault(Session& session, bool finale);
  void RunClients(Session& session, Ending ending);
  void End(Session& session, std::unique_ptr<DB> db, Ending ending);
  void PlanCrash(Ending ending);
  void NoteCrash(CrashKind kind);
  void NoteFlushInterval();
  void JudgeHistory();
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

  Promise promise_ = Promise::kEverything;
  bool io_errors_ = false;       // in the life that is being judged
  bool damaged_ = false;         // the medium lies; only in the last life of a seed
  bool clean_ = true;            // nothing has crashed since the store was last closed
  bool errors_expected_ = false;
  uint64_t crashes_at_open_ = 0;
  std::string damage_found_;
  std::optional<std::pair<uint64_t, Crash>> crash_at_step_;
};

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
    case EventKind::kTornTail:
      report_.Count(Feature::kTornTail);
      break;
    case EventKind::kFooterFallback:
      report_.Count(Feature::kFooterFallback);
      break;
    case EventKind::kDamageFound:
      if (!damaged_) damage_found_ = event.message;
      break;
    case EventKind::kPoisoned:
      if (!errors_expected_) damage_found_ = "poisoned without cause: " + event.message;
      break;
    default:
      break;
  }
}

bool SeedRun::Done() const {
  return report_.operations >= kOperationsMin && report_.seals >= kSealsMin && report_.cuts >= kCutsMin &&
         report_.kills >= kKillsMin;
}

void SeedRun::Run() {
  while (!Done() && report_.lives < kLivesMax) Life(false);
  if (!Done()) throw Violation("the seed did not come to enough operations, seals and crashes");
  if (rng_.OneIn(3)) Life(true);
  std::unique_ptr<DB> db = OpenSomehow();
  if (db == nullptr) return;
  Check(*db);
  db->Close().IgnoreError();
}

absl::StatusOr<std::unique_ptr<DB>> SeedRun::Open(bool read_only, bool salvage) {
  Options options;
  options.create_if_missing = !read_only;
  options.read_only = read_only;
  options.salvage = salvage;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  options.flush_interval_ms = settings_.flush_interval_ms;
  options.listener = &listener_;
  Environment environment;
  environment.disk = world_.machine.Attach();
  environment.clock = &world_.clock;
  environment.random = &world_.random;
  environment.segment_bytes_min_for_test = settings_.segment_bytes_min;
  crashes_at_open_ = world_.machine.crashes();
  auto db = OpenOn(options, std::move(environment));
  if (!damage_found_.empty()) throw Violation("on opening: " + damage_found_);
  return db;
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
  auto db = Open(false, false);
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
  Recovered recovered = CheckRecovered(model, Look(db), promise_);
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

void SeedRun::Begin(Recovered recovered) {
  history_ = History{};
  history_.base = std::move(recovered.base);
  history_.base_revision = recovered.base_revision;
  history_.spaces = std::move(recovered.spaces);
  promise_ = Promise::kEverything;
  io_errors_ = false;
  clean_ = true;
}

void SeedRun::PlanFault(Session& session, bool finale) {
  Session::Tolerance tolerance;
  Fault fault;
  fault.after = rng_.Below(60);
  if (finale) {
    damaged_ = true;
    tolerance.read_errors = true;
    tolerance.write_errors = true;
    if (rng_.OneIn(2)) {
      const std::vector<std::string> names = world_.machine.FileNames();
      const std::string& name = names[rng_.Below(names.size())];
      if (const uint64_t size = world_.machine.FileSize(name); size > 0) {
        world_.machine.FlipBits(name, rng_.Below(size), static_cast<std::byte>(1u << rng_.Below(8)));
        report_.Count(Feature::kBitRot);
        Say("bits flip in %s", name.c_str());
      }
    } else {
      fault.operations = kWriteOperation;
      fault.kind = rng_.OneIn(2) ? Fault::Kind::kMisdirect : Fault::Kind::kLoseWrite;
      report_.Count(fault.kind == Fault::Kind::kMisdirect ? Feature::kMisdirected : Feature::kLostWrite);
      world_.machine.Inject(fault);
    }
  } else if (rng_.OneIn(4)) {
    fault.lasting = rng_.OneIn(3);
    switch (rng_.Below(6)) {
      case 0:
        fault.operations = kWriteOperation;
        report_.Count(Feature::kWriteError);
        break;
      case 1:
        fault.operations = kSyncOperation;
        report_.Count(Feature::kSyncError);
        break;
      case 2:
        fault.operations = kReadOperation;
        report_.Count(Feature::kReadError);
        break;
      case 3:
        fault.operations = 0;
        world_.machine.set_capacity_bytes(world_.machine.claimed_bytes() + rng_.Below(300'000));
        tolerance.no_room = true;
        report_.Count(Feature::kDiskFull);
        break;
      case 4:
        fault.operations = kOpenOperation | kAllocateOperation;
        report_.Count(Feature::kNoDescriptors);
        break;
      default:
        fault.operations = kAnyOperation;
        report_.Count(Feature::kAnyError);
        break;
    }
    if (fault.operations != 0) {
      tolerance.write_errors = tolerance.no_room = true;
      tolerance.read_errors = true;
      world_.machine.Inject(fault);
    }
    Say("fault planned: operations %u after %llu%s", fault.operations, static_cast<unsigned long long>(fault.after),
        fault.lasting ? ", lasting" : "");
  }
  io_errors_ = errors_expected_ = tolerance.write_errors;
  session.set_tolerance(tolerance);
}

void SeedRun::PlanCrash(Ending ending) {
  if (ending != Ending::kKill && ending != Ending::kPowerCut) return;
  const Crash crash = RandomCrash(ending == Ending::kKill ? CrashKind::kKill : CrashKind::kPowerCut);
  if (rng_.OneIn(2)) {
    world_.machine.CrashAfter(rng_.Below(12), crash);
  } else {
    crash_at_step_ = {scheduler_.steps() + rng_.Below(400), crash};
  }
}

void SeedRun::RunClients(Session& session, Ending ending) {
  const uint64_t quiet_calls = rng_.Between(10, 120);
  session.set_calls_max(quiet_calls + (ending == Ending::kClose || ending == Ending::kDestroy ? 0 : 100));
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
  const uint64_t allowed_nanos = 2 * uint64_t{settings_.flush_interval_ms} * 1'000'000 + 100 * settings_.latency_nanos_max;
  for (const WriteCall& call : history_.writes) {
    if (call.outcome == WriteCall::Outcome::kDone &&
        call.replied_nanos + allowed_nanos < world_.machine.crashed_at_nanos()) {
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
  Model model(history_);
  model.CheckReads();
}

void SeedRun::Life(bool finale) {
  ++report_.lives;
  errors_expected_ = false;
  std::unique_ptr<DB> db = OpenSomehow();
  Begin(Check(*db));
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
  End(session, std::move(db), ending);
  JudgeHistory();
  if (finale) promise_ = Promise::kNoLies;
}

}  // namespace

SeedReport RunSeed(const SeedOptions& options) {
  Rng rng(options.seed * 0x9E3779B97F4A7C15u + 1);
  const Settings settings = Draw(rng);
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
