// The file that follows is made ahead, so that writers wait for none.
#include "unit/values/testing.h"

namespace firn::values {
namespace {

using namespace testing;

// A store with files of 1 MiB, claimed whole, of which nobody makes the next one unless the test does.
struct MadeAhead {
  explicit MadeAhead(SimWorld& world) : store(world, Options()) { store.Fresh(); }

  ValueStore::Stored PutNext(size_t size) { return Put(*store, Content(number++, size)); }
  void PutUntilDue() {
    while (!due) PutNext(30'000);
  }

  bool due = false;
  uint64_t number = 0;
  Session store;

 private:
  ValueOptions Options() {
    ValueOptions options;
    options.file_bytes_max = kMiB;
    options.on_next_due = [this] { due = true; };
    return options;
  }
};

TEST_CASE("a put that goes on in a file made ahead claims nothing and makes nothing itself") {
  SimWorld world(1);
  MadeAhead files(world);
  Session& store = files.store;
  files.PutUntilDue();
  const uint32_t first = files.PutNext(30'000).pointer.file;
  store->PrepareNext();
  CHECK(store->GetStats().files == 2);
  std::vector<std::string> operations;
  world.machine.set_trace([&](const std::string& line) { operations.push_back(line); });
  ValueStore::Stored stored;
  while (stored.pointer.file <= first) {
    operations.clear();
    stored = files.PutNext(30'000);
  }
  world.machine.set_trace(nullptr);
  CHECK(stored.pointer.file == first + 1);
  REQUIRE_FALSE(operations.empty());
  for (const std::string& operation : operations) CHECK(operation.find("write") != std::string::npos);
  store->FreeDropped(0);  // cuts what the first file has beyond its extents
  CHECK(store->UnexplainedBytes() == 0);
}

TEST_CASE("near the end of a file puts wait for the next one while it is being made, and no longer than they may") {
  SimWorld world(1);
  SimScheduler scheduler({.seed = 1});
  REQUIRE(scheduler.Run([&] {
    MadeAhead files(world);
    Session& store = files.store;
    constexpr uint64_t kNanosMax = 10'000'000;
    const auto wait = [&] {
      const uint64_t began = world.clock.MonotonicNanos();
      const uint64_t told = store->AwaitRunway(32 * kKiB, world.clock, kNanosMax);
      CHECK(told == world.clock.MonotonicNanos() - began);
      return told;
    };
    uint64_t used_bytes = 0;
    for (; used_bytes < kMiB / 8 * 7; used_bytes += 32 * kKiB) {
      CHECK(wait() == 0);
      files.PutNext(32 * kKiB);
    }
    CHECK(files.due);
    CHECK(wait() >= kNanosMax);
    SECTION("it is made") {
      base::Thread maker("maker", [&] { store->PrepareNext(); });
      CHECK(wait() < kNanosMax);
      maker.Join();
    }
    SECTION("it cannot be made") {
      world.machine.set_capacity_bytes(world.machine.claimed_bytes());
      store->PrepareNext();
    }
    CHECK(wait() == 0);
    Must(store->Close());
  }));
}

TEST_CASE("a file made ahead that nobody came to need goes with the store's end, and where room is short") {
  SimWorld world(1);
  MadeAhead files(world);
  Session& store = files.store;
  files.PutUntilDue();
  store->PrepareNext();
  REQUIRE(store->GetStats().files == 2);
  const uint64_t claimed_bytes = world.machine.claimed_bytes();
  SECTION("end") { Must(store->Close()); }
  SECTION("no room") {
    store->GiveBackAhead();
    CHECK(store->GetStats().ahead_bytes == 0);
    files.PutNext(30'000);
  }
  CHECK(world.machine.FileNames() == std::vector<std::string>{"values/0000000001.val"});
  CHECK(world.machine.claimed_bytes() + kMiB <= claimed_bytes);
}

TEST_CASE("no file is made ahead where there is little room, and a put then makes its own") {
  SimWorld world(1);
  MadeAhead files(world);
  Session& store = files.store;
  files.PutUntilDue();
  world.machine.set_capacity_bytes(world.machine.claimed_bytes() + 300 * kKiB);
  store->PrepareNext();
  CHECK(store->GetStats().files == 1);
  ValueStore::Stored stored;
  while (stored.pointer.file <= 1) stored = files.PutNext(30'000);
  CHECK(stored.pointer.file > 1);
}

TEST_CASE("the file that is written to is punched only where no other has anything to give back") {
  SimWorld world(1);
  MadeAhead files(world);
  Session& store = files.store;
  std::vector<ValueStore::Stored> stored;
  while (stored.empty() || stored.back().pointer.file == stored.front().pointer.file) {
    stored.push_back(files.PutNext(30'000));
  }
  store->Release(stored.back().slot, 1);
  store->Release(stored.front().slot, 1);
  constexpr auto kLast = ValueStore::ActiveFile::kLast;
  CHECK(store->FreeDropped(1, kMiB, kLast) == 32 * kKiB);
  CHECK(store->GetStats().waiting_bytes == 32 * kKiB);
  CHECK(store->FreeDropped(1, kMiB, kLast) == 32 * kKiB);
  CHECK(store->GetStats().waiting_bytes == 0);
}

}  // namespace
}  // namespace firn::values
