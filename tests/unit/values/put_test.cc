// Putting, sharing and reading values.
#include <algorithm>

#include "base/aligned_buffer.h"
#include "unit/values/testing.h"

namespace firn::values {
namespace {

using namespace testing;

TEST_CASE("what was put is read back, at every size near a block, a piece and a buffer, whole and in part") {
  SimWorld world(1);
  const uint64_t alignment = GENERATE(4 * kKiB, 128 * kKiB);
  ValueOptions options;
  options.alignment_bytes = alignment;
  Session store(world, options);
  store.Fresh();
  for (const size_t size : {size_t{1}, size_t{2}, size_t{4095}, size_t{4096}, size_t{4097}, 64 * kKiB - 1, 64 * kKiB,
                            64 * kKiB + 1, 256 * kKiB, 256 * kKiB + 1, kMiB - 1, kMiB, kMiB + 1, 3 * kMiB + 5}) {
    CAPTURE(size);
    const std::string value = Content(size, size);
    const auto stored = Put(*store, value);
    CHECK(stored.pointer.length == size);
    CHECK(stored.pointer.offset % alignment == 0);
    CHECK(stored.pointer.piece_checksums.size() == (size + 65535) / 65536);
    CHECK(store->length(stored.slot) == size);
    CHECK(ReadValue(*store, stored.slot) == value);
    CHECK(format::DecodeValuePointer(base::AsBytes(format::EncodeValuePointer(stored.pointer))) == stored.pointer);

    base::AlignedBuffer aligned(size);
    Must(store->Read(stored.slot, aligned.bytes().first(size)));
    CHECK(base::AsText(aligned.bytes().first(size)) == value);
    for (const size_t offset : {size_t{0}, size / 3, size - 1}) {
      for (const size_t length : {size_t{0}, size_t{1}, (size - offset) / 2, size - offset}) {
        std::string part(length, '\0');
        Must(store->ReadPieces(stored.slot, stored.pointer.piece_checksums, offset,
                               std::as_writable_bytes(std::span(part))));
        CHECK(part == value.substr(offset, length));
      }
    }
  }
  Must(store->Sync());
  Must(store->Close());
}

TEST_CASE("aligned memory is written and read without a copy, and a partial last block is padded with zeros") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  base::AlignedBuffer value(3 * 4096);
  std::memset(value.data(), 'v', value.size());
  const auto stored = Must(store->Put(value.bytes().first(2 * 4096 + 100)));
  const std::string file = world.machine.ReadFile("values/0000000001.val");
  CHECK(file.substr(stored.pointer.offset, 2 * 4096 + 100) == std::string(2 * 4096 + 100, 'v'));
  CHECK(file.substr(stored.pointer.offset + 2 * 4096 + 100, 3996) == std::string(3996, '\0'));
  CHECK(store->GetStats().memory_bytes > 0);
}

TEST_CASE("an empty value, one beyond the limit and a part beyond the value are refused") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  CHECK(absl::IsInvalidArgument(store->Put({}).status()));
  const char byte = 0;
  const base::Bytes too_long(reinterpret_cast<const std::byte*>(&byte), kValueBytesMax + 1);  // refused unread
  CHECK(absl::IsInvalidArgument(store->Put(too_long).status()));
  const auto stored = Put(*store, "abc");
  std::string out(2, '\0');
  const auto bytes = std::as_writable_bytes(std::span(out));
  CHECK(absl::IsOutOfRange(store->ReadPieces(stored.slot, stored.pointer.piece_checksums, 2, bytes)));
  CHECK(absl::IsOutOfRange(store->ReadPieces(stored.slot, stored.pointer.piece_checksums, UINT64_MAX, bytes)));
  CHECK(absl::IsInvalidArgument(store->ReadPieces(stored.slot, {}, 0, bytes)));
}

