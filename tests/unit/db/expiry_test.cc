// Entries that expire, on a clock that the test moves.
#include "unit/db/testing.h"

namespace firn::testing {

TEST_CASE("an entry is gone at once when its time has come") {
  SimStore store;
  const int64_t now = store.NowMs();
  Must(store->Put("k", "v", Expiring(now + 1'000)));
  Must(store->Put("forever", "v"));
  CHECK(Text(store->Get("k")) == "v");
  CHECK(*store->Exists("k"));
  store.world.clock.JumpWall(900);
  CHECK(Text(store->Get("k")) == "v");
  store.world.clock.JumpWall(200);
  CHECK(Text(store->Get("k")) == kAbsent);
  CHECK_FALSE(*store->Exists("k"));
  const std::string_view keys[] = {"k", "forever"};
  const auto values = store->MultiGet(keys);
  CHECK(Code(values[0]) == kNotFound);
  CHECK(Text(values[1]) == "v");
  CHECK(Contents(*store.db) == "forever=v");
}

TEST_CASE("an entry is there until the millisecond before its time, and gone in that of its time") {
  Scheduled(1, [](SimWorld& world) {
    const auto db = Must(OpenIn(world));
    const int64_t at_ms = world.clock.WallTimeMs() + 10'000;
    Must(db->Put("k", "v", Expiring(at_ms)));
    world.clock.JumpWall(at_ms - 1 - world.clock.WallTimeMs());
    CHECK(Text(db->Get("k")) == "v");
    world.clock.JumpWall(1);
    CHECK(Text(db->Get("k")) == kAbsent);
    Must(db->Close());
  });
}

TEST_CASE("a put that has expired already is never seen") {
  SimStore store;
  Must(store->Put("k", "old"));
  Must(store->Put("k", "new", Expiring(store.NowMs() - 1)));
  CHECK(Text(store->Get("k")) == kAbsent);
  store.Reopen();
  CHECK(Text(store->Get("k")) == kAbsent);
}

TEST_CASE("an expired key counts as absent for conditions, deletes and expiry changes") {
  SimStore store;
  const int64_t now = store.NowMs();
  const Revision put = Must(store->Put("k", "v", Expiring(now + 1'000)));
  store.world.clock.JumpWall(2'000);
  CHECK(Code(store->Put("k", "w", PutIf(Condition::Present()))) == kPrecondition);
  CHECK(Code(store->Put("k", "w", PutIf(Condition::RevisionEquals(put)))) == kPrecondition);
  CHECK(Code(store->SetExpiry("k", now + 1'000'000)) == kNotFound);
  CHECK(Code(store->Delete("k", If(Condition::Present()))) == kPrecondition);
  Must(store->Put("k", "w", PutIf(Condition::Absent())));
  CHECK(Text(store->Get("k")) == "w");
  store.Reopen();
  CHECK(Text(store->Get("k")) == "w");
}

TEST_CASE("an iterator's entries expire on the way") {
  SimStore store;
  const int64_t now = store.NowMs();
  Must(store->Put("a", "1"));
  Must(store->Put("b", "2", Expiring(now + 1'000)));
  Must(store->Put("c", "3"));
  const auto iterator = store->NewIterator();
  iterator->SeekToFirst();
  REQUIRE(iterator->Valid());
  CHECK(iterator->key() == "a");
  store.world.clock.JumpWall(2'000);
  iterator->Next();
  REQUIRE(iterator->Valid());
  CHECK(iterator->key() == "c");
  iterator->Prev();
  REQUIRE(iterator->Valid());
  CHECK(iterator->key() == "a");
}

TEST_CASE("fault A14 again: views that never end keep nothing that has expired, in the index or on disk") {
  Scheduled(21, [](SimWorld& world) {
    Options options;
    options.value_separation_threshold_bytes = 16'384;
    const auto db = Must(OpenIn(world, options, 64 * 1024));
    const int64_t now = world.clock.WallTimeMs();
    const auto value = [](size_t i) { return std::to_string(i) + std::string(i % 10 == 0 ? 32'000 : 1'000, 'v'); };
    for (size_t i = 0; i < 1'000; ++i) {
      PutOptions expiring = Buffered();
      expiring.expires_at_ms = now + 60'000;
      Must(db->Put(NumberedKey(i), value(i), expiring));
    }
    Must(db->Put("stays", "v"));
    const auto snapshot = db->GetSnapshot();
    const auto scan = db->NewIterator(), scan_of_snapshot = db->NewIterator({.snapshot = snapshot.get()});
    scan->SeekToFirst();
    scan_of_snapshot->Seek(NumberedKey(1));
    REQUIRE((scan->Valid() && scan_of_snapshot->Valid()));
    const uint64_t before = db->GetStats().disk_bytes;
    world.clock.JumpWall(100'000);
    for (int turn = 0; turn < 60 && db->GetStats().keys > 1; ++turn) PassTime(world, 1'000);
    CHECK(db->GetStats().keys == 1);
    // The places of what was swept are used again.
    for (size_t i = 0; i < 100; ++i) Must(db->Put("new" + std::to_string(i), std::string(32'000, 'w'), Buffered()));
    Must(db->Compact());
    CHECK(db->GetStats().disk_bytes < before);
    CHECK(db->GetStats().pinned_bytes == 0);
    // What the iterators stand on is still what it was; from there on all has gone.
    CHECK(scan->key() == NumberedKey(0));
    CHECK(scan->value() == value(0));
    CHECK(scan_of_snapshot->value() == value(1));
    CHECK((scan->status().ok() && scan_of_snapshot->status().ok()));
    scan->Next();
    scan_of_snapshot->Next();
    CHECK((scan->Valid() && scan->key() == "stays"));
    CHECK((scan_of_snapshot->Valid() && scan_of_snapshot->key() == "stays"));
    CHECK(Text(db->Get(NumberedKey(0), {.snapshot = snapshot.get()})) == kAbsent);
  });
}

TEST_CASE("an expiry change does not write the value again") {
  SimStore store;
  const std::string value(200'000, 'v');
  Must(store->Put("k", value));
  Must(store->Sync());
  const Stats before = store->GetStats();
  const int64_t later = store.NowMs() + 1'000'000;
  Must(store->SetExpiry("k", later));
  const Stats after = store->GetStats();
  CHECK(after.device_written_bytes - before.device_written_bytes <= 8'192);
  CHECK(after.user_bytes_written - before.user_bytes_written <= 16);
  for (int opened = 0; opened < 2; ++opened) {
    ValueInfo info;
    std::string found;
    REQUIRE(store->GetInto("k", &found, &info).ok());
    CHECK(found == value);
    CHECK(info.expires_at_ms == later);
    store.Reopen();
  }
  store.world.clock.JumpWall(2'000'000);
  CHECK(Text(store->Get("k")) == kAbsent);
}

TEST_CASE("an expiry can be moved, taken away, and set again") {
  SimStore store;
  const int64_t now = store.NowMs();
  const auto expiry_of = [&store](std::string_view key) {
    ValueInfo info;
    std::string value;
    REQUIRE(store->GetInto(key, &value, &info).ok());
    CHECK(value == "v");
    return info.expires_at_ms;
  };
  const Revision put = Must(store->Put("k", "v", Expiring(now + 1'000)));
  const Revision moved = Must(store->SetExpiry("k", now + 5'000));
  CHECK(moved > put);
  CHECK(expiry_of("k") == now + 5'000);
  store.world.clock.JumpWall(2'000);
  Must(store->SetExpiry("k", 0));
  store.world.clock.JumpWall(10'000);
  CHECK(expiry_of("k") == 0);
  store.Reopen();
  CHECK(expiry_of("k") == 0);
  {
    const auto iterator = store->NewIterator();
    iterator->SeekToFirst();
    REQUIRE(iterator->Valid());
    CHECK(iterator->expires_at_ms() == 0);
  }
  Must(store->SetExpiry("k", now + 100'000));
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(expiry_of("k") == now + 100'000);
  store.world.clock.JumpWall(100'000);
  CHECK(Text(store->Get("k")) == kAbsent);
}

TEST_CASE("what expired stays expired when the clock jumps back") {
  SimStore store;
  const int64_t now = store.NowMs();
  Must(store->Put("k", "v", Expiring(now + 1'000)));
  store.world.clock.JumpWall(2'000);
  CHECK(Text(store->Get("k")) == kAbsent);
  store.world.clock.JumpWall(-100'000);
  CHECK(Text(store->Get("k")) == kAbsent);
  CHECK(Contents(*store.db) == "");
  CHECK(Code(store->Put("k", "w", PutIf(Condition::Present()))) == kPrecondition);
}

TEST_CASE("what expired before a close stays expired when the clock jumps back before the open") {
  SimStore store;
  const int64_t now = store.NowMs();
  Must(store->Put("k", "v", Expiring(now + 1'000)));
  store.world.clock.JumpWall(2'000);
  CHECK(Text(store->Get("k")) == kAbsent);
  Must(store->Close());
  store.db.reset();
  store.world.clock.JumpWall(-100'000);
  store.Open();
  CHECK(Text(store->Get("k")) == kAbsent);
}

TEST_CASE("what expired before a recorded write stays expired after a crash and a clock that jumps back") {
  SimStore store;
  const int64_t now = store.NowMs();
  Must(store->Put("k", "v", Expiring(now + 1'000)));
  store.world.clock.JumpWall(2'000);
  Must(store->Put("other", "v"));
  store.world.clock.JumpWall(-100'000);
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(Text(store->Get("k")) == kAbsent);
  CHECK(Text(store->Get("other")) == "v");
}

TEST_CASE("a delete of a key that has expired is as lasting as any other") {
  SimStore store;
  Must(store->Put("k", "v", Expiring(store.NowMs() + 1'000)));
  store.world.clock.JumpWall(2'000);
  Must(store->Delete("k"));
  store.world.clock.JumpWall(-100'000);
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(Text(store->Get("k")) == kAbsent);
}

TEST_CASE("an expired key that was swept stays away after a crash and a clock that jumps back") {
  Scheduled(7, [](SimWorld& world) {
    auto db = Must(OpenIn(world));
    Must(db->Put("k", "v", Expiring(world.clock.WallTimeMs() + 1'000)));
    world.clock.JumpWall(2'000);
    PassTime(world, 10'000);
    CHECK(db->GetStats().keys == 0);
    Must(db->Delete("k"));
    world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    db.reset();
    world.clock.JumpWall(-100'000);
    db = Must(OpenIn(world));
    CHECK(Text(db->Get("k")) == kAbsent);
    Must(db->Close());
  });
}

TEST_CASE("the clock jumps forward past an expiry between close and open") {
  SimStore store;
  const int64_t now = store.NowMs();
  Must(store->Put("k", "v", Expiring(now + 1'000)));
  Must(store->Put("later", "v", Expiring(now + 1'000'000)));
  Must(store->Close());
  store.db.reset();
  store.world.clock.JumpWall(10'000);
  store.Open();
  CHECK(Contents(*store.db) == "later=v");
  CHECK(store->GetStats().keys == 1);
}

TEST_CASE("expired entries leave the index and their segments are used again") {
  Scheduled(5, [](SimWorld& world) {
    const auto db = Must(OpenIn(world, {}, 64 * 1024));
    const int64_t now = world.clock.WallTimeMs();
    for (size_t i = 0; i < 200; ++i) {
      PutOptions options = Buffered();
      options.expires_at_ms = now + 60'000;
      Must(db->Put(NumberedKey(i), std::string(1'000, 'v'), options));
    }
    Must(db->Flush());
    const uint64_t segments = db->GetStats().segments;
    CHECK(segments > 3);
    world.clock.JumpWall(100'000);
    CHECK(Contents(*db) == "");
    PassTime(world, 2'000);
    const Stats stats = db->GetStats();
    CHECK(stats.keys == 0);
    CHECK(stats.live_bytes < 4'096);
    CHECK(stats.segments < segments);
    Must(db->Close());
  });
}

TEST_CASE("a snapshot does not keep an expired entry alive") {
  SimStore store;
  const int64_t now = store.NowMs();
  Must(store->Put("k", "v", Expiring(now + 1'000)));
  const auto snapshot = store->GetSnapshot();
  const ReadOptions at_snapshot{.snapshot = snapshot.get()};
  Must(store->SetExpiry("k", 0));
  CHECK(Text(store->Get("k", at_snapshot)) == "v");
  store.world.clock.JumpWall(2'000);
  CHECK(Text(store->Get("k", at_snapshot)) == kAbsent);
  CHECK(Text(store->Get("k")) == "v");
}

}  // namespace firn::testing
