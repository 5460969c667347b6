// Every system call and every ring completion of every scenario fails in turn, in each way that fits it, on real files.
//
//   firn_test_nth_system_call [--every N] [--failure NAME] [--disk NAME] [--scenario NAME] [--point N] [--lasting]
//
// Threads run as they like here: a point is the same call each time as far as they permit. --every takes one point in N
// of each scenario only. The files lie under FIRN_TEST_DIR, or in /dev/shm, whose speed the number of runs needs. Where
// a store is killed, the process is stopped, its files are copied, and it is the copy that is opened next.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "db/open.h"
#include "io/open_disk.h"
#include "io/ring.h"
#include "nth/scenarios.h"
#include "nth/system_calls.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

constexpr uint64_t kSmallSegmentBytes = uint64_t{64} << 10;

struct DiskKind {
  std::string_view name;
  bool use_io_uring;
  io::SyncedWrite synced_write;
};
constexpr DiskKind kDisks[] = {{"pread", false, io::SyncedWrite::kCalls},
                               {"io_uring", true, io::SyncedWrite::kCalls},
                               {"linked", true, io::SyncedWrite::kLinked}};

std::string Parent() {
  if (std::getenv("FIRN_TEST_DIR") != nullptr) return "";
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "";
}

Life::Failures CodesOf(CallFailure failure) {
  if (IsHarmless(failure)) return {};
  switch (failure) {
    case CallFailure::kDevice:
    case CallFailure::kCompletionDevice:
      return {.of_all = {absl::StatusCode::kDataLoss, absl::StatusCode::kResourceExhausted}};
    case CallFailure::kCompletionNoSpace:  // of a read it means nothing better than EIO
      return {.of_all = {absl::StatusCode::kResourceExhausted}, .of_reads = {absl::StatusCode::kDataLoss}};
    case CallFailure::kSyncInterrupted:
    case CallFailure::kCompletionSyncInterrupted:
      return {.of_all = {absl::StatusCode::kInternal, absl::StatusCode::kResourceExhausted}};
    default:
      return {.of_all = {absl::StatusCode::kResourceExhausted}};
  }
}

// What this process would leave if it were killed now: all its threads stand still while a shell copies the files.
void CopyAsKilled(const std::string& from, const std::string& to) {
  const std::string script =
      "kill -STOP $PPID; until ! grep -sL '^State:.[Tt]' /proc/$PPID/task/*/status | grep -q .; do :; done; "
      "cp -a " +
      from + "/. " + to + "; copied=$?; kill -CONT $PPID; exit $copied";
  Demand(std::system(script.c_str()) == 0, "the files are not copied");
}

// Whether the point was reached.
bool RunPoint(const DiskKind& disk, const NthScenario& scenario, CallFailure failure, uint64_t point, bool lasting,
              std::map<std::string_view, uint64_t>& failed) {
  SetLabel("--failure " + std::string(NameOf(failure)) + " --disk " + std::string(disk.name) + " --scenario " +
           std::string(scenario.name) + " --point " + std::to_string(point) + (lasting ? " --lasting" : ""));
  const testing::TempDir original(Parent()), killed_before(Parent()), killed_after(Parent());
  std::string path = original.path();
  Life life(
      [&](const Options& options) -> absl::StatusOr<std::unique_ptr<DB>> {
        FIRN_ASSIGN_OR_RETURN(
            auto opened,
            io::OpenDisk(path, {.create_if_missing = true, .use_io_uring = disk.use_io_uring}, disk.synced_write));
        return OpenOn(options, {.disk = std::move(opened),
                                .segment_bytes_min_for_test = kSmallSegmentBytes,
                                .ceiling_floor_segments_for_test = 8});
      },
      CodesOf(failure));
  if (scenario.prepare) {
    life.Open();
    scenario.prepare(life);
    if (scenario.killed_before) {
      CopyAsKilled(path, killed_before.path());
      life.Drop();
      path = killed_before.path();
    } else if (scenario.opens) {
      life.Close();
    }
  } else if (!scenario.opens) {
    life.Open();
  }
  life.BeginFailures();
  FailCall(failure, point, lasting);
  scenario.run(life);
  const FailedCalls calls = StopFailingCalls();
  life.EndFailures();
  if (!calls.last.empty()) ++failed[calls.last];
  // Half of the points are followed by a kill: at once, or when CheckAlive() has flushed what there was.
  const bool killed = point % 2 == 1, at_once = point % 4 == 1;
  if (killed && at_once) CopyAsKilled(path, killed_after.path());
  life.CheckAlive();
  if (killed && !at_once) CopyAsKilled(path, killed_after.path());
  if (killed) {
    life.Drop();
    path = killed_after.path();
    life.CheckReopened(Life::End::kKilled);
  } else {
    life.Close();
    life.CheckReopened(Life::End::kClosed);
  }
  return calls.numbered > point;
}

