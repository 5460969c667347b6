// What recovery makes of relocation segments: adopted, not adopted, damaged, missing.
#include "format/unit.h"
#include "unit/log/testing.h"

namespace firn::log {
namespace {

TEST_CASE("a segment that is finished and not adopted is no part of the store, and its file is used again") {
  Bench bench(5);
  Scheduled(5, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 20);
    const uint64_t spares = (*log)->GetStats().spare_segments;
    CopyAll(bench, **log, index);
    CHECK((*log)->GetStats().spare_segments == spares + 1);
    CHECK((*log)->GetStats().spare_bytes > 0);
    REQUIRE((*log)->Close().ok());
  });
  Scheduled(6, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.entries.size() == 20);
    // It is newer than the last segment of the log, which was closed in order all the same.
    CHECK(bench.events[EventKind::kRecovered] == 0);
    CHECK(bench.events[EventKind::kTornTail] == 0);
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("units of an unadopted segment are no torn tail of the log") {
  Bench bench(6);
  Scheduled(6, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 20);
    auto writer = CopyAll(bench, **log, index);
    bench.machine.Crash({.survival = test::Survival::kNothing});
    writer.reset();
    log->reset();
  });
  Scheduled(7, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.entries.size() == 20);
    CHECK(bench.events[EventKind::kTornTail] == 0);
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("an unadopted segment is not taken for the newest, though its footer is all of it that verifies") {
  Bench bench(7);
  Scheduled(7, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 20);
    REQUIRE((*log)->WaitDurable(*Bench::Put(**log, "not copied", "value")).ok());
    auto writer = CopyAll(bench, **log, index);
    bench.machine.FlipBits(SegmentFileName(index.begin()->second.segment), kFirstUnitOffset, std::byte{1});
    bench.machine.Crash({.survival = test::Survival::kNothing});
    writer.reset();
    log->reset();
  });
  Scheduled(8, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.entries.size() == 21);
    CHECK(bench.found.contains("not copied"));
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("a relocation segment whose footer is lost is scanned, at open and when its directory is asked for") {
  Bench bench(14);
  std::map<std::string, Log::Written> index;
  Scheduled(15, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    // Of high revisions first, so that those of the units do not ascend.
    auto written = WriteSealed(**log, 100);
    const std::vector<SegmentId> victims = SealedIds(**log);
    auto writer = (*log)->BeginRelocation(kRelocationBytes, 1);
    REQUIRE(writer.ok());
    for (auto at = written.rbegin(); at != written.rend(); ++at) {
      index[at->first] = *bench.Copy(**log, **writer, at->second);
    }
    REQUIRE((*writer)->Finish().ok());
    const auto adopted = (*log)->Adopt(*std::move(writer));
    REQUIRE(adopted.ok());
    CountLive(**adopted, index);
    const SegmentId id = (*adopted)->id;
    (*log)->SettleRelocation(id);
    REQUIRE((*log)->Retire(victims).ok());

    const std::string name = SegmentFileName(id);
    CHECK((*log)->LoadDirectory(id)->summary().records == index.size());
    CHECK(bench.events[EventKind::kFooterFallback] == 0);
    bench.machine.FlipBits(name, bench.machine.FileSize(name) - 10, std::byte{1});
    const auto scanned = (*log)->LoadDirectory(id);
    REQUIRE(scanned.ok());
    CHECK(bench.events[EventKind::kFooterFallback] == 1);
    CHECK(scanned->summary().records == index.size());
    CHECK(scanned->summary().revision_min == index.begin()->second.revision);
    CHECK(absl::IsNotFound((*log)->LoadDirectory(victims.front()).status()));
    CHECK(absl::IsFailedPrecondition((*log)->LoadDirectory((*log)->segments().All().front()->id).status()));
    REQUIRE((*log)->Close().ok());
  });
  Scheduled(16, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.events[EventKind::kFooterFallback] == 2);
    CHECK(bench.entries.size() == index.size());
    for (const auto& [key, at] : bench.entries) CHECK(bench.Value(**log, at).has_value());
    REQUIRE((*log)->Close().ok());
  });
  Scheduled(17, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.events[EventKind::kFooterFallback] == 2);  // sealed again
    // Footer and unit: nothing to go by.
    const std::string name = SegmentFileName(index.begin()->second.segment);
    bench.machine.FlipBits(name, bench.machine.FileSize(name) - 10, std::byte{1});
    bench.machine.FlipBits(name, kFirstUnitOffset, std::byte{1});
    CHECK(absl::IsDataLoss((*log)->LoadDirectory(index.begin()->second.segment).status()));
    REQUIRE((*log)->Close().ok());
    CHECK(absl::IsDataLoss(bench.Open(false).status()));
  });
}

TEST_CASE("an adopted segment whose file is missing is damage") {
  Bench bench(15);
  Scheduled(18, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 20);
    const auto adopted = (*log)->Adopt(CopyAll(bench, **log, index));
    REQUIRE(adopted.ok());
    CountLive(**adopted, index);
    const std::string name = (*adopted)->file->name();
    REQUIRE((*log)->Close().ok());
    log->reset();
    REQUIRE(bench.disk->Remove(name).ok());
    const absl::Status status = bench.Open(false).status();
    CHECK(absl::IsDataLoss(status));
    CHECK(status.message().find(name) != std::string::npos);
  });
}

