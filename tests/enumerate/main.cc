// Enumerates crashes: for every ordered pair of steps of a store's life, and for some triples, at every moment, every
// subset of what was not synced. Histories are shared out among processes; each tells its parent through a pipe what it
// counted. No state is recovered twice, whatever histories lead to it.
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
  CutCounts counts;
  bool failed;
};
static_assert(sizeof(Message) <= 4096, "writes to a pipe are whole up to PIPE_BUF bytes");

// Of all that are `steps` long, each with synced and with buffered writes.
std::vector<HistoryPlan> AllPlans(size_t steps) {
  std::vector<HistoryPlan> plans = {{{}, Durability::kSynced}, {{}, Durability::kBuffered}};
  for (size_t i = 0; i < steps; ++i) {
    std::vector<HistoryPlan> longer;
    for (const HistoryPlan& plan : plans) {
      for (size_t step = 0; step < kSteps; ++step) {
        longer.push_back(plan);
        longer.back().steps.push_back(static_cast<Step>(step));
      }
    }
    plans = std::move(longer);
  }
  return plans;
}

// `count` of them, spread evenly over all.
std::vector<HistoryPlan> SomeOf(const std::vector<HistoryPlan>& plans, size_t count) {
  std::vector<HistoryPlan> some;
  for (size_t i = 0; i < std::min(count, plans.size()); ++i) some.push_back(plans[i * plans.size() / count]);
  return some;
}

// All histories with the same first steps come to the same moments in them: one of them is crashed there. A pair is
// crashed in its last step, and that which ends in a put in both; a triple, whose first steps are a
// pair, in the last.
size_t FirstStepToCrash(const HistoryPlan& plan) {
  const size_t last = plan.steps.size() - 1;
  return last == 1 && plan.steps[last] == Step::kPut ? 0 : last;
}

// In memory that the processes share: the first history that nobody has begun.
using NextPlan = std::atomic<uint64_t>;
static_assert(NextPlan::is_always_lock_free);

