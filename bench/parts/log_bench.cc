// The log on a real disk, with nothing above it: appends of records, buffered, and each waited for.
//   FIRN_TEST_DIR=/some/disk log_bench
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "format/record.h"
#include "format/superblock.h"
#include "io/disk.h"
#include "log/log.h"
#include "log/recovery.h"
#include "parts/scratch.h"

namespace firn::log {
namespace {

constexpr uint64_t kRetireBytes = uint64_t{256} << 20;  // appended, until dead segments are taken out

// A log whose records nothing needs: its segments are dead once they are sealed, and their files are used again.
class TestLog {
 public:
  explicit TestLog(uint64_t segment_bytes) {
    superblock_.secret = 1;
    disk_ = *io::OpenDisk(scratch_.path(), io::DiskOptions{});
    FIRN_CHECK(disk_->MakeFolder(kLogFolder).ok());
    log_ = *Log::Start(*disk_, superblock_, epochs_,
                       {.segment_bytes_min = segment_bytes,
                        .clock = &clock_,
                        .monotonic_clock = &base::Clock::System(),
                        .random = &base::Random::System(),
                        .on_event = [](EventKind, const std::string&) {}},
                       *RecoverLog(*disk_, superblock_, /*fresh=*/true, {}));
  }
  ~TestLog() { FIRN_CHECK(log_->Close().ok()); }

  // The revision of the record.
  uint64_t Append(base::Bytes value) {
    static constexpr std::string_view kKey = "a key of 16 byte";
    // Writers of the store do so before each write, where the device does not keep up.
    log_->AwaitRunway();
    const auto written = log_->AppendControl(
        {.type = format::RecordType::kPut, .namespace_id = 1, .key = base::AsBytes(kKey), .value = value});
    FIRN_CHECK(written.ok());
    return written->revision;
  }
  void WaitDurable(uint64_t revision) { FIRN_CHECK(log_->WaitDurable(revision).ok()); }
  void RetireDead() { FIRN_CHECK(log_->RetireDead().ok()); }

 private:
  const bench::ScratchDirectory scratch_;
  format::Superblock superblock_;
  base::EpochDomain epochs_;
  base::ForwardClock clock_{base::Clock::System()};
  std::unique_ptr<io::Disk> disk_;
  std::unique_ptr<Log> log_;
};

// A young store has segments of 1 MiB, one of 8 GiB or more has segments of 64 MiB: there are fewer flushes then.
TestLog& LogOf(int64_t segment_mib) {
  static TestLog young(kSegmentBytesMin), grown(kSegmentBytesMax);
  return segment_mib == 1 ? young : grown;
}

void AppendBuffered(benchmark::State& state) {
  TestLog& log = LogOf(state.range(1));
  const std::vector<std::byte> value(static_cast<size_t>(state.range(0)), std::byte{1});
  uint64_t appended_bytes = 0;
  for (auto _ : state) {
    log.Append(value);
    appended_bytes += value.size();
    if (appended_bytes < kRetireBytes) continue;
    state.PauseTiming();
    log.RetireDead();
    appended_bytes = 0;
    state.ResumeTiming();
  }
  log.RetireDead();
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(AppendBuffered)->ArgNames({"bytes", "segment_mib"})->ArgsProduct({{100, 4'096}, {1, 64}})->UseRealTime();

// Threads that wait together share a flush.
void AppendSynced(benchmark::State& state) {
  TestLog& log = LogOf(64);
  const std::vector<std::byte> value(static_cast<size_t>(state.range(0)), std::byte{1});
  for (auto _ : state) log.WaitDurable(log.Append(value));
  if (state.thread_index() == 0) log.RetireDead();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(AppendSynced)->ArgName("bytes")->Arg(100)->Arg(4'096)->Threads(1)->Threads(8)->UseRealTime();

}  // namespace
}  // namespace firn::log