TEST_CASE("a segment is adopted though the log rotates meanwhile, and a crash right after finds it once") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Bench bench(seed);
    bench.machine.set_latency_nanos_max(50'000);
    SegmentId id = 0;
    Scheduled(seed, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      auto index = WriteSealed(**log, 20);
      auto writer = CopyAll(bench, **log, index);
      base::Thread other("writer", [&] {
        // Until the crash, at the latest.
        for (int i = 0; i < 100 && Bench::Put(**log, "other" + std::to_string(i), ValueOf(i)).ok(); ++i) {
        }
      });
      const auto adopted = (*log)->Adopt(std::move(writer));
      REQUIRE(adopted.ok());
      CountLive(**adopted, index);
      id = (*adopted)->id;
      if (seed % 2 == 0) other.Join();
      bench.machine.Crash({seed % 3 == 0 ? test::CrashKind::kKill : test::CrashKind::kPowerCut});
      if (seed % 2 != 0) other.Join();
      log->reset();
    });
    Scheduled(seed, [&] {
      auto log = bench.Open(false);
      REQUIRE(log.ok());
      REQUIRE((*log)->segments().Get(id) != nullptr);
      CHECK((*log)->segments().Get(id)->sealed);
      CHECK(bench.entries.count("key1000") == 2);
      REQUIRE((*log)->Close().ok());
    });
  }
}

TEST_CASE("a salvage goes on from live ids that name a relocation segment with a higher id") {
  Bench bench(16);
  Scheduled(19, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 20);
    while ((*log)->GetStats().spare_segments == 0) base::SpinPause(1);  // the next segment has its id
    const auto adopted = (*log)->Adopt(CopyAll(bench, **log, index));
    REQUIRE(adopted.ok());
    CountLive(**adopted, index);
    const SegmentId moved = (*adopted)->id;
    REQUIRE(Bench::Put(**log, "first", "value").ok());
    REQUIRE((*log)->SealActive().ok());
    REQUIRE(Bench::Put(**log, "second", "value").ok());
    const SegmentId between = (*log)->segments().All().back()->id;
    std::vector<SegmentId> fresh;
    for (const auto& segment : (*log)->segments().All()) {
      if (segment->header.generation == 0) fresh.push_back(segment->id);
    }
    REQUIRE(fresh.back() < moved);
    REQUIRE(between == moved);
    REQUIRE((*log)->SealActive().ok());
    for (int i = 0; i < 3; ++i) REQUIRE((*log)->WaitDurable(*Bench::Put(**log, "third", "value")).ok());
    SegmentId last = 0;
    for (const auto& segment : (*log)->segments().All()) last = std::max(last, segment->id);
    REQUIRE(last > moved);
    // The last segment's live ids are lost; a later unit of it proves that there was more.
    bench.machine.FlipBits(SegmentFileName(last), kFirstUnitOffset + format::kUnitHeaderBytes + 9, std::byte{1});
    bench.machine.Crash({.survival = test::Survival::kNothing});  // not even the tail buffers have it
    log->reset();
  });
  Scheduled(20, [&] {
    CHECK(absl::IsDataLoss(bench.Open(false).status()));
    auto log = bench.Open(false, /*salvage=*/true);
    REQUIRE(log.ok());
    CHECK(bench.entries.count("key1000") == 2);
    CHECK(bench.found.contains("first"));
    CHECK(bench.found.contains("second"));
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("after a close the newest segment of the fresh log is missed, whatever relocation segments have higher ids") {
  for (const bool removed : {false, true}) {
    Bench bench(30);
    SegmentId newest = format::kNoSegment, relocated = format::kNoSegment;
    uint64_t last = 0;
    Scheduled(30, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      auto index = WriteSealed(**log, 5);
      const auto adopted = (*log)->Adopt(CopyAll(bench, **log, index));
      REQUIRE(adopted.ok());
      relocated = (*adopted)->id;
      CountLive(**adopted, index);
      (*log)->SettleRelocation(relocated);
      last = *Bench::Put(**log, "last", "value");
      for (const auto& segment : (*log)->segments().All()) {
        if (segment->header.generation == 0) newest = segment->id;
      }
      REQUIRE((*log)->Close().ok());
    });
    REQUIRE(relocated > newest);
    if (removed) REQUIRE(bench.machine.Attach()->Remove(SegmentFileName(newest)).ok());
    Scheduled(31, [&] {
      auto log = bench.Open(false);
      INFO(log.status().ToString());
      if (!removed) {
        REQUIRE(log.ok());
        REQUIRE(bench.found.size() == 6);
        REQUIRE(*Bench::Put(**log, "next", "value") > last);
        REQUIRE((*log)->Close().ok());
        return;
      }
      REQUIRE(absl::IsDataLoss(log.status()));
      REQUIRE(log.status().message().find(SegmentFileName(newest)) != std::string::npos);
    });
  }
}

}  // namespace
}  // namespace firn::log
