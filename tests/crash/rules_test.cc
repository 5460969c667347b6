// Rules 1, 2, 3, 5, 6 and 11 of the design: what keeps retired segments, tombstones, cuts, extents and addresses true
// across any crash. For each there is a mutant in tests/mutants that breaks the rule, and with it a test in here.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/sync.h"
#include "crash/at_each.h"
#include "crash/extents.h"
#include "support/must.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

constexpr uint64_t kUpkeepMs = 600;  // longer than two turns of the upkeep thread

void FillFirstSegment(SimWorld&, Client& client) {
  REQUIRE(client.Put("kept", "from the beginning").ok());
  client.FillSegment("old");
  REQUIRE(client.Flush().ok());
}

// The first segment's records die; while nothing says durably that it is retired, its file must stay.
void LetFirstSegmentDie(Client& client) {
  client.Put("kept", "again", Durability::kBuffered).IgnoreError();
  client.Put("filler", "short", Durability::kBuffered).IgnoreError();
  client.Sync().IgnoreError();
  Nap(kUpkeepMs);
  client.FillSegment("new", Durability::kBuffered);
}

TEST_CASE("rule 1: a segment that is being retired and reused loses nothing, wherever the crash comes", "[rule1]") {
  const uint64_t seed = 1;
  AtEachCrash(seed, {.prepare = FillFirstSegment, .run = [](SimWorld&, Client& client) {
                       LetFirstSegmentDie(client);
                       client.FillSegment("newer", Durability::kBuffered);
                       client.Put("last", "of all", Durability::kBuffered).IgnoreError();
                     }});
}

// A segment dies, is retired and used again.
void ReuseFirstSegment(SimWorld&, Client& client) {
  LetFirstSegmentDie(client);
  client.FillSegment("newer");
  client.Delete("kept").IgnoreError();
  Nap(kUpkeepMs);
  client.Put("last", "of all", Durability::kBuffered).IgnoreError();
  client.Sync().IgnoreError();
}

TEST_CASE("rule 1: a write that the disk lost while segments were retired and reused is damage or an older value",
          "[rule1][lost]") {
  const SilentFaults lost =
      AtEachLostWrite(2, {.prepare = FillFirstSegment,
                          .run = ReuseFirstSegment,
                          .look = [](SimWorld&, Client& client) { REQUIRE(client.db().Verify()->damages.empty()); },
                          .points_min = 5});
  INFO(lost.points << " points, " << lost.refused << " refused, " << lost.unreadable << " unreadable");
  CHECK(lost.refused + lost.unreadable > 0);
  CHECK(lost.unnoticed > 0);
}

TEST_CASE("rule 1: a write that landed elsewhere while segments were retired and reused is damage or an older value",
          "[rule1][misdirected]") {
  uint64_t noticed = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const SilentFaults misdirected =
        AtEachMisdirectedWrite(seed, {.prepare = FillFirstSegment, .run = ReuseFirstSegment, .points_min = 5});
    noticed += misdirected.refused + misdirected.unreadable;
  }
  CHECK(noticed > 0);
}

thread_local bool has_slow_clock = false;

// Reads of keys that are always there, while their segments are overwritten, retired and reused. An entry with an
// expiry is judged by the clock between the index and the disk: that is where a slow clock keeps a reader.
class SlowClock final : public base::Clock {
 public:
  explicit SlowClock(SimClock& clock) : clock_(clock) {}
  int64_t WallTimeMs() override {
    if (has_slow_clock && ++looks_ % 3 == 0) Nap(600);
    return clock_.WallTimeMs();
  }
  uint64_t MonotonicNanos() override { return clock_.MonotonicNanos(); }

 private:
  SimClock& clock_;
  std::atomic<uint64_t> looks_{0};
};

