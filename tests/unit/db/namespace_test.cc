// Namespaces: making, listing, dropping.
#include <algorithm>

#include "unit/db/testing.h"

namespace firn::testing {

TEST_CASE("namespaces are key spaces of their own, listed by name, and survive a reopen") {
  SimStore store;
  Namespace b = Must(store->CreateNamespace("b"));
  Namespace a = Must(store->CreateNamespace("a"));
  CHECK(a.id() != b.id());
  CHECK(store->root().id() == Batch::kDefaultNamespaceId);
  Must(a.Put("k", "in a"));
  Must(b.Put("k", "in b"));
  Must(store->Put("k", "in root"));
  Must(b.Delete("k", If(Condition::Present())));
  for (int opened = 0; opened < 2; ++opened) {
    CHECK(store->ListNamespaces() == std::vector<std::string>{"a", "b"});
    CHECK(Contents(Must(store->OpenNamespace("a"))) == "k=in a");
    CHECK(Contents(Must(store->OpenNamespace("b"))) == "");
    CHECK(Contents(*store.db) == "k=in root");
    CHECK(store->GetStats().namespaces == 2);
    CHECK(store->GetStats().keys == 2);
    store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  }
}

TEST_CASE("an unknown namespace is NotFound and an existing one cannot be created again") {
  SimStore store;
  CHECK(Code(store->OpenNamespace("n")) == kNotFound);
  CHECK(Code(store->DropNamespace("n")) == kNotFound);
  Must(store->CreateNamespace("n"));
  CHECK(Code(store->CreateNamespace("n")) == kExists);
  CHECK(Code(store->OpenNamespace("N")) == kNotFound);
}

TEST_CASE("every handle, iterator and snapshot of a dropped namespace ends with NotFound") {
  SimStore store;
  Namespace space = Must(store->CreateNamespace("n"));
  Must(space.Put("k", "v"));
  auto iterator = space.NewIterator();
  iterator->SeekToFirst();
  REQUIRE(iterator->Valid());
  const auto snapshot = store->GetSnapshot();
  Must(store->DropNamespace("n"));
  const ReadOptions then{.snapshot = snapshot.get()};
  CHECK(Code(space.Get("k")) == kNotFound);
  CHECK(Code(space.Get("k", then)) == kNotFound);
  CHECK(Code(space.Exists("k")) == kNotFound);
  CHECK(Code(space.Put("k", "w")) == kNotFound);
  CHECK(Code(space.Delete("k")) == kNotFound);
  CHECK(Code(space.SetExpiry("k", 1)) == kNotFound);
  const std::string_view keys[] = {"k"};
  CHECK(Code(space.MultiGet(keys)[0]) == kNotFound);
  CHECK(Code(space.MultiGet(keys, then)[0]) == kNotFound);
  iterator->Next();
  CHECK_FALSE(iterator->Valid());
  CHECK(Code(iterator->status()) == kNotFound);
  const auto late = space.NewIterator();
  late->SeekToFirst();
  CHECK_FALSE(late->Valid());
  CHECK(Code(late->status()) == kNotFound);
  Batch batch;
  batch.Put("elsewhere", "v");
  batch.Put("k", "v", {}, space.id());
  CHECK(Code(store->Apply(batch)) == kNotFound);
  CHECK(Contents(*store.db) == "");
  CHECK(store->ListNamespaces().empty());
}

TEST_CASE("a name used again after a drop shows none of the old keys, now, after a reopen and after a crash") {
  SimStore store;
  Namespace old_one = Must(store->CreateNamespace("n"));
  for (size_t i = 0; i < 50; ++i) Must(old_one.Put(NumberedKey(i), "old", Buffered()));
  Must(store->DropNamespace("n"));
  Namespace fresh = Must(store->CreateNamespace("n"));
  CHECK(fresh.id() != old_one.id());
  Must(fresh.Put("k", "new"));
  CHECK(Code(old_one.Get(NumberedKey(1))) == kNotFound);
  CHECK(Contents(fresh) == "k=new");
  store.Reopen();
  CHECK(Contents(Must(store->OpenNamespace("n"))) == "k=new");
  Must(store->DropNamespace("n"));
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(Code(store->OpenNamespace("n")) == kNotFound);
  CHECK(Contents(Must(store->CreateNamespace("n"))) == "");
  store.CrashAndReopen({CrashKind::kKill, Survival::kEverything});
  CHECK(Contents(Must(store->OpenNamespace("n"))) == "");
  CHECK(store->GetStats().keys == 0);
}

TEST_CASE("a namespace is there, or is gone, after a power cut that follows at once") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Scheduled(seed, [](SimWorld& world) {
      auto db = Must(OpenIn(world));
      const auto cut_power = [&] {
        world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
        db.reset();
        db = Must(OpenIn(world));
      };
      Must(db->CreateNamespace("n"));
      cut_power();
      Must(db->OpenNamespace("n"));
      Must(db->DropNamespace("n"));
      cut_power();
      CHECK(db->ListNamespaces().empty());
      Must(db->Close());
    });
  }
}

TEST_CASE("ids of dropped namespaces are never given again, whatever was sealed and reopened in between") {
  SimStore store;
  std::vector<uint32_t> ids;
  for (int i = 0; i < 5; ++i) {
    const uint32_t id = Must(store->CreateNamespace("n")).id();
    CHECK(std::count(ids.begin(), ids.end(), id) == 0);
    ids.push_back(id);
    Must(store->DropNamespace("n"));
    if (i % 2 == 0) Must(store->Flush());
    store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  }
}

