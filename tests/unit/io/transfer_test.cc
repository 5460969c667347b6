// Transfers that the kernel cuts short, interrupts or puts off.
#include <catch2/catch.hpp>

#include <cerrno>
#include <deque>
#include <random>
#include <vector>

#include "io/transfer.h"
#include "unit/io/disk_setups.h"

namespace firn::testing {
namespace {

using io::Flush;
using io::OpenMode;
using io::TransferKind;

DiskSetup EachKind() { return GENERATE(kPreadDisk, kUringDisk, kLinkedDisk); }

// Answers the next operations of each kind from a list, then leaves things alone.
class ScriptedFaults : public io::TransferFaults {
 public:
  static constexpr int64_t kUntouched = INT64_MIN;

  ScriptedFaults() { io::SetTransferFaultsForTest(this); }
  ~ScriptedFaults() override { io::SetTransferFaultsForTest(nullptr); }

  size_t Size(TransferKind, size_t size_bytes) override { return std::min(size_bytes, piece_bytes_max); }
  int64_t Result(TransferKind kind, int64_t result) override {
    if (kind == TransferKind::kSync) ++syncs;
    auto& script = kind == TransferKind::kRead ? reads : kind == TransferKind::kWrite ? writes : sync_results;
    if (script.empty()) return result;
    const int64_t answer = script.front();
    script.pop_front();
    return answer == kUntouched ? result : answer;
  }

  size_t piece_bytes_max = SIZE_MAX;
  std::deque<int64_t> reads;
  std::deque<int64_t> writes;
  std::deque<int64_t> sync_results;
  int syncs = 0;
};

struct Fixture {
  explicit Fixture(const DiskSetup& setup) : disk(setup), file(*disk->Open("data", OpenMode::kCreate)) {}

  std::vector<io::ReadRequest> Requests(base::AlignedBuffer& out, size_t size_bytes) {
    std::vector<io::ReadRequest> requests;
    for (size_t at = 0; at < out.size(); at += size_bytes) {
      requests.push_back({.file = file.get(), .offset = at, .out = out.bytes().subspan(at, size_bytes)});
    }
    return requests;
  }

