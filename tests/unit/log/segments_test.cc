// Which segments go, which keys they may hold, how large they are and which files they take.
#include "unit/log/testing.h"

namespace firn::log {
namespace {

TEST_CASE("tombstones wait for older records wherever they were moved, not for younger segments with lower ids") {
  Bench bench(11);
  Scheduled(12, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 5);
    const std::vector<SegmentId> old = SealedIds(**log);
    REQUIRE(Bench::Delete(**log, "key1000").ok());
    REQUIRE((*log)->SealActive().ok());
    const SegmentId tombstones = SealedIds(**log).back();
    const auto adopted = (*log)->Adopt(CopyAll(bench, **log, index));
    REQUIRE(adopted.ok());
    Segment& moved = **adopted;
    CountLive(moved, index);
    (*log)->SettleRelocation(moved.id);
    REQUIRE((*log)->Retire(old).ok());

    // The oldest by its id, and yet what it hides is still there.
    REQUIRE((*log)->RetireDead().ok());
    CHECK((*log)->segments().Get(tombstones) != nullptr);
    moved.live_records = 0;
    REQUIRE((*log)->RetireDead().ok());
    CHECK((*log)->segments().Get(tombstones) == nullptr);
    CHECK((*log)->segments().size() == 1);
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("a segment with tombstones that lie below all that stays goes, whatever its id") {
  Bench bench(12);
  Scheduled(13, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    const auto tombstone = Bench::Delete(**log, "gone");
    REQUIRE(tombstone.ok());
    REQUIRE((*log)->SealActive().ok());
    const std::vector<SegmentId> old = SealedIds(**log);
    REQUIRE(Bench::Put(**log, "stays", "value").ok());
    REQUIRE((*log)->SealActive().ok());
    std::map<std::string, Log::Written> index{{"gone", *tombstone}};
    const auto adopted = (*log)->Adopt(CopyAll(bench, **log, index));
    REQUIRE(adopted.ok());
    const SegmentId moved = (*adopted)->id;
    (*adopted)->tombstones = 1;
    (*log)->SettleRelocation(moved);
    REQUIRE((*log)->Retire(old).ok());
    REQUIRE((*log)->RetireDead().ok());
    CHECK((*log)->segments().Get(moved) == nullptr);
    CHECK((*log)->segments().size() == 2);
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("segments that retire together leave the live ids together, at whatever moment the log rotates") {
  Bench bench(20);
  std::vector<std::shared_ptr<Segment>> together;
  int moments = 0, torn_moments = 0;
  test::SimScheduler scheduler({.seed = 20});
  scheduler.SetStepHook([&] {
    const auto retiring =
        std::count_if(together.begin(), together.end(), [](const auto& s) { return s->retiring.load(); });
    ++moments;
    torn_moments += retiring != 0 && static_cast<size_t>(retiring) != together.size() ? 1 : 0;
  });
  REQUIRE(scheduler.Run([&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    for (int i = 0; i < 6; ++i) WriteSealed(**log, 2);
    const std::vector<SegmentId> ids = SealedIds(**log);
    const auto look_at = [&](const std::vector<SegmentId>& those) {
      together.clear();
      for (const SegmentId id : those) together.push_back((*log)->segments().Get(id));
    };
    const std::vector<SegmentId> first(ids.begin(), ids.begin() + 3), rest(ids.begin() + 3, ids.end());
    look_at(first);
    REQUIRE((*log)->Retire(first).ok());
    CHECK((*log)->segments().Get(first.front()) == nullptr);
    // Where it fails they are all back at once.
    look_at(rest);
    bench.machine.Inject({.operations = test::kWriteOperation});
    CHECK_FALSE((*log)->Retire(rest).ok());
    CHECK(std::none_of(together.begin(), together.end(), [](const auto& s) { return s->retiring.load(); }));
    together.clear();
    log->reset();
  }));
  CHECK(moments > 100);
  CHECK(torn_moments == 0);
}

TEST_CASE("of two that seal at once, the one that finds nothing left to seal waits for the other all the same") {
  for (uint64_t seed = 40; seed < 60; ++seed) {
    Bench bench(seed);
    Scheduled(seed, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      for (int i = 0; i < 10; ++i) REQUIRE(Bench::Put(**log, "key" + std::to_string(i), ValueOf(i)).ok());
      const std::shared_ptr<Segment> filled = (*log)->segments().All().back();
      std::array<bool, 2> sealed{};
      {
        std::vector<base::Thread> threads;
        for (bool& each : sealed) {
          threads.emplace_back("seals", [&] {
            REQUIRE((*log)->SealActive().ok());
            each = filled->sealed.load();
          });
        }
        for (base::Thread& thread : threads) thread.Join();
      }
      CHECK(sealed == std::array{true, true});
      REQUIRE((*log)->Close().ok());
    });
  }
}

TEST_CASE("key filters tell which segments cannot hold a key below a revision") {
  Bench bench(13);
  Scheduled(14, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    const uint64_t memory_before = (*log)->GetStats().filter_bytes;
    std::map<std::string, Log::Written> index;
    for (const char* key : {"a", "b"}) {
      // The next segment is prepared already, with a lower first revision than it will have.
      while ((*log)->GetStats().spare_segments == 0) base::SpinPause(1);
      index[key] = *Bench::Write(**log, key, "value");
      REQUIRE((*log)->SealActive().ok());
    }
    CHECK((*log)->GetStats().filter_bytes > memory_before);
    const auto may_hold_older = [&](const char* key, uint64_t revision, std::vector<SegmentId> except = {}) {
      base::EpochGuard guard(bench.epochs);
      return (*log)->segments().MayHoldOlder(KeyHash(1, key), revision, except);
    };
    const uint64_t next = (*log)->LastReserved() + 1;
    const uint64_t active = [&] {
      base::EpochGuard guard(bench.epochs);
      return (*log)->segments().All().back()->revision_min.load();
    }();
    CHECK(active == (*log)->LastReserved());
    // The active segment may hold anything, but nothing older than its first record.
    CHECK(may_hold_older("never written", next));
    CHECK_FALSE(may_hold_older("never written", active));
    CHECK(may_hold_older("a", active));
    CHECK_FALSE(may_hold_older("a", active, {index["a"].segment}));
    CHECK_FALSE(may_hold_older("a", index["a"].revision));
    CHECK(may_hold_older("b", active));
    CHECK_FALSE(may_hold_older("b", index["b"].revision));
    {
      base::EpochGuard guard(bench.epochs);
      CHECK_FALSE((*log)->segments().Find(index["a"].segment)->MayHold(KeyHash(2, "a")));
    }
    auto copies = index;
    const auto adopted = (*log)->Adopt(CopyAll(bench, **log, copies));
    REQUIRE(adopted.ok());
    CHECK(may_hold_older("a", index["a"].revision + 1, {index["a"].segment}));
    CHECK_FALSE(may_hold_older("a", index["a"].revision, {}));
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("a relocation segment takes a spare that fits, and leaves smaller ones to the log") {
  Bench bench(17);
  Scheduled(21, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    WriteSealed(**log, 100);
    for (const auto& segment : (*log)->segments().All()) segment->live_records = 0;
    REQUIRE((*log)->RetireDead().ok());
    while ((*log)->GetStats().spare_segments < 3) base::SpinPause(1);  // two, and the prepared one
    const uint64_t spare_bytes = (*log)->GetStats().spare_bytes;
    CHECK(spare_bytes >= 3 * kBenchSegmentBytes / 2);
    auto large = (*log)->BeginRelocation(10 * kBenchSegmentBytes, 1);
    REQUIRE(large.ok());
    CHECK((*log)->GetStats().spare_bytes == spare_bytes);
    auto small = (*log)->BeginRelocation(kBenchSegmentBytes / 2, 1);
    REQUIRE(small.ok());
    CHECK((*log)->GetStats().spare_segments == 2);
    small->reset();
    large->reset();
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("fresh segments are filled ahead while commits are small and synced, not while data is loaded") {
  const auto written_per_commit_byte = [](bool synced) {
    Bench bench(18);
    double factor = 0;
    Scheduled(22, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      const uint64_t written = bench.disk->counters().written_bytes;
      const uint64_t committed = (*log)->GetStats().commit_bytes;
      for (int i = 0; i < 400; ++i) {
        const auto revision = Bench::Put(**log, std::to_string(i), ValueOf(i));
        REQUIRE(revision.ok());
        if (synced) REQUIRE((*log)->WaitDurable(*revision).ok());
      }
      REQUIRE((*log)->Close().ok());
      factor = static_cast<double>(bench.disk->counters().written_bytes - written) /
               static_cast<double>((*log)->GetStats().commit_bytes - committed);
    });
    return factor;
  };
  CHECK(written_per_commit_byte(false) < 1.4);  // footers and headers
  CHECK(written_per_commit_byte(true) > 1.7);
}

TEST_CASE("segments grow with what lives, not with what was written") {
  Bench bench(19);
  Scheduled(23, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    const auto index = WriteSealed(**log, 300);
    const auto largest = [&] {
      uint64_t bytes = 0;
      for (const auto& segment : (*log)->segments().All()) {
        if (!segment->sealed) bytes = std::max(bytes, segment->file->size_bytes());
      }
      return bytes;
    };
    CHECK(largest() == kBenchSegmentBytes);
    constexpr uint64_t kLiveBytes = 3 * kSegmentsPerLiveBytes * kBenchSegmentBytes;
    Segment& first = *(*log)->segments().All().front();
    first.live_bytes += static_cast<int64_t>(kLiveBytes);
    first.record_bytes += kLiveBytes + 2 * kLiveBytes / kGrowingDeadPart;
    WriteSealed(**log, 300);
    CHECK(largest() == 3 * kBenchSegmentBytes);
    // Where nothing is dead the log may grow faster.
    first.record_bytes -= 2 * kLiveBytes / kGrowingDeadPart;
    WriteSealed(**log, 3'000);
    CHECK(largest() >= kLiveBytes / kGrowingSegmentsPerLiveBytes);
    REQUIRE((*log)->Close().ok());
  });
}

}  // namespace
}  // namespace firn::log