// Inline, the values' segments are reused; separated, their extents are freed.
void ReadWhatIsOverwritten(SimWorld& world, bool separated) {
  world.machine.set_latency_nanos_max(200'000'000);
  if (separated) world.machine.set_capacity_bytes(32 << 20);  // holes do not wait
  SlowClock clock(world.clock);
  Environment environment = SimEnvironment(world);
  environment.clock = &clock;
  const size_t value_bytes = separated ? kSeparatedBytes : kLargeValueBytes;
  auto opened = OpenOn(separated ? SeparatingOptions() : QuietOptions(), std::move(environment));
  REQUIRE(opened.ok());
  DB& db = **opened;

  constexpr int kKeys = 6, kRounds = 9;
  constexpr int64_t kNeverMs = 4'000'000'000'000;
  PutOptions put;
  put.durability = Durability::kBuffered;
  put.expires_at_ms = kNeverMs;
  // Equal ones would share an extent.
  const auto value_of = [&](int round, int k) {
    return Value(std::to_string(round) + "#" + std::to_string(k), value_bytes);
  };
  const auto write_round = [&](int round) {
    for (int k = 0; k < kKeys; ++k) {
      REQUIRE(db.Put("key" + std::to_string(k), value_of(round, k), put).ok());
    }
  };
  write_round(0);
  std::atomic<int> oldest_round{0}, newest_round{0};
  std::atomic<bool> over{false};
  std::vector<std::string> complaints;
  const auto read = [&](int k) {
    has_slow_clock = true;
    while (!over) {
      const int at_least = oldest_round;
      const auto value = k % 2 == 0 ? db.Get("key" + std::to_string(k))
                                    : db.MultiGet(std::vector<std::string_view>{"key" + std::to_string(k)})[0];
      const int at_most = newest_round;
      if (!value.ok()) {
        complaints.push_back(value.status().ToString());
      } else {
        const int round = std::stoi(*value);
        const bool intact = *value == value_of(round, k);
        if (!intact || round < at_least || round > at_most) complaints.push_back("round " + std::to_string(round));
      }
      Nap(1 + static_cast<uint64_t>(at_least) * 7 % 40);
    }
  };
  std::vector<base::Thread> readers;
  for (int k = 0; k < kKeys; k += 2) readers.emplace_back("reader", [&read, k] { read(k); });
  for (int round = 1; round < kRounds; ++round) {
    newest_round = round;
    write_round(round);
    oldest_round = round;
    REQUIRE(db.Sync().ok());
    Nap(300);
  }
  over = true;
  for (base::Thread& reader : readers) reader.Join();
  REQUIRE(complaints == std::vector<std::string>{});
  REQUIRE(db.Close().ok());
}

TEST_CASE(
    "rules 1 and 11, fault A10: a slow reader of an overwritten key in a segment that is retired and reused sees "
    "an intact value and never an older one",
    "[rule1][rule11][A10]") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    InSchedule(seed, [](SimWorld& world) { ReadWhatIsOverwritten(world, /*separated=*/false); });
  }
}

TEST_CASE("rule 5: a slow reader of a large value that is overwritten and freed sees it whole", "[rule5][readers]") {
  for (uint64_t seed = 14; seed < 24; ++seed) {
    InSchedule(seed, [](SimWorld& world) { ReadWhatIsOverwritten(world, /*separated=*/true); });
  }
}

TEST_CASE("rule 2: a deleted key stays deleted while an older segment still holds it, wherever the crash comes",
          "[rule2]") {
  const uint64_t seed = GENERATE(3, 4);
  AtEachCrash(seed, {.prepare =
                         [](SimWorld&, Client& client) {
                           REQUIRE(client.Put("victim", "must not come back").ok());
                           REQUIRE(client.Put("anchor", "keeps the first segment").ok());
                           REQUIRE(client.Flush().ok());
                         },
                     .run =
                         [](SimWorld&, Client& client) {
                           client.Delete("victim").IgnoreError();
                           client.Flush().IgnoreError();  // the tombstone is alone in its segment
                           Nap(kUpkeepMs);
                           client.Put("later", "x").IgnoreError();
                           client.Flush().IgnoreError();
                           Nap(kUpkeepMs);
                         }});
}

TEST_CASE("rule 2: an expired put hides what older segments hold of its key, swept or not, across restarts",
          "[rule2]") {
  for (const bool crash : {false, true}) {
    InSchedule(5, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("victim", "must not come back").ok());
      REQUIRE(client.Put("moved", "must not come back").ok());
      REQUIRE(client.Put("anchor", "keeps the first segment").ok());
      REQUIRE(client.Flush().ok());
      const int64_t soon_ms = world.clock.WallTimeMs() + 1'000;
      REQUIRE(client.Put("victim", "for a moment", Durability::kSynced, soon_ms).ok());
      REQUIRE(client.SetExpiry("moved", soon_ms).ok());
      REQUIRE(client.Flush().ok());
      world.clock.JumpWall(10'000);
      // Records the time: without that a clock set back would bring back what has expired since.
      REQUIRE(client.Put("later", "x").ok());
      for (int life = 0; life < 3; ++life) {
        Nap(kUpkeepMs);
        REQUIRE(absl::IsNotFound(client.db().Get("victim").status()));
        REQUIRE(absl::IsNotFound(client.db().Get("moved").status()));
        REQUIRE(client.db().Get("anchor").ok());
        if (crash) {
          world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
          client.Drop();
        } else {
          REQUIRE(client.Close().ok());
        }
        // Time does not run backwards either.
        world.clock.JumpWall(-20'000);
        REQUIRE(client.Open().ok());
      }
    });
  }
}

