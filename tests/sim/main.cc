// The model check: the engine on a simulated machine, all its threads in the order a seed decides, judged by a model.
//
// Seeds run in processes of their own, so that a crash of the engine is one failed seed. They tell their parent through
// a pipe which seed they begin and what it did.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sim/report.h"
#include "sim/seed_run.h"
#include "sim/shrink.h"
#include "support/workers.h"

namespace firn::test {
namespace {

struct Message {
  enum Kind : uint64_t { kBegins, kDone } kind;
  uint64_t worker;
  SeedReport report;
};
static_assert(sizeof(Message) <= 4096, "writes to a pipe are whole up to PIPE_BUF bytes");

struct Range {
  uint64_t first, count, workers, failures_max;
  std::chrono::steady_clock::time_point end = std::chrono::steady_clock::time_point::max();  // no seed begins later
};

void Send(int pipe_end, const Message& message) {
  if (write(pipe_end, &message, sizeof(message)) != sizeof(message)) std::_Exit(2);
}

[[noreturn]] void Work(int pipe_end, const Range& range, uint64_t worker, SeedOptions options) {
  constexpr unsigned kHangSeconds = 600;
  constexpr uint64_t kReplayEvery = 500;
  StayOn(worker);
  for (uint64_t& seed = options.seed; seed < range.first + range.count; seed += range.workers) {
    if (std::chrono::steady_clock::now() >= range.end) break;
    Message message{Message::kBegins, worker, {}};
    message.report.seed = seed;
    Send(pipe_end, message);
    alarm(kHangSeconds);
    message.report = RunSeed(options);
    if (seed % kReplayEvery == 1 && RunSeed(options).trace_hash != message.report.trace_hash) {
      std::fprintf(stderr, "the seed does not replay: its second run differs\n");
      std::_Exit(1);
    }
    message.kind = Message::kDone;
    Send(pipe_end, message);
  }
  std::_Exit(0);
}

class Run {
 public:
  Run(const Range& range, const SeedOptions& options) : range_(range), options_(options) {}

  int Execute() {
    if (pipe(pipe_) != 0) return 2;
    for (uint64_t worker = 0; worker < range_.workers; ++worker) Start(worker, range_.first + worker);
    while (!children_.empty()) {
      Message message;
      // Every child writes whole messages; the parent keeps a writing end, so reads never meet an end of file.
      if (!Poll(message)) continue;
      if (message.kind == Message::kBegins) running_[message.worker] = message.report.seed;
      if (message.kind == Message::kDone) reports_.push_back(message.report);
    }
    ShrinkFailed();
    const std::vector<std::string> never = Print();
    // So many seeds meet everything: what they never met is a check that tests nothing any more.
    constexpr size_t kSeedsThatMeetAll = 2'000;
    const bool thorough = reports_.size() < kSeedsThatMeetAll || never.empty();
    if (!thorough) std::fprintf(stderr, "failed: not every feature was met\n");
    return !reports_.empty() && failed_.empty() && thorough ? 0 : 1;
  }

 private:
  void Start(uint64_t worker, uint64_t from) {
    if (from >= range_.first + range_.count) return;
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      SeedOptions options = options_;
      options.seed = from;
      Work(pipe_[1], range_, worker, options);
    }
    children_[child] = worker;
    running_[worker] = from;
  }

  // The next message, or false after a child has ended.
  bool Poll(Message& message) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe_[0], &set);
    timeval wait{0, 100'000};
    if (select(pipe_[0] + 1, &set, nullptr, nullptr, &wait) > 0) {
      return read(pipe_[0], &message, sizeof(message)) == sizeof(message);
    }
    int status = 0;
    const pid_t child = waitpid(-1, &status, WNOHANG);
    if (child <= 0) return false;
    const auto ended = children_.find(child);
    if (ended == children_.end()) return false;
    const uint64_t worker = ended->second;
    children_.erase(ended);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return false;
    Fail(running_[worker], status);
    if (failed_.size() < range_.failures_max) Start(worker, running_[worker] + range_.workers);
    return false;
  }

  // The first few: it takes up to some minutes each.
  void ShrinkFailed() const {
    constexpr size_t kShrunkMax = 3;
    for (size_t i = 0; i < std::min(failed_.size(), kShrunkMax); ++i) {
      SeedOptions options = options_;
      options.seed = failed_[i];
      const std::optional<SeedOptions> simplest = Shrink(options);
      if (!simplest) {
        std::fprintf(stderr, "seed %llu does not fail again\n", static_cast<unsigned long long>(failed_[i]));
      } else if (simplest->simpler != options.simpler) {
        std::fprintf(stderr, "seed %llu fails in a simpler run too: %s --verbose\n",
                     static_cast<unsigned long long>(failed_[i]), ReplayCommand(*simplest).c_str());
      }
    }
  }

