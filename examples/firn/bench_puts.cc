// Synced and buffered puts.
#include <algorithm>
#include <map>

#include "firn/bench.h"
#include "firn/bench_raw_loop.h"

namespace firn::tools {
namespace {

// The disk drifts within seconds, so everything that is compared takes turns in slices of a run.
constexpr int kSlicesPerRun = 5;
constexpr double kWarmUpSeconds = 1;

// Everything measured in one run, by number of threads; 0 stands for the raw loop.
using RunRates = std::map<int, Rate>;

absl::StatusOr<RunRates> MeasureRun(const BenchConfig& config, DB& db, RawLoop& raw) {
  RunRates rates;
  const double slice_seconds = config.seconds / kSlicesPerRun;
  for (int slice = 0; slice < kSlicesPerRun; ++slice) {
    const absl::StatusOr<Rate> raw_rate = raw.Run(slice_seconds);
    if (!raw_rate.ok()) return raw_rate.status();
    rates[0].Add(*raw_rate);
    for (const int threads : config.threads) {
      const absl::StatusOr<Rate> rate = RunPuts(db, threads, slice_seconds, Durability::kSynced);
      if (!rate.ok()) return rate.status();
      rates[threads].Add(*rate);
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

}  // namespace

absl::Status BenchSynced(const BenchConfig& config, BenchReport* report) {
  absl::StatusOr<std::unique_ptr<DB>> db = OpenBenchStore(config, "synced");
  if (!db.ok()) return db.status();
  absl::StatusOr<RawLoop> raw = RawLoop::Create(config.directory + "/raw_loop");
  if (!raw.ok()) return raw.status();
  // A young store has small segments; the figures are about one that has grown.
  const absl::StatusOr<Rate> warm_up = RunPuts(**db, config.threads.back(), kWarmUpSeconds, Durability::kSynced);
  if (!warm_up.ok()) return warm_up.status();

  std::vector<RunRates> runs;
  for (int run = 0; run < config.runs; ++run) {
    absl::StatusOr<RunRates> rates = MeasureRun(config, **db, *raw);
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
  const Stats stats = (*db)->GetStats();
  report->Add("synced", "device_syncs_per_commit",
              static_cast<double>(stats.device_syncs) / static_cast<double>(std::max<uint64_t>(stats.commits, 1)));
  report->Add("synced", "group_size_p50", static_cast<double>(stats.group_size_p50));
  report->Add("synced", "group_size_max", static_cast<double>(stats.group_size_max));
  return (*db)->Close();
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
