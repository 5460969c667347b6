// Asynchronous operations on disks that fail, beside reclaim, and on stores that take none.
#include "unit/db/async_testing.h"
#include "unit/io/child_process.h"

namespace firn::testing {

TEST_CASE("a closed store, and one for reading only, say so") {
  RealStore store;
  Must(store->Put("a", "1"));
  {
    auto context = ContextOf(*store.db);
    Must(store->Close());
    Slot<AsyncValue> slot;
    CHECK(Code(context->Get("a", slot.Taker())) == kPrecondition);
    CHECK(Code(AsyncContext::Create(*store.db)) == kPrecondition);
    CHECK(slot.times == 0);
  }
  store.db.reset();
  store.options.read_only = true;
  store.Open();
  const auto context = ContextOf(*store.db);
  Slot<AsyncValue> get;
  Slot<AsyncRevision> put;
  Slot<absl::Status> sync;
  AsyncReadOptions durable;
  durable.read_durable = true;
  Must(context->Get("a", get.Taker(), durable).status());
  Must(context->Put("a", "2", put.Taker()).status());
  Must(context->Sync(sync.Taker()).status());
  WaitForAll(*context);
  CHECK(Text(*get.answer) == "1");
  CHECK(Code(*put.answer) == kPrecondition);
  CHECK(Code(*sync.answer) == kPrecondition);
}

TEST_CASE("a write that fails fails those who wait for it to be durable") {
  SimStore store;
  Must(store->Put("a", "1"));
  const auto context = ContextOf(*store.db);
  store.world.machine.Inject({.operations = test::kSyncOperation | test::kWriteOperation, .lasting = true});
  Slot<AsyncRevision> put, after;
  Slot<AsyncValue> durable, old;
  Must(context->Put("b", "2", put.Taker()).status());
  AsyncReadOptions options;
  options.read_durable = true;
  Must(context->Get("b", durable.Taker(), options).status());
  WaitForAll(*context);
  CHECK(Code(*put.answer) == kUnavailable);
  CHECK(Code(*durable.answer) == kUnavailable);
  Must(context->Put("c", "3", after.Taker()).status());
  Must(context->Get("a", old.Taker()).status());
  WaitForAll(*context);
  CHECK(Code(*after.answer) == kUnavailable);
  CHECK(Text(*old.answer) == "1");
  store.world.machine.ClearFaults();
}

TEST_CASE("reads in flight see what is there, though reclaim takes their segments and extents and uses them again") {
  constexpr size_t kMoved = 60;
  const auto value_of = [](size_t i, int round) {
    return std::to_string(i) + std::string(i % 4 == 0 ? 9'000 : 1'500, static_cast<char>('a' + round));
  };
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Scheduled(seed, [&](SimWorld& world) {
      const Options options{.max_space_amplification = 1.1, .value_separation_threshold_bytes = 4'096};
      std::unique_ptr<DB> db = Must(OpenIn(world, options, 64 * 1024));
      for (size_t i = 0; i < kMoved; ++i) Must(db->Put(NumberedKey(i), value_of(i, 0), Buffered()));
      Must(db->Close());
      db = Must(OpenIn(world, options, 64 * 1024));  // what was written is in files only
      base::Thread other("other", [&] {
        for (int round = 1; round < 8; ++round) {
          for (size_t i = 0; i < kMoved; i += 3) Must(db->Put(NumberedKey(i), value_of(i, round), Buffered()));
          Must(db->Flush());
          Must(db->Compact());
        }
      });
      auto context = ContextOf(*db, 64);
      std::vector<Slot<AsyncValue>> slots(kMoved);
      for (int round = 0; round < 40; ++round) {
        for (size_t i = 0; i < kMoved; ++i) {
          while (Code(context->Get(NumberedKey(i), slots[i].Taker())) == kExhausted) context->Wait();
        }
        PassTime(world, 20);  // queued, and not read yet
        WaitForAll(*context);
        size_t right = 0;
        for (size_t i = 0; i < kMoved; ++i) {
          const std::string value = Text(*slots[i].answer);
          const int last = value.back() - 'a';
          right += (i % 3 == 0 || last == 0) && value == value_of(i, last) ? 1 : 0;
        }
        CHECK(right == kMoved);
      }
      other.Join();
      context.reset();
      Must(db->Close());
    });
  }
}

TEST_CASE("what is damaged is DataLoss, and what cannot be read is told, for that key alone") {
  SimStore store({.value_separation_threshold_bytes = 4'096});
  Fill(store, 600);
  Must(store->Put("separated", std::string(20'000, 's')));
  store.Reopen();
  const auto context = ContextOf(*store.db);
  Slot<AsyncValue> separated;
  Must(context->Get("separated", separated.Taker()).status());
  WaitForAll(*context);
  CHECK(Text(*separated.answer) == std::string(20'000, 's'));
  store.world.machine.FlipBits("values/0000000001.val", 10'000, std::byte{1});
  Must(context->Get("separated", separated.Taker()).status());
  WaitForAll(*context);
  CHECK(Code(*separated.answer) == kDataLoss);
  store.world.machine.FlipBits("log/0000000001.seg", 100'000, std::byte{1});
  size_t lost = 0;
  std::vector<Slot<AsyncValue>> slots(600);
  for (size_t i = 0; i < slots.size(); ++i) {
    while (Code(context->Get(NumberedKey(i), slots[i].Taker())) == kExhausted) context->Wait();
  }
  WaitForAll(*context);
  for (size_t i = 0; i < slots.size(); ++i) {
    lost += Code(*slots[i].answer) == kDataLoss ? 1 : 0;
    if (Code(*slots[i].answer) != kDataLoss) CHECK(Text(*slots[i].answer) == NumberedValue(i));
  }
  CHECK(lost == 1);
  store.world.machine.Inject({.operations = test::kReadOperation});
  Slot<AsyncValue> failed, good;
  Must(context->Get(NumberedKey(0), failed.Taker()).status());
  WaitForAll(*context);
  Must(context->Get(NumberedKey(0), good.Taker()).status());
  WaitForAll(*context);
  CHECK(Code(*failed.answer) == kDataLoss);
  CHECK(Text(*good.answer) == NumberedValue(0));
}

TEST_CASE("the child of a fork gets nothing from its parent's context, and does it no harm") {
  RealStore store;
  Fill(store, 500);
  store.Reopen();
  auto context = ContextOf(*store.db);
  std::vector<Slot<AsyncValue>> slots(100);
  for (size_t i = 0; i < slots.size(); ++i) Must(context->Get(NumberedKey(i), slots[i].Taker()).status());
  CHECK(InChild([&]() -> std::string {
          Slot<AsyncValue> slot;
          if (Code(context->Get("a", slot.Taker())) != kPrecondition) return "a get began";
          if (context->Poll() != 0 || context->Wait() != 0) return "something was answered";
          context.reset();
          return slot.times == 0 ? "" : "the get was answered";
        }) == "");
  WaitForAll(*context);
  for (size_t i = 0; i < slots.size(); ++i) CHECK(Text(*slots[i].answer) == NumberedValue(i));
}

}  // namespace firn::testing
