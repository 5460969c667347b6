// Values that come in pieces.
#include <algorithm>

#include "unit/values/testing.h"

namespace firn::values {
namespace {

using namespace testing;

absl::Status AppendInPieces(StreamWriter& stream, std::string_view value, uint64_t seed) {
  Rng rng(seed);
  while (!value.empty()) {
    const size_t size = std::min<size_t>(value.size(), rng.Between(1, 300'000));
    FIRN_RETURN_IF_ERROR(stream.Append(base::AsBytes(value.substr(0, size))));
    value.remove_prefix(size);
  }
  return absl::OkStatus();
}

ValueStore::Stored Stream(ValueStore& store, std::string_view value, uint64_t seed = 1) {
  const auto stream = store.BeginStream();
  Must(AppendInPieces(*stream, value, seed));
  return Must(stream->Finish());
}

TEST_CASE("a streamed value is the same as one put whole, at every size near a buffer") {
  SimWorld world(1);
  ValueOptions options;
  options.alignment_bytes = GENERATE(4 * kKiB, 128 * kKiB);
  Session store(world, options);
  store.Fresh();
  for (const size_t size : {size_t{1}, size_t{4097}, kMiB - 1, kMiB, kMiB + 1, 2 * kMiB, 5 * kMiB + 77}) {
    CAPTURE(size);
    const std::string value = Content(size, size);
    const auto streamed = Stream(*store, value, size);
    CHECK(ReadValue(*store, streamed.slot) == value);
    const auto put = Put(*store, value);
    CHECK(put.slot == streamed.slot);
    CHECK(put.pointer == streamed.pointer);
  }
  Must(store->Sync());
}

TEST_CASE("an empty stream has no value, and one beyond the limit is refused before it is written") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  CHECK(absl::IsInvalidArgument(store->BeginStream()->Finish().status()));
  const auto stream = store->BeginStream();
  Must(stream->Append(base::AsBytes("x")));
  const char byte = 0;
  const base::Bytes rest(reinterpret_cast<const std::byte*>(&byte), kValueBytesMax);  // refused unread
  CHECK(absl::IsInvalidArgument(stream->Append(rest)));
  CHECK(absl::IsInvalidArgument(stream->Append(base::AsBytes("y"))));
  CHECK(absl::IsInvalidArgument(stream->Finish().status()));
}

TEST_CASE("a streamed duplicate shares the extent that is there, and its own file is removed") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const std::string value = Content(3, 3 * kMiB + 1);
  const auto put = Put(*store, value);
  const uint64_t claimed = world.machine.claimed_bytes();
  const auto streamed = Stream(*store, value);
  CHECK(streamed.slot == put.slot);
  CHECK(streamed.pointer == put.pointer);
  CHECK(store->GetStats().dedup_hits == 1);
  CHECK(world.machine.claimed_bytes() == claimed);
  CHECK(store->GetStats().files == 1);
}

TEST_CASE("streams of equal hash and different bytes are stored apart") {
  SimWorld world(1);
  ValueOptions options;
  options.hash = &ConstantHash;
  Session store(world, options);
  store.Fresh();
  const std::string first = Content(1, 2 * kMiB), second = Content(2, 2 * kMiB);
  const auto a = Stream(*store, first), b = Stream(*store, second), c = Stream(*store, second);
  CHECK(a.slot != b.slot);
  CHECK(b.slot == c.slot);
  CHECK(ReadValue(*store, a.slot) == first);
  CHECK(ReadValue(*store, b.slot) == second);
}

TEST_CASE("an abandoned stream leaves nothing behind") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  Put(*store, "something else");
  const uint64_t claimed = world.machine.claimed_bytes();
  {
    const auto stream = store->BeginStream();
    Must(AppendInPieces(*stream, Content(1, 5 * kMiB), 1));
    CHECK(world.machine.claimed_bytes() > claimed + 4 * kMiB);
  }
  CHECK(world.machine.claimed_bytes() == claimed);
  CHECK(store->GetStats().files == 1);
  CHECK(store->GetStats().waiting_bytes == 0);
}

TEST_CASE("a stream that rotted on disk since is healed by the same bytes streamed again") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const std::string value = Content(1, 3 * kMiB);
  const auto stored = Stream(*store, value);
  world.machine.FlipBits("values/0000000001.val", stored.pointer.offset + 2 * kMiB + 5, std::byte{1});
  CHECK(absl::IsDataLoss(TryRead(*store, stored.slot)));
  CHECK(Stream(*store, value).slot == stored.slot);
  CHECK(ReadValue(*store, stored.slot) == value);
  CHECK(store->GetStats().healed == 1);
}

TEST_CASE("a freed stream's file goes whole") {
  SimWorld world(1);
  Session store(world);
  store.Fresh();
  const auto stored = Stream(*store, Content(1, 3 * kMiB));
  store->Release(stored.slot, 4);
  CHECK(store->FreeDropped(3) == 0);
  CHECK(store->FreeDropped(4) == 3 * kMiB);
  CHECK(world.machine.claimed_bytes() == 0);
}

TEST_CASE("whatever fails in a stream, it says so, what it took is given back, and the next one works") {
  CrashTest test;
  bool put = false;
  test.run = [&put](SimWorld& world) {
    Session store(world);
    if (!store.status().ok() || !store->FinishRecovery(true).ok()) return;
    {
      const auto stream = store->BeginStream();
      const absl::Status status = AppendInPieces(*stream, Content(1, 3 * kMiB), 1);
      const auto stored = stream->Finish();
      put = status.ok() && stored.ok();
      if (put) store->Release(stored->slot, 0);
    }
    world.machine.ClearFaults();
    store->FreeDropped(0);
    REQUIRE(store->GetStats().files == 0);
    REQUIRE(world.machine.claimed_bytes() == 0);
    const auto again = Stream(*store, Content(2, 2 * kMiB));
    Must(store->Sync());
    REQUIRE(ReadValue(*store, again.slot) == Content(2, 2 * kMiB));
  };
  test.check = [](SimWorld&) {};
  CHECK(ForEachFault(test, test::kAnyOperation & ~test::kReadOperation, false, 3).points > 8);
  CHECK(put);  // the last run met no fault
}

}  // namespace
}  // namespace firn::values