NextPlan* MakeNextPlan() {
  void* memory = mmap(nullptr, sizeof(NextPlan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) NextPlan(0);
}

[[noreturn]] void Work(int pipe_end, const std::vector<HistoryPlan>& plans, size_t worker, NextPlan& next,
                       const CutLimits& limits, bool all_steps, SeenStates& seen) {
  constexpr unsigned kHangSeconds = 1'800;
  BecomeWorker(worker);
  for (uint64_t i = next++; i < plans.size(); i = next++) {
    alarm(kHangSeconds);
    Message message{i, {}, false};
    try {
      CutLimits limits_here = limits;
      limits_here.first_step = all_steps ? 0 : FirstStepToCrash(plans[i]);
      message.counts = CrashEverywhere(Play(plans[i]), limits_here, seen);
    } catch (const std::exception& broken) {
      message.failed = true;
      std::fprintf(stderr, "%s: %s\n", NameOf(plans[i]).c_str(), broken.what());
    }
    if (write(pipe_end, &message, sizeof(message)) != sizeof(message)) EndProcess(2);
  }
  EndProcess(0);
}

struct Totals {
  uint64_t histories = 0, failed = 0;
  CutCounts counts;
};

unsigned long long Number(uint64_t number) { return number; }

void Print(const char* kind, const CutCounts::Moments& moments) {
  std::printf("%s: all subsets of what was not synced at %llu moments, a sample of them at %llu\n", kind,
              Number(moments.exhausted), Number(moments.sampled));
  std::printf("  moments by how many subsets there are:");
  for (size_t i = 0; i < moments.by_subsets.size(); ++i) {
    const bool last = i + 1 == moments.by_subsets.size();
    if (moments.by_subsets[i] == 0) continue;
    std::printf(" %s2^%zu: %llu", last ? "above " : "", last ? i - 1 : i, Number(moments.by_subsets[i]));
  }
  std::printf("\n");
}

// `all_steps`: also those that other histories begin with, too.
int Run(const std::vector<HistoryPlan>& plans, size_t workers, const CutLimits& limits, const std::string& arguments,
        bool all_steps, bool verbose) {
  constexpr uint64_t kSeenMax = uint64_t{1} << 25;
  const auto began = std::chrono::steady_clock::now();
  int ends[2];
  NextPlan* next = MakeNextPlan();
  SeenStates seen(kSeenMax);
  if (next == nullptr || pipe(ends) != 0) return 2;
  std::fflush(nullptr);
  for (size_t worker = 0; worker < workers; ++worker) {
    if (fork() == 0) {
      close(ends[0]);
      Work(ends[1], plans, worker, *next, limits, all_steps, seen);
    }
  }
  close(ends[1]);
  Totals totals;
  Message message;
  while (read(ends[0], &message, sizeof(message)) == sizeof(message)) {
    ++totals.histories;
    totals.counts.Add(message.counts);
    const std::string name = NameOf(plans[message.plan]);
    if (message.failed) {
      ++totals.failed;
      std::fprintf(stderr, "%s failed; again: ./dev enumerate --history %s%s\n\n", name.c_str(), name.c_str(),
                   arguments.c_str());
    } else if (verbose) {
      std::printf("%-32s %6llu moments %9llu states %9llu different %9llu recovered\n", name.c_str(),
                  Number(message.counts.moments), Number(message.counts.states), Number(message.counts.different),
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
  const CutCounts& counts = totals.counts;
  std::printf(
      "%llu histories, %llu moments: %llu crash states, of which %llu are different, on %llu different disks; %llu "
      "recovered, in %.0f s by %zu processes\n",
      Number(totals.histories), Number(counts.moments), Number(counts.states), Number(counts.different),
      Number(counts.disks), Number(counts.recovered), seconds, workers);
  Print("kills", counts.kills);
  Print("power cuts", counts.power_cuts);
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
  size_t triples = 700;
  std::string only;
  bool verbose = false;
  CLI::App app{"Crashes short histories of a store at every moment, in every way, and recovers what is left"};
  app.add_option("--subsets-max", limits.subsets_max, "all subsets of what was not synced up to so many, else a sample")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--torn-pages-max", limits.torn_pages_max, "pages that are torn at each moment")
      ->capture_default_str();
  app.add_option("--tail-mixes", limits.tail_mixes, "subsets of TAIL's pages at each moment, beside all and none")
      ->capture_default_str();
  app.add_option("--triples", triples, "histories of three steps, beside all of two")->capture_default_str();
  app.add_flag("--count-only", limits.recover_none, "counts the states and recovers none");
  app.add_option("--history", only, "one of them, such as put,drop,synced");
  app.add_option("--jobs", workers, "processes at a time")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_flag("--verbose", verbose, "a line for each history");
  CLI11_PARSE(app, argc, argv);
  std::vector<HistoryPlan> plans = firn::test::AllPlans(2), of_three = firn::test::AllPlans(3);
  if (only.empty()) of_three = firn::test::SomeOf(of_three, triples);
  plans.insert(plans.end(), of_three.begin(), of_three.end());
  if (!only.empty()) std::erase_if(plans, [&only](const HistoryPlan& plan) { return NameOf(plan) != only; });
  if (plans.empty()) {
    std::string steps;
    for (const char* name : firn::test::kStepNames) steps += std::string(" ") + name;
    std::fprintf(stderr,
                 "no history is named '%s': it is two or three steps and 'synced' or 'buffered', such as "
                 "put,drop,synced, of%s\n",
                 only.c_str(), steps.c_str());
    return 1;
  }
  const std::string arguments = " --subsets-max " + std::to_string(limits.subsets_max) + " --torn-pages-max " +
                                std::to_string(limits.torn_pages_max) + " --tail-mixes " +
                                std::to_string(limits.tail_mixes);
  return firn::test::Run(plans, std::min(workers, plans.size()), limits, arguments, !only.empty(), verbose);
}