  TestDisk disk;
  std::unique_ptr<io::File> file;
};

}  // namespace

TEST_CASE("short transfers go on where they stopped") {
  const DiskSetup setup = EachKind();
  const size_t piece_bytes = GENERATE(512, 4096, 4608, 12288);
  CAPTURE(setup, piece_bytes);
  Fixture fixture(setup);
  const auto data = Pattern(256 * 1024, 3);
  base::AlignedBuffer out(data.size());
  {
    ScriptedFaults faults;
    faults.piece_bytes_max = piece_bytes;
    REQUIRE(Text(fixture.file->Write(0, data.bytes(), Flush::kData)) == "");
    REQUIRE(Text(fixture.file->Read(0, out.bytes())) == "");
    CHECK(Same(out.bytes(), data.bytes()));
    std::memset(out.data(), 0, out.size());
    auto requests = fixture.Requests(out, 32768);
    fixture.disk->ReadMany(requests);
    for (const auto& request : requests) REQUIRE(Text(request.status) == "");
    CHECK(Same(out.bytes(), data.bytes()));
  }
  std::memset(out.data(), 0, out.size());
  REQUIRE(fixture.file->Read(0, out.bytes()).ok());
  CHECK(Same(out.bytes(), data.bytes()));
}

TEST_CASE("a synced write that came back short is synced after its last byte") {
  const DiskSetup setup = EachKind();
  CAPTURE(setup);
  Fixture fixture(setup);
  const auto data = Pattern(16384, 3);
  ScriptedFaults faults;
  SECTION("short, with the linked sync cancelled") {
    faults.writes = {4096};
    if (setup.synced_write == io::SyncedWrite::kLinked) faults.sync_results = {-ECANCELED};
    REQUIRE(Text(fixture.file->Write(0, data.bytes(), Flush::kData)) == "");
    CHECK(faults.syncs == (setup.synced_write == io::SyncedWrite::kLinked ? 2 : 1));
  }
  SECTION("short, with a sync that came too early") {
    faults.writes = {4096};
    REQUIRE(Text(fixture.file->Write(0, data.bytes(), Flush::kData)) == "");
    CHECK(faults.syncs == (setup.synced_write == io::SyncedWrite::kLinked ? 2 : 1));
  }
  SECTION("whole, with the sync cancelled all the same") {
    if (setup.synced_write != io::SyncedWrite::kLinked) return;
    faults.sync_results = {-ECANCELED};
    REQUIRE(Text(fixture.file->Write(0, data.bytes(), Flush::kData)) == "");
    CHECK(faults.syncs == 2);
  }
  SECTION("interrupted and put off") {
    faults.writes = {-EINTR, -EAGAIN, 4096, -EINTR, 8192, -EAGAIN};
    REQUIRE(Text(fixture.file->Write(0, data.bytes(), Flush::kData)) == "");
  }
  base::AlignedBuffer out(data.size());
  REQUIRE(fixture.file->Read(0, out.bytes()).ok());
  CHECK(Same(out.bytes(), data.bytes()));
}

TEST_CASE("a failed sync is a failed write and is not tried again") {
  const DiskSetup setup = EachKind();
  const int64_t error = GENERATE(-EIO, -ENOSPC, -EINTR);
  CAPTURE(setup, error);
  Fixture fixture(setup);
  ScriptedFaults faults;
  SECTION("with the write") {
    faults.sync_results = {error};
    CHECK_FALSE(fixture.file->Write(0, Filled(4096, 1).bytes(), Flush::kData).ok());
    CHECK(faults.syncs == 1);
  }
  SECTION("after a short write") {
    if (setup.synced_write != io::SyncedWrite::kLinked) return;
    faults.writes = {4096};
    faults.sync_results = {error};
    CHECK_FALSE(fixture.file->Write(0, Filled(8192, 1).bytes(), Flush::kData).ok());
    CHECK(faults.syncs == 1);
  }
  SECTION("alone") {
    faults.sync_results = {error};
    CHECK_FALSE(fixture.file->Sync().ok());
    CHECK(faults.syncs == 1);
  }
  CHECK(fixture.disk->counters().syncs == 0);
}

TEST_CASE("errors name the operation, the file, the offset and the errno") {
  const DiskSetup setup = EachKind();
  CAPTURE(setup);
  Fixture fixture(setup);
  auto data = Filled(16384, 1);
  REQUIRE(fixture.file->Write(0, data.bytes(), Flush::kNone).ok());
  ScriptedFaults faults;
  faults.writes = {4096, -ENOSPC};
  CHECK(Text(fixture.file->Write(8192, data.bytes().first(8192), Flush::kData)) ==
        "write data at 12288: No space left on device (ENOSPC)");
  faults.reads = {-EIO};
  const auto status = fixture.file->Read(4096, data.bytes().first(4096));
  CHECK(absl::IsDataLoss(status));
  CHECK(Text(status) == "read data at 4096: Input/output error (EIO)");
  faults.sync_results = {-EIO};
  CHECK(Text(fixture.file->Sync()) == "fdatasync data: Input/output error (EIO)");
}

TEST_CASE("EAGAIN without end becomes Unavailable") {
  const DiskSetup setup = EachKind();
  CAPTURE(setup);
  Fixture fixture(setup);
  const auto data = Filled(8192, 1);
  REQUIRE(fixture.file->Write(0, data.bytes(), Flush::kNone).ok());
  base::AlignedBuffer out(8192);
  ScriptedFaults faults;
  faults.reads.assign(5000, -EAGAIN);
  faults.writes = faults.reads;
  CHECK(absl::IsUnavailable(fixture.file->Write(0, data.bytes(), Flush::kData)));
  CHECK(absl::IsUnavailable(fixture.file->Read(0, out.bytes())));
  faults.reads.assign(5000, -EAGAIN);
  auto requests = fixture.Requests(out, 4096);
  fixture.disk->ReadMany(requests);
  for (const auto& request : requests) CHECK(absl::IsUnavailable(request.status));
}

TEST_CASE("ReadMany survives random short reads, interruptions and failures") {
  const DiskSetup setup = EachKind();
  const unsigned seed = 20'240;
  CAPTURE(setup, seed);
  Fixture fixture(setup);
  const auto data = Pattern(1000 * 4096, 3);
  REQUIRE(fixture.file->Write(0, data.bytes(), Flush::kNone).ok());
  base::AlignedBuffer out(data.size());
  auto requests = fixture.Requests(out, 4096);
  std::mt19937 random(seed);
  size_t failures = 0;
  ScriptedFaults faults;
  for (int i = 0; i < 3000; ++i) {
    const int64_t answers[] = {ScriptedFaults::kUntouched, 512, 2048, -EINTR, -EAGAIN, -EIO};
    faults.reads.push_back(answers[random() % 40 == 0 ? 5 : random() % 5]);
  }
  std::vector<int> told(requests.size());
  fixture.disk->ReadMany(requests, [&](const io::ReadRequest& request) {
    const bool whole = request.status.ok() && Same(request.out, data.bytes().subspan(request.offset, 4096));
    told[static_cast<size_t>(&request - requests.data())] += whole || absl::IsDataLoss(request.status) ? 1 : 1'000;
  });
  CHECK(told == std::vector<int>(requests.size(), 1));
  for (const auto& request : requests) {
    if (!request.status.ok()) {
      CHECK(absl::IsDataLoss(request.status));
      ++failures;
      continue;
    }
    CHECK(Same(request.out, data.bytes().subspan(request.offset, 4096)));
  }
  CHECK(failures > 0);
  CHECK(failures < requests.size());
}

}  // namespace firn::testing
