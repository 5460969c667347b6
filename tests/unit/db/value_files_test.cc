// The files of separated values: when they are made, and when their space comes back.
#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "unit/db/separated.h"

namespace firn::testing {
namespace {

TEST_CASE("holes wait while values are being overwritten, unless room is short, and go once that ends") {
  const bool short_of_room = GENERATE(false, true);
  Scheduled(31, [&](SimWorld& world) {
    if (short_of_room) world.machine.set_capacity_bytes(48 << 20);
    const auto db = Must(OpenIn(world, Separating(), kSegmentBytes));
    Must(db->Put("k", ValueOf(0, 500'000)));
    uint64_t waiting_bytes_max = 0;
    for (size_t i = 1; i <= 7; ++i) {
      Must(db->Put("k", ValueOf(i, 500'000)));
      PassTime(world, 200);
      waiting_bytes_max = std::max(waiting_bytes_max, db->GetStats().value_waiting_bytes);
    }
    CHECK((waiting_bytes_max > 2'000'000) == !short_of_room);
    PassTime(world, 1'000);
    CHECK(db->GetStats().value_waiting_bytes == 0);
    Must(db->Close());
  });
}

TEST_CASE("the value file that follows is made in the background, before anybody needs it") {
  Scheduled(32, [](SimWorld& world) {
    const auto db = Must(OpenIn(world, Separating(), kSegmentBytes));
    for (size_t i = 0; i < 90; ++i) Must(db->Put("k" + std::to_string(i), ValueOf(i, 30'000), Buffered()));
    PassTime(world, 10);
    const auto names = world.machine.FileNames();
    CHECK(std::count_if(names.begin(), names.end(), [](const std::string& name) { return name.ends_with(".val"); }) ==
          2);
    Must(db->Close());
  });
}

TEST_CASE("near the end of a value file a put waits for the next one while it is being made") {
  // Whoever makes it stands still while it tells of a sealed segment.
  class Gate final : public EventListener {
   public:
    void OnEvent(const Event& event) override {
      if (event.kind != EventKind::kSegmentSealed) return;
      std::unique_lock lock(mutex_);
      reached_ = true;
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_; });
    }
    void AwaitReached() {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return reached_; });
    }
    void Open() {
      const std::lock_guard lock(mutex_);
      open_ = true;
      changed_.notify_all();
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool reached_ = false, open_ = false;
  } gate;
  Options options = Separating();
  options.listener = &gate;
  RealStore store(options);
  Must(store->Put("k", std::string(600'000, 'v')));
  absl::Status flushed;
  std::thread flusher([&] { flushed = store->Flush(); });
  gate.AwaitReached();
  uint64_t throttled_ns = 0;
  bool written = true;
  for (size_t i = 0; i < 120 && written && throttled_ns < 5'000'000; ++i) {
    written = store->Put("k" + std::to_string(i), ValueOf(i, 32'768), Buffered()).ok();
    throttled_ns = store->GetStats().throttled_ns;
  }
  gate.Open();
  flusher.join();
  CHECK(flushed.ok());
  CHECK(written);
  CHECK(throttled_ns >= 5'000'000);
}

TEST_CASE("a poisoned store claims no space for values that it cannot take") {
  SimStore store(Separating(), kSegmentBytes);
  Must(store->Put("kept", ValueOf(0, 100'000)));
  store.world.machine.Inject({.operations = test::kSyncOperation, .lasting = true});
  CHECK(Code(store->Put("k", ValueOf(1, 100'000))) == kUnavailable);
  store.world.machine.ClearFaults();
  // Of the log a segment may just have been on its way.
  const auto value_bytes = [&machine = store.world.machine] {
    uint64_t bytes = 0;
    for (const std::string& name : machine.FileNames())
      bytes += name.starts_with("values/") ? machine.FileSize(name) : 0;
    return bytes;
  };
  const uint64_t before_bytes = value_bytes();
  const std::string piece = ValueOf(7, 500'000);
  for (size_t i = 2; i < 40; ++i) {
    CHECK(Code(store->Put("k", ValueOf(i, 100'000))) == kUnavailable);
    size_t pieces = 0;
    const auto source = [&]() -> absl::StatusOr<std::string_view> { return pieces++ < 5 ? piece : std::string_view(); };
    CHECK(Code(store->PutStream("k", source)) == kUnavailable);
  }
  CHECK(value_bytes() == before_bytes);
  CHECK((Text(store->Get("kept")) == ValueOf(0, 100'000)));
}

TEST_CASE("no value file gets the id of one that older records name") {
  SimStore store(Separating(), kSegmentBytes);
  const auto files = [&] {
    std::set<std::string> names;
    for (const std::string& name : store.world.machine.FileNames()) {
      if (name.starts_with("values/")) names.insert(name);
    }
    return names;
  };
  const auto put_stream = [&](const char* key, char letter) {
    const std::string piece(500'000, letter);
    size_t pieces = 0;
    Must(store->PutStream(
        key, [&]() -> absl::StatusOr<std::string_view> { return pieces++ < 5 ? piece : std::string_view(); }));
  };
  Must(store->Put("small", ValueOf(1, 10'000)));
  const auto before = files();
  put_stream("streamed", 's');
  const auto with_stream = files();
  REQUIRE(with_stream.size() > before.size());
  Must(store->Delete("streamed"));
  store.Reopen();
  REQUIRE(files() == before);
  put_stream("later", 'l');
  for (const std::string& name : files()) CHECK((before.contains(name) || !with_stream.contains(name)));
}

TEST_CASE(
    "values that expire, or whose namespace is dropped, give their space back though the store is closed meanwhile") {
  const uint64_t alignment_bytes = GENERATE(4'096, 131'072);
  CAPTURE(alignment_bytes);
  Options options = Separating();
  options.value_alignment_bytes = alignment_bytes;
  SimStore store(options, kSegmentBytes);
  Must(store->Put("kept", ValueOf(1, 50'000)));
  Must(store->Put("expires", ValueOf(2, 20'000), Expiring(store.NowMs() + 1'000)));
  Must(store->Put("expires, and is shared", ValueOf(1, 50'000), Expiring(store.NowMs() + 1'000)));
  const uint64_t live_bytes = store->GetStats().value_live_bytes;
  auto dropped = Must(store->CreateNamespace("dropped"));
  Must(dropped.Put("k", ValueOf(3, 30'000)));
  Must(store->Put("last", ValueOf(4, 20'000)));
  Must(store->DropNamespace("dropped"));
  Must(store->Close());  // before anybody swept
  store.db.reset();
  store.world.clock.JumpWall(10'000);
  store.Open();
  CHECK(UnexplainedValueBytes(*store.db) == 0);
  CHECK(store->GetStats().value_waiting_bytes == 0);
  CHECK(store->GetStats().value_live_bytes == live_bytes);  // "last" instead of "expires"
  CHECK(CheckReferences(*store.db).empty());
  CHECK(Text(store->Get("kept")) == ValueOf(1, 50'000));
  CHECK(Text(store->Get("last")) == ValueOf(4, 20'000));
}

TEST_CASE("where holes cannot be punched values are moved out of files that are mostly dead, and space comes back") {
  Scheduled(31, [](SimWorld& world) {
    world.machine.set_can_punch(false);
    auto db = Must(OpenIn(world, Separating(), kSegmentBytes));
    std::map<std::string, std::string> expected;
    test::Rng rng(1);
    for (size_t i = 0; i < 600; ++i) {
      const std::string key = NumberedKey(i < 100 ? i : rng.Between(0, 99));
      // Now and then the value of another key, too.
      std::string value = ValueOf(rng.Between(0, i), 120'000);
      Must(db->Put(key, value, Buffered()));
      expected[key] = std::move(value);
    }
    auto snapshot = db->GetSnapshot();
    const auto in_snapshot = expected;
    for (size_t i = 0; i < 20; ++i) Must(db->Delete(NumberedKey(i), {}));
    for (size_t i = 0; i < 20; ++i) expected.erase(NumberedKey(i));
    Must(db->Compact());
    for (int turn = 0; turn < 100 && db->GetStats().disk_bytes > db->GetStats().space_ceiling_bytes; ++turn) {
      PassTime(world, 1'000);
    }
    const auto check = [&] {
      for (size_t i = 0; i < 100; ++i) {
        const auto want = expected.find(NumberedKey(i));
        const auto got = db->Get(NumberedKey(i));
        REQUIRE(got.ok() == (want != expected.end()));
        if (got.ok()) REQUIRE(*got == want->second);
      }
      REQUIRE(Must(db->Verify()).damages.empty());
    };
    check();
    for (const auto& [key, value] : in_snapshot) {
      REQUIRE(Text(db->Get(key, {.snapshot = snapshot.get()})) == value);
    }
    const Stats stats = db->GetStats();
    INFO(stats.ToString());
    CHECK(stats.disk_bytes <= stats.space_ceiling_bytes + 20 * 124'000);  // what the snapshot holds
    CHECK(world.machine.claimed_bytes() <= stats.disk_bytes + 64 * 1024);
    snapshot.reset();
    Must(db->Close());
    db = Must(OpenIn(world, Separating(), kSegmentBytes));
    check();
    Must(db->Compact());
    check();
    CHECK(db->GetStats().disk_bytes < 80 * 124'000 * 3 / 2);
    Must(db->Close());
  });
}

}  // namespace
}  // namespace firn::testing