TEST_CASE("equal values share one extent until the last reference goes") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const std::string value = Content(1, 10'000);
  const auto first = Put(*store, value), second = Put(*store, value);
  CHECK(first.slot == second.slot);
  CHECK(first.pointer == second.pointer);
  store->AddReference(first.slot);
  ValueStats stats = store->GetStats();
  CHECK(stats.extents == 1);
  CHECK(stats.live_bytes == 10'000);
  CHECK(stats.slack_bytes == 12'288 - 10'000);
  CHECK(stats.dedup_hits == 1);
  CHECK(stats.dedup_bytes == 10'000);
  CHECK(stats.written_bytes == 12'288);
  store->Release(first.slot, 1);
  store->Release(first.slot, 2);
  CHECK(store->FreeDropped(10) == 0);
  CHECK(ReadValue(*store, first.slot) == value);
  store->Release(first.slot, 3);
  stats = store->GetStats();
  CHECK(stats.extents == 0);
  CHECK(stats.live_bytes == 0);
  CHECK(stats.slack_bytes == 0);
  CHECK(stats.waiting_bytes == 12'288);
  CHECK(store->FreeDropped(10) == 12'288);
  CHECK(store->GetStats().waiting_bytes == 0);
  CHECK(store->GetStats().punches == 1);
}

TEST_CASE("values of equal length and hash but different bytes are stored apart and shared each by itself") {
  SimWorld world(1);
  ValueOptions options;
  options.hash = &ConstantHash;
  Session store(world, options);
  store.Fresh();
  std::vector<ValueStore::Stored> stored;
  for (uint64_t number = 0; number < 5; ++number) stored.push_back(Put(*store, Content(number, 5'000)));
  for (uint64_t number = 0; number < 5; ++number) {
    CHECK(ReadValue(*store, stored[number].slot) == Content(number, 5'000));
    CHECK(Put(*store, Content(number, 5'000)).slot == stored[number].slot);
  }
  CHECK(store->GetStats().extents == 5);
  CHECK(store->GetStats().healed == 0);
  store->Release(stored[2].slot, 0);
  store->Release(stored[2].slot, 0);
  CHECK(store->FreeDropped(0) == 8192);
  for (const uint64_t number : {0, 1, 3, 4}) CHECK(ReadValue(*store, stored[number].slot) == Content(number, 5'000));
  CHECK(ReadValue(*store, Put(*store, Content(2, 5'000)).slot) == Content(2, 5'000));
}

TEST_CASE(
    "an extent is freed only when every change that dropped a reference is durable, in whatever order they came") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const auto stored = Put(*store, Content(1, 4096));
  store->AddReference(stored.slot);
  store->AddReference(stored.slot);
  store->Release(stored.slot, 20);
  store->Release(stored.slot, 10);
  store->Release(stored.slot, 0);
  CHECK(store->FreeDropped(10) == 0);
  CHECK(store->FreeDropped(19) == 0);
  CHECK(ReadValue(*store, stored.slot) == Content(1, 4096));  // a reader that found it before
  CHECK(store->FreeDropped(20) == 4096);
}

TEST_CASE("ten thousand equal values are one extent, and ten thousand releases in random order free it once") {
  const uint64_t seed = PickSeed();
  INFO(Replay(seed));
  SimWorld world(seed);
  Session store(world);
  store.Fresh();
  const std::string value = Content(seed, 5'000), other = Content(seed + 1, 5'000);
  std::vector<Slot> slots;
  for (int i = 0; i < 10'000; ++i) {
    slots.push_back(Put(*store, value).slot);
    slots.push_back(Put(*store, other).slot);
  }
  CHECK(store->GetStats().extents == 2);
  Rng rng(seed);
  for (size_t i = slots.size(); i > 1; --i) std::swap(slots[i - 1], slots[rng.Below(i)]);
  uint64_t freed = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    store->Release(slots[i], slots.size() - i);
    if (rng.OneIn(500)) freed += store->FreeDropped(rng.Below(slots.size() / 2));
  }
  CHECK(store->GetStats().extents == 0);
  CHECK(freed == 0);
  CHECK(store->FreeDropped(slots.size()) == 2 * 8192);
  CHECK(store->GetStats().waiting_bytes == 0);
}

TEST_CASE("a file is left when the next extent does not fit, a larger one gets its own, and dead files go") {
  SimWorld world(1);
  ValueOptions options;
  options.file_bytes_max = 64 * kKiB;
  Session store(world, options);
  store.Fresh();
  std::vector<ValueStore::Stored> stored;
  for (uint64_t number = 0; number < 10; ++number) stored.push_back(Put(*store, Content(number, 24'000)));
  CHECK(stored[1].pointer.file == 1);
  CHECK(stored[2].pointer.file != 1);
  store->FreeDropped(0);
  CHECK(world.machine.FileSize("values/0000000001.val") == 4096 * (1 + 2 * 6));  // its unused rest is cut off
  const auto large = Put(*store, Content(99, 100'000));
  const auto next = Put(*store, Content(100, 100));
  CHECK(large.pointer.file > stored.back().pointer.file);
  CHECK(next.pointer.file == stored.back().pointer.file);
  CHECK(ReadValue(*store, large.slot) == Content(99, 100'000));
  for (const auto& one : stored) CHECK(ReadValue(*store, one.slot).size() == 24'000);
  CHECK(store->GetStats().files == 6);

  for (size_t i = 0; i < 2; ++i) store->Release(stored[i].slot, 1);
  CHECK(store->FreeDropped(1) == 2 * 24'576);
  CHECK(store->GetStats().punches == 0);
  CHECK(store->GetStats().files == 5);
  store->Release(large.slot, 2);
  CHECK(store->FreeDropped(2) == 102'400);
  CHECK(store->GetStats().files == 4);
}

TEST_CASE("freed neighbours are punched in one go, and the file that is appended to stays") {
  SimWorld world(1);
  ValueOptions options;
  options.alignment_bytes = 128 * kKiB;
  Session store(world, options);
  store.Fresh();
  std::vector<ValueStore::Stored> stored;
  for (uint64_t number = 0; number < 8; ++number) stored.push_back(Put(*store, Content(number, 5'000)));
  for (const size_t i : {5, 1, 3, 2}) store->Release(stored[i].slot, 1);
  CHECK(store->FreeDropped(1) == 4 * 128 * kKiB);
  CHECK(store->GetStats().punches == 2);
  for (const size_t i : {0, 4, 6, 7}) CHECK(ReadValue(*store, stored[i].slot) == Content(i, 5'000));
  for (const size_t i : {0, 4, 6, 7}) store->Release(stored[i].slot, 1);
  store->FreeDropped(1);
  CHECK(store->GetStats().files == 1);
  CHECK(store->GetStats().allocated_bytes <= 4096 + 128 * kKiB + 2 * kMiB);
  CHECK(ReadValue(*store, Put(*store, "again").slot) == "again");
}

TEST_CASE("of what is free the largest ranges are punched first, for the others may grow") {
  SimWorld world(1);
  ValueOptions options;
  options.alignment_bytes = 128 * kKiB;
  Session store(world, options);
  store.Fresh();
  std::vector<Slot> slots;
  for (uint64_t number = 0; number < 12; ++number) slots.push_back(Put(*store, Content(number, 5'000)).slot);
  for (const size_t i : {1, 3, 6, 7, 8}) store->Release(slots[i], 1);
  CHECK(store->FreeDropped(1, 1) == 3 * 128 * kKiB);
  CHECK(store->GetStats().punches == 1);
  store->Release(slots[2], 2);
  CHECK(store->FreeDropped(2) == 3 * 128 * kKiB);
  CHECK(store->GetStats().punches == 2);
  CHECK(store->GetStats().waiting_bytes == 0);
}

TEST_CASE("the room before an aligned extent is not claimed") {
  SimWorld world(1);
  ValueOptions options;
  options.alignment_bytes = 128 * kKiB;
  Session store(world, options);
  store.Fresh();
  const Slot slot = Put(*store, Content(1, 5'000)).slot;
  store->GiveBackAhead();  // the file ends with the extent
  store->Release(slot, 1);
  CHECK(store->FreeDropped(1) == 128 * kKiB);
  Put(*store, Content(2, 5'000));
  store->GiveBackAhead();
  CHECK(store->GetStats().allocated_bytes == 4096 + 8192);
  CHECK(store->UnexplainedBytes() == 0);
}

TEST_CASE("claiming more space leaves the holes of what was freed alone") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  std::vector<Slot> slots;
  for (uint64_t number = 0; number < 12; ++number) slots.push_back(Put(*store, Content(number, kMiB / 2)).slot);
  for (const Slot slot : slots) store->Release(slot, 1);
  CHECK(store->FreeDropped(1) == 6 * kMiB);
  for (uint64_t number = 20; number < 26; ++number) Put(*store, Content(number, kMiB / 2));
  CHECK(world.machine.claimed_bytes() <= 4096 + 3 * kMiB + 2 * kMiB);
}

TEST_CASE("space claimed ahead shrinks with what lives") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  std::vector<Slot> slots;
  for (uint64_t number = 0; number < 200; ++number) slots.push_back(Put(*store, Content(number, kMiB)).slot);
  for (const Slot slot : slots) store->Release(slot, 1);
  store->FreeDropped(1);
  CHECK(world.machine.claimed_bytes() <= 4096 + 2 * kMiB);
}

TEST_CASE("an extent takes about 40 bytes of memory") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  Put(*store, "a first one, for the buffers");
  const uint64_t before = store->GetStats().memory_bytes;
  for (uint64_t number = 0; number < 20'000; ++number) Put(*store, Content(number, 16));
  const uint64_t each = (store->GetStats().memory_bytes - before) / 20'000;
  CHECK(each >= 36);
  CHECK(each <= 48);
}

TEST_CASE("only so many files are open at once") {
  SimWorld world(1);
  world.machine.set_open_files_max(12);
  ValueOptions options;
  options.file_bytes_max = 8 * kKiB;
  options.open_files_max = 8;
  Session store(world, options);
  store.Fresh();
  std::vector<Slot> slots;
  for (uint64_t number = 0; number < 50; ++number) {
    slots.push_back(Put(*store, Content(number, 4096)).slot);
    if (number % 2 == 0) Must(store->Sync());
  }
  CHECK(store->GetStats().files == 50);
  for (uint64_t number = 0; number < 50; ++number) CHECK(ReadValue(*store, slots[number]) == Content(number, 4096));
  CHECK(store->GetStats().allocated_bytes == 50 * 8192);
  for (const Slot slot : slots) store->Release(slot, 0);
  store->FreeDropped(0);
  CHECK(store->GetStats().files == 1);
}

TEST_CASE("after the store is closed, or opened read-only, nothing can be put") {
  SimWorld world(1);
  ValuePointer pointer;
  {
    Session store(world);
    store.Fresh();
    pointer = Put(*store, "kept").pointer;
    Must(store->Close());
    CHECK(absl::IsFailedPrecondition(store->Put(base::AsBytes("x")).status()));
  }
  const uint64_t writes = world.machine.writes();
  ValueOptions options;
  options.read_only = true;
  Session reader(world, options);
  Must(reader.status());
  const Slot slot = Must(reader->Adopt(pointer));
  CHECK(Must(reader->Restore(pointer)));
  Must(reader->FinishRecovery(false));
  CHECK(ReadValue(*reader, slot) == "kept");
  CHECK(absl::IsFailedPrecondition(reader->Put(base::AsBytes("x")).status()));
  reader->Release(slot, 1);
  CHECK(reader->FreeDropped(1) == 0);
  Must(reader->Close());
  CHECK(world.machine.writes() == writes);
}

}  // namespace
}  // namespace firn::values
