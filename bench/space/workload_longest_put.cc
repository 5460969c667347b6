// d: the longest put while random overwrites saturate the engine, told apart from the machine's own pauses.
#include <algorithm>
#include <random>

#include "space/session.h"
#include "space/watchers.h"
#include "space/workloads.h"

namespace firn::bench {
namespace {

constexpr size_t kLongestPuts = 1'000;
constexpr uint64_t kSlowPutNs = 1'000'000;

struct TimedPut {
  uint64_t start_ns, end_ns;
  uint64_t took_ns() const { return end_ns - start_ns; }
};

// Keeps the longest puts seen.
class LongestPuts {
 public:
  void Add(uint64_t start_ns, uint64_t end_ns) {
    if (end_ns - start_ns < kSlowPutNs) return;
    slow_count_ += end_ns - start_ns >= 10 * kSlowPutNs;
    const auto longer = [](const TimedPut& a, const TimedPut& b) { return a.took_ns() > b.took_ns(); };
    puts_.push_back({start_ns, end_ns});
    std::push_heap(puts_.begin(), puts_.end(), longer);
    if (puts_.size() <= kLongestPuts) return;
    std::pop_heap(puts_.begin(), puts_.end(), longer);
    puts_.pop_back();
  }

  uint64_t slow_count() const { return slow_count_; }  // 10 ms and longer

  // The longest put less what stood still meanwhile.
  uint64_t LongestWithoutNs(const Gaps& gaps) const {
    uint64_t longest = 0;
    for (const TimedPut& put : puts_) {
      longest = std::max(longest, put.took_ns() - gaps.OverlapNs(put.start_ns, put.end_ns));
    }
    return longest;
  }

 private:
  std::vector<TimedPut> puts_;
  uint64_t slow_count_ = 0;
};

absl::StatusOr<Figures> OverwriteForMinutes(const Config& config, const EngineSpec& spec,
                                            const std::string& directory) {
  absl::StatusOr<Session> session = Session::Open(spec, directory, config.KeysFor(spec.value_bytes));
  if (!session.ok()) return session.status();
  if (absl::Status status = session->Load().status(); !status.ok()) return status;
  std::mt19937_64 random(17);
  LongestPuts longest;
  ClockWatcher clock;
  DiskWatcher disk(directory + ".probe");
  const uint64_t deadline = NowNs() + static_cast<uint64_t>(config.minutes * 60e9);
  absl::StatusOr<Figures> figures =
      session->Measure([&](uint64_t) { return NowNs() < deadline ? random() % session->keys() : kNoMore; },
                       [&](uint64_t start_ns, uint64_t end_ns) { longest.Add(start_ns, end_ns); });
  clock.Stop();
  disk.Stop();
  if (!figures.ok()) return figures.status();
  (*figures)["clock_gap_us_max"] = static_cast<double>(clock.gaps().longest_ns()) * 1e-3;
  (*figures)["put_without_gap_us_max"] = static_cast<double>(longest.LongestWithoutNs(clock.gaps())) * 1e-3;
  (*figures)["disk_gap_us_max"] = static_cast<double>(disk.gaps().longest_ns()) * 1e-3;
  (*figures)["put_without_disk_gap_us_max"] = static_cast<double>(longest.LongestWithoutNs(disk.gaps())) * 1e-3;
  (*figures)["puts_over_10_ms"] = static_cast<double>(longest.slow_count());
  if (absl::Status status = session->VerifyAndClose(&*figures); !status.ok()) return status;
  return figures;
}

}  // namespace

absl::Status RunLongestPut(const Config& config) {
  Workload workload{"d", "saturated random overwrites by one thread beside one that only reads the clock", {}, {}};
  workload.columns = LatencyColumns();
  workload.columns.push_back({"puts_over_10_ms", ">= 10 ms", 1, 0});
  workload.columns.push_back({"clock_gap_us_max", "control gap us", 1, 0});
  workload.columns.push_back({"put_without_gap_us_max", "max less gap us", 1, 0});
  workload.columns.push_back({"disk_gap_us_max", "disk gap us", 1, 0});
  workload.columns.push_back({"put_without_disk_gap_us_max", "max less disk gap us", 1, 0});
  for (const Column& column : AmplificationColumns()) workload.columns.push_back(column);
  for (const uint64_t bytes : SizesOr(config, {4 * kKiB, 32 * kKiB})) {
    const auto run = [&config](const EngineSpec& spec, const std::string& path) {
      return OverwriteForMinutes(config, spec, path);
    };
    if (absl::Status status = AddCasePerEngine(config, bytes, run, &workload); !status.ok()) return status;
  }
  return RunWorkload(config, workload).status();
}

}  // namespace firn::bench
