// The whole-store benchmark: what `firn bench` measures, each part in its own fresh store below one
// directory. Figures are only comparable within one run on one machine; what counts are the ratios.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <firn/db.h>

namespace firn::tools {

struct BenchConfig {
  std::string directory;
  std::vector<int> threads = {1, 64};  // sorted, each once
  int runs = 5;
  double seconds = 1;  // per measurement
  uint64_t keys = 1'000'000;
  uint64_t value_bytes = 1'024;
  Options options;
};

struct Figure {
  std::string part;  // "synced"
  std::string name;  // "puts_per_second_64_threads"
  double value;
};

class BenchReport {
 public:
  void Add(const std::string& part, const std::string& name, double value) { figures_.push_back({part, name, value}); }
  const std::vector<Figure>& figures() const { return figures_; }

 private:
  std::vector<Figure> figures_;
};

// Synced 100-byte puts by each number of threads, and a raw write+fdatasync loop, interleaved within every
// run.
absl::Status BenchSynced(const BenchConfig& config, BenchReport* report);
// Buffered 100-byte puts by one thread.
absl::Status BenchBuffered(const BenchConfig& config, BenchReport* report);
// Gets of values still in memory, and of values on disk.
absl::Status BenchGet(const BenchConfig& config, BenchReport* report);
// Time and bytes read to open a cleanly closed store of `keys` values of `value_bytes`.
absl::Status BenchOpen(const BenchConfig& config, BenchReport* report);
// Index bytes per key for `keys` random 16-byte keys, by Stats and by the process' memory.
absl::Status BenchIndex(const BenchConfig& config, BenchReport* report);

// What the parts share.
struct Rate {
  uint64_t operations = 0;
  double seconds = 0;

  double per_second() const { return seconds > 0 ? static_cast<double>(operations) / seconds : 0; }
  void Add(const Rate& other) {
    operations += other.operations;
    seconds += other.seconds;
  }
};

double Median(std::vector<double> values);
double SecondsNow();  // of a steady clock

// 16 bytes that look random; the same for the same number.
std::string KeyOfNumber(uint64_t number);

// 100-byte puts by `threads` threads for `seconds`.
absl::StatusOr<Rate> RunPuts(DB& db, int threads, double seconds, Durability durability);

// `count` keys from number 0 with values of `value_bytes`, buffered, in batches; then Sync.
absl::Status Fill(DB& db, uint64_t count, uint64_t value_bytes);

absl::StatusOr<std::unique_ptr<DB>> OpenBenchStore(const BenchConfig& config, const std::string& name);

}  // namespace firn::tools
