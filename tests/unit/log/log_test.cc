#include "log/log.h"

#include <catch2/catch.hpp>
#include <map>

#include "support/scheduler.h"
#include "support/sim_disk.h"

namespace firn::log {
namespace {

// A log on a simulated machine, with its threads under a seed's scheduler.
struct Bench {
  explicit Bench(uint64_t seed) : machine(seed), random(seed) { superblock.secret = seed * 7 + 1; }

  absl::StatusOr<std::unique_ptr<Log>> Open(bool fresh) {
    disk = machine.Attach();
    FIRN_RETURN_IF_ERROR(disk->MakeFolder(kLogFolder));
    auto recovered = RecoverLog(*disk, superblock, fresh, {.on_event = OnEvent()});
    if (!recovered.ok()) return recovered.status();
    for (const RecoveredSegment& each : recovered->segments) {
      format::FooterReader directory = each.directory;
      for (format::DirectoryEntry entry; directory.Next(entry);) found[std::string(entry.key)] = entry.revision;
    }
    return Log::Start(*disk, superblock, epochs,
                      {.segment_bytes_min = 64 * 1024,
                       .flush_interval_ms = 1'000,
                       .clock = &forward,
                       .monotonic_clock = &clock,
                       .random = &random,
                       .on_event = OnEvent()},
                      *std::move(recovered));
  }
  std::function<void(EventKind, std::string)> OnEvent() {
    return [this](EventKind kind, std::string) { ++events[kind]; };
  }
  static absl::StatusOr<uint64_t> Put(Log& log, const std::string& key, const std::string& value) {
    const auto written = log.AppendControl(
        {.type = format::RecordType::kPut, .namespace_id = 1, .key = base::AsBytes(key), .value = base::AsBytes(value)},
        Log::Role::kLive);
    if (!written.ok()) return written.status();
    return written->revision;
  }

  test::SimMachine machine;
  test::Rng random;
  test::SimClock clock;
  base::ForwardClock forward{clock};
  format::Superblock superblock;
  base::EpochDomain epochs;
  std::unique_ptr<io::Disk> disk;
  std::map<EventKind, int> events;
  std::map<std::string, uint64_t> found;
};

void Scheduled(uint64_t seed, const std::function<void()>& body) {
  INFO("seed " << seed);
  test::SimScheduler scheduler({.seed = seed});
  REQUIRE(scheduler.Run(body));
}

}  // namespace

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

TEST_CASE("writers that wait together share a flush, and the next group forms while one is flushing") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Bench bench(seed);
    bench.machine.set_latency_nanos_max(100'000);
    Scheduled(seed, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      std::vector<base::Thread> writers;
      constexpr int kWriters = 8, kWrites = 10;
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
      CHECK((*log)->GetStats().commits < kWriters * kWrites);
      CHECK((*log)->GetStats().group_size_max > 1);
      REQUIRE((*log)->Close().ok());
    });
  }
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

}  // namespace firn::log
