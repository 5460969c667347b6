// Reclaim as a user sees it: space under the ceiling, nothing lost, nothing back from the dead.
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "log/tail.h"
#include "reclaim/pacer.h"
#include "reclaim/victims.h"
#include "unit/db/testing.h"

namespace firn::testing {
namespace {

constexpr uint64_t kSegmentBytes = 64 * 1024;
// The ceiling counts above it. TAIL is as large here as in a store with segments of the usual size.
constexpr uint64_t kFloorBytes = reclaim::kCeilingFloorSegments * kSegmentBytes + log::kTailFileBytes;

// Writes over `keys` keys at random, `rounds` times each on average; returns what each key must hold. `after_each` is
// told what keys and values take by then.
std::map<std::string, std::string> Churn(DB& db, size_t keys, size_t rounds, uint64_t seed, size_t value_bytes = 1'000,
                                         const std::function<void(uint64_t live_bytes)>& after_each = nullptr) {
  test::Rng rng(seed);
  std::map<std::string, std::string> expected;
  uint64_t live_bytes = 0;
  for (size_t i = 0; i < keys * (rounds + 1); ++i) {
    const std::string key = NumberedKey(i < keys ? i : rng.Between(0, keys - 1));
    std::string value = std::to_string(i) + std::string(value_bytes, static_cast<char>('a' + i % 26));
    Must(db.Put(key, value, Buffered()));
    std::string& old = expected[key];
    live_bytes += (old.empty() ? key.size() : 0) + value.size() - old.size();
    old = std::move(value);
    if (after_each) after_each(live_bytes);
  }
  return expected;
}

// Background work has its own pace: gives it virtual time until it has come there.
bool Within(uint64_t seconds, SimWorld& world, const std::function<bool()>& there) {
  for (uint64_t turn = 0; turn < seconds; ++turn) {
    if (there()) return true;
    PassTime(world, 1'000);
  }
  return there();
}
bool Eventually(SimWorld& world, const std::function<bool()>& there) { return Within(1'000, world, there); }

void CheckHolds(DB& db, const std::map<std::string, std::string>& expected) {
  size_t seen = 0;
  const auto iterator = db.NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next(), ++seen) {
    const auto want = expected.find(std::string(iterator->key()));
    REQUIRE(want != expected.end());
    REQUIRE(iterator->value() == want->second);
  }
  REQUIRE(iterator->status().ok());
  REQUIRE(seen == expected.size());
  for (const auto& [key, value] : expected) REQUIRE(Text(db.Get(key)) == value);
}

TEST_CASE("random overwrites stay under the ceiling all the while, and every value is there, now and after a reopen") {
  Scheduled(11, [](SimWorld& world) {
    auto db = Must(OpenIn(world, {}, kSegmentBytes));
    const double ceiling = Options().max_space_amplification;
    // The copies of one round, while its victims are still there; the segment that is filled, and the one after it.
    constexpr uint64_t kRoundBytes = 4 * kSegmentBytes;
    uint64_t writes = 0, highest_permille = 0;
    const auto expected = Churn(*db, 3'000, 5, 1, 1'000, [&](uint64_t live_bytes) {
      if (++writes % 16 != 0) return;
      const auto allowed = static_cast<uint64_t>(ceiling * static_cast<double>(live_bytes)) + kFloorBytes + kRoundBytes;
      highest_permille = std::max(highest_permille, 1'000 * world.machine.claimed_bytes() / allowed);
      if (world.machine.claimed_bytes() <= allowed) return;
      FAIL("after " << writes << " writes " << world.machine.claimed_bytes() << " bytes are claimed, for " << live_bytes
                    << " that live: " << db->GetStats().ToString());
    });
    CHECK(highest_permille > 900);  // it was near enough to tell
    Stats stats;
    // At one moment: whoever looks later may meet the copies of a round.
    const bool settled = Eventually(world, [&] {
      stats = db->GetStats();
      return stats.disk_bytes <= stats.space_ceiling_bytes &&
             world.machine.claimed_bytes() <= stats.disk_bytes + 65'536;
    });
    INFO(stats.ToString());
    CHECK(settled);
    CHECK(stats.relocated_records > 0);
    CheckHolds(*db, expected);
    Must(db->Close());
    db = Must(OpenIn(world, {}, kSegmentBytes));
    CheckHolds(*db, expected);
    CHECK(Must(db->Verify()).damages.empty());
    Must(db->Close());
  });
}

TEST_CASE("compacting leaves next to no garbage, and loses nothing") {
  SimStore store({}, kSegmentBytes);
  auto expected = Churn(*store.db, 300, 3, 2);
  for (size_t i = 0; i < 300; i += 2) {
    Must(store->Delete(NumberedKey(i), {.durability = Durability::kBuffered}));
    expected.erase(NumberedKey(i));
  }
  Must(store->Compact());
  const Stats stats = store->GetStats();
  INFO(stats.ToString());
  // Beside its records a segment takes three blocks, which in segments this small is much.
  std::string segments;
  uint64_t garbage_bytes = 0, sealed = 0;
  for (const SegmentReport& each : store->GcReport()) {
    segments += std::to_string(each.segment) + ": " + std::to_string(each.live_bytes) + " live of " +
                std::to_string(each.file_bytes) + ", generation " + std::to_string(each.generation) + ", " +
                std::to_string(each.tombstones) + " tombstones" + (each.sealed ? "\n" : ", open\n");
    if (!each.sealed) continue;
    ++sealed;
    garbage_bytes += each.file_bytes - std::min(each.file_bytes, each.live_bytes + reclaim::kSegmentFixedBytes);
  }
  INFO(segments);
  // Of each temperature, fresh and moved, what frees less is not worth a round.
  CHECK(garbage_bytes < 2 * (reclaim::kGainBytesMin + reclaim::kSegmentFixedBytes));
  CHECK(sealed <= 10);
  CheckHolds(*store.db, expected);
  store.Reopen();
  CheckHolds(*store.db, expected);
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CheckHolds(*store.db, expected);
}

TEST_CASE("an iterator reads on while segments that its copy of a leaf names leave the store") {
  constexpr uint64_t kSeeds = 60;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Scheduled(seed, [](SimWorld& world) {
      const auto db = Must(OpenIn(world, {}, kSegmentBytes));
      const auto expected = Churn(*db, 100, 2, 2);
      bool over = false;
      base::Thread compacting("compacting", [&] {
        Must(db->Compact());
        over = true;
      });
      while (!over) {
        const auto iterator = db->NewIterator();
        size_t shown = 0;
        for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next(), ++shown) {
          const auto found = expected.find(std::string(iterator->key()));
          REQUIRE(found != expected.end());
          const std::string value(iterator->value());
          INFO(iterator->key() << ": " << iterator->status());
          REQUIRE(value == found->second);
        }
        REQUIRE(shown == expected.size());
      }
      compacting.Join();
    });
  }
}

TEST_CASE("compacting twice moves nothing the second time") {
  SimStore store({}, kSegmentBytes);
  static_cast<void>(Churn(*store.db, 300, 3, 3));
  Must(store->Compact());
  const uint64_t moved = store->GetStats().relocated_records;
  CHECK(moved > 0);
  Must(store->Compact());
  CHECK(store->GetStats().relocated_records == moved);
}

TEST_CASE("copies that are mostly tombstones rest, and no longer when what lived among them is dead") {
  Options options;
  options.value_separation_threshold_bytes = 0;
  SimStore store(options, 4 * kSegmentBytes);
  const auto long_key = [](int i) { return std::string(1'000, 'x') + std::to_string(i); };
  // A segment of its own that stays: two hundredths of it will be dead, and need tombstones.
  Batch batch;
  for (int i = 0; i < 40; ++i) batch.Put(long_key(i), "v");
  batch.Put("large", std::string(2'000'000, 'l'));
  Must(store->Apply(batch));
  Must(store->Flush());
  Must(store->Put("lives", std::string(30'000, 'l'), Buffered()));
  for (int i = 0; i < 40; ++i) Must(store->Delete(long_key(i), {.durability = Durability::kBuffered}));
  Must(store->Flush());
  Must(store->Compact());
  const auto relocated = [&] { return store->GetStats().relocated_records; };
  const uint64_t at_first = relocated();
  REQUIRE(at_first == 41);
  Must(store->Compact());
  CHECK(relocated() == at_first);
  // In a segment that is not worth moving, or what came of that would end the rest.
  Must(store->Put("lives", std::string(45'000, 'l'), Buffered()));
  Must(store->Compact());
  CHECK(relocated() > at_first);
}

TEST_CASE("what a round copies lies in the order of keys, whichever victims it comes from") {
  TempDir dir;
  const std::string path = dir.File("store");
  auto db = Must(DB::Open({}, path));
  constexpr size_t kKeys = 400, kKeysOfASegment = 50;
  for (size_t i = 0; i < kKeys; ++i) {
    Must(db->Put(NumberedKey(i * 171 % kKeys), std::string(1'000, 'v'), Buffered()));
    if (i % kKeysOfASegment == kKeysOfASegment - 1) Must(db->Flush());
  }
  std::vector<std::string> kept;
  for (size_t i = 0; i < kKeys; ++i) {
    if (i % 4 == 0) {
      kept.push_back(NumberedKey(i));
    } else {
      Must(db->Delete(NumberedKey(i), {.durability = Durability::kBuffered}));
    }
  }
  Must(db->Compact());
  Must(db->Close());
  std::vector<std::string> copied;  // as they lie
  for (const auto& file : std::filesystem::directory_iterator(path + "/log")) {
    Must(DumpFile(path, file.path().string(), [&](std::string_view line) {
      constexpr std::string_view kKey = " key \"";
      const size_t key_at = line.find(kKey);
      if (line.find("(relocated)") == std::string_view::npos || line.find(" put ") == std::string_view::npos) return;
      REQUIRE(key_at != std::string_view::npos);
      const std::string_view rest = line.substr(key_at + kKey.size());
      copied.emplace_back(rest.substr(0, rest.find('"')));
    }));
  }
  CHECK(copied == kept);
}

TEST_CASE("compacting can be cancelled, and says what is left") {
  SimStore store({}, kSegmentBytes);
  const auto expected = Churn(*store.db, 300, 3, 4);
  const absl::Status status = store->Compact([](uint64_t, uint64_t) { return false; });
  CHECK(status.code() == absl::StatusCode::kCancelled);
  CHECK(std::string(status.message()).find("bytes of garbage left") != std::string::npos);
  CheckHolds(*store.db, expected);
}

TEST_CASE("snapshots and iterators see their revision through any amount of reclaim") {
  SimStore store({}, kSegmentBytes);
  const auto old = Churn(*store.db, 200, 1, 5);
  const auto snapshot = store->GetSnapshot();
  auto iterator = store->NewIterator();
  iterator->SeekToFirst();  // its page names places that are about to change
  const auto fresh = Churn(*store.db, 200, 4, 6, 700);
  Must(store->Compact());
  Must(store->Compact());
  CHECK(store->GetStats().pinned_bytes > 0);
  size_t seen = 0;
  for (; iterator->Valid(); iterator->Next(), ++seen) {
    REQUIRE(iterator->value() == old.at(std::string(iterator->key())));
    REQUIRE(iterator->status().ok());
  }
  CHECK(seen == old.size());
  const ReadOptions at_snapshot{.snapshot = snapshot.get()};
  for (const auto& [key, value] : old) REQUIRE(Text(store->Get(key, at_snapshot)) == value);
  CheckHolds(*store.db, fresh);
  iterator.reset();
}

TEST_CASE("fault A2 again: an expiry that was changed moves with its value, in whichever segments the two lie") {
  SimStore store({}, kSegmentBytes);
  const int64_t now = store.NowMs();
  for (size_t i = 0; i < 100; ++i) Must(store->Put(NumberedKey(i), std::string(1'000, 'v'), Buffered()));
  Must(store->Flush());
  for (size_t i = 0; i < 100; i += 2) Must(store->SetExpiry(NumberedKey(i), now + 1'000'000));
  for (size_t i = 1; i < 100; i += 2) Must(store->Put(NumberedKey(i), "w", Buffered()));
  Must(store->Compact());
  CHECK(store->GetStats().relocated_records > 0);
  for (const bool reopened : {false, true}) {
    if (reopened) store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
    for (size_t i = 0; i < 100; ++i) {
      std::string value;
      ValueInfo info;
      REQUIRE(store->GetInto(NumberedKey(i), &value, &info).ok());
      REQUIRE(value == (i % 2 == 0 ? std::string(1'000, 'v') : "w"));
      REQUIRE(info.expires_at_ms == (i % 2 == 0 ? now + 1'000'000 : 0));
    }
  }
  store.world.clock.JumpWall(2'000'000);
  CHECK(Text(store->Get(NumberedKey(0))) == kAbsent);
}

TEST_CASE("fault A14: expired keys that nobody touches give their space back") {
  Scheduled(12, [](SimWorld& world) {
    const auto db = Must(OpenIn(world, {}, kSegmentBytes));
    const int64_t now = world.clock.WallTimeMs();
    for (size_t i = 0; i < 3'000; ++i) {
      PutOptions options = Buffered();
      if (i % 10 != 0) options.expires_at_ms = now + 60'000;
      Must(db->Put(NumberedKey(i), std::string(1'000, 'v'), options));
    }
    Must(db->Flush());
    const uint64_t before = db->GetStats().disk_bytes;
    world.clock.JumpWall(100'000);
    CHECK(Eventually(world, [&] { return db->GetStats().keys == 300; }));
    CHECK(Eventually(world, [&] { return db->GetStats().disk_bytes < before / 2; }));
    INFO(db->GetStats().ToString());
    CHECK(Eventually(world, [&] { return db->GetStats().disk_bytes <= db->GetStats().space_ceiling_bytes; }));
    Must(db->Close());
  });
}

TEST_CASE("within a minute of deleting everything a store takes a twentieth of its peak, without a call") {
  struct Shape {
    size_t keys, value_bytes;
    uint64_t threshold_bytes;
  };
  // So much that 5 % of it are above the floor, below which a store is left alone.
  for (const Shape shape : {Shape{20'000, 4'000, 0}, Shape{2'500, 32'000, 16'384}}) {
    Scheduled(13, [&](SimWorld& world) {
      INFO("values of " << shape.value_bytes << " bytes");
      Options options;
      options.value_separation_threshold_bytes = shape.threshold_bytes;
      const auto db = Must(OpenIn(world, options, kSegmentBytes));
      static_cast<void>(Churn(*db, shape.keys, 0, 7, shape.value_bytes));
      const uint64_t peak = world.machine.claimed_bytes();
      REQUIRE(peak / 20 > kFloorBytes);
      CHECK((db->GetStats().value_extents == 0) == (shape.threshold_bytes == 0));
      for (size_t i = 0; i < shape.keys; ++i) {
        Must(db->Delete(NumberedKey(i), {.durability = Durability::kBuffered}));
      }
      CHECK(Within(60, world, [&] { return world.machine.claimed_bytes() <= peak / 20; }));
      INFO(db->GetStats().ToString() << " peak " << peak << ", now " << world.machine.claimed_bytes());
      CHECK(world.machine.claimed_bytes() <= peak / 20);
      Must(db->Close());
    });
  }
}

TEST_CASE("a store that is emptied takes no more than one that was just made, however small it was") {
  for (const uint64_t threshold_bytes : {uint64_t{0}, uint64_t{4'096}}) {
    Scheduled(14, [&](SimWorld& world) {
      INFO("values are separated from " << threshold_bytes << " bytes on");
      Options options;
      options.value_separation_threshold_bytes = threshold_bytes;
      auto db = Must(OpenIn(world, options, kSegmentBytes));
      const uint64_t made_bytes = world.machine.claimed_bytes();
      static_cast<void>(Churn(*db, 300, 1, 7, 5'000));
      REQUIRE(world.machine.claimed_bytes() > 2 * made_bytes);
      for (size_t i = 0; i < 300; ++i) Must(db->Delete(NumberedKey(i), {.durability = Durability::kBuffered}));
      // The segment that is written to, and the next one.
      const uint64_t limit_bytes = made_bytes + 3 * kSegmentBytes;
      CHECK(Within(60, world, [&] { return world.machine.claimed_bytes() <= limit_bytes; }));
      INFO(db->GetStats().ToString() << " now " << world.machine.claimed_bytes() << ", at most " << limit_bytes);
      CHECK(world.machine.claimed_bytes() <= limit_bytes);
      CHECK(db->GetStats().reserve_bytes == 0);
      CHECK(db->GetStats().disk_bytes == world.machine.claimed_bytes());
      // It goes on as a young store does, and keeps something back again once it has grown.
      const auto expected = Churn(*db, 300, 1, 8, 5'000);
      CHECK(db->GetStats().reserve_bytes > 0);
      for (const auto& [key, value] : expected) REQUIRE(Text(db->Get(key)) == value);
      Must(db->Close());
    });
  }
}

TEST_CASE("spare segments count as space for whoever opens a store for reading only") {
  SimStore store({}, kSegmentBytes);
  static_cast<void>(Churn(*store.db, 400, 2, 9));
  Must(store->Compact());
  Must(store->Close());
  store.db.reset();
  Options reading = store.options;
  reading.read_only = true;
  const auto db = Must(OpenIn(store.world, reading, kSegmentBytes));
  const Stats stats = db->GetStats();
  INFO(stats.ToString());
  CHECK(stats.spare_segments > 0);
  CHECK(stats.disk_bytes == store.world.machine.claimed_bytes());
}

TEST_CASE("the age of a segment counts writes, and not the revisions that crashes skip") {
  SimStore store({}, kSegmentBytes);
  for (size_t life = 0; life < 3; ++life) {
    for (size_t i = 0; i < 300; ++i) Must(store->Put(NumberedKey(life * 300 + i), std::string(1'000, 'v'), Buffered()));
    Must(store->Flush());
    store.CrashAndReopen({CrashKind::kKill, Survival::kEverything});
  }
  Must(store->Put("k", "v"));
  CHECK(store->GetStats().last_revision > 3u << 24);
  uint64_t oldest = 0;
  for (const SegmentReport& each : store->GcReport()) oldest = std::max(oldest, each.age_revisions);
  CHECK(oldest >= 300);
  CHECK(oldest < 2'000);
}

TEST_CASE("what snapshots pin beyond the ceiling is told when it begins and when it ends") {
  Events events;
  Scheduled(14, [&](SimWorld& world) {
    const auto db = Must(OpenIn(world, {.listener = &events}, kSegmentBytes));
    static_cast<void>(Churn(*db, 3'000, 0, 1));
    auto snapshot = db->GetSnapshot();
    static_cast<void>(Churn(*db, 500, 0, 2));
    PassTime(world, 2'000);
    CHECK_FALSE(db->GetStats().pinned_over_ceiling);
    CHECK(events.Count(EventKind::kPinnedOverCeiling) == 0);
    static_cast<void>(Churn(*db, 3'000, 0, 3));
    PassTime(world, 2'000);
    const Stats stats = db->GetStats();
    INFO(stats.ToString());
    CHECK(stats.pinned_over_ceiling);
    CHECK(stats.pinned_bytes > 3'000'000);
    CHECK(stats.ToString().find("MORE THAN THE CEILING ALLOWS") != std::string::npos);
    CHECK(events.Count(EventKind::kPinnedOverCeiling) == 1);
    CHECK(events.Count(EventKind::kPinnedBelowCeiling) == 0);
    CHECK(events.MessageOf(EventKind::kPinnedOverCeiling).find("snapshots and iterators pin") != std::string::npos);
    snapshot.reset();
    // A turn of upkeep may just be resting, for ten seconds at most.
    CHECK(Within(12, world, [&] { return events.Count(EventKind::kPinnedBelowCeiling) == 1; }));
    CHECK_FALSE(db->GetStats().pinned_over_ceiling);
    CHECK(events.Count(EventKind::kPinnedOverCeiling) == 1);
    Must(db->Close());
  });
}

TEST_CASE("dropped namespaces give their space back, and their ids and names stay right") {
  SimStore store({}, kSegmentBytes);
  for (int round = 0; round < 5; ++round) {
    Namespace space = Must(store->CreateNamespace("scratch"));
    for (size_t i = 0; i < 200; ++i) Must(space.Put(NumberedKey(i), std::string(1'000, 'v'), Buffered()));
    Must(store->DropNamespace("scratch"));
    Must(store->Compact());
  }
  Namespace kept = Must(store->CreateNamespace("kept"));
  Must(kept.Put("k", "v"));
  Must(store->Compact());
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(store->ListNamespaces() == std::vector<std::string>{"kept"});
  CHECK(Text(Must(store->OpenNamespace("kept")).Get("k")) == "v");
  CHECK(store->GetStats().live_bytes < 10'000);
}

TEST_CASE("a record that does not verify keeps its segment, and reclaim goes on with the others") {
  Events events;
  // All the work is left to Compact(): the segment must not go before it is damaged.
  SimStore store({.max_space_amplification = 10, .listener = &events}, kSegmentBytes);
  static_cast<void>(Churn(*store.db, 300, 1, 8));
  Must(store->Flush());
  const auto segments = store->GcReport();
  const auto victim = std::find_if(segments.begin(), segments.end(), [](const auto& s) {
    return s.sealed && s.live_fraction > 0.2 && s.live_fraction < 0.8;
  });
  REQUIRE(victim != segments.end());
  char name[32];
  std::snprintf(name, sizeof(name), "log/%010u.seg", victim->segment);
  for (uint64_t at = 4'096 + 64; at < victim->file_bytes * 3 / 4; at += 512) {
    store.world.machine.FlipBits(name, at, std::byte{1});
  }
  // Whichever thread comes there first says it, once.
  for (int turn = 0; turn < 3; ++turn) store->Compact().IgnoreError();
  Must(store->Compact());
  CHECK(events.Count(EventKind::kDamageFound) == 1);
  CHECK(store->GetStats().relocated_records > 0);
}

TEST_CASE("what Verify has still to come to is retired meanwhile, and gives its blocks back") {
  RealStore store({.max_space_amplification = 10});
  for (size_t i = 0; i < 6'000; ++i) Must(store->Put(NumberedKey(i), std::string(1'000, 'v'), Buffered()));
  Must(store->Flush());
  REQUIRE(store->GcReport().size() > 3);
  // Files that are gone, and whose blocks are not.
  const auto held = [&] {
    size_t count = 0;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(each.path(), gone).string();
      count += target.starts_with(store.dir.path()) && target.ends_with("(deleted)") ? 1 : 0;
    }
    return count;
  };
  bool first = true;
  const VerifyReport report = Must(store->Verify([&](uint64_t, uint64_t) {
    if (!std::exchange(first, false)) return true;
    for (size_t i = 0; i < 6'000; ++i) Must(store->Delete(NumberedKey(i), Buffered()));
    Must(store->Compact());
    // Upkeep may have retired one of them itself, and be about to close it.
    for (int turn = 0; turn < 100'000 && held() != 0; ++turn) std::this_thread::yield();
    CHECK(held() == 0);
    return true;
  }));
  CHECK(report.damages.empty());
}

TEST_CASE("max_space_amplification is 1.1 to 10") {
  for (const double wrong : {1.09, 10.1, 0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    SimWorld world(1);
    Options options;
    options.max_space_amplification = wrong;
    CHECK(Code(OpenIn(world, options).status()) == kInvalid);
  }
  for (const double right : {1.1, 10.0}) {
    SimWorld world(1);
    Options options;
    options.max_space_amplification = right;
    Must(Must(OpenIn(world, options))->Close());
  }
}

}  // namespace
}  // namespace firn::testing
