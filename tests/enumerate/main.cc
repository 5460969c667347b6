// Enumerates crashes: for every ordered pair of steps of a store's life, at every moment, every subset of what was not
// synced. Histories are shared out among processes; each tells its parent through a pipe what it counted.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "enumerate/cut.h"
#include "enumerate/history.h"
#include "support/end_process.h"
#include "support/workers.h"

namespace firn::test {
namespace {

struct Message {
  uint64_t plan;
  uint64_t moments;
  CutCounts counts;
  bool failed;
};
static_assert(sizeof(Message) <= 4096, "writes to a pipe are whole up to PIPE_BUF bytes");

std::vector<HistoryPlan> AllPlans() {
  std::vector<HistoryPlan> plans;
  for (const Durability durability : {Durability::kSynced, Durability::kBuffered}) {
    for (size_t first = 0; first < kSteps; ++first) {
      for (size_t second = 0; second < kSteps; ++second) {
        plans.push_back({static_cast<Step>(first), static_cast<Step>(second), durability});
      }
    }
  }
  return plans;
}

// In memory that the processes share: the first history that nobody has begun.
using NextPlan = std::atomic<uint64_t>;
static_assert(NextPlan::is_always_lock_free);

NextPlan* MakeNextPlan() {
  void* memory = mmap(nullptr, sizeof(NextPlan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) NextPlan(0);
}

[[noreturn]] void Work(int pipe_end, const std::vector<HistoryPlan>& plans, size_t worker, NextPlan& next,
                       const CutLimits& limits) {
  constexpr unsigned kHangSeconds = 1'800;
  BecomeWorker(worker);
  for (uint64_t i = next++; i < plans.size(); i = next++) {
    alarm(kHangSeconds);
    Message message{i, 0, {}, false};
    try {
      const History history = Play(plans[i]);
      message.moments = history.moments.size();
      message.counts = CrashEverywhere(history, limits);
    } catch (const std::exception& broken) {
      message.failed = true;
      std::fprintf(stderr, "%s: %s\n", NameOf(plans[i]).c_str(), broken.what());
    }
    if (write(pipe_end, &message, sizeof(message)) != sizeof(message)) EndProcess(2);
  }
  EndProcess(0);
}

struct Totals {
  uint64_t histories = 0, moments = 0, failed = 0;
  CutCounts counts;
};

unsigned long long Number(uint64_t number) { return number; }

int Run(const std::vector<HistoryPlan>& plans, size_t workers, const CutLimits& limits, const std::string& arguments,
        bool verbose) {
  const auto began = std::chrono::steady_clock::now();
  int ends[2];
  NextPlan* next = MakeNextPlan();
  if (next == nullptr || pipe(ends) != 0) return 2;
  std::fflush(nullptr);
  for (size_t worker = 0; worker < workers; ++worker) {
    if (fork() == 0) {
      close(ends[0]);
      Work(ends[1], plans, worker, *next, limits);
    }
  }
  close(ends[1]);
  Totals totals;
  Message message;
  while (read(ends[0], &message, sizeof(message)) == sizeof(message)) {
    ++totals.histories;
    totals.moments += message.moments;
    totals.counts.Add(message.counts);
    const std::string name = NameOf(plans[message.plan]);
    if (message.failed) {
      ++totals.failed;
      std::fprintf(stderr, "%s failed; again: ./dev enumerate --history %s%s\n\n", name.c_str(), name.c_str(),
                   arguments.c_str());
    } else if (verbose) {
      std::printf("%-32s %6llu moments %9llu states %9llu distinct %9llu recovered\n", name.c_str(),
                  Number(message.moments), Number(message.counts.states), Number(message.counts.distinct),
                  Number(message.counts.recovered));
      std::fflush(stdout);
    }
  }
  bool died = false;
  for (size_t worker = 0; worker < workers; ++worker) {
    int status = 0;
    wait(&status);
    died |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf(
      "%llu histories of two steps, %llu moments: %llu crash states, of which %llu are distinct; %llu recovered, in "
      "%.0f s by %zu processes\n"
      "all subsets of what was not synced at %llu moments, a sample of them at %llu (counted for kills and power "
      "cuts)\n",
      Number(totals.histories), Number(totals.moments), Number(totals.counts.states), Number(totals.counts.distinct),
      Number(totals.counts.recovered), seconds, workers, Number(totals.counts.exhausted),
      Number(totals.counts.sampled));
  if (died || totals.histories != plans.size()) {
    std::fprintf(stderr, "failed: a process ended before its work; run with --jobs 1 --verbose to see where\n");
    return 1;
  }
  std::printf("%llu histories failed\n", Number(totals.failed));
  return totals.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  using firn::test::HistoryPlan;
  firn::test::CutLimits limits;
  size_t workers = std::max(1u, std::thread::hardware_concurrency());
  std::string only;
  bool verbose = false;
  CLI::App app{"Crashes short histories of a store at every moment, in every way, and recovers what is left"};
  app.add_option("--subsets-max", limits.subsets_max, "all subsets of what was not synced up to so many, else a sample")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--torn-pages-max", limits.torn_pages_max, "pages that are torn at each moment")
      ->capture_default_str();
  app.add_flag("--count-only", limits.recover_none, "counts the states and recovers none");
  app.add_option("--history", only, "one of them, such as put,drop,synced");
  app.add_option("--jobs", workers, "processes at a time")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_flag("--verbose", verbose, "a line for each history");
  CLI11_PARSE(app, argc, argv);
  std::vector<HistoryPlan> plans = firn::test::AllPlans();
  if (!only.empty()) std::erase_if(plans, [&only](const HistoryPlan& plan) { return NameOf(plan) != only; });
  if (plans.empty()) {
    std::string steps;
    for (const char* name : firn::test::kStepNames) steps += std::string(" ") + name;
    std::fprintf(stderr, "no history is named '%s': it is FIRST,SECOND,synced or FIRST,SECOND,buffered, of%s\n",
                 only.c_str(), steps.c_str());
    return 1;
  }
  const std::string arguments = " --subsets-max " + std::to_string(limits.subsets_max) + " --torn-pages-max " +
                                std::to_string(limits.torn_pages_max);
  return firn::test::Run(plans, std::min(workers, plans.size()), limits, arguments, verbose);
}
