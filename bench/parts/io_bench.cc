// The disk layer against bare system calls on the same file. Pairs run interleaved: compare within one run
// only.
//   FIRN_TEST_DIR=/some/disk io_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=20
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "io/open_disk.h"
#include "parts/scratch.h"

namespace firn::io {
namespace {

constexpr uint64_t kFileBytes = 64 << 20;

// A file of written blocks, and the ways to reach it.
struct Bench {
  Bench() {
    calls = *OpenDisk(directory.path(), DiskOptions{}, SyncedWrite::kCalls);
    linked = *OpenDisk(directory.path(), DiskOptions{}, SyncedWrite::kLinked);
    calls_file = *calls->Open("data", OpenMode::kCreate);
    std::memset(buffer.data(), 1, buffer.size());
    for (uint64_t at = 0; at < kFileBytes; at += buffer.size()) {
      FIRN_CHECK(calls_file->Write(at, buffer.bytes(), Flush::kNone).ok());
    }
    FIRN_CHECK(calls_file->Sync().ok());
    linked_file = *linked->Open("data", OpenMode::kReadWrite);
    raw = ::open((directory.path() + "/data").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    FIRN_CHECK(raw >= 0);
  }
  ~Bench() { ::close(raw); }

  static Bench& Get() {
    static Bench bench;
    return bench;
  }
  uint64_t NextOffset(size_t size_bytes) {
    return place = (place + 7 * size_bytes) % (kFileBytes - size_bytes) & ~4095ull;
  }

  const bench::ScratchDirectory directory;
  base::AlignedBuffer buffer{1 << 20};
  std::unique_ptr<Disk> calls;
  std::unique_ptr<Disk> linked;
  std::unique_ptr<File> calls_file;
  std::unique_ptr<File> linked_file;
  int raw = -1;
  uint64_t place = 0;
};

double MicrosOf(const auto& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// One iteration is one raw write + fdatasync and one of ours, in turns, so that both meet the same disk.
void SyncedWriteAgainstRaw(benchmark::State& state, File& file) {
  Bench& bench = Bench::Get();
  const auto size = static_cast<size_t>(state.range(0));
  std::vector<double> raw_us;
  std::vector<double> firn_us;
  const auto raw = [&] {
    const auto at = static_cast<off_t>(bench.NextOffset(size));
    FIRN_CHECK(::pwrite(bench.raw, bench.buffer.data(), size, at) == state.range(0));
    FIRN_CHECK(::fdatasync(bench.raw) == 0);
  };
  const auto firn = [&] {
    FIRN_CHECK(file.Write(bench.NextOffset(size), bench.buffer.bytes().first(size), Flush::kData).ok());
  };
  for (auto _ : state) {
    // Each goes first as often as the other.
    const bool firn_first = firn_us.size() % 2 == 0;
    if (firn_first) firn_us.push_back(MicrosOf(firn));
    raw_us.push_back(MicrosOf(raw));
    if (!firn_first) firn_us.push_back(MicrosOf(firn));
  }
  state.counters["raw_p50_us"] = Median(raw_us);
  state.counters["firn_p50_us"] = Median(firn_us);
  state.counters["firn_to_raw_p50"] = state.counters["firn_p50_us"] / state.counters["raw_p50_us"];
  const double raw_sum = std::accumulate(raw_us.begin(), raw_us.end(), 0.0);
  state.counters["firn_to_raw_mean"] = std::accumulate(firn_us.begin(), firn_us.end(), 0.0) / raw_sum;
}
void SyncedWriteCalls(benchmark::State& state) { SyncedWriteAgainstRaw(state, *Bench::Get().calls_file); }
void SyncedWriteLinked(benchmark::State& state) { SyncedWriteAgainstRaw(state, *Bench::Get().linked_file); }
BENCHMARK(SyncedWriteCalls)->Arg(4096)->Arg(262144)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(SyncedWriteLinked)->Arg(4096)->Arg(262144)->UseRealTime()->Unit(benchmark::kMicrosecond);

// A preallocated file is filled from its begin to its end, and synced.
void Append(benchmark::State& state, Flush flush) {
  constexpr uint64_t kAppendBytes = uint64_t{256} << 20;
  Bench& bench = Bench::Get();
  const auto size = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    const auto file = *bench.calls->Open("append", OpenMode::kCreate);
    FIRN_CHECK(file->Allocate(kAppendBytes).ok());
    state.ResumeTiming();
    for (uint64_t at = 0; at < kAppendBytes; at += size) {
      FIRN_CHECK(file->Write(at, bench.buffer.bytes().first(size), flush).ok());
    }
    FIRN_CHECK(file->Sync().ok());
    state.PauseTiming();
    FIRN_CHECK(bench.calls->Remove("append").ok());
    state.ResumeTiming();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * kAppendBytes));
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * (kAppendBytes / size)));
}
void AppendDirect(benchmark::State& state) { Append(state, Flush::kNone); }
void AppendBehind(benchmark::State& state) { Append(state, Flush::kBehind); }
BENCHMARK(AppendDirect)->Arg(4096)->Arg(32768)->Arg(131072)->Arg(1048576)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(AppendBehind)->Arg(4096)->Arg(32768)->Arg(131072)->Arg(1048576)->UseRealTime()->Unit(benchmark::kMillisecond);

void ReadRaw(benchmark::State& state) {
  Bench& bench = Bench::Get();
  for (auto _ : state) {
    FIRN_CHECK(::pread(bench.raw, bench.buffer.data(), 4096, static_cast<off_t>(bench.NextOffset(4096))) == 4096);
  }
}
void ReadOne(benchmark::State& state) {
  Bench& bench = Bench::Get();
  for (auto _ : state) {
    FIRN_CHECK(bench.calls_file->Read(bench.NextOffset(4096), bench.buffer.bytes().first(4096)).ok());
  }
}
BENCHMARK(ReadRaw)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(ReadOne)->UseRealTime()->Unit(benchmark::kMicrosecond);

void ReadManyBlocks(benchmark::State& state) {
  Bench& bench = Bench::Get();
  std::vector<ReadRequest> requests(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    for (size_t i = 0; i < requests.size(); ++i) {
      requests[i] = {.file = bench.calls_file.get(),
                     .offset = bench.NextOffset(4096 * 97),
                     .out = bench.buffer.bytes().subspan(i * 4096, 4096)};
    }
    bench.calls->ReadMany(requests);
    for (const ReadRequest& request : requests) FIRN_CHECK(request.status.ok());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(ReadManyBlocks)->Arg(1)->Arg(2)->Arg(8)->Arg(32)->Arg(128)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace firn::io
