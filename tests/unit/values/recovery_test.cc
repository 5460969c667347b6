// What a store finds of itself when it is opened again.
#include <algorithm>

#include "base/aligned_buffer.h"
#include "format/value_header.h"
#include "unit/values/testing.h"

namespace firn::values {
namespace {

using namespace testing;

// A store whose process ended after `values` were put and synced.
struct Left {
  SimWorld world{1};
  std::vector<ValueStore::Stored> stored;
  std::vector<std::string> values;

  Left(std::vector<size_t> sizes, bool close, ValueOptions options = {}) {
    Session store(world, options);
    store.Fresh();
    for (const size_t size : sizes) {
      values.push_back(Content(values.size(), size));
      stored.push_back(Put(*store, values.back()));
    }
    Must(store->Sync());
    if (close) {
      Must(store->Close());
    } else {
      world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    }
  }
};

TEST_CASE("an empty store has no folder, and none is made before the first value") {
  SimWorld world(1);
  {
    Session store(world);
    store.Fresh();
    CHECK(store->FreeDropped(5) == 0);
    Must(store->Sync());
    Must(store->Close());
  }
  CHECK(world.machine.writes() == 0);
  Session store(world);
  Must(store->FinishRecovery(false));
  Must(store->Close());
  CHECK(world.machine.writes() == 0);
}

TEST_CASE("adopted extents are read again, shared by their content, and counted by their references") {
  Left left({5'000, 70'000}, true);
  Session store(left.world);
  Must(store.status());
  const Slot first = Must(store->Adopt(left.stored[0].pointer));
  CHECK(Must(store->Adopt(left.stored[0].pointer)) == first);
  const Slot second = Must(store->Adopt(left.stored[1].pointer));
  CHECK(second != first);
  Must(store->FinishRecovery(true));
  CHECK(ReadValue(*store, first) == left.values[0]);
  CHECK(Put(*store, left.values[1]).slot == second);
  CHECK(store->GetStats().extents == 2);
  CHECK(store->GetStats().live_bytes == 75'000);
  store->Release(first, 1);
  CHECK(store->FreeDropped(1) == 0);
  store->Release(first, 2);
  CHECK(store->FreeDropped(2) == 8192);
}

TEST_CASE("equal bytes at different places stay different extents") {
  Left left({5'000}, false);
  ValuePointer elsewhere;
  {
    Session store(left.world);
    Must(store.status());
    Must(store->FinishRecovery(true));
    elsewhere = Put(*store, left.values[0]).pointer;
    Must(store->Close());
  }
  REQUIRE(elsewhere.offset != left.stored[0].pointer.offset);
  // The first place was given back; as a pointer it still names a place in the file.
  Session store(left.world);
  const Slot there = Must(store->Adopt(elsewhere));
  const Slot gone = Must(store->Adopt(left.stored[0].pointer));
  CHECK(there != gone);
  Must(store->FinishRecovery(true));
  CHECK(ReadValue(*store, there) == left.values[0]);
}

TEST_CASE("a pointer that names no place of any file is DataLoss") {
  Left left({5'000}, true);
  Session store(left.world);
  const ValuePointer good = left.stored[0].pointer;
  for (int i = 0; i < 6; ++i) {
    ValuePointer bad = good;
    if (i == 0) bad.file = 9;
    if (i == 1) bad.offset = 0;
    if (i == 2) bad.offset = good.offset + 1;
    if (i == 3) bad.offset = uint64_t{1} << 40;
    if (i == 4) bad.length = 20'000;
    if (i == 5) bad.length = 0;
    CAPTURE(i);
    CHECK(absl::IsDataLoss(store->Adopt(bad).status()));
    CHECK_FALSE(Must(store->Restore(bad)));
  }
  Must(store->FinishRecovery(false));
  CHECK(Put(*store, "x").pointer.file == 10);  // an id that any record names is not given to other bytes
}

TEST_CASE("a file's header and salt are durable before any value is written under them [rule 9]") {
  for (const Survival survival : test::kSurvivals) {
    SimWorld world(1);
    {
      Session store(world);
      store.Fresh();
      Put(*store, "not synced");
    }
    world.machine.Crash({CrashKind::kPowerCut, survival});
    const std::string file = world.machine.ReadFile("values/0000000001.val");
    REQUIRE(file.size() >= 4096);
    const auto header =
        format::DecodeValueHeader(base::AsBytes(file).first(4096), TestSuperblock().secret, TestSuperblock().uuid);
    Must(header.status());
    CHECK(header->salt != format::Salt{});
  }
}

TEST_CASE("after a clean end appending goes on where the newest file ends") {
  Left left({5'000}, true);
  CHECK(left.world.machine.FileSize("values/0000000001.val") == 4096 + 8192);
  Session store(left.world);
  const Slot slot = Must(store->Adopt(left.stored[0].pointer));
  Must(store->FinishRecovery(true));
  const auto next = Put(*store, "next");
  CHECK(next.pointer.file == 1);
  CHECK(next.pointer.offset == 4096 + 8192);
  CHECK(ReadValue(*store, slot) == left.values[0]);
}

TEST_CASE("after a crash, offsets that may have been used are never used again, not even after a clean end since") {
  Left left({5'000}, false);
  const bool put_something = GENERATE(true, false);
  const uint64_t size = left.world.machine.FileSize("values/0000000001.val");
  {
    Session store(left.world);
    const Slot slot = Must(store->Adopt(left.stored[0].pointer));
    Must(store->FinishRecovery(false));
    CHECK(ReadValue(*store, slot) == left.values[0]);
    if (put_something) CHECK(Put(*store, "something").pointer.file == 2);
    Must(store->Close());
  }
  Session store(left.world);
  Must(store->Adopt(left.stored[0].pointer));
  Must(store->FinishRecovery(true));
  const auto next = Put(*store, "next");
  CHECK(next.pointer.file == 2);
  CHECK(left.world.machine.FileSize("values/0000000001.val") == size);
}

TEST_CASE("after an unclean end what nothing refers to is given back, files and gaps") {
  ValueOptions options;
  options.file_bytes_max = 64 * kKiB;
  Left left({5'000, 5'000, 5'000, 5'000, 50'000, 5'000, 60'000}, false, options);
  Session store(left.world, options);
  Remembered remembered;
  for (const size_t i : {1, 3}) remembered[std::to_string(i)] = {left.stored[i].pointer, left.values[i]};
  const auto slots = AdoptAll(*store, remembered);
  Must(store->FinishRecovery(false));
  RequireAll(*store, remembered, slots);
  const ValueStats stats = store->GetStats();
  CHECK(stats.files == 1);
  CHECK(stats.waiting_bytes == 0);
  CHECK(stats.allocated_bytes == 4096 + 2 * 8192);
  CHECK(left.world.machine.claimed_bytes() == stats.allocated_bytes);
}

TEST_CASE("an extent that recovery drops again can be adopted again, and is freed by rule 5 if it is not") {
  Left left({5'000, 6'000}, false);
  Session store(left.world);
  const Slot slot = Must(store->Adopt(left.stored[0].pointer));
  store->Release(slot, 7);
  CHECK(Must(store->Adopt(left.stored[0].pointer)) == slot);
  const Slot other = Must(store->Adopt(left.stored[1].pointer));
  store->Release(other, 9);
  store->Release(slot, 8);
  Must(store->Adopt(left.stored[0].pointer));
  Must(store->FinishRecovery(false));
  CHECK(store->GetStats().extents == 1);
  CHECK(store->GetStats().waiting_bytes == 8192);
  CHECK(store->FreeDropped(8) == 0);
  CHECK(ReadValue(*store, slot) == left.values[0]);
  CHECK(ReadValue(*store, other) == left.values[1]);
  CHECK(store->FreeDropped(9) == 8192);
  store->Release(slot, 0);
  CHECK(store->FreeDropped(9) == 8192);
}

TEST_CASE("what a clean end left behind is found by what the files take") {
  Left left({900'000, 5'000}, true);
  Session store(left.world);  // the record of the first was dropped durably, and the process ended before it was freed
  const Slot slot = Must(store->Adopt(left.stored[1].pointer));
  Must(store->FinishRecovery(true));
  CHECK(ReadValue(*store, slot) == left.values[1]);
  CHECK(store->GetStats().allocated_bytes == 4096 + 8192);
  CHECK(Put(*store, "next").pointer.file == 1);
}

TEST_CASE("a file whose header is damaged is read all the same, and never appended to") {
  Left left({5'000}, true);
  left.world.machine.FlipBits("values/0000000001.val", 50, std::byte{1});
  Session store(left.world);
  Must(store.status());
  const Slot slot = Must(store->Adopt(left.stored[0].pointer));
  Must(store->FinishRecovery(true));
  CHECK(store->GetStats().damaged_headers == 1);
  CHECK(ReadValue(*store, slot) == left.values[0]);
  CHECK(Put(*store, "next").pointer.file == 2);
}

TEST_CASE("a value file of a newer format is refused, and one that is none of ours is left alone") {
  SimWorld world(1);
  const auto disk = world.machine.Attach();
  Must(disk->MakeFolder("values"));
  for (const char* name : {"values/notes", "values/1.val", "values/00000000x1.val"}) {
    Must(disk->Open(name, io::OpenMode::kCreate).status());
  }
  {
    Session store(world);
    Must(store.status());
    Must(store->FinishRecovery(false));
    CHECK(world.machine.FileNames().size() == 3);
  }
  format::ValueHeader header;
  header.format_version = format::kFormatVersion + 1;
  header.file = 3;
  header.store_uuid = TestSuperblock().uuid;
  base::AlignedBuffer block(4096);
  format::EncodeValueHeader(header, TestSuperblock().secret, block.bytes());
  Must(Must(disk->Open("values/0000000003.val", io::OpenMode::kCreate))->Write(0, block.bytes(), io::Flush::kData));
  CHECK(absl::IsFailedPrecondition(Session(world).status()));
}

TEST_CASE("files of another alignment are read and freed by their own, and not appended to") {
  Left left({5'000, 5'000, 5'000}, true);
  ValueOptions options;
  options.alignment_bytes = 128 * kKiB;
  Session store(left.world, options);
  std::vector<Slot> slots;
  for (const auto& stored : left.stored) slots.push_back(Must(store->Adopt(stored.pointer)));
  Must(store->FinishRecovery(true));
  store->Release(slots[0], 1);
  CHECK(store->FreeDropped(1) == 8192);
  CHECK(ReadValue(*store, slots[1]) == left.values[1]);
  CHECK(ReadValue(*store, slots[2]) == left.values[2]);
  const auto next = Put(*store, "next");
  CHECK(next.pointer.file == 2);
  CHECK(next.pointer.offset == 128 * kKiB);
}

TEST_CASE("an extent that a failed fsync left in a cache alone is durable once restored and synced") {
  bool lost_without = false;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    for (const bool restore : {false, true}) {
      SimWorld world(seed);
      const std::string value = Content(seed, 9'000);
      ValuePointer pointer;
      {
        Session store(world);
        store.Fresh();
        pointer = Put(*store, value).pointer;
        world.machine.Inject({.operations = test::kSyncOperation});
        CHECK(store->Sync().code() == absl::StatusCode::kDataLoss);
        CHECK(store->Sync().code() == absl::StatusCode::kDataLoss);  // a failure is final
      }
      world.machine.Crash({CrashKind::kKill, Survival::kEverything});
      {
        Session store(world);
        if (restore) CHECK(Must(store->Restore(pointer)));
        Must(store->Adopt(pointer));
        Must(store->FinishRecovery(false));
        Must(store->Sync());
      }
      world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
      Session store(world);
      const auto slot = store->Adopt(pointer);
      Must(store->FinishRecovery(false));
      const bool there = slot.ok() && TryRead(*store, *slot).ok();
      if (restore) REQUIRE(there);
      lost_without |= !there;
    }
  }
  CHECK(lost_without);
}

TEST_CASE("an extent that does not verify is not restored") {
  Left left({100'000}, false);
  left.world.machine.FlipBits("values/0000000001.val", left.stored[0].pointer.offset + 70'000, std::byte{4});
  Session store(left.world);
  CHECK_FALSE(Must(store->Restore(left.stored[0].pointer)));
  left.world.machine.Inject({.operations = test::kReadOperation});
  CHECK(absl::IsDataLoss(store->Restore(left.stored[0].pointer).status()));  // which proves nothing
  format::ValuePointer beyond = left.stored[0].pointer;
  beyond.offset = left.world.machine.FileSize("values/0000000001.val") - 8'192;
  CHECK_FALSE(Must(store->Restore(beyond)));
  beyond.offset = UINT64_MAX - 8'191;
  CHECK_FALSE(Must(store->Restore(beyond)));
}

TEST_CASE("what was given back before a clean end stays given back through a power cut") {
  ValueOptions options;
  options.file_bytes_max = 60 * kKiB;
  Left left({20'000, 20'000, 20'000}, true, options);  // the last in a second file
  const auto reopen = [&](Session& store) {
    for (const size_t kept : {0, 2}) Must(store->Adopt(left.stored[kept].pointer));
  };
  {
    Session store(left.world, options);
    reopen(store);
    const Slot dropped = Must(store->Adopt(left.stored[1].pointer));
    Must(store->FinishRecovery(true));
    store->Release(dropped, 1);
    CHECK(store->FreeDropped(1) == 20'480);
    Must(store->Close());
  }
  left.world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  Session store(left.world, options);
  reopen(store);
  Must(store->FinishRecovery(true));
  CHECK(store->UnexplainedBytes() == 0);
}

TEST_CASE("what is noted as dead is given back after a clean end, but for what lives") {
  ValueOptions options;
  options.alignment_bytes = GENERATE(4 * kKiB, 128 * kKiB);
  CAPTURE(options.alignment_bytes);
  Left left({20'000, 30'000, 10'000, 40'000}, true, options);
  const auto& stored = left.stored;
  Session store(left.world, options);
  const Slot first = Must(store->Adopt(stored[0].pointer)), last = Must(store->Adopt(stored[3].pointer));
  for (const size_t dead : {2, 1, 0, 1}) store->NoteDead(stored[dead].pointer);
  format::ValuePointer nonsense = stored[1].pointer;
  nonsense.offset = UINT64_MAX - 4'095;
  store->NoteDead(nonsense);
  nonsense.offset = 0;
  store->NoteDead(nonsense);
  nonsense = stored[1].pointer;
  nonsense.file = 77;
  store->NoteDead(nonsense);
  Must(store->FinishRecovery(true));
  CHECK(store->UnexplainedBytes() == 0);
  CHECK(store->GetStats().waiting_bytes == 0);
  CHECK(store->GetStats().punches == 1);  // of the two that lie side by side
  CHECK(TryRead(*store, first).ok());
  CHECK(TryRead(*store, last).ok());
}

TEST_CASE("a recovery that failed can only have an end that is not clean") {
  Left left({5'000}, false);
  Session store(left.world);
  Must(store->Adopt(left.stored[0].pointer));
  left.world.machine.Inject({.operations = test::kSyncOperation});
  REQUIRE(absl::IsDataLoss(store->FinishRecovery(false)));
  CHECK(absl::IsFailedPrecondition(store->Close()));
  ValueOptions options;
  options.read_only = true;
  Session reader(left.world, options);
  Must(reader->Adopt(left.stored[0].pointer));
  Must(reader->FinishRecovery(false));
  Must(reader->Close());
}

}  // namespace
}  // namespace firn::values
