#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <latch>
#include <mutex>
#include <thread>

#include "firn/bench.h"

namespace firn::tools {
namespace {

constexpr uint64_t kPutKeys = uint64_t{1} << 20;  // shared out among the threads, then overwritten again and again
constexpr size_t kPutValueBytes = 100;
constexpr uint64_t kFillBatchBytes = uint64_t{1} << 20;

// A bijective mixer, so that distinct numbers give distinct keys.
// Source: S. Vigna, SplitMix64, https://prng.di.unimi.it/splitmix64.c (public domain), its output function.
uint64_t Mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// What the threads of one measurement share.
class FirstFailure {
 public:
  void Set(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
    failed_ = true;
  }
  bool failed() const { return failed_; }
  absl::Status status() const { return status_; }

 private:
  std::mutex mutex_;
  absl::Status status_;
  std::atomic<bool> failed_ = false;
};

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double SecondsNow() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string KeyOfNumber(uint64_t number) {
  const uint64_t words[2] = {Mixed(number), Mixed(~number)};
  std::string key(sizeof(words), '\0');
  std::memcpy(key.data(), words, sizeof(words));
  return key;
}

absl::StatusOr<Rate> RunPuts(DB& db, int threads, double seconds, Durability durability) {
  const std::string value(kPutValueBytes, 'v');
  const uint64_t keys_per_thread = kPutKeys / static_cast<uint64_t>(threads);
  std::latch ready(threads + 1);
  std::atomic<uint64_t> operations = 0;
  FirstFailure failure;
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      PutOptions options;
      options.durability = durability;
      const uint64_t first_key = static_cast<uint64_t>(t) * keys_per_thread;
      ready.arrive_and_wait();
      const double deadline = SecondsNow() + seconds;
      uint64_t done = 0;
      while (!failure.failed() && SecondsNow() < deadline) {
        const std::string key = KeyOfNumber(first_key + done % keys_per_thread);
        if (absl::Status status = db.Put(key, value, options).status(); !status.ok()) return failure.Set(status);
        ++done;
      }
      operations += done;
    });
  }
  const double start = SecondsNow();
  ready.arrive_and_wait();
  for (std::thread& worker : workers) worker.join();
  if (failure.failed()) return failure.status();
  return Rate{operations, SecondsNow() - start};
}

absl::Status Fill(DB& db, uint64_t count, uint64_t value_bytes) {
  const std::string value(value_bytes, 'v');
  WriteOptions buffered;
  buffered.durability = Durability::kBuffered;
  Batch batch;
  for (uint64_t number = 0; number < count; ++number) {
    batch.Put(KeyOfNumber(number), value);
    if (batch.payload_bytes() < kFillBatchBytes && number + 1 < count) continue;
    if (absl::Status status = db.Apply(batch, buffered).status(); !status.ok()) return status;
    batch.Clear();
  }
  return db.Sync();
}

absl::StatusOr<std::unique_ptr<DB>> OpenBenchStore(const BenchConfig& config, const std::string& name) {
  return DB::Open(config.options, config.directory + "/" + name);
}

}  // namespace firn::tools
