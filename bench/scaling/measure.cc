#include "scaling/measure.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <utility>

#include <firn/db.h>

#include "support/child.h"
#include "support/data.h"
#include "support/device.h"
#include "support/failure.h"
#include "support/phase.h"
#include "support/timing.h"
#include "support/workplace.h"

namespace firn::bench {
namespace {

constexpr uint64_t kScanPairs = 100;
constexpr uint64_t kVersion = 1;  // of all values
// One get, and one scan, of so many is compared with what was put: a nanosecond or two of each.
constexpr uint64_t kComparedPart = 64;
constexpr uint64_t kSampleKeys = 1'000;

[[noreturn]] void FailWith(std::string what) { throw Failure{absl::DataLossError(std::move(what))}; }

std::unique_ptr<DB> OpenStore(const Case& measured, const std::string& directory) {
  Options options;
  options.memory_budget_bytes = measured.memory_budget_bytes;
  auto db = DB::Open(options, directory);
  Demand(db.status());
  return *std::move(db);
}

// By all threads together the keys [first, end), each once.
TurnMaker Puts(DB& db, const Case& measured, uint64_t first, uint64_t end) {
  const auto next = std::make_shared<std::atomic<uint64_t>>(first);
  return [&db, &measured, next, end](int) -> Turn {
    const auto values = std::make_shared<ValueMaker>(measured.value_bytes);
    PutOptions options;
    options.durability = Durability::kBuffered;
    return [&db, next, end, values, options]() -> uint64_t {
      const uint64_t number = next->fetch_add(1, std::memory_order_relaxed);
      if (number >= end) return 0;
      Demand(db.Put(KeyOfNumber(number), values->Make(number, kVersion), options).status());
      return 1;
    };
  };
}

// What a thread chooses keys by, and compares with.
struct Reader {
  Reader(int thread, const Case& measured)
      : random(static_cast<uint64_t>(thread) + 1), keys(measured.keys), values(measured.value_bytes) {}

  uint64_t AnyNumber() { return random() % keys; }
  bool IsTimeToCompare() { return ++turns % kComparedPart == 0; }
  void Compare(uint64_t number, std::string_view value) {
    if (value != values.Make(number, kVersion)) FailWith("another value than was put: key " + std::to_string(number));
  }