TEST_CASE("dropping a namespace costs the same for one key and for 1,000,000") {
  for (const size_t keys : {size_t{1}, size_t{1'000'000}}) {
    SimStore store;
    Namespace space = Must(store->CreateNamespace("n"));
    for (size_t i = 0; i < keys; i += 1'000) {
      Batch batch;
      for (size_t k = i; k < std::min(keys, i + 1'000); ++k) batch.Put(NumberedKey(k), "v", {}, space.id());
      Must(store->Apply(batch, {.durability = Durability::kBuffered}));
    }
    Must(store->Flush());
    const Stats before = store->GetStats();
    Must(store->DropNamespace("n"));
    const Stats after = store->GetStats();
    // The upkeep it wakes may already have written that the emptied segments are retired: one record more.
    CHECK(after.last_revision - before.last_revision <= 2);
    CHECK(after.commit_bytes - before.commit_bytes <= 2 * 4'096);
  }
}

TEST_CASE("the memory and the segments of a dropped namespace come back in the background") {
  Scheduled(4, [](SimWorld& world) {
    const auto db = Must(OpenIn(world, {}, 64 * 1024));
    Namespace space = Must(db->CreateNamespace("n"));
    for (size_t i = 0; i < 500; ++i) Must(space.Put(NumberedKey(i), std::string(500, 'v'), Buffered()));
    Must(db->Put("stays", "v"));
    Must(db->Flush());
    const uint64_t segments = db->GetStats().segments;
    Must(db->DropNamespace("n"));
    PassTime(world, 2'000);
    const Stats stats = db->GetStats();
    CHECK(stats.keys == 1);
    CHECK(stats.segments < segments);
    CHECK(stats.live_bytes < 4'096);
    CHECK(Contents(*db) == "stays=v");
    Must(db->Close());
  });
}

TEST_CASE("writes into a namespace that is being dropped either precede the drop or fail") {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Scheduled(seed, [](SimWorld& world) {
      auto db = Must(OpenIn(world));
      Namespace space = Must(db->CreateNamespace("n"));
      base::Thread writer("writer", [&] {
        for (size_t i = 0; i < 20; ++i) {
          Batch batch;
          batch.Put(NumberedKey(i), "v");
          batch.Put(NumberedKey(i), "v", {}, space.id());
          const auto applied = db->Apply(batch, {.durability = Durability::kBuffered});
          if (!applied.ok()) {
            REQUIRE(Code(applied) == kNotFound);
            break;
          }
        }
      });
      Must(db->DropNamespace("n"));
      CHECK(Code(space.Put("k", "v")) == kNotFound);
      writer.Join();
      const std::string contents = Contents(*db);
      CHECK(db->GetStats().kept_versions == 0);
      PassTime(world, 2'000);
      // Nothing of the namespace was written when its keys had been freed already.
      CHECK(db->GetStats().keys == static_cast<uint64_t>(std::count(contents.begin(), contents.end(), '=')));
      Must(db->Close());
      db = Must(OpenIn(world));
      CHECK(Contents(*db) == contents);
      CHECK(db->ListNamespaces().empty());
      Must(db->Close());
    });
  }
}

// Reads until `read` says that the namespace is gone, while another thread drops it and its memory is freed.
void ReadWhileDropped(uint64_t seed, const std::function<void(DB&, Namespace&)>& prepare,
                      const std::function<bool(Namespace&)>& read) {
  Scheduled(seed, [&](SimWorld& world) {
    auto db = Must(OpenIn(world));
    Namespace space = Must(db->CreateNamespace("n"));
    prepare(*db, space);
    base::Thread dropper("dropper", [&] {
      Must(db->DropNamespace("n"));
      PassTime(world, 300);
    });
    while (read(space)) {
    }
    dropper.Join();
    Must(db->Close());
  });
}

TEST_CASE("a multi-get in a namespace that is dropped meanwhile finds all, or no namespace") {
  constexpr size_t kKeys = 150;
  std::vector<std::string> keys;
  for (size_t i = kKeys; i-- > 0;) keys.push_back(NumberedKey(i));  // they are freed the other way round
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const auto prepare = [&](DB&, Namespace& space) {
      for (const std::string& key : keys) Must(space.Put(key, "v", Buffered()));
    };
    ReadWhileDropped(seed, prepare, [&](Namespace& space) {
      size_t found = 0, gone = 0;
      for (const auto& value : space.MultiGet(views)) {
        found += value.ok();
        gone += Text(value) == "NOT_FOUND: no such namespace";
      }
      CHECK((found == kKeys || gone == kKeys));
      return found > 0;
    });
  }
}

TEST_CASE("a walk in a namespace that is dropped meanwhile comes to its end, or to NotFound") {
  // Only the first and the last key are in the snapshot: the step from one to the other passes all the rest.
  constexpr size_t kKeys = 10'000;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    std::shared_ptr<const Snapshot> snapshot;
    const auto prepare = [&](DB& db, Namespace& space) {
      Must(space.Put(NumberedKey(0), "v", Buffered()));
      Must(space.Put(NumberedKey(kKeys), "v", Buffered()));
      snapshot = db.GetSnapshot();
      for (size_t i = 1; i < kKeys; ++i) Must(space.Put(NumberedKey(i), "v", Buffered()));
    };
    ReadWhileDropped(seed, prepare, [&](Namespace& space) {
      const auto iterator = space.NewIterator({.keys_only = true, .snapshot = snapshot.get()});
      size_t found = 0;
      if (seed % 2 == 0) {
        for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) ++found;
      } else {
        for (iterator->SeekToLast(); iterator->Valid(); iterator->Prev()) ++found;
      }
      const bool gone = Code(iterator->status()) == kNotFound;
      CHECK((gone || (iterator->status().ok() && found == 2)));
      if (gone) snapshot.reset();
      return !gone;
    });
  }
}

}  // namespace firn::testing
