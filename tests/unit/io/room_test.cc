// Claims, the reserve behind them, and the ledger they are counted in.
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "io/room.h"
#include "support/sim_disk.h"
#include "unit/io/disk_setups.h"

namespace firn::io {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kQuotaBytes = 1024 * kKiB;
constexpr ReserveSizes kReserve{.deletes_bytes = 64 * kKiB, .reclaim_bytes = 128 * kKiB, .control_bytes = 32 * kKiB};
constexpr std::string_view kFolders[] = {""};

enum class Limit { kQuota, kDisk };

// A simulated disk, or a quota on it, of kQuotaBytes.
struct Bench {
  explicit Bench(Limit limit) : machine(1), disk(machine.Attach()) {
    if (limit == Limit::kDisk) machine.set_capacity_bytes(kQuotaBytes);
    room = std::make_unique<Room>(
        *disk, RoomOptions{.quota_bytes = limit == Limit::kQuota ? kQuotaBytes : 0,
                           .on_change = [this](bool full, std::string) { changes.push_back(full); }});
    REQUIRE(room->Open(kFolders).ok());
    room->KeepBack(kReserve);
  }
  absl::Status Claim(Claimant claimant, uint64_t bytes) {
    auto file = disk->Open("file" + std::to_string(files++), OpenMode::kCreate);
    REQUIRE(file.ok());
    return room->Claim(**file, bytes, 0, claimant);
  }
  // Claims for writes until none is granted.
  void Fill() {
    for (uint64_t bytes = 64 * kKiB; bytes >= 4 * kKiB;) {
      if (!Claim(Claimant::kWrite, bytes).ok()) bytes /= 2;
    }
  }