constexpr CallFailure kCallFailures[] = {CallFailure::kDevice, CallFailure::kNoSpace,        CallFailure::kDescriptors,
                                         CallFailure::kMemory, CallFailure::kInterrupted,    CallFailure::kAgain,
                                         CallFailure::kShort,  CallFailure::kSyncInterrupted};
constexpr CallFailure kCompletionFailures[] = {
    CallFailure::kCompletionDevice,      CallFailure::kCompletionNoSpace,         CallFailure::kCompletionShort,
    CallFailure::kCompletionInterrupted, CallFailure::kCompletionSyncInterrupted, CallFailure::kCompletionAgain,
    CallFailure::kCompletionCancelled,   CallFailure::kCompletionsDelayed,        CallFailure::kCompletionsReordered};

struct Choice {
  uint64_t every = 1, point = UINT64_MAX;
  std::string failure, disk, scenario;
  bool lasting = false;
};

bool IsNamed(const Choice& choice) {
  const auto is_one_of = [](const std::string& name, const auto& all, const auto& name_of) {
    return name.empty() ||
           std::any_of(std::begin(all), std::end(all), [&](const auto& x) { return name_of(x) == name; });
  };
  return is_one_of(choice.scenario, Scenarios(), [](const NthScenario& scenario) { return scenario.name; }) &&
         is_one_of(choice.disk, kDisks, [](const DiskKind& disk) { return disk.name; }) &&
         (is_one_of(choice.failure, kCallFailures, NameOf) || is_one_of(choice.failure, kCompletionFailures, NameOf));
}

bool Parse(int argc, char** argv, Choice& choice) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--lasting") {
      choice.lasting = true;
      continue;
    }
    if (++i == argc) return false;
    if (argument == "--every") {
      choice.every = std::max<uint64_t>(1, std::strtoull(argv[i], nullptr, 10));
    } else if (argument == "--point") {
      choice.point = std::strtoull(argv[i], nullptr, 10);
    } else if (argument == "--failure") {
      choice.failure = argv[i];
    } else if (argument == "--disk") {
      choice.disk = argv[i];
    } else if (argument == "--scenario") {
      choice.scenario = argv[i];
    } else {
      return false;
    }
  }
  return IsNamed(choice);
}

int Main(int argc, char** argv) {
  Choice choice;
  if (!Parse(argc, argv, choice)) {
    std::fprintf(stderr,
                 "usage: %s [--every N] [--failure NAME] [--disk NAME] [--scenario NAME] [--point N] [--lasting]\n",
                 argv[0]);
    return 2;
  }
  const bool rings = io::Ring::Probe().ok();
  if (!rings) std::printf("io_uring is forbidden here: without it\n");
  std::map<std::string_view, uint64_t> failed;
  uint64_t runs = 0, points = 0;
  const auto run_all = [&](const DiskKind& disk, CallFailure failure, bool lasting) {
    uint64_t points_here = 0, runs_here = 0;
    for (const NthScenario& scenario : Scenarios()) {
      if (!choice.scenario.empty() && scenario.name != choice.scenario) continue;
      // Each scenario begins elsewhere.
      uint64_t point = choice.point != UINT64_MAX ? choice.point : (runs + runs_here) % choice.every;
      for (; RunPoint(disk, scenario, failure, point, lasting, failed); point += choice.every) {
        ++runs_here;
        if (choice.point != UINT64_MAX) break;
      }
      points_here += point;
    }
    std::printf("%-8s %-22s %s: %6llu points, %6llu failed\n", std::string(disk.name).c_str(),
                std::string(NameOf(failure)).c_str(), lasting ? "from there on" : "once         ",
                static_cast<unsigned long long>(points_here), static_cast<unsigned long long>(runs_here));
    std::fflush(stdout);
    points += lasting ? 0 : points_here;
    runs += runs_here;
  };
  for (const DiskKind& disk : kDisks) {
    if ((!choice.disk.empty() && choice.disk != disk.name) || (disk.use_io_uring && !rings)) continue;
    const auto run_each = [&](std::span<const CallFailure> failures) {
      for (const CallFailure failure : failures) {
        if (!choice.failure.empty() && choice.failure != NameOf(failure)) continue;
        if (!choice.lasting) run_all(disk, failure, false);
        // What is harmless once ends a transfer when it never ends.
        if (!IsHarmless(failure) && (choice.lasting || choice.point == UINT64_MAX)) run_all(disk, failure, true);
      }
    };
    run_each(kCallFailures);
    if (disk.use_io_uring) run_each(kCompletionFailures);
  }
  for (const auto& [name, times] : failed) {
    std::printf("  %-28s failed in %llu runs\n", std::string(name).c_str(), static_cast<unsigned long long>(times));
  }
  if (runs == 0) {
    std::printf("nothing has failed: there is no such point\n");
    return 1;
  }
  if (choice.point != UINT64_MAX) {
    std::printf("held\n");
    return 0;
  }
  std::printf("%llu points, each a system call or completion and a way to fail; %llu runs: all held\n",
              static_cast<unsigned long long>(points), static_cast<unsigned long long>(runs));
  return 0;
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) { return firn::test::Main(argc, argv); }
