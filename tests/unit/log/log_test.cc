#include "format/unit.h"
#include "unit/log/testing.h"

namespace firn::log {
namespace {

TEST_CASE("a lone synced writer pays one unit, one write and one flush for each commit") {
  Bench bench(1);
  Scheduled(1, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    REQUIRE((*log)->SealActive().ok());
    const auto before = (*log)->GetStats();
    const uint64_t syncs = bench.disk->counters().syncs;
    for (int i = 0; i < 5; ++i) REQUIRE((*log)->WaitDurable(*Bench::Put(**log, "key", "value")).ok());
    CHECK((*log)->GetStats().commits == before.commits + 5);
    CHECK((*log)->GetStats().commit_bytes == before.commit_bytes + 5 * format::kBlockBytes);
    CHECK(bench.disk->counters().syncs >= syncs + 5);
    REQUIRE((*log)->Close().ok());
  });
}

// Of a record that takes so many bytes.
std::string ValueFor(const std::string& key, uint64_t record_bytes) {
  std::string value(record_bytes, 'v');
  const auto size = [&] {
    return format::RecordSize({.type = format::RecordType::kPut,
                               .namespace_id = 1,
                               .key = base::AsBytes(key),
                               .value = base::AsBytes(value)});
  };
  while (size() > record_bytes) value.pop_back();
  REQUIRE(size() == record_bytes);
  return value;
}

TEST_CASE(
    "a unit that ends with a block or a tail buffer, or a byte before or behind, is whole and so are its neighbours") {
  for (const uint64_t end : {uint64_t{format::kBlockBytes}, uint64_t{kTailBufferBytes}}) {
    for (const uint64_t unit_bytes : {end - 1, end, end + 1}) {
      INFO(unit_bytes << " bytes");
      Bench bench(9);
      Scheduled(9, [&] {
        auto log = bench.Open(true);
        REQUIRE(log.ok());
        const std::map<std::string, std::string> values = {
            {"1", "before"}, {"2", ValueFor("2", unit_bytes - format::kUnitHeaderBytes)}, {"3", "behind"}};
        for (const auto& [key, value] : values) {
          const auto written = Bench::Write(**log, key, value);
          REQUIRE(written.ok());
          REQUIRE((*log)->WaitDurable(written->revision).ok());
          REQUIRE((bench.Value(**log, *written) == value));
        }
        log->reset();
        bench.machine.Crash({test::CrashKind::kPowerCut, test::Survival::kNothing});
        log = bench.Open(false);
        REQUIRE(log.ok());
        REQUIRE(bench.entries.size() == values.size());
        for (const auto& [key, at] : bench.entries) REQUIRE((bench.Value(**log, at) == values.at(key)));
        REQUIRE((*log)->Close().ok());
      });
    }
  }
}

TEST_CASE("writers that wait together share a flush, and the next group forms while one is flushing") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Bench bench(seed);
    bench.machine.set_latency_nanos_max(100'000);
    Scheduled(seed, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      std::vector<base::Thread> writers;
      constexpr int kWriters = 8, kWrites = 10;
      const uint64_t began_nanos = bench.clock.MonotonicNanos();
      for (int w = 0; w < kWriters; ++w) {
        writers.emplace_back("writer", [&, w] {
          for (int i = 0; i < kWrites; ++i) {
            const auto revision = Bench::Put(**log, std::to_string(w) + "-" + std::to_string(i), "value");
            REQUIRE(revision.ok());
            REQUIRE((*log)->WaitDurable(*revision).ok());
            REQUIRE((*log)->durable_revision() >= *revision);
          }
        });
      }
      for (base::Thread& writer : writers) writer.Join();
      // Nobody was left to the flush that comes by itself, after a second.
      CHECK(bench.clock.MonotonicNanos() - began_nanos < 900'000'000);
      CHECK((*log)->GetStats().commits < kWriters * kWrites);
      CHECK((*log)->GetStats().group_size_max > 1);
      REQUIRE((*log)->Close().ok());
    });
  }
}

TEST_CASE("writers that come again and again become one group, not two that wait for each other's flush") {
  constexpr int kWriters = 8, kWrites = 20, kSeeds = 20;
  uint64_t commits = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Bench bench(seed);
    bench.machine.set_latency_nanos_max(1'000'000);
    Scheduled(seed, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      const uint64_t before = (*log)->GetStats().commits;
      std::vector<base::Thread> writers;
      for (int w = 0; w < kWriters; ++w) {
        writers.emplace_back("writer", [&, w] {
          for (int i = 0; i < kWrites; ++i) {
            REQUIRE((*log)->WaitDurable(*Bench::Put(**log, std::to_string(w), "value")).ok());
          }
        });
      }
      for (base::Thread& writer : writers) writer.Join();
      commits += (*log)->GetStats().commits - before;
      REQUIRE((*log)->Close().ok());
    });
  }
  // All together would be an eighth of the writes, halves a quarter.
  CHECK(commits < kSeeds * kWriters * kWrites / 5);
}

