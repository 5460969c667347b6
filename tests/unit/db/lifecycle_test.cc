// Durability, syncing, sealing, closing, and opening for reading only.
#include <filesystem>
#include <fstream>
#include <thread>

#include "unit/db/testing.h"

namespace firn::testing {
namespace {

constexpr Crash kPowerCutLosesAll{CrashKind::kPowerCut, Survival::kNothing};
constexpr Crash kKilled{CrashKind::kKill, Survival::kEverything};

}  // namespace

TEST_CASE("a synced write is durable when it returns and a buffered one after Sync") {
  SimStore store;
  const Revision synced = Must(store->Put("synced", "v"));
  CHECK(store->DurableRevision() >= synced);
  const Revision buffered = Must(store->Put("buffered", "v", Buffered()));
  CHECK(store->DurableRevision() < buffered);
  Must(store->Put("before the sync", "v", Buffered()));
  Must(store->Sync());
  CHECK(store->DurableRevision() >= buffered);
  Must(store->Put("after the sync", "v", Buffered()));
  store.CrashAndReopen(kPowerCutLosesAll);
  CHECK(Contents(*store.db) == "before the sync=v buffered=v synced=v");
}

TEST_CASE("every kind of buffered write survives the death of the process") {
  SimStore store;
  const WriteOptions buffered = Buffered();
  Must(store->Put("deleted", "v"));
  Must(store->Put("expiring", "v"));
  Must(store->Put("large", std::string(700'000, 'l'), Buffered()));
  Must(store->Put("small", "v", Buffered()));
  Must(store->Delete("deleted", buffered));
  const int64_t later = store.NowMs() + 1'000'000;
  Must(store->SetExpiry("expiring", later, buffered));
  Batch batch;
  batch.Put("batched", "v");
  batch.Put("batched too", "v");
  Must(store->Apply(batch, buffered));
  store.CrashAndReopen(kKilled);
  CHECK(Text(store->Get("large")) == std::string(700'000, 'l'));
  Must(store->Delete("large"));
  CHECK(Contents(*store.db) == "batched=v batched too=v expiring=v small=v");
  ValueInfo info;
  std::string value;
  Must(store->GetInto("expiring", &value, &info));
  CHECK(info.expires_at_ms == later);
}

TEST_CASE("a synced write takes the buffered ones before it along") {
  SimStore store;
  const Revision buffered = Must(store->Put("a", "v", Buffered()));
  Must(store->Put("b", "v"));
  CHECK(store->DurableRevision() >= buffered);
  store.CrashAndReopen(kPowerCutLosesAll);
  CHECK(Contents(*store.db) == "a=v b=v");
}

TEST_CASE("a durable read that finds a key absent is right after any power cut") {
  size_t absent = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    Scheduled(seed, [&](SimWorld& world) {
      auto db = Must(OpenIn(world));
      Must(db->Put("k", "v"));
      base::Thread deleter("deleter",
                           [&] { static_cast<void>(db->Delete("k", {.durability = Durability::kBuffered})); });
      const ReadOptions durable{.read_durable = true};
      std::string value;
      const bool found = seed % 3 == 0   ? *db->Exists("k", durable)
                         : seed % 3 == 1 ? db->Get("k", durable).ok()
                                         : db->GetRange("k", 0, 1, durable).ok();
      world.machine.Crash(kPowerCutLosesAll);
      deleter.Join();
      db.reset();
      db = Must(OpenIn(world));
      if (!found) CHECK(Code(db->Get("k")) == kNotFound);
      absent += found ? 0 : 1;
      Must(db->Close());
    });
  }
  CHECK(absent > 10);
}

TEST_CASE("a durable read returns when what it saw is durable") {
  SimStore store;
  const ReadOptions durable{.read_durable = true};
  Revision revision = Must(store->Put("k", "v", Buffered()));
  CHECK(Text(store->Get("k")) == "v");
  CHECK(store->DurableRevision() < revision);
  CHECK(Text(store->Get("k", durable)) == "v");
  CHECK(store->DurableRevision() >= revision);
  revision = Must(store->Delete("k", Buffered()));
  CHECK(Code(store->Get("k", durable)) == kNotFound);
  CHECK(store->DurableRevision() >= revision);
  revision = Must(store->Put("k", "w", Buffered()));
  CHECK(*store->Exists("k", durable));
  CHECK(store->DurableRevision() >= revision);
  revision = Must(store->Put("k", "x", Buffered()));
  const std::string_view keys[] = {"k", "nowhere"};
  CHECK(Text(store->MultiGet(keys, durable)[0]) == "x");
  CHECK(store->DurableRevision() >= revision);
  const auto stream = [&] {
    return store->GetStream(
        "k", [](std::string_view) { return absl::OkStatus(); }, durable);
  };
  for (const bool ranges : {true, false}) {
    revision = Must(store->Put("k", "y", Buffered()));
    if (ranges) CHECK(Text(store->GetRange("k", 0, 1, durable)) == "y");
    if (!ranges) Must(stream());
    CHECK(store->DurableRevision() >= revision);
    revision = Must(store->Delete("k", Buffered()));
    CHECK((ranges ? Code(store->GetRange("k", 0, 1, durable)) : Code(stream())) == kNotFound);
    CHECK(store->DurableRevision() >= revision);
  }
}

TEST_CASE("buffered writes become durable within the flush interval") {
  for (const uint32_t interval_ms : {100u, 1'000u}) {
    Scheduled(interval_ms, [interval_ms](SimWorld& world) {
      const auto db = Must(OpenIn(world, {.flush_interval_ms = interval_ms}));
      const Revision revision = Must(db->Put("k", "v", Buffered()));
      PassTime(world, interval_ms + 50);
      CHECK(db->DurableRevision() >= revision);
      Must(db->Close());
    });
  }
}

TEST_CASE("buffered writes become durable within the flush interval while many more come") {
  Scheduled(8, [](SimWorld& world) {
    const auto db = Must(OpenIn(world, {.flush_interval_ms = 1'000}));
    // Large segments, so that sealing does not sync on the way.
    for (int i = 0; i < 700; ++i) Must(db->Put(NumberedKey(0), std::string(200'000, 'v'), Buffered()));
    Must(db->Sync());
    std::vector<Revision> written;
    for (size_t turn = 0; turn < 30; ++turn) {
      written.push_back(Must(db->Put(NumberedKey(turn), std::string(150'000, 'v'), Buffered())));
      PassTime(world, 100);
      if (turn >= 12) CHECK(db->DurableRevision() >= written[turn - 12]);
    }
    Must(db->Close());
  });
}

TEST_CASE("after Flush a copy of the directory opens from footers alone") {
  RealStore store;
  Must(store->Put("a", "1"));
  Must(store->Flush());
  Must(store->Flush());  // nothing to do
  TempDir copy;
  std::filesystem::copy(store.dir.path(), copy.path(), std::filesystem::copy_options::recursive);
  Events events;
  const auto copied = Must(DB::Open({.listener = &events}, copy.path()));
  CHECK(Contents(*copied) == "a=1");
  CHECK(events.Count(EventKind::kFooterFallback) == 0);
  CHECK(events.Count(EventKind::kTornTail) == 0);
  CHECK(store->GetStats().sealed_segments >= 1);
}

TEST_CASE("a Flush that finds no room to seal makes everything durable all the same") {
  Scheduled(9, [](SimWorld& world) {
    const auto db = Must(OpenIn(world, {.flush_interval_ms = kFlushIntervalMsMax}, 64 * 1024));
    world.machine.set_capacity_bytes(world.machine.claimed_bytes());
    absl::Status flushed;
    for (size_t i = 0; flushed.ok(); ++i) {
      REQUIRE(i < 1'000);
      const Revision revision = Must(db->Put(NumberedKey(i), "v", Buffered()));
      flushed = db->Flush();
      CHECK(db->DurableRevision() >= revision);
    }
    CHECK(Code(flushed) == kExhausted);
    Must(db->Close());
  });
}

TEST_CASE("a Close that failed is not OK the second time, and the next open has what was durable") {
  SimStore store;
  Must(store->Put("durable", "v"));
  Must(store->Put("buffered", "v", Buffered()));
  store.world.machine.Inject({.operations = test::kSyncOperation, .lasting = true});
  const absl::Status first = store->Close();
  CHECK(Code(first) == kUnavailable);
  CHECK(store->Close() == first);
  store.world.machine.ClearFaults();
  store.CrashAndReopen(kPowerCutLosesAll);
  CHECK(Text(store->Get("durable")) == "v");
}

TEST_CASE("a Close that failed leaves no thread of the store behind that could still write") {
  const auto threads = [] {
    size_t count = 0;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::ifstream(each.path() / "comm") >> name;
      count += name.starts_with("firn-") ? 1 : 0;
    }
    return count;
  };
  // One that has been joined may be seen for a moment.
  const auto none_left = [&] {
    for (int turn = 0; turn < 100'000 && threads() != 0; ++turn) std::this_thread::yield();
    return threads() == 0;
  };
  REQUIRE(none_left());
  Options options;
  options.value_separation_threshold_bytes = 4'096;
  SimStore store(options);
  Must(store->Put("large", std::string(100'000, 'v')));
  // On a busy machine they may not have come to take their names yet.
  bool seen = false;
  for (int turn = 0; turn < 100'000 && !seen; ++turn) {
    std::this_thread::yield();
    seen = threads() > 0;
  }
  CHECK(seen);
  SECTION("because of the log") { store.world.machine.Inject({.operations = test::kSyncOperation, .lasting = true}); }
  SECTION("because of the values") {
    Must(store->Sync());
    // Nothing is left to be written to the log: the first to fail is the cut of the value file.
    store.world.machine.Inject({.operations = test::kAnyOperation, .lasting = true});
  }
  CHECK_FALSE(store->Close().ok());
  CHECK(none_left());
  store.world.machine.ClearFaults();
  // The old store is still there.
  const auto again = Must(OpenIn(store.world, options));
  CHECK(Must(again->Get("large")).size() == 100'000);
}

TEST_CASE("Close makes everything durable, a second Close is fine, and later calls are refused") {
  SimStore store;
  Namespace space = Must(store->CreateNamespace("n"));
  Must(store->Put("k", "v", Buffered()));
  Must(store->Close());
  Must(store->Close());
  const std::string_view keys[] = {"k"};
  std::string value;
  CHECK(Code(store->Get("k")) == kPrecondition);
  CHECK(Code(store->GetInto("k", &value)) == kPrecondition);
  CHECK(Code(store->Exists("k")) == kPrecondition);
  CHECK(Code(store->MultiGet(keys)[0]) == kPrecondition);
  CHECK(Code(store->Put("k", "w")) == kPrecondition);
  CHECK(Code(store->Put("k", "w", Buffered())) == kPrecondition);
  CHECK(Code(store->Delete("k")) == kPrecondition);
  CHECK(Code(store->SetExpiry("k", 0)) == kPrecondition);
  CHECK(Code(store->Apply(Batch())) == kPrecondition);
  CHECK(Code(store->CreateNamespace("m")) == kPrecondition);
  CHECK(Code(store->OpenNamespace("n")) == kPrecondition);
  CHECK(Code(store->DropNamespace("n")) == kPrecondition);
  CHECK(Code(space.Get("k")) == kPrecondition);
  CHECK(Code(store->Sync()) == kPrecondition);
  CHECK(Code(store->Flush()) == kPrecondition);
  CHECK(Code(store->Verify()) == kPrecondition);
  const auto iterator = store->NewIterator();
  iterator->SeekToFirst();
  CHECK_FALSE(iterator->Valid());
  CHECK(Code(iterator->status()) == kPrecondition);
  store.CrashAndReopen(kPowerCutLosesAll);
  CHECK(Contents(*store.db) == "k=v");
}

TEST_CASE("a store that is destroyed without Close is closed by that") {
  RealStore store;
  Must(store->Put("k", "v", Buffered()));
  store.db.reset();
  Events events;
  store.options.listener = &events;
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
  CHECK(events.Count(EventKind::kRecovered) == 0);
  store.db.reset();
}

TEST_CASE("a clean close is told apart from a crash by the events of the next open") {
  Events events;
  SimStore store({.listener = &events});
  Must(store->Put("k", "v"));
  store.Reopen();
  CHECK(events.Count(EventKind::kRecovered) == 0);
  Must(store->Put("k", "w"));
  store.CrashAndReopen(kKilled);
  CHECK(events.Count(EventKind::kRecovered) == 1);
  store.Reopen();
  CHECK(events.Count(EventKind::kRecovered) == 1);
  CHECK(events.Count(EventKind::kSegmentSealed) > 0);
}

TEST_CASE("a read-only open serves all reads and refuses all changes") {
  RealStore store;
  Namespace space = Must(store->CreateNamespace("n"));
  Must(store->Put("k", "v"));
  Must(space.Put("k", "in n"));
  Must(store->Close());
  store.options.read_only = true;
  store.db.reset();
  store.Open();
  space = Must(store->OpenNamespace("n"));
  CHECK(Contents(*store.db) == "k=v");
  CHECK(Contents(space) == "k=in n");
  CHECK(store->ListNamespaces() == std::vector<std::string>{"n"});
  CHECK(Text(store->Get("k", {.read_durable = true})) == "v");
  CHECK(Text(store->Get("k", {.snapshot = store->GetSnapshot().get()})) == "v");
  const std::string_view keys[] = {"k"};
  CHECK(Text(store->MultiGet(keys)[0]) == "v");
  CHECK(Must(store->Verify()).damages.empty());
  CHECK(Code(store->Put("k", "w")) == kPrecondition);
  CHECK(Code(store->Delete("k")) == kPrecondition);
  CHECK(Code(store->SetExpiry("k", 1)) == kPrecondition);
  CHECK(Code(store->Apply(Batch())) == kPrecondition);
  CHECK(Code(store->CreateNamespace("m")) == kPrecondition);
  CHECK(Code(store->DropNamespace("n")) == kPrecondition);
  CHECK(Code(store->Sync()) == kPrecondition);
  CHECK(Code(store->Flush()) == kPrecondition);
  CHECK(Text(store->Get("k")) == "v");
  Must(store->Close());
}

TEST_CASE("a read-only open of a killed store sees its buffered writes and changes nothing") {
  SimStore store({}, 64 * 1024);
  Must(store->Put("synced", "v"));
  for (size_t i = 0; i < 100; ++i) Must(store->Put(NumberedKey(i), std::string(1'000, 'v'), Buffered()));
  Must(store->Delete("synced", Buffered()));
  Must(store->Put("last", "v", Buffered()));
  store.world.machine.Crash(kKilled);
  store.db.reset();
  const auto all_files = [&store] {
    std::string all;
    for (const std::string& name : store.world.machine.FileNames()) all += name + store.world.machine.ReadFile(name);
    return all;
  };
  const std::string before = all_files();
  const uint64_t writes = store.world.machine.writes();
  store.options.read_only = true;
  for (int opened = 0; opened < 2; ++opened) {
    store.Open();
    CHECK(Text(store->Get("synced")) == kAbsent);
    CHECK(Text(store->Get("last")) == "v");
    std::vector<std::string> names;
    for (size_t i = 0; i < 100; ++i) names.push_back(NumberedKey(i));
    for (const auto& value : store->MultiGet(std::vector<std::string_view>(names.begin(), names.end()))) {
      REQUIRE(Text(value) == std::string(1'000, 'v'));
    }
    size_t count = 0;
    auto iterator = store->NewIterator();
    for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) count += iterator->value().empty() ? 0 : 1;
    CHECK(count == 101);
    iterator.reset();
    Must(store->Close());
    store.db.reset();
  }
  CHECK(all_files() == before);
  CHECK(store.world.machine.writes() == writes);
  store.options.read_only = false;
  store.Open();
  CHECK(Text(store->Get("last")) == "v");
}

TEST_CASE("a read-only open creates nothing and needs a store") {
  TempDir dir;
  CHECK(Code(DB::Open({.read_only = true}, dir.path())) == kNotFound);
  CHECK(std::filesystem::is_empty(dir.path()));
  CHECK(Code(DB::Open({.read_only = true}, dir.File("missing"))) == kNotFound);
  CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("several read-only opens share a store, but not with a writer") {
  RealStore store;
  Must(store->Put("k", "v"));
  const Options read_only{.read_only = true};
  CHECK(Code(DB::Open(read_only, store.dir.path())) == kUnavailable);
  Must(store->Close());
  auto first = Must(DB::Open(read_only, store.dir.path()));
  auto second = Must(DB::Open(read_only, store.dir.path()));
  CHECK(Text(first->Get("k")) == "v");
  CHECK(Text(second->Get("k")) == "v");
  CHECK(Code(DB::Open({}, store.dir.path())) == kUnavailable);
  Must(first->Close());
  CHECK(Code(DB::Open({}, store.dir.path())) == kUnavailable);
  CHECK(Text(second->Get("k")) == "v");
  second.reset();
  store.db.reset();
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
}

}  // namespace firn::testing