  void Fail(uint64_t seed, int status) {
    failed_.push_back(seed);
    std::string how = "failed";
    if (WIFSIGNALED(status)) how = std::string("was ended by signal ") + strsignal(WTERMSIG(status));
    std::fprintf(stderr, "seed %llu %s; replay: ./dev sim --seed %llu\n\n", static_cast<unsigned long long>(seed),
                 how.c_str(), static_cast<unsigned long long>(seed));
  }

  template <typename Get>
  void PrintSpread(const char* name, Get get) const {
    std::vector<uint64_t> values;
    for (const SeedReport& report : reports_) values.push_back(get(report));
    std::sort(values.begin(), values.end());
    std::printf("  %-18s median %8llu   min %8llu   max %8llu\n", name,
                static_cast<unsigned long long>(values[values.size() / 2]),
                static_cast<unsigned long long>(values.front()), static_cast<unsigned long long>(values.back()));
  }

  // Returns the features that no seed has met.
  std::vector<std::string> Print() const {
    std::printf("%zu seeds passed, %zu failed\n", reports_.size(), failed_.size());
    if (reports_.empty()) return {};
    uint64_t cycles = 0, operations = 0;
    for (const SeedReport& report : reports_) {
      cycles += report.cuts + report.kills;
      operations += report.operations;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    std::printf("%llu crashes and recoveries from them, %.0f a second; %llu calls\n",
                static_cast<unsigned long long>(cycles), static_cast<double>(cycles) / std::max(seconds, 1e-3),
                static_cast<unsigned long long>(operations));
    std::printf("per seed:\n");
    PrintSpread("operations", [](const SeedReport& r) { return r.operations; });
    PrintSpread("seals", [](const SeedReport& r) { return r.seals; });
    PrintSpread("power cuts", [](const SeedReport& r) { return r.cuts; });
    PrintSpread("kills", [](const SeedReport& r) { return r.kills; });
    PrintSpread("lives", [](const SeedReport& r) { return r.lives; });
    PrintSpread("disk operations", [](const SeedReport& r) { return r.disk_operations; });
    PrintSpread("scheduling points", [](const SeedReport& r) { return r.steps; });
    PrintSpread("thread switches", [](const SeedReport& r) { return r.switches; });
    std::printf("features, how often in all and in how many seeds:\n");
    std::vector<std::string> never;
    for (size_t feature = 0; feature < kFeatures; ++feature) {
      uint64_t total = 0, seeds = 0;
      for (const SeedReport& report : reports_) {
        total += report.counts[feature];
        seeds += report.counts[feature] != 0;
      }
      if (total == 0) {
        never.push_back(kFeatureNames[feature]);
        continue;
      }
      std::printf("  %-24s %10llu %8llu\n", kFeatureNames[feature], static_cast<unsigned long long>(total),
                  static_cast<unsigned long long>(seeds));
    }
    for (const std::string& name : never) std::printf("  %-24s      never\n", name.c_str());
    return never;
  }

  const Range range_;
  const SeedOptions options_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  int pipe_[2] = {-1, -1};
  std::map<pid_t, uint64_t> children_;
  std::map<uint64_t, uint64_t> running_;
  std::vector<SeedReport> reports_;
  std::vector<uint64_t> failed_;
};

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  firn::test::Range range{1, 2'000, std::max(1u, std::thread::hardware_concurrency()), 10};
  uint64_t seed = 0;
  double minutes = 0;
  firn::test::SeedOptions options;
  CLI::App app{"Checks the engine against a model, on a simulated machine and under simulated scheduling"};
  app.add_option("--seeds", range.count, "how many seeds")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--first", range.first, "the first seed")->capture_default_str();
  CLI::Option* one = app.add_option("--seed", seed, "replays this one");
  CLI::Option* timed = app.add_option("--minutes", minutes, "as many seeds as that takes, instead of --seeds")
                           ->check(CLI::PositiveNumber);
  app.add_option("--jobs", range.workers, "processes at a time")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--failures-max", range.failures_max, "stops after so many failed seeds")->capture_default_str();
  std::vector<std::string> simpler;
  app.add_option("--simpler", simpler, "keeps the seeds from something, as a shrunk failure prints it")->delimiter(',');
  app.add_option("--calls-max", options.simpler.calls_max, "calls of the clients in each life");
  app.add_flag("--verbose", options.verbose, "says what happens");
  app.add_flag("--trace-disk", options.trace_disk, "shows every disk operation");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& name : simpler) {
    if (options.simpler.Set(name)) continue;
    std::string names;
    for (const firn::test::SimplerName& each : firn::test::kSimplerNames) names += std::string(" ") + each.name;
    std::fprintf(stderr, "--simpler knows no '%s', but%s\n", name.c_str(), names.c_str());
    return 1;
  }
  if (timed->count() > 0) {
    range.count = UINT64_MAX / 2;
    range.end = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                       std::chrono::duration<double, std::ratio<60>>(minutes));
  }
  if (one->count() > 0) range = {seed, 1, 1, 1};
  return firn::test::Run(range, options).Execute();
}
