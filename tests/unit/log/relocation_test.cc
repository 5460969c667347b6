// Copying and adopting.
#include "log/relocation.h"

#include "unit/log/testing.h"

namespace firn::log {
namespace {

TEST_CASE("copies are found once their segment is adopted, and after reopening nothing but them") {
  Bench bench(1);
  std::map<std::string, Log::Written> index;
  Scheduled(1, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    index = WriteSealed(**log, 120);
    const std::vector<SegmentId> victims = SealedIds(**log);
    auto writer = CopyAll(bench, **log, index);
    CHECK_FALSE(bench.Value(**log, index.begin()->second));
    const auto adopted = (*log)->Adopt(std::move(writer));
    REQUIRE(adopted.ok());
    CountLive(**adopted, index);
    (*log)->SettleRelocation((*adopted)->id);
    CHECK((*log)->GetStats().relocation_segments == 1);
    REQUIRE((*log)->Retire(victims).ok());
    CHECK(bench.events[EventKind::kSegmentRetired] == static_cast<int>(victims.size()));
    int i = 0;
    for (const auto& [key, at] : index) CHECK(bench.Value(**log, at) == ValueOf(i++));
    std::string memory;
    const auto record = Bench::Load(**log, bench.epochs, index.begin()->second, memory);
    REQUIRE(record);
    CHECK(record->flags == format::record_flags::kRelocated);
    REQUIRE((*log)->Close().ok());
  });
  Scheduled(2, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.events[EventKind::kRecovered] == 0);
    CHECK(bench.events[EventKind::kFooterFallback] == 0);
    REQUIRE(bench.entries.size() == index.size());
    for (const auto& [key, at] : bench.entries) {
      CHECK(at.revision == index.at(key).revision);
      CHECK(at.segment == index.at(key).segment);
      CHECK(at.offset == index.at(key).offset);
    }
    // The next life goes on from live ids, where this one had the adopt record.
    REQUIRE((*log)->Close().ok());
    log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.entries.size() == index.size());
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("a relocated record of a batch is in no batch, for its neighbours are others") {
  Bench bench(2);
  Scheduled(2, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto writer = (*log)->BeginRelocation(kRelocationBytes, 1);
    REQUIRE(writer.ok());
    const auto at = (*writer)->Append({.revision = 1,
                                       .type = format::RecordType::kPut,
                                       .flags = format::record_flags::kInBatch,
                                       .namespace_id = 1,
                                       .key = base::AsBytes("key")});
    REQUIRE(at.ok());
    REQUIRE((*writer)->Finish().ok());
    const auto adopted = (*log)->Adopt(*std::move(writer));
    REQUIRE(adopted.ok());
    std::string memory;
    const auto size = static_cast<uint32_t>(format::kRecordFixedBytes + 4 + 3);
    const auto record = Bench::Load(**log, bench.epochs, {1, at->segment, at->offset, size}, memory);
    REQUIRE(record);
    CHECK(record->flags == format::record_flags::kRelocated);
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("what Fits() promises is kept: the file with its footer is no larger than asked for") {
  Bench bench(3);
  const size_t value_bytes = GENERATE(10, 5'000, 700'000);
  const uint64_t bytes_max = GENERATE(64 * 1024, 1'000 * 1'000, 3 << 20);
  Scheduled(3, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto writer = (*log)->BeginRelocation(bytes_max, 1);
    REQUIRE(writer.ok());
    const std::string value(value_bytes, 'v');
    std::vector<Position> places;
    for (;;) {
      std::string key = std::to_string(places.size());
      key.resize(100, '.');
      const format::Record record{.revision = 1'000'000 - places.size(),
                                  .type = format::RecordType::kPut,
                                  .namespace_id = 1,
                                  .key = base::AsBytes(key),
                                  .value = base::AsBytes(value)};
      const bool fits = (*writer)->Fits(format::RecordSize(record), key.size());
      const auto at = (*writer)->Append(record);
      CHECK(at.ok() == fits);
      if (!at.ok()) {
        CHECK(absl::IsResourceExhausted(at.status()));
        break;
      }
      places.push_back(*at);
    }
    CHECK((*writer)->records() == places.size());
    if (places.empty()) {
      CHECK(absl::IsFailedPrecondition((*writer)->Finish()));
      CHECK(RelocationWriter::BytesForOne(value_bytes, 100) > bytes_max);
      writer->reset();
      REQUIRE((*log)->Close().ok());
      return;
    }
    REQUIRE((*writer)->Finish().ok());
    const auto adopted = (*log)->Adopt(*std::move(writer));
    REQUIRE(adopted.ok());
    CHECK((*adopted)->file->size_bytes() <= base::RoundUp(bytes_max, format::kBlockBytes));
    auto directory = (*log)->LoadDirectory((*adopted)->id);
    REQUIRE(directory.ok());
    CHECK(directory->summary().records == places.size());
    CHECK(directory->summary().first_revision == 1'000'001 - places.size());
    CHECK(directory->summary().revision_min == 1'000'001 - places.size());
    CHECK((*adopted)->revision_min == 1'000'001 - places.size());
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("a record that is larger than a unit gets one of its own, in a file made for it") {
  Bench bench(4);
  Scheduled(4, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    const std::string value(3'000'000, 'b');
    std::map<std::string, Log::Written> index;
    index["big"] = *Bench::Write(**log, "big", value);
    index["small"] = *Bench::Write(**log, "small", "value");
    REQUIRE((*log)->SealActive().ok());
    auto exact = (*log)->BeginRelocation(RelocationWriter::BytesForOne(index["big"].size, 3), 1);
    REQUIRE(exact.ok());
    REQUIRE(bench.Copy(**log, **exact, index["big"]).ok());
    CHECK(absl::IsResourceExhausted(bench.Copy(**log, **exact, index["small"]).status()));
    REQUIRE((*exact)->Finish().ok());
    exact->reset();
    auto writer = CopyAll(bench, **log, index, 4 << 20);
    REQUIRE((*log)->Adopt(std::move(writer)).ok());
    CHECK(bench.Value(**log, index["big"]) == value);
    CHECK(bench.Value(**log, index["small"]) == "value");
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("a failed operation while relocating is a status: the log is not poisoned and the file is gone") {
  for (uint64_t after = 0;; ++after) {
    Bench bench(8);
    bool hit = false;
    Scheduled(8, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      auto index = WriteSealed(**log, 20);
      while ((*log)->GetStats().spare_segments == 0) base::SpinPause(0);  // the next segment, made in the background
      const size_t files = bench.machine.FileNames().size();
      const unsigned kinds = test::kWriteOperation | test::kSyncOperation | test::kOpenOperation |
                             test::kAllocateOperation | test::kFolderOperation;
      bench.machine.Inject({.operations = kinds, .after = after});
      absl::Status status;
      {
        auto writer = (*log)->BeginRelocation(kRelocationBytes, 1);
        status = writer.status();
        for (const auto& [key, at] : index) {
          if (status.ok()) status = bench.Copy(**log, **writer, at).status();
        }
        if (status.ok()) status = (*writer)->Finish();
        hit = bench.machine.faults_hit() > 0;
        bench.machine.ClearFaults();
      }
      CHECK(status.ok() == !hit);
      if (hit) CHECK(bench.machine.FileNames().size() == files);
      CHECK((*log)->health().ok());
      REQUIRE((*log)->WaitDurable(*Bench::Put(**log, "after", "value")).ok());
      REQUIRE((*log)->Close().ok());
    });
    if (!hit) {
      CHECK(after >= 5);
      break;
    }
  }
}

TEST_CASE("a full disk refuses a relocation segment, and the log goes on") {
  Bench bench(9);
  Scheduled(9, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    const auto index = WriteSealed(**log, 20);
    while ((*log)->GetStats().spare_segments == 0) base::SpinPause(0);  // the next segment, made in the background
    bench.machine.set_capacity_bytes(bench.machine.claimed_bytes());
    CHECK(absl::IsResourceExhausted((*log)->BeginRelocation(kRelocationBytes, 1).status()));
    REQUIRE((*log)->WaitDurable(*Bench::Put(**log, "after", "value")).ok());
    bench.machine.set_capacity_bytes(UINT64_MAX);
    REQUIRE((*log)->Close().ok());
    CHECK(absl::IsFailedPrecondition((*log)->BeginRelocation(kRelocationBytes, 1).status()));
  });
}

TEST_CASE("a failed write while adopting poisons the log, as any does, and loses no record") {
  bool hit = true;
  for (uint64_t after = 0; hit; ++after) {
    Bench bench(20);
    Scheduled(24, [&] {
      auto log = bench.Open(true);
      REQUIRE(log.ok());
      auto index = WriteSealed(**log, 20);
      auto writer = CopyAll(bench, **log, index);
      bench.machine.Inject({.operations = test::kWriteOperation | test::kSyncOperation, .after = after});
      const auto adopted = (*log)->Adopt(std::move(writer));
      hit = bench.machine.faults_hit() > 0;
      CHECK(adopted.ok() == !hit);
      if (hit) CHECK(absl::IsUnavailable(adopted.status()));
      bench.machine.ClearFaults();
      (*log)->Close().IgnoreError();
      log->reset();
      log = bench.Open(false);
      REQUIRE(log.ok());
      for (int i = 0; i < 20; ++i) CHECK(bench.found.contains("key" + std::to_string(1'000 + i)));
      for (const auto& [key, at] : bench.entries) CHECK(bench.Value(**log, at).has_value());
      REQUIRE((*log)->Close().ok());
    });
  }
}

TEST_CASE("an adoption that the full disk refuses leaves the originals, and the copies go") {
  Bench bench(21);
  Scheduled(25, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 20);
    const auto originals = index;
    auto writer = CopyAll(bench, **log, index);
    bench.machine.set_capacity_bytes(bench.machine.claimed_bytes());
    absl::Status full;
    for (int i = 0; i < 1'000 && full.ok(); ++i) full = Bench::Put(**log, "filler", ValueOf(i)).status();
    REQUIRE(absl::IsResourceExhausted(full));
    // Smaller records went on fitting; the adopt record is smaller still.
    for (full = absl::OkStatus(); full.ok();) full = Bench::Put(**log, "f", "").status();
    CHECK(absl::IsResourceExhausted((*log)->Adopt(std::move(writer)).status()));
    bench.machine.set_capacity_bytes(UINT64_MAX);
    for (const auto& [key, at] : originals) CHECK(bench.Value(**log, at).has_value());
    CHECK((*log)->segments().Get(index.begin()->second.segment) == nullptr);
    REQUIRE((*log)->SealActive().ok());  // the next segment lists those that count
    REQUIRE((*log)->Close().ok());
    log = bench.Open(false);
    REQUIRE(log.ok());
    for (const auto& [key, at] : originals) {
      REQUIRE(bench.entries.count(key) == 1);
      CHECK(bench.entries.find(key)->second.segment == at.segment);
    }
    REQUIRE((*log)->Close().ok());
  });
}

TEST_CASE("an adopted segment that nothing names yet is not retired before it is settled") {
  Bench bench(10);
  Scheduled(10, [&] {
    auto log = bench.Open(true);
    REQUIRE(log.ok());
    auto index = WriteSealed(**log, 20);
    const auto adopted = (*log)->Adopt(CopyAll(bench, **log, index));
    REQUIRE(adopted.ok());
    const SegmentId id = (*adopted)->id;
    REQUIRE((*log)->RetireDead().ok());
    CHECK((*log)->segments().Get(id) != nullptr);
    CHECK(bench.Value(**log, index.begin()->second) == ValueOf(0));
    (*log)->SettleRelocation(id);
    REQUIRE((*log)->RetireDead().ok());
    CHECK((*log)->segments().Get(id) == nullptr);
    REQUIRE((*log)->Close().ok());
  });
  Scheduled(11, [&] {
    auto log = bench.Open(false);
    REQUIRE(log.ok());
    CHECK(bench.entries.size() == 20);  // adopted and retired: the originals alone are left
    REQUIRE((*log)->Close().ok());
  });
}

}  // namespace
}  // namespace firn::log