  std::mt19937_64 random;
  const uint64_t keys;
  ValueMaker values;
  uint64_t turns = 0;
};

TurnMaker Gets(const DB& db, const Case& measured) {
  return [&db, &measured](int thread) -> Turn {
    const auto reader = std::make_shared<Reader>(thread, measured);
    return [&db, reader]() -> uint64_t {
      const uint64_t number = reader->AnyNumber();
      const absl::StatusOr<PinnedValue> found = db.GetPinned(KeyOfNumber(number));
      Demand(found.status());
      Touch(found->value());
      if (reader->IsTimeToCompare()) reader->Compare(number, found->value());
      return 1;
    };
  };
}

TurnMaker Scans(const DB& db, const Case& measured) {
  return [&db, &measured](int thread) -> Turn {
    const auto reader = std::make_shared<Reader>(thread, measured);
    return [&db, reader]() -> uint64_t {
      const Key from = KeyOfNumber(reader->AnyNumber());
      const bool compares = reader->IsTimeToCompare();
      const std::unique_ptr<Iterator> at = db.NewIterator();
      std::string before;
      uint64_t pairs = 0;
      for (at->Seek(from); at->Valid() && pairs < kScanPairs; at->Next(), ++pairs) {
        Touch(at->key());
        Touch(at->value());
        if (!compares) continue;
        const auto number = NumberOfKey(at->key());
        if (!number || *number >= reader->keys) FailWith("a key that was never put is there");
        if (pairs == 0 ? at->key() != from : at->key() <= before) FailWith("a scan is out of order");
        before = at->key();
        reader->Compare(*number, at->value());
      }
      Demand(at->status());
      if (pairs == 0) FailWith("a scan from a key that is there finds nothing");
      return pairs;
    };
  };
}

// As many keys as were put, and a sample of them, evenly spread, has the right values.
void Verify(const DB& db, const Case& measured, uint64_t keys) {
  if (const uint64_t there = db.GetStats().keys; there != keys) {
    FailWith("there are " + std::to_string(there) + " keys and not " + std::to_string(keys));
  }
  Reader reader(0, measured);
  for (uint64_t number = 0; number < keys; number += std::max<uint64_t>(1, keys / kSampleKeys)) {
    const absl::StatusOr<PinnedValue> found = db.GetPinned(KeyOfNumber(number));
    Demand(found.status());
    reader.Compare(number, found->value());
  }
}

// Until the engine has done what it does once nobody writes, such as an image of its index.
double Rest(DB& db) {
  constexpr double kQuietSeconds = 4, kSecondsMax = 300, kCpuShare = 0.05;
  Demand(db.Sync());
  return WaitForRest(kQuietSeconds, kSecondsMax, kCpuShare);
}

double PeakMemoryMib() { return static_cast<double>(PeakResidentBytes()) / kMiB; }

void NoteCost(const std::string& name, const Took& took, Figures& figures) {
  figures[name + "_ns"] = took.ns_each();
  figures[name + "_cpu_ns"] = took.cpu_ns_each();
}

void Read(const DB& db, const Case& measured, const Config& config, Figures& figures) {
  const Stats before = db.GetStats();
  NoteCost("get", RunPhase({.name = "get", .seconds = config.seconds}, Gets(db, measured)), figures);
  const Stats after = db.GetStats();
  const double misses = static_cast<double>(after.cache_misses - before.cache_misses);
  const double hits = static_cast<double>(after.cache_hits - before.cache_hits);
  figures["get_from_disk"] = misses / std::max(misses + hits, 1.0);
  NoteCost("scan", RunPhase({.name = "scan", .seconds = config.seconds}, Scans(db, measured)), figures);
}

Figures Fill(const Case& measured, const Config& config, const std::string& directory) {
  const std::unique_ptr<DB> db = OpenStore(measured, directory);
  Figures figures;
  const uint64_t timed_from = measured.keys - measured.keys / 4;
  RunPhase({.name = "fill"}, Puts(*db, measured, 0, timed_from));
  NoteCost("put", RunPhase({.name = "put"}, Puts(*db, measured, timed_from, measured.keys)), figures);
  figures["rested_seconds"] = Rest(*db);
  Verify(*db, measured, measured.keys);
  // What was put is in the cache.
  if (measured.series == Series::kSmallValues) Read(*db, measured, config, figures);
  const Stats stats = db->GetStats();
  figures["index_bytes"] = stats.index_bytes_per_key;
  figures["disk_bytes"] = static_cast<double>(stats.disk_bytes) / static_cast<double>(measured.keys);
  const auto began = SteadyClock::now();
  Demand(db->Close());
  figures["close_seconds"] = SecondsSince(began);
  figures["peak_memory_mib_max"] = PeakMemoryMib();
  return figures;
}

Figures Reopen(const Case& measured, const Config& config, const std::string& directory) {
  const double keys = static_cast<double>(measured.keys), cpu_before = CpuSeconds();
  const auto began = SteadyClock::now();
  const std::unique_ptr<DB> db = OpenStore(measured, directory);
  Demand(db->GetPinned(KeyOfNumber(0)).status());
  const double seconds = SecondsSince(began);
  Figures figures = {{"open_seconds", seconds},
                     {"open_ns", seconds * 1e9 / keys},
                     {"open_cpu_ns", (CpuSeconds() - cpu_before) * 1e9 / keys},
                     {"open_from_image", static_cast<double>(db->GetStats().open_image_records) / keys},
                     {"open_peak_memory_mib_max", PeakMemoryMib()}};
  // The cache is empty: all sizes meet the disk alike, which a cache that holds a third of one and little of another
  // would hide.
  if (measured.series == Series::kLargeValues) Read(*db, measured, config, figures);
  Verify(*db, measured, measured.keys);
  Demand(db->Close());
  return figures;
}

Figures ByThreads(const Case& measured, const Config& config, const std::string& directory) {
  const std::unique_ptr<DB> db = OpenStore(measured, directory);
  RunPhase({.name = "fill"}, Puts(*db, measured, 0, measured.keys));
  Rest(*db);
  Figures figures;
  for (const int threads : config.threads) {
    const Phase gets{.name = "get_" + std::to_string(threads), .threads = threads, .seconds = config.seconds};
    figures[gets.name] = RunPhase(gets, Gets(*db, measured)).per_second();
  }
  uint64_t keys = measured.keys;
  for (const int threads : config.threads) {
    const Phase puts{.name = "put_" + std::to_string(threads), .threads = threads};
    const uint64_t first = std::exchange(keys, keys + measured.keys / 8);
    figures[puts.name] = RunPhase(puts, Puts(*db, measured, first, keys)).per_second();
  }
  Verify(*db, measured, keys);
  Demand(db->Close());
  return figures;
}

template <typename Measure>
absl::StatusOr<Figures> InChild(const Measure& measure) {
  return RunInChild([&] { return Caught([&]() -> absl::StatusOr<Figures> { return measure(); }); });
}

}  // namespace

absl::StatusOr<Figures> MeasureCase(const Case& measured, const Config& config, const std::string& directory) {
  if (measured.series == Series::kThreads) return InChild([&] { return ByThreads(measured, config, directory); });
  auto figures = InChild([&] { return Fill(measured, config, directory); });
  if (!figures.ok()) return figures;
  // Whoever opens a store has seldom just filled it: another process, whose memory was never touched.
  auto reopened = InChild([&] { return Reopen(measured, config, directory); });
  if (!reopened.ok()) return reopened;
  figures->merge(*std::move(reopened));
  return figures;
}

}  // namespace firn::bench