TEST_CASE("rule 2: a dropped namespace stays dropped while an older segment still holds its keys", "[rule2]") {
  InSchedule(6, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    auto space = client.db().CreateNamespace("gone");
    REQUIRE(space.ok());
    REQUIRE(space->Put("victim", "must not come back").ok());
    REQUIRE(client.Put("anchor", "keeps the first segment").ok());
    REQUIRE(client.Flush().ok());
    REQUIRE(client.db().DropNamespace("gone").ok());
    REQUIRE(client.Flush().ok());
    Nap(kUpkeepMs);
    for (int life = 0; life < 3; ++life) {
      world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.Drop();
      REQUIRE(client.Open().ok());
      REQUIRE(client.db().ListNamespaces().empty());
      Nap(kUpkeepMs);
    }
    const auto again = client.db().CreateNamespace("gone");
    REQUIRE(again.ok());
    REQUIRE(absl::IsNotFound(again->Get("victim").status()));
  });
}

TEST_CASE("rule 3: what a recovery cut off is never believed by a later one, wherever that one crashes", "[rule3]") {
  const uint64_t seed = GENERATE(7, 8, 9);
  AtEachCrash(
      seed,
      {.prepare =
           [](SimWorld&, Client& client) {
             // Several units, none of them synced after the first: a power cut leaves some and not others.
             REQUIRE(client.Put("first", "durable").ok());
             for (int i = 0; i < 5; ++i) {
               client.Put("tail" + std::to_string(i), Value("buffered", 5'000), Durability::kBuffered).IgnoreError();
               client.Put("tail" + std::to_string(i), Value("again", 5'000), Durability::kBuffered).IgnoreError();
             }
           },
       .run =
           [](SimWorld&, Client& client) {
             client.Sync().IgnoreError();
             client.Put("tail1", "after").IgnoreError();
             client.Delete("tail2").IgnoreError();
             client.Flush().IgnoreError();
           }});
}

// Two crashes: one that tears the tail, and one at each disk operation of the recovery from it.
void CrashInRecovery(const Crash& first, const Crash& second, uint64_t seed) {
  for (uint64_t point = 0;; ++point) {
    bool reached = false;
    INFO("first crash " << static_cast<int>(first.kind) << "/" << static_cast<int>(first.survival) << ", second "
                        << static_cast<int>(second.kind) << "/" << static_cast<int>(second.survival) << " in operation "
                        << point << ", seed " << seed);
    InSchedule(seed, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("first", "durable").ok());
      for (int i = 0; i < 4; ++i) {
        REQUIRE(client.Put("a" + std::to_string(i), Value("synced", 5'000)).ok());
        REQUIRE(client.Put("b" + std::to_string(i), Value("buffered", 5'000), Durability::kBuffered).ok());
      }
      Nap(100);                                   // so that nobody else uses the disk
      world.machine.CrashAfter(seed % 3, first);  // in the flush of the last group
      client.Sync().IgnoreError();
      if (world.machine.crashes() == 0) world.machine.Crash(first);
      client.Drop();
      world.machine.ClearFaults();

      if (first.kind == CrashKind::kPowerCut) client.ledger().NotePowerCut();

      // What the first recovery believes, the second must go on believing once a write was acknowledged on top.
      world.machine.CrashAfter(point, second);
      if (client.Open().ok()) {
        client.Put("on top", "buffered", Durability::kBuffered).IgnoreError();
        client.Put("on top", "synced").IgnoreError();
        client.Put("b3", "new").IgnoreError();
      }
      reached = world.machine.crashes() == 2;
      if (!reached) world.machine.Crash(second);
      client.Drop();
      world.machine.ClearFaults();
      client.CheckRecovered(first.kind == CrashKind::kPowerCut || second.kind == CrashKind::kPowerCut);
      client.CheckRecovered(false);
      REQUIRE(client.Close().ok());
    });
    if (!reached) break;
  }
}

TEST_CASE("rule 3: a crash at any point of a recovery leaves a store that recovers the same again",
          "[rule3][recovery]") {
  const uint64_t seed = GENERATE(10, 11, 12);
  for (const Survival survival : {Survival::kNothing, Survival::kPages, Survival::kSectors}) {
    const Crash cut{CrashKind::kPowerCut, survival}, kill{CrashKind::kKill, survival};
    CrashInRecovery(cut, cut, seed);
    CrashInRecovery(cut, kill, seed);
    CrashInRecovery(kill, cut, seed);
    CrashInRecovery(kill, kill, seed);
  }
}

TEST_CASE("rule 3: a buffered write acknowledged right after a recovery survives a kill", "[rule3]") {
  InSchedule(13, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("first", "durable").ok());
    for (int life = 0; life < 4; ++life) {
      world.machine.Crash({life % 2 == 0 ? CrashKind::kPowerCut : CrashKind::kKill, Survival::kNothing});
      client.CheckRecovered(life % 2 == 0);
      REQUIRE(client.Put("life", std::to_string(life), Durability::kBuffered).ok());
    }
  });
}

TEST_CASE("no revision is handed out twice, though the writes that had it are lost without a trace", "[revision]") {
  const Survival survival = GENERATE(Survival::kNothing, Survival::kPages, Survival::kSectors);
  const bool rotate = GENERATE(false, true);
  for (uint64_t seed = 20; seed < 30; ++seed) {
    InSchedule(seed, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("first", "durable").ok());
      if (rotate) client.FillSegment("full", Durability::kBuffered);
      for (int i = 0; i < 50; ++i) REQUIRE(client.Put("lost", std::to_string(i), Durability::kBuffered).ok());
      // The segment that was left gets its footer, the new one stays in the buffers.
      Nap(100);
      world.machine.Crash({CrashKind::kPowerCut, survival});
      client.CheckRecovered(true);
    });
  }
}

std::string ContentOf(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("rule 6: the files of a linked copy are not written to, though a power cut brings their old names back",
          "[rule6]") {
  testing::TempDir dir;
  const std::filesystem::path store = dir.File("store"), copy = dir.File("copy");
  PutOptions buffered;
  buffered.durability = Durability::kBuffered;
  const auto overwrite_all = [&](DB& db, int round) {
    for (int i = 0; i < 200; ++i) {
      Must(db.Put("key" + std::to_string(i), Value("round" + std::to_string(round), 20'000), buffered));
    }
  };
  const auto open = [&] { return Must(DB::Open(QuietOptions(), store.string())); };
  {
    auto db = open();
    overwrite_all(*db, 1);
    Must(db->Close());
  }
  std::filesystem::create_directories(copy);
  std::map<std::string, std::string> contents;
  for (const auto& file : std::filesystem::directory_iterator(store / "log")) {
    const std::string name = file.path().filename().string();
    std::filesystem::create_hard_link(file.path(), copy / name);
    contents[name] = ContentOf(copy / name);
  }
  {
    auto db = open();
    overwrite_all(*db, 2);
    Must(db->Compact());
    Must(db->Close());
  }
  // The names that went with the segments are back.
  size_t back = 0;
  for (const auto& [name, content] : contents) {
    if (std::filesystem::exists(store / "log" / name)) continue;
    std::filesystem::create_hard_link(copy / name, store / "log" / name);
    ++back;
  }
  REQUIRE(back >= 2);
  {
    auto db = open();
    overwrite_all(*db, 3);
    Must(db->Close());
  }
  for (const auto& [name, content] : contents) {
    INFO(name);
    CHECK((ContentOf(copy / name) == content));
  }
}

TEST_CASE("rule 6: a value file of a linked copy keeps every byte through deletes, restarts and the end of the store",
          "[rule6]") {
  testing::TempDir dir;
  const std::filesystem::path store = dir.File("store"), copy = dir.File("copy");
  Options options = QuietOptions();
  options.value_separation_threshold_bytes = 4'096;
  const auto open = [&] { return Must(DB::Open(options, store.string())); };
  const auto key_of = [](int i) { return "key" + std::to_string(i); };
  // Equal ones would share an extent.
  const auto put_all = [&](DB& db, int round) {
    for (int i = 0; i < 20; ++i) {
      Must(db.Put(key_of(i), Value(std::to_string(round) + "/" + std::to_string(i), 100'000)));
    }
  };
  auto db = open();
  put_all(*db, 1);
  std::filesystem::create_directories(copy);
  std::map<std::string, std::string> contents;
  for (const auto& file : std::filesystem::directory_iterator(store / "values")) {
    const std::string name = file.path().filename().string();
    std::filesystem::create_hard_link(file.path(), copy / name);
    contents[name] = ContentOf(copy / name);
  }
  REQUIRE(!contents.empty());
  // Dead in part, while the store is open, when it closes and when it opens again; then whole.
  for (int i = 0; i < 20; i += 2) Must(db->Delete(key_of(i)));
  Must(db->Compact());
  Must(db->Close());
  db = open();
  for (int i = 1; i < 20; i += 4) Must(db->Delete(key_of(i)));
  Must(db->Compact());
  for (int i = 3; i < 20; i += 4) {
    CHECK((db->Get(key_of(i)).value() == Value("1/" + std::to_string(i), 100'000)));
  }
  put_all(*db, 2);
  Must(db->Compact());
  Must(db->Close());
  for (const auto& [name, content] : contents) {
    INFO(name);
    CHECK((ContentOf(copy / name) == content));
  }
  db = open();
  for (int i = 0; i < 20; ++i) CHECK((db->Get(key_of(i)).value() == Value("2/" + std::to_string(i), 100'000)));
  Must(db->Close());
}

}  // namespace
}  // namespace firn::test