  test::SimMachine machine;
  std::unique_ptr<Disk> disk;
  std::unique_ptr<Room> room;
  std::vector<bool> changes;
  int files = 0;
};

TEST_CASE("writes leave the reserve, and each claimant leaves what those after it need") {
  const Limit limit = GENERATE(Limit::kQuota, Limit::kDisk);
  Bench bench(limit);
  REQUIRE(bench.Claim(Claimant::kWrite, 4 * kKiB).ok());
  CHECK(bench.room->reserve_bytes() == kReserve.total_bytes());
  bench.Fill();
  CHECK(bench.room->full());
  CHECK((bench.changes.front() && bench.changes.back()));  // smaller claims fit in between
  CHECK(bench.machine.claimed_bytes() <= kQuotaBytes);
  CHECK(bench.room->reserve_bytes() == kReserve.total_bytes());

  CHECK(absl::IsResourceExhausted(bench.Claim(Claimant::kDelete, kReserve.deletes_bytes + 4 * kKiB)));
  CHECK(bench.Claim(Claimant::kDelete, kReserve.deletes_bytes).ok());
  CHECK(absl::IsResourceExhausted(bench.Claim(Claimant::kDelete, 4 * kKiB)));
  CHECK(bench.Claim(Claimant::kReclaim, kReserve.reclaim_bytes).ok());
  CHECK(absl::IsResourceExhausted(bench.Claim(Claimant::kReclaim, 4 * kKiB)));
  CHECK(bench.Claim(Claimant::kControl, kReserve.control_bytes).ok());
  CHECK(absl::IsResourceExhausted(bench.Claim(Claimant::kControl, 4 * kKiB)));
  CHECK(bench.machine.claimed_bytes() <= kQuotaBytes);
  CHECK(bench.room->FreeBytes() == 0);
}

TEST_CASE("what becomes free goes to the reserve before any write gets it") {
  const Limit limit = GENERATE(Limit::kQuota, Limit::kDisk);
  Bench bench(limit);
  REQUIRE(bench.Claim(Claimant::kWrite, 128 * kKiB).ok());
  bench.Fill();
  REQUIRE(bench.Claim(Claimant::kReclaim, 96 * kKiB).ok());
  REQUIRE(bench.disk->Remove("file0").ok());
  CHECK_FALSE(bench.room->HasRoomFor(64 * kKiB));
  CHECK(bench.room->HasRoomFor(16 * kKiB));
  CHECK(bench.room->whole());
  CHECK_FALSE(bench.changes.back());
  CHECK(bench.Claim(Claimant::kWrite, 16 * kKiB).ok());
  CHECK(bench.machine.claimed_bytes() <= kQuotaBytes);
}

TEST_CASE("there is room again for a small write, whatever a large one wanted that was refused before") {
  const Limit limit = GENERATE(Limit::kQuota, Limit::kDisk);
  Bench bench(limit);
  REQUIRE(bench.Claim(Claimant::kWrite, 256 * kKiB).ok());
  bench.Fill();
  REQUIRE(IsNoRoom(bench.Claim(Claimant::kWrite, 2 * kQuotaBytes)));
  CHECK_FALSE(bench.room->HasRoomFor(4 * kKiB));  // that write is the one that waits
  REQUIRE(bench.Claim(Claimant::kDelete, kReserve.deletes_bytes).ok());
  const absl::Status unrestored = bench.room->Restore();
  REQUIRE(absl::IsResourceExhausted(unrestored));
  CHECK(IsNoRoom(bench.room->Refuse(unrestored)));
  CHECK_FALSE(bench.room->HasRoomFor(4 * kKiB));
  REQUIRE(bench.disk->Remove("file0").ok());
  CHECK(bench.room->HasRoomFor(4 * kKiB));
  CHECK_FALSE(bench.room->full());
  CHECK_FALSE(bench.changes.back());
}

TEST_CASE("a refusal says what is full, how much is used, and what to do") {
  const Limit limit = GENERATE(Limit::kQuota, Limit::kDisk);
  Bench bench(limit);
  bench.Fill();
  const absl::Status refused = bench.Claim(Claimant::kWrite, 4 * kKiB);
  CHECK(IsNoRoom(refused));
  const std::string text(refused.message());
  INFO(text);
  CHECK(text.find(limit == Limit::kQuota ? "max_disk_bytes = 1048576" : "the disk that holds") != std::string::npos);
  CHECK(text.find(std::to_string(bench.room->used_bytes())) != std::string::npos);
  CHECK(text.find("Delete keys, or") != std::string::npos);
  CHECK_FALSE(IsNoRoom(base::ResourceExhausted("something else")));
}

TEST_CASE("the reserve of the last process is found, and above a lowered quota each has its part all the same") {
  Bench bench(Limit::kDisk);
  bench.Fill();
  bench.machine.set_capacity_bytes(UINT64_MAX);
  Room later(*bench.disk, {.quota_bytes = kQuotaBytes / 2});
  REQUIRE(later.Open(kFolders).ok());
  later.KeepBack(kReserve);
  CHECK(later.reserve_bytes() == kReserve.total_bytes());
  const auto claim = [&](Claimant claimant, uint64_t bytes) {
    auto file = bench.disk->Open("later" + std::to_string(bench.files++), OpenMode::kCreate);
    return later.Claim(**file, bytes, 0, claimant);
  };
  CHECK(IsNoRoom(claim(Claimant::kWrite, 4 * kKiB)));
  CHECK(claim(Claimant::kDelete, 64 * kKiB).ok());
  CHECK(claim(Claimant::kReclaim, 128 * kKiB).ok());
  CHECK(claim(Claimant::kControl, 32 * kKiB).ok());
}

TEST_CASE("a reserve that a killed process left grown is cut to what is wanted") {
  Bench bench(Limit::kDisk);
  bench.machine.set_capacity_bytes(UINT64_MAX);
  bench.room->KeepBack({.deletes_bytes = 4 * kReserve.deletes_bytes,
                        .reclaim_bytes = 4 * kReserve.reclaim_bytes,
                        .control_bytes = 4 * kReserve.control_bytes});
  REQUIRE(bench.room->Restore().ok());
  Room later(*bench.disk, {});
  REQUIRE(later.Open(kFolders).ok());
  REQUIRE(later.reserve_bytes() == 4 * kReserve.total_bytes());
  later.KeepBack(kReserve);
  CHECK(later.reserve_bytes() == kReserve.total_bytes());
}

TEST_CASE("the ledger counts what files take, on every kind of disk") {
  using namespace testing;
  const DiskSetup setup = GENERATE(kPreadDisk, kBufferedDisk, kUringDisk, kTmpfsDisk);
  INFO(setup);
  TestDisk disk(setup);
  const auto used = [&] { return disk->ledger().used_bytes(); };
  {
    auto file = disk->Open("a", OpenMode::kCreate);
    REQUIRE(file.ok());
    REQUIRE((*file)->Allocate(256 * kKiB).ok());
    CHECK(used() == *(*file)->AllocatedBytes());
    CHECK((*file)->counted_bytes() >= 256 * kKiB);
    REQUIRE((*file)->PunchHole(64 * kKiB, 64 * kKiB).ok());
    CHECK(used() == *(*file)->AllocatedBytes());
    REQUIRE((*file)->Truncate(64 * kKiB).ok());
    CHECK(used() == *(*file)->AllocatedBytes());
  }
  const uint64_t one_file = used();
  CHECK(one_file >= 64 * kKiB);
  REQUIRE(disk->Rename("a", "b").ok());
  CHECK(used() == one_file);
  REQUIRE(disk->MapShared("m", 64 * kKiB).ok());
  CHECK(used() == one_file + 64 * kKiB);
  const auto another = OpenFor(setup, disk.directory.path());
  REQUIRE(another->CountFiles(kFolders).ok());
  CHECK(another->ledger().used_bytes() >= used());
  REQUIRE(disk->Remove("b").ok());
  CHECK(used() == 64 * kKiB);
}

}  // namespace
}  // namespace firn::io
