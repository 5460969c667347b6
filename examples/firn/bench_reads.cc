// Gets, opening, and the memory of the index.
#include <fstream>
#include <random>

#include <malloc.h>

#include "firn/bench.h"

namespace firn::tools {
namespace {

constexpr uint64_t kHotKeys = 1'000;
constexpr int kGetsPerHotKey = 20;
constexpr uint64_t kDiskKeys = 100'000;
constexpr uint64_t kDiskValueBytes = 1'024;
constexpr uint64_t kPageBytes = 4'096;

struct ProcessMemory {
  double resident_bytes = 0;
  double anonymous_bytes = 0;  // resident, not backed by a file or shared mapping
};

ProcessMemory MeasureMemory() {
  malloc_trim(0);
  uint64_t size_pages = 0, resident_pages = 0, shared_pages = 0;
  std::ifstream("/proc/self/statm") >> size_pages >> resident_pages >> shared_pages;
  return {static_cast<double>(resident_pages * kPageBytes),
          static_cast<double>((resident_pages - shared_pages) * kPageBytes)};
}

absl::Status GetKey(DB& db, uint64_t number, std::string* value) { return db.GetInto(KeyOfNumber(number), value); }

// Values that were put a moment ago are still in the tail buffers; each round puts them anew, unmeasured.
absl::StatusOr<Rate> RunHotGets(DB& db, double seconds) {
  PutOptions buffered;
  buffered.durability = Durability::kBuffered;
  std::string value(100, 'v');
  Rate rate;
  while (rate.seconds < seconds) {
    for (uint64_t key = 0; key < kHotKeys; ++key) {
      if (absl::Status status = db.Put(KeyOfNumber(key), value, buffered).status(); !status.ok()) return status;
    }
    const double start = SecondsNow();
    for (int round = 0; round < kGetsPerHotKey; ++round) {
      for (uint64_t key = 0; key < kHotKeys; ++key) {
        if (absl::Status status = GetKey(db, key, &value); !status.ok()) return status;
      }
    }
    rate.Add({kHotKeys * kGetsPerHotKey, SecondsNow() - start});
  }
  return rate;
}

absl::StatusOr<Rate> RunRandomGets(DB& db, double seconds, std::mt19937_64& random) {
  std::string value;
  Rate rate;
  const double start = SecondsNow();
  while (SecondsNow() - start < seconds) {
    if (absl::Status status = GetKey(db, random() % kDiskKeys, &value); !status.ok()) return status;
    ++rate.operations;
  }
  rate.seconds = SecondsNow() - start;
  return rate;
}

double ReadsPerGet(const Stats& before, const Stats& after) {
  const uint64_t gets = after.gets.count - before.gets.count;
  return gets == 0 ? 0 : static_cast<double>(after.device_reads - before.device_reads) / static_cast<double>(gets);
}

}  // namespace

absl::Status BenchGet(const BenchConfig& config, BenchReport* report) {
  absl::StatusOr<std::unique_ptr<DB>> db = OpenBenchStore(config, "get");
  if (!db.ok()) return db.status();
  std::vector<double> hot, disk;
  double hot_reads = 0, disk_reads = 0;
  std::mt19937_64 random(1);
  for (int run = 0; run < config.runs; ++run) {
    const Stats before = (*db)->GetStats();
    const absl::StatusOr<Rate> rate = RunHotGets(**db, config.seconds);
    if (!rate.ok()) return rate.status();
    hot.push_back(rate->per_second());
    hot_reads = std::max(hot_reads, ReadsPerGet(before, (*db)->GetStats()));
  }
  if (absl::Status status = Fill(**db, kDiskKeys, kDiskValueBytes); !status.ok()) return status;
  if (absl::Status status = (*db)->Flush(); !status.ok()) return status;
  for (int run = 0; run < config.runs; ++run) {
    const Stats before = (*db)->GetStats();
    const absl::StatusOr<Rate> rate = RunRandomGets(**db, config.seconds, random);
    if (!rate.ok()) return rate.status();
    disk.push_back(rate->per_second());
    disk_reads = std::max(disk_reads, ReadsPerGet(before, (*db)->GetStats()));
  }
  report->Add("get", "in_memory_gets_per_second", Median(hot));
  report->Add("get", "in_memory_device_reads_per_get", hot_reads);
  report->Add("get", "on_disk_gets_per_second", Median(disk));
  report->Add("get", "on_disk_device_reads_per_get", disk_reads);
  return (*db)->Close();
}

absl::Status BenchOpen(const BenchConfig& config, BenchReport* report) {
  absl::StatusOr<std::unique_ptr<DB>> db = OpenBenchStore(config, "open");
  if (!db.ok()) return db.status();
  if (absl::Status status = Fill(**db, config.keys, config.value_bytes); !status.ok()) return status;
  std::vector<double> seconds;
  Stats stats;
  for (int run = 0; run < config.runs; ++run) {
    if (absl::Status status = (*db)->Close(); !status.ok()) return status;
    const double start = SecondsNow();
    db = OpenBenchStore(config, "open");
    if (!db.ok()) return db.status();
    seconds.push_back(SecondsNow() - start);
    stats = (*db)->GetStats();
  }
  if (stats.keys != config.keys)
    return absl::DataLossError("the reopened store has " + std::to_string(stats.keys) + " keys");
  report->Add("open", "keys", static_cast<double>(config.keys));
  report->Add("open", "value_bytes", static_cast<double>(config.value_bytes));
  report->Add("open", "seconds", Median(seconds));
  report->Add("open", "read_bytes", static_cast<double>(stats.open_read_bytes));
  report->Add("open", "store_bytes", static_cast<double>(stats.log_bytes));
  report->Add("open", "read_share_of_store",
              static_cast<double>(stats.open_read_bytes) / static_cast<double>(std::max<uint64_t>(stats.log_bytes, 1)));
  return (*db)->Close();
}

absl::Status BenchIndex(const BenchConfig& config, BenchReport* report) {
  const double keys = static_cast<double>(config.keys);
  const auto add = [&](const std::string& when, DB& db, const ProcessMemory& before) {
    const ProcessMemory after = MeasureMemory();
    report->Add("index", "stats_bytes_per_key_" + when, db.GetStats().index_bytes_per_key);
    report->Add("index", "rss_bytes_per_key_" + when, (after.resident_bytes - before.resident_bytes) / keys);
    report->Add("index", "anonymous_bytes_per_key_" + when, (after.anonymous_bytes - before.anonymous_bytes) / keys);
  };
  report->Add("index", "keys", keys);

  const ProcessMemory before_filling = MeasureMemory();
  absl::StatusOr<std::unique_ptr<DB>> db = OpenBenchStore(config, "index");
  if (!db.ok()) return db.status();
  if (absl::Status status = Fill(**db, config.keys, 0); !status.ok()) return status;
  add("inserted", **db, before_filling);
  if (absl::Status status = (*db)->Close(); !status.ok()) return status;
  db->reset();

  const ProcessMemory before_opening = MeasureMemory();
  db = OpenBenchStore(config, "index");
  if (!db.ok()) return db.status();
  add("reopened", **db, before_opening);
  return (*db)->Close();
}

}  // namespace firn::tools
