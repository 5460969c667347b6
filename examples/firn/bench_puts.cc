// Synced and buffered puts.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <thread>
#include <utility>

#include "firn/bench.h"
#include "firn/bench_raw_loop.h"

namespace firn::tools {
namespace {

// The disk drifts within seconds, so everything that is compared takes turns in slices of a run.
constexpr int kSlicesPerRun = 5;
constexpr double kWarmUpSeconds = 1;

// Everything measured in one run, by number of threads; 0 stands for the raw loop.
using RunRates = std::map<int, Rate>;

// Each number of threads has a store of its own, so that a lone writer does not meet what others left behind.
using Stores = std::map<int, std::unique_ptr<DB>>;

// Until the store's own threads have written nothing for a moment: what they do for one is not the next one's cost.
void AwaitRest(DB& db) {
  constexpr auto kMoment = std::chrono::milliseconds(20);
  constexpr int kMomentsMax = 100;
  uint64_t written = db.GetStats().device_written_bytes;
  for (int moment = 0; moment < kMomentsMax; ++moment) {
    std::this_thread::sleep_for(kMoment);
    if (written == std::exchange(written, db.GetStats().device_written_bytes)) return;
  }
}

absl::StatusOr<RunRates> MeasureRun(const BenchConfig& config, const Stores& stores, RawLoop& raw) {
  RunRates rates;
  const double slice_seconds = config.seconds / kSlicesPerRun;
  for (int slice = 0; slice < kSlicesPerRun; ++slice) {
    const absl::StatusOr<Rate> raw_rate = raw.Run(slice_seconds);
    if (!raw_rate.ok()) return raw_rate.status();
    rates[0].Add(*raw_rate);
    for (const auto& [threads, db] : stores) {
      const absl::StatusOr<Rate> rate = RunPuts(*db, threads, slice_seconds, Durability::kSynced);
      if (!rate.ok()) return rate.status();
      rates[threads].Add(*rate);
      AwaitRest(*db);
    }
  }
  return rates;
}

void AddRatios(const std::vector<RunRates>& runs, int numerator, int denominator, const std::string& name,
               BenchReport* report) {
  std::vector<double> ratios;
  for (const RunRates& run : runs) {
    const auto top = run.find(numerator), bottom = run.find(denominator);
    if (top == run.end() || bottom == run.end() || bottom->second.operations == 0) return;
    ratios.push_back(top->second.per_second() / bottom->second.per_second());
  }
  report->Add("synced", name, Median(ratios));
}

std::string ThreadsText(int threads) { return std::to_string(threads) + (threads == 1 ? "_thread" : "_threads"); }

// Of the measured time alone: what warming up took is another store's figure.
void AddCommitFigures(int threads, const Stats& before, const Stats& after, BenchReport* report) {
  const double commits = static_cast<double>(std::max<uint64_t>(after.commits - before.commits, 1));
  const std::string of = "_" + ThreadsText(threads);
  report->Add("synced", "device_syncs_per_commit" + of,
              static_cast<double>(after.device_syncs - before.device_syncs) / commits);
  report->Add("synced", "group_size_mean" + of,
              static_cast<double>(after.commit_writes - before.commit_writes) / commits);
}

}  // namespace

absl::Status BenchSynced(const BenchConfig& config, BenchReport* report) {
  absl::StatusOr<RawLoop> raw = RawLoop::Create(config.directory + "/raw_loop");
  if (!raw.ok()) return raw.status();
  Stores stores;
  std::error_code failed;
  std::filesystem::create_directory(config.directory + "/synced", failed);  // else the open says why
  for (const int threads : config.threads) {
    absl::StatusOr<std::unique_ptr<DB>> db = OpenBenchStore(config, "synced/" + ThreadsText(threads));
    if (!db.ok()) return db.status();
    // A young store has small segments; the figures are about one that has grown, by the same number of writers.
    const absl::StatusOr<Rate> warm_up = RunPuts(**db, threads, kWarmUpSeconds, Durability::kSynced);
    if (!warm_up.ok()) return warm_up.status();
    AwaitRest(**db);
    stores[threads] = *std::move(db);
  }

  std::map<int, Stats> stats_before;
  for (const auto& [threads, db] : stores) stats_before[threads] = db->GetStats();
  std::vector<RunRates> runs;
  for (int run = 0; run < config.runs; ++run) {
    absl::StatusOr<RunRates> rates = MeasureRun(config, stores, *raw);
    if (!rates.ok()) return rates.status();
    runs.push_back(*std::move(rates));
  }
  std::map<int, std::vector<double>> rates_of_runs;
  for (const RunRates& run : runs) {
    for (const auto& [threads, rate] : run) rates_of_runs[threads].push_back(rate.per_second());
  }
  for (const auto& [threads, rates] : rates_of_runs) {
    const std::string name = threads == 0 ? "raw_loop_per_second" : "puts_per_second_" + ThreadsText(threads);
    report->Add("synced", name, Median(rates));
  }
  report->Add("synced", "raw_loop_direct", raw->direct() ? 1 : 0);
  AddRatios(runs, 1, 0, "ratio_1_thread_to_raw_loop", report);
  for (const int threads : config.threads) {
    if (threads != 1) AddRatios(runs, threads, 1, "ratio_" + ThreadsText(threads) + "_to_1_thread", report);
  }
  for (const auto& [threads, db] : stores) {
    AddCommitFigures(threads, stats_before[threads], db->GetStats(), report);
    if (absl::Status status = db->Close(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status BenchBuffered(const BenchConfig& config, BenchReport* report) {
  absl::StatusOr<std::unique_ptr<DB>> db = OpenBenchStore(config, "buffered");
  if (!db.ok()) return db.status();
  const absl::StatusOr<Rate> warm_up = RunPuts(**db, 1, kWarmUpSeconds, Durability::kBuffered);
  if (!warm_up.ok()) return warm_up.status();
  std::vector<double> rates;
  for (int run = 0; run < config.runs; ++run) {
    const absl::StatusOr<Rate> rate = RunPuts(**db, 1, config.seconds, Durability::kBuffered);
    if (!rate.ok()) return rate.status();
    rates.push_back(rate->per_second());
  }
  report->Add("buffered", "puts_per_second_1_thread", Median(rates));
  const Stats stats = (*db)->GetStats();
  report->Add("buffered", "put_p50_ns", static_cast<double>(stats.puts.p50_ns));
  report->Add("buffered", "put_p99_ns", static_cast<double>(stats.puts.p99_ns));
  return (*db)->Close();
}

}  // namespace firn::tools
