// Snapshots, and the older versions they need.
#include <thread>

#include "unit/db/testing.h"

namespace firn::testing {

TEST_CASE("a snapshot shows the state at its revision through every kind of read") {
  SimStore store;
  Namespace other = Must(store->CreateNamespace("other"));
  Must(store->Put("changed", "before"));
  Must(store->Put("deleted", "before"));
  Must(store->Put("twice", "before"));
  const Revision last = Must(other.Put("k", "before"));
  auto snapshot = store->GetSnapshot();
  CHECK(snapshot->revision() >= last);
  CHECK(Text(other.Get("k", {.snapshot = snapshot.get()})) == "before");
  Must(store->Put("changed", "after"));
  Must(store->Delete("deleted"));
  Must(store->Put("new", "after"));
  Must(store->Delete("twice"));
  Must(store->Put("twice", "after"));
  Must(other.Delete("k"));

  const ReadOptions then{.snapshot = snapshot.get()};
  CHECK(Text(store->Get("changed", then)) == "before");
  CHECK(Text(store->Get("deleted", then)) == "before");
  CHECK(Text(store->Get("twice", then)) == "before");
  CHECK(Text(store->Get("new", then)) == kAbsent);
  CHECK(*store->Exists("deleted", then));
  CHECK_FALSE(*store->Exists("new", then));
  CHECK(Text(other.Get("k", then)) == "before");
  const std::string_view keys[] = {"changed", "new", "deleted"};
  const auto values = store->MultiGet(keys, then);
  CHECK(Text(values[0]) == "before");
  CHECK(Code(values[1]) == kNotFound);
  CHECK(Text(values[2]) == "before");
  CHECK(Contents(store->root(), {.snapshot = snapshot.get()}) == "changed=before deleted=before twice=before");
  CHECK(Contents(*store.db) == "changed=after new=after twice=after");
}

TEST_CASE("older versions are dropped with the last snapshot that needs them") {
  SimStore store;
  Must(store->Put("k", "0"));
  auto first = store->GetSnapshot();
  Must(store->Put("k", "1"));
  auto second = store->GetSnapshot();
  Must(store->Put("k", "2"));
  CHECK(store->GetStats().kept_versions == 2);
  CHECK(store->GetStats().snapshots == 2);
  CHECK(Text(store->Get("k", {.snapshot = first.get()})) == "0");
  CHECK(Text(store->Get("k", {.snapshot = second.get()})) == "1");
  second.reset();
  CHECK(Text(store->Get("k", {.snapshot = first.get()})) == "0");
  first.reset();
  const Stats stats = store->GetStats();
  CHECK(stats.kept_versions == 0);
  CHECK(stats.snapshots == 0);
  CHECK(Text(store->Get("k")) == "2");
}

TEST_CASE("tombstones leave the index, with and without snapshots that needed them") {
  SimStore store;
  const auto index_is_empty = [&] {
    CHECK(store->GetStats().kept_versions == 0);
    CHECK(store->GetStats().keys == 0);
  };
  Must(store->Put("k", "v"));
  Must(store->Delete("k"));
  index_is_empty();

  Must(store->Put("k", "v"));
  auto snapshot = store->GetSnapshot();
  Must(store->Delete("k"));
  CHECK(store->GetStats().keys == 1);
  snapshot.reset();
  index_is_empty();

  // Overwritten under a snapshot, deleted when it was gone.
  Must(store->Put("k", "v"));
  snapshot = store->GetSnapshot();
  Must(store->Put("k", "w"));
  snapshot.reset();
  Must(store->Delete("k"));
  index_is_empty();

  // Deleted and put again under a snapshot, deleted when it was gone.
  Must(store->Put("k", "v"));
  snapshot = store->GetSnapshot();
  Must(store->Delete("k"));
  Must(store->Put("k", "w"));
  snapshot.reset();
  Must(store->Delete("k"));
  index_is_empty();

  // Two snapshots that end in the other order.
  Must(store->Put("k", "v"));
  auto older = store->GetSnapshot();
  Must(store->Put("k", "w"));
  auto newer = store->GetSnapshot();
  Must(store->Delete("k"));
  CHECK(Text(store->Get("k", {.snapshot = newer.get()})) == "w");
  older.reset();
  CHECK(Text(store->Get("k", {.snapshot = newer.get()})) == "w");
  newer.reset();
  index_is_empty();
}

TEST_CASE("a snapshot keeps its data through seals, retirement and upkeep") {
  Scheduled(3, [](SimWorld& world) {
    const auto db = Must(OpenIn(world, {}, 64 * 1024));
    for (size_t i = 0; i < 100; ++i) Must(db->Put(NumberedKey(i), std::string(1'000, 'o'), Buffered()));
    auto snapshot = db->GetSnapshot();
    for (int round = 0; round < 3; ++round) {
      for (size_t i = 0; i < 100; ++i) Must(db->Put(NumberedKey(i), std::string(1'000, 'n'), Buffered()));
      Must(db->Flush());
      PassTime(world, 1'000);
    }
    for (size_t i = 0; i < 100; ++i) {
      REQUIRE(Text(db->Get(NumberedKey(i), {.snapshot = snapshot.get()})) == std::string(1'000, 'o'));
      REQUIRE(Text(db->Get(NumberedKey(i))) == std::string(1'000, 'n'));
    }
    const uint64_t segments = db->GetStats().segments;
    snapshot.reset();
    CHECK(db->GetStats().kept_versions == 0);
    PassTime(world, 2'000);
    CHECK(db->GetStats().segments < segments);
    for (size_t i = 0; i < 100; ++i) REQUIRE(Text(db->Get(NumberedKey(i))) == std::string(1'000, 'n'));
    Must(db->Close());
  });
}

TEST_CASE("many threads that write, take snapshots and end leave no version behind") {
  RealStore store;
  constexpr size_t kKeys = 20;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&store, t] {
      for (size_t i = 0; i < 400; ++i) {
        const std::string key = NumberedKey((i * 7 + static_cast<size_t>(t)) % kKeys);
        if (i % 3 == 0) {
          const auto snapshot = store->GetSnapshot();
          const std::string first = Text(store->Get(key, {.snapshot = snapshot.get()}));
          store->Put(key, std::to_string(i), Buffered()).IgnoreError();
          // What the snapshot shows does not change.
          if (Text(store->Get(key, {.snapshot = snapshot.get()})) != first) std::abort();
        } else if (i % 3 == 1) {
          store->Put(key, std::to_string(i), Buffered()).IgnoreError();
        } else {
          store->Delete(key, Buffered()).IgnoreError();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < kKeys; ++i) Must(store->Delete(NumberedKey(i)));
  store->GetSnapshot().reset();
  const Stats stats = store->GetStats();
  CHECK(stats.kept_versions == 0);
  CHECK(stats.keys == 0);
  CHECK(stats.snapshots == 0);
}

TEST_CASE("versions that were kept while the last snapshot ended are dropped by upkeep") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Scheduled(seed, [](SimWorld& world) {
      const auto db = Must(OpenIn(world));
      Must(db->Put("k", "v", Buffered()));
      base::Thread viewer("viewer", [&db] {
        for (int i = 0; i < 5; ++i) db->GetSnapshot().reset();
      });
      base::Thread deleter("deleter", [&db] {
        for (int i = 0; i < 10; ++i) {
          Must(db->Put("k", "w", Buffered()));
          Must(db->Delete("k", Buffered()));
        }
      });
      viewer.Join();
      deleter.Join();
      PassTime(world, 1'000);
      CHECK(db->GetStats().kept_versions == 0);
      CHECK(db->GetStats().keys == 0);
      Must(db->Close());
    });
  }
}

TEST_CASE("a snapshot of a closed store can be taken and used to learn that it is closed") {
  SimStore store;
  Must(store->Close());
  const auto snapshot = store->GetSnapshot();
  REQUIRE(snapshot != nullptr);
  CHECK(Code(store->Get("k", {.snapshot = snapshot.get()})) == kPrecondition);
}

}  // namespace firn::testing