TEST_CASE("buffered writes become durable within the flush interval though nobody asks") {
  Bench bench(3);
  Scheduled(3, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    const auto revision = Bench::Put(**log, "key", "value");
    REQUIRE(revision.ok());
    CHECK((*log)->durable_revision() < *revision);
    base::Mutex mutex;
    base::CondVar never;
    base::MutexLock lock(mutex);
    const uint64_t deadline = bench.clock.MonotonicNanos() + 2'000'000'000;
    while (bench.clock.MonotonicNanos() < deadline) never.WaitFor(mutex, deadline - bench.clock.MonotonicNanos());
    CHECK((*log)->durable_revision() >= *revision);
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("what was appended is found again in footers, across segments, with revisions going on above") {
  Bench bench(4);
  uint64_t last = 0;
  Scheduled(4, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    for (int i = 0; i < 300; ++i) {
      const auto revision = Bench::Put(**log, std::to_string(i), std::string(1'000, 'v'));
      REQUIRE(revision.ok());
      CHECK(*revision > last);
      last = *revision;
    }
    REQUIRE((*log)->Close().ok());
  });
  CHECK(bench.events[EventKind::kSegmentSealed] > 3);
  Scheduled(5, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.events[EventKind::kFooterFallback] == 0);
    CHECK(bench.found.size() == 300);
    CHECK(*Bench::Put(**log, "next", "value") > last);
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("a retired segment's file becomes a new segment and none of its old records is believed") {
  Bench bench(6);
  Scheduled(6, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    for (int i = 0; i < 200; ++i) REQUIRE(Bench::Put(**log, "dead" + std::to_string(i), std::string(1'000, 'v')).ok());
    REQUIRE((*log)->SealActive().ok());
    const size_t files = bench.machine.FileNames().size();
    for (const auto& segment : (*log)->segments().All()) segment->live_records = 0;
    REQUIRE((*log)->RetireDead().ok());
    CHECK(bench.events[EventKind::kSegmentRetired] >= 3);
    CHECK(bench.machine.FileNames().size() <= files);
    for (int i = 0; i < 100; ++i) REQUIRE(Bench::Put(**log, "live" + std::to_string(i), std::string(1'000, 'v')).ok());
    REQUIRE((*log)->Close().ok());
  });
  Scheduled(7, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.found.size() == 100);
    CHECK(bench.found.contains("live99"));
    REQUIRE((*log)->Close().ok());
  });
}

// A segment's first unit says what lives.
bool IsFirstUnit(base::Bytes payload) {
  const auto record = format::ParseRecord(payload);
  return record && record->record.type == format::RecordType::kLiveIds;
}

TEST_CASE("a segment whose first unit is in the tail buffers only, and not believed, is no part of the log") {
  bool reached = true;
  int refused = 0;
  for (uint64_t point = 0; reached; ++point) {
    INFO("killed in disk operation " << point);
    Bench bench(6);
    bench.believe_tail_unit = [&refused](base::Bytes payload) -> absl::StatusOr<bool> {
      refused += IsFirstUnit(payload) ? 1 : 0;
      return !IsFirstUnit(payload);
    };
    Scheduled(6, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      REQUIRE((*log)->WaitDurable(*Bench::Put(**log, "anchor", "value")).ok());
      bench.machine.CrashAfter(point, {test::CrashKind::kKill, test::Survival::kNothing});
      constexpr int kPuts = 100;  // more than a segment
      for (int i = 0; i < kPuts && bench.machine.crashes() == 0; ++i) {
        static_cast<void>(Bench::Put(**log, "key" + std::to_string(i), ValueOf(i)));
      }
      reached = bench.machine.crashes() != 0;
      bench.machine.ClearFaults();
      static_cast<void>((*log)->Close());
      log = bench.Open(false);
      REQUIRE(log.ok());
      REQUIRE(bench.found.contains("anchor"));
      REQUIRE((*log)->Close().ok());
    });
  }
  REQUIRE(refused > 0);
}

TEST_CASE("a failed flush poisons the log: waiters and later writes get Unavailable, never success") {
  Bench bench(8);
  Scheduled(8, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    REQUIRE((*log)->SealActive().ok());
    const auto first = Bench::Put(**log, "first", "value");
    REQUIRE((*log)->WaitDurable(*first).ok());
    bench.machine.Inject({.operations = test::kWriteOperation | test::kSyncOperation});
    const auto second = Bench::Put(**log, "second", "value");
    REQUIRE(second.ok());
    CHECK(absl::IsUnavailable((*log)->WaitDurable(*second)));
    CHECK(absl::IsUnavailable((*log)->WaitDurable(*second)));
    CHECK(absl::IsUnavailable(Bench::Put(**log, "third", "value").status()));
    CHECK((*log)->WaitDurable(*first).ok());
    CHECK(bench.events[EventKind::kPoisoned] == 1);
    CHECK_FALSE((*log)->Close().ok());
  });
}

TEST_CASE("an operation larger than a segment gets a segment of its own size") {
  Bench bench(9);
  Scheduled(9, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    REQUIRE(Bench::Put(**log, "small", "value").ok());
    const auto big = Bench::Put(**log, "big", std::string(3'000'000, 'b'));
    REQUIRE(big.ok());
    REQUIRE(Bench::Put(**log, "after", "value").ok());
    REQUIRE((*log)->WaitDurable(*big).ok());
    REQUIRE((*log)->Close().ok());
  });
  Scheduled(10, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.found.size() == 3);
    REQUIRE((*log)->Close().ok());
  });
}

}  // namespace
}  // namespace firn::log
