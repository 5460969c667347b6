// Rot, full disks, file systems that cannot, files that are shared.
#include <algorithm>
#include <filesystem>

#include "io/open_disk.h"
#include "support/temp_dir.h"
#include "unit/values/testing.h"

namespace firn::values {
namespace {

using namespace testing;

constexpr const char* kFirstFile = "values/0000000001.val";

TEST_CASE("a flipped bit is DataLoss that names file and offset, for the piece it lies in and no other") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  Put(*store, "in front");
  const std::string value = Content(1, 300'000);
  const auto stored = Put(*store, value);
  world.machine.FlipBits(kFirstFile, stored.pointer.offset + 100'000, std::byte{1});
  const absl::Status status = TryRead(*store, stored.slot);
  CHECK(absl::IsDataLoss(status));
  CHECK(status.message() == std::string(kFirstFile) + " at 8192, 300000 bytes: the value's hash does not match");
  std::string part(10'000, '\0');
  const auto read = [&](uint64_t offset) {
    return store->ReadPieces(stored.slot, stored.pointer.piece_checksums, offset,
                             std::as_writable_bytes(std::span(part)));
  };
  CHECK(absl::IsDataLoss(read(70'000)));
  CHECK(read(70'000).message() ==
        std::string(kFirstFile) + " at 73728, 65536 bytes: the piece's checksum does not match");
  CHECK(absl::IsDataLoss(read(60'000)));  // touches the second piece
  Must(read(50'000));
  CHECK(part == value.substr(50'000, 10'000));
  Must(read(131'072));
  CHECK(part == value.substr(131'072, 10'000));
}

TEST_CASE("identical content put again heals a rotten extent at its place, durable with the next sync [A13]") {
  SimWorld world(1);
  const std::string value = Content(1, kMiB + 300'000);
  ValuePointer pointer;
  {
    Session store(world);
    store.Fresh();
    const auto stored = Put(*store, value);
    pointer = stored.pointer;
    Must(store->Sync());
    world.machine.FlipBits(kFirstFile, pointer.offset + kMiB + 5, std::byte{64});
    REQUIRE(absl::IsDataLoss(TryRead(*store, stored.slot)));
    CHECK(Put(*store, value).slot == stored.slot);
    CHECK(ReadValue(*store, stored.slot) == value);
    CHECK(store->GetStats().healed == 1);
    CHECK(store->GetStats().extents == 1);
    Must(store->Sync());
  }
  world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  Session store(world);
  const Slot slot = Must(store->Adopt(pointer));
  Must(store->FinishRecovery(false));
  CHECK(ReadValue(*store, slot) == value);
}

TEST_CASE("content whose extent cannot be read is healed too, and stored elsewhere where it cannot be written") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const std::string value = Content(1, 9'000);
  const auto stored = Put(*store, value);
  world.machine.Inject({.operations = test::kReadOperation});
  CHECK(Put(*store, value).slot == stored.slot);
  CHECK(store->GetStats().healed == 1);
  world.machine.Inject({.operations = test::kReadOperation});
  world.machine.Inject({.operations = test::kWriteOperation});
  const auto elsewhere = Put(*store, value);
  CHECK(elsewhere.slot != stored.slot);
  CHECK(ReadValue(*store, elsewhere.slot) == value);
}

TEST_CASE("a read that fails is a status, and the next one works") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const auto stored = Put(*store, Content(1, 700'000));
  for (uint64_t after = 0; after < 3; ++after) {
    world.machine.Inject({.operations = test::kReadOperation, .after = after});
    CHECK(absl::IsDataLoss(TryRead(*store, stored.slot)));
    world.machine.Inject({.operations = test::kReadOperation});
    std::string part(100, '\0');
    CHECK(absl::IsDataLoss(store->ReadPieces(stored.slot, stored.pointer.piece_checksums, 70'000,
                                             std::as_writable_bytes(std::span(part)))));
  }
  CHECK(ReadValue(*store, stored.slot) == Content(1, 700'000));
}

TEST_CASE("a write that fails gives its status, its place is given back, and nothing is poisoned") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const auto before = Put(*store, "before");
  world.machine.Inject({.operations = test::kWriteOperation});
  CHECK(absl::IsDataLoss(store->Put(base::AsBytes(Content(1, 20'000))).status()));
  CHECK(store->GetStats().extents == 1);
  CHECK(store->GetStats().waiting_bytes == 20'480);
  CHECK(store->FreeDropped(0) == 20'480);
  const auto after = Put(*store, Content(1, 20'000));
  Must(store->Sync());
  CHECK(ReadValue(*store, after.slot) == Content(1, 20'000));
  CHECK(ReadValue(*store, before.slot) == "before");
}

TEST_CASE("a failed sync is final [A11]") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const auto synced = Put(*store, "synced");
  Must(store->Sync());
  Put(*store, "lost");
  world.machine.Inject({.operations = test::kSyncOperation});
  const absl::Status failure = store->Sync();
  CHECK(absl::IsDataLoss(failure));
  CHECK(store->Sync() == failure);
  Put(*store, "more");
  CHECK(store->Sync() == failure);
  CHECK(store->Close() == failure);
  CHECK(ReadValue(*store, synced.slot) == "synced");
}

TEST_CASE("a sync with nothing dirty does nothing, and one with many extents flushes each file once") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const auto first = Put(*store, Content(0, 5'000));
  Must(store->Sync());
  const uint64_t syncs = store.disk().counters().syncs;
  Must(store->Sync());
  Put(*store, Content(0, 5'000));  // a duplicate of what is durable
  store->Release(first.slot, 1);
  Must(store->Sync());
  CHECK(store.disk().counters().syncs == syncs);
  for (uint64_t number = 1; number < 50; ++number) Put(*store, Content(number, 5'000));
  Must(store->Sync());
  CHECK(store.disk().counters().syncs == syncs + 1);
}

TEST_CASE("a full disk refuses a value cleanly, and after something is freed values are taken again [A12]") {
  SimWorld world(1);
  world.machine.set_capacity_bytes(3 * kMiB);
  ValueOptions options;
  options.file_bytes_max = GENERATE(300 * kKiB, uint64_t{1} << 30);
  Session store(world, options);
  store.Fresh();
  std::vector<ValueStore::Stored> stored;
  uint64_t number = 0;
  absl::Status status;
  for (;; ++number) {
    auto put = store->Put(base::AsBytes(Content(number, 50'000)));
    status = put.status();
    if (!put.ok()) break;
    stored.push_back(*put);
  }
  CHECK(absl::IsResourceExhausted(status));
  CHECK(stored.size() >= 50);  // to the last bytes, without the look-ahead
  CHECK(absl::IsResourceExhausted(store->Put(base::AsBytes(Content(number, 50'000))).status()));
  CHECK(store->GetStats().extents == stored.size());
  Must(store->Sync());
  {
    const auto stream = store->BeginStream();
    const absl::Status appended = stream->Append(base::AsBytes(Content(7, 2 * kMiB)));
    CHECK(absl::IsResourceExhausted(appended));
  }
  for (size_t i = 0; i < stored.size(); ++i) CHECK(ReadValue(*store, stored[i].slot) == Content(i, 50'000));
  for (size_t i = 0; i < stored.size(); i += 2) store->Release(stored[i].slot, 1);
  CHECK(store->FreeDropped(1) >= stored.size() / 2 * 53'248);
  for (size_t i = 0; i + 2 < stored.size() / 2; ++i) Put(*store, Content(1'000 + i, 50'000));
  Must(store->Sync());
  for (size_t i = 1; i < stored.size(); i += 2) CHECK(ReadValue(*store, stored[i].slot) == Content(i, 50'000));
}

TEST_CASE("where holes cannot be punched, values are freed with the last of their file") {
  SimWorld world(1);
  world.machine.set_can_punch(false);
  ValueOptions options;
  options.file_bytes_max = 48 * kKiB;
  Session store(world, options);
  store.Fresh();
  std::vector<ValueStore::Stored> stored;
  for (uint64_t number = 0; number < 4; ++number) stored.push_back(Put(*store, Content(number, 20'000)));
  store->Release(stored[0].slot, 1);
  CHECK(store->FreeDropped(1) == 0);
  CHECK(store->GetStats().waiting_bytes == 20'480);
  CHECK(ReadValue(*store, stored[1].slot) == Content(1, 20'000));
  store->Release(stored[1].slot, 2);
  CHECK(store->FreeDropped(2) == 2 * 20'480);
  CHECK(store->GetStats().waiting_bytes == 0);
  CHECK(store->GetStats().files == 1);
  CHECK(store->GetStats().punches == 0);
}

TEST_CASE("punching that fails is tried again") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const auto stored = Put(*store, Content(1, 20'000));
  store->Release(stored.slot, 1);
  world.machine.Inject({.operations = test::kWriteOperation});
  CHECK(store->FreeDropped(1) == 0);
  CHECK(store->GetStats().waiting_bytes == 20'480);
  CHECK(store->FreeDropped(1) == 20'480);
  CHECK(store->GetStats().waiting_bytes == 0);
}

// A store in a directory of the machine.
struct RealSession {
  explicit RealSession(const std::string& path, bool use_io_uring = true)
      : session(Must(io::OpenDisk(path, {.use_io_uring = use_io_uring})), base::Clock::System(),
                base::Random::System()) {}
  ValueStore* operator->() { return &*session; }
  Session session;
};

TEST_CASE("on a real disk values are put, read, freed and found again") {
  firn::testing::TempDir dir;
  const bool use_io_uring = GENERATE(true, false);
  std::vector<std::pair<ValuePointer, std::string>> kept;
  for (int turn = 0; turn < 3; ++turn) {
    RealSession store(dir.path(), use_io_uring);
    std::vector<Slot> slots;
    for (const auto& [pointer, value] : kept) slots.push_back(Must(store->Adopt(pointer)));
    Must(store->FinishRecovery(turn != 1));
    for (size_t i = 0; i < kept.size(); ++i) CHECK(ReadValue(*store.session, slots[i]) == kept[i].second);
    for (uint64_t number = 0; number < 6; ++number) {
      const std::string value = Content(turn * 100 + number, 100'000 * (number + 1));
      const auto stored = Put(*store.session, value);
      kept.emplace_back(stored.pointer, value);
      slots.push_back(stored.slot);
    }
    Must(store->Sync());
    const uint64_t before = store->GetStats().allocated_bytes;
    store->Release(slots.front(), 1);
    kept.erase(kept.begin());
    CHECK(store->FreeDropped(1) > 0);
    CHECK(store->GetStats().allocated_bytes < before);
    if (turn != 0) Must(store->Close());  // the first ends without
  }
}

TEST_CASE(
    "a file with another link is neither punched nor appended to, and not cut at the end; unlinked, it is [rule 6]") {
  firn::testing::TempDir dir;
  ValuePointer pointer;
  const std::string file = dir.File(kFirstFile), link = dir.File("link");
  {
    RealSession store(dir.path());
    store.session.Fresh();
    const auto first = Put(*store.session, Content(1, 200'000)), second = Put(*store.session, Content(2, 200'000));
    pointer = second.pointer;
    std::filesystem::create_hard_link(file, link);
    const uint64_t size = std::filesystem::file_size(file);
    store->Release(first.slot, 1);
    const uint64_t before = store->GetStats().allocated_bytes;
    CHECK(store->FreeDropped(1) == 0);
    CHECK(store->GetStats().allocated_bytes == before);
    CHECK(store->GetStats().waiting_bytes > 0);
    Must(store->Close());
    CHECK(std::filesystem::file_size(file) == size);
  }
  RealSession store(dir.path());
  const Slot slot = Must(store->Adopt(pointer));
  Must(store->FinishRecovery(true));
  CHECK(store->GetStats().punches == 0);
  CHECK(Put(*store.session, "next").pointer.file == 2);
  std::filesystem::remove(link);
  CHECK(store->FreeDropped(0) > 200'000);
  CHECK(store->GetStats().punches > 0);
  CHECK(ReadValue(*store.session, slot) == Content(2, 200'000));
  std::filesystem::create_hard_link(file, link);
  store->Release(slot, 5);
  CHECK(store->FreeDropped(5) > 0);  // dead whole: our name goes, the other keeps the bytes
  CHECK_FALSE(std::filesystem::exists(file));
  CHECK(std::filesystem::exists(link));
}

}  // namespace
}  // namespace firn::values
