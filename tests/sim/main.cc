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

#include "sim/regressions.h"
#include "sim/report.h"
#include "sim/seed_run.h"
#include "sim/shrink.h"
#include "support/end_process.h"
#include "support/workers.h"

namespace firn::test {
namespace {

struct Message {
  enum Kind : uint64_t { kBegins, kDone } kind;
  uint64_t worker;
  uint64_t number;  // of the seed in its range
  SeedReport report;
};
static_assert(sizeof(Message) <= 4096, "writes to a pipe are whole up to PIPE_BUF bytes");

struct Range {
  uint64_t first, count, workers, failures_max;
  std::chrono::steady_clock::time_point end = std::chrono::steady_clock::time_point::max();  // no seed begins later
  std::vector<SeedOptions> before = {};                                                      // are run first

  uint64_t size() const { return before.size() + count; }
  // The seed with that number, `usual` where it brings no options of its own.
  SeedOptions At(uint64_t number, const SeedOptions& usual) const {
    SeedOptions options = usual;
    if (number >= before.size()) {
      options.seed = first + (number - before.size());
    } else {
      options.seed = before[number].seed;
      if (before[number].simpler != Simpler{}) options.simpler = before[number].simpler;
    }
    return options;
  }
};

void Send(int pipe_end, const Message& message) {
  if (write(pipe_end, &message, sizeof(message)) != sizeof(message)) EndProcess(2);
}

[[noreturn]] void Work(int pipe_end, const Range& range, uint64_t worker, uint64_t from, const SeedOptions& usual) {
  constexpr unsigned kHangSeconds = 600;
  constexpr uint64_t kReplayEvery = 500;
  BecomeWorker(worker);
  for (uint64_t number = from; number < range.size(); number += range.workers) {
    if (std::chrono::steady_clock::now() >= range.end) break;
    const SeedOptions options = range.At(number, usual);
    Message message{Message::kBegins, worker, number, {}};
    message.report.seed = options.seed;
    Send(pipe_end, message);
    alarm(kHangSeconds);
    message.report = RunSeed(options);
    if (options.seed % kReplayEvery == 1 && RunSeed(options).trace_hash != message.report.trace_hash) {
      std::fprintf(stderr, "the seed does not replay: its second run differs\n");
      EndProcess(1);
    }
    message.kind = Message::kDone;
    Send(pipe_end, message);
  }
  EndProcess(0);
}

class Run {
 public:
  Run(const Range& range, const SeedOptions& options, bool shrinks)
      : range_(range), options_(options), shrinks_(shrinks) {}

  // Prints that many seeds of those that passed.
  void Choose(size_t count) const {
    for (const uint64_t seed : ChooseSeeds(reports_, count)) {
      std::printf("%llu\n", static_cast<unsigned long long>(seed));
    }
  }

  int Execute() {
    if (pipe(pipe_) != 0) return 2;
    for (uint64_t worker = 0; worker < range_.workers; ++worker) Start(worker, worker);
    while (!children_.empty()) {
      Message message;
      // Every child writes whole messages; the parent keeps a writing end, so reads never meet an end of file.
      if (!Poll(message)) continue;
      if (message.kind == Message::kBegins) running_[message.worker] = message.number;
      if (message.kind == Message::kDone) reports_.push_back(message.report);
    }
    if (shrinks_) ShrinkFailed();
    const std::vector<std::string> never = Print();
    // So many seeds meet everything: what they never met is a check that tests nothing any more.
    constexpr size_t kSeedsThatMeetAll = 2'000;
    const bool thorough = reports_.size() < kSeedsThatMeetAll || never.empty();
    if (!thorough) std::fprintf(stderr, "failed: not every feature was met\n");
    return !reports_.empty() && failed_.empty() && thorough ? 0 : 1;
  }

 private:
  void Start(uint64_t worker, uint64_t from) {
    if (from >= range_.size()) return;
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) Work(pipe_[1], range_, worker, from, options_);
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
    Fail(range_.At(running_[worker], options_), status);
    if (failed_.size() < range_.failures_max) Start(worker, running_[worker] + range_.workers);
    return false;
  }

  // The first few: it takes up to some minutes each.
  void ShrinkFailed() const {
    constexpr size_t kShrunkMax = 3;
    for (size_t i = 0; i < std::min(failed_.size(), kShrunkMax); ++i) {
      const std::optional<SeedOptions> simplest = Shrink(failed_[i]);
      if (!simplest) {
        std::fprintf(stderr, "seed %llu does not fail again\n", static_cast<unsigned long long>(failed_[i].seed));
      } else if (simplest->simpler != failed_[i].simpler) {
        std::fprintf(stderr, "seed %llu fails in a simpler run too: %s --verbose\n",
                     static_cast<unsigned long long>(failed_[i].seed), ReplayCommand(*simplest).c_str());
      }
    }
  }

  void Fail(const SeedOptions& options, int status) {
    failed_.push_back(options);
    std::string how = "failed";
    if (WIFSIGNALED(status)) how = std::string("was ended by signal ") + strsignal(WTERMSIG(status));
    std::fprintf(stderr, "seed %llu %s; replay: %s\n\n", static_cast<unsigned long long>(options.seed), how.c_str(),
                 ReplayCommand(options).c_str());
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
  const bool shrinks_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  int pipe_[2] = {-1, -1};
  std::map<pid_t, uint64_t> children_;
  std::map<uint64_t, uint64_t> running_;
  std::vector<SeedReport> reports_;
  std::vector<SeedOptions> failed_;
};

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  firn::test::Range range{1, 2'000, std::max(1u, std::thread::hardware_concurrency()), 10};
  std::string regressions;
  bool regressions_only = false;
  size_t choose = 0;
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
  CLI::Option* listed = app.add_option("--regressions", regressions, "a file of seeds that are run first")
                            ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_flag("--regressions-only", regressions_only, "and no others")->needs(listed);
  app.add_option("--choose", choose, "prints so many of the seeds, which meet the rarest features");
  std::vector<std::string> simpler;
  app.add_option("--simpler", simpler, "keeps the seeds from something, as a shrunk failure prints it")->delimiter(',');
  app.add_option("--calls-max", options.simpler.calls_max, "calls of the clients in each life");
  bool as_found = false;
  app.add_flag("--as-found", as_found, "does not look for simpler runs of the seeds that failed");
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
  if (one->count() > 0) {
    range = {seed, 1, 1, 1};
  } else if (listed->count() > 0) {
    try {
      range.before = firn::test::ReadRegressions(regressions);
    } catch (const std::exception& wrong) {
      std::fprintf(stderr, "%s\n", wrong.what());
      return 1;
    }
    if (regressions_only) range.count = 0;
  }
  firn::test::Run run(range, options, !as_found);
  const int result = run.Execute();
  if (choose > 0) run.Choose(choose);
  return result;
}
