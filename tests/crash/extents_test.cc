// The life of an extent in a whole store, with a crash or a fault at each of its disk operations: no record points to
// what is not there, nothing deleted comes back, nothing live is freed, and nothing is lost for good.
#include <catch2/catch.hpp>
#include <set>

#include "crash/extents.h"

namespace firn::test {
namespace {

constexpr size_t kStreamBytes = (size_t{1} << 20) + 50'000;  // goes to its extent piece by piece

void Start(Client& client) { OpenSeparating(client); }

// One extent for each, and a segment of pointers.
void PutSome(Client& client) {
  REQUIRE(client.Put("one", Extent("one")).ok());
  REQUIRE(client.Put("two", Extent("two")).ok());
  REQUIRE(client.Put("twin one", Extent("shared")).ok());
  REQUIRE(client.Put("twin two", Extent("shared")).ok());
}

struct Step {
  const char* name;
  Part prepare, run;
};

const Step kLife[] = {
    {"write", nullptr,
     [](SimWorld&, Client& client) {
       client.Put("fresh", Extent("fresh"), Durability::kBuffered).IgnoreError();
       client.Put("fresh too", Extent("fresh too")).IgnoreError();
       client.Apply({{"batch one", Extent("batch one")}, {"two", Extent("batch two")}, {"one", ""}}).IgnoreError();
     }},
    {"write in pieces", nullptr,
     [](SimWorld&, Client& client) {
       client.PutStream("stream", Value("stream", kStreamBytes), Durability::kBuffered).IgnoreError();
       client.PutStream("same stream", Value("stream", kStreamBytes)).IgnoreError();
       client.Delete("stream").IgnoreError();
       client.Delete("same stream").IgnoreError();
       Nap(kUpkeepTurnsMs);
     }},
    {"share", nullptr,
     [](SimWorld&, Client& client) {
       // Of an extent that is durable, and of one that is not yet: the second waits for the first one's sync.
       client.Put("third twin", Extent("shared"), Durability::kBuffered).IgnoreError();
       client.Put("first", Extent("not synced"), Durability::kBuffered).IgnoreError();
       client.Put("second", Extent("not synced")).IgnoreError();
       client.Delete("first", Durability::kBuffered).IgnoreError();
       client.Put("third", Extent("not synced"), Durability::kBuffered).IgnoreError();
     }},
    {"overwrite with a small one, and back", nullptr,
     [](SimWorld&, Client& client) {
       client.Put("one", "small", Durability::kBuffered).IgnoreError();
       client.Put("one", Extent("one"), Durability::kBuffered).IgnoreError();
       client.Put("two", "small").IgnoreError();
       Nap(kUpkeepTurnsMs);
       client.Put("two", Extent("two")).IgnoreError();
       client.Put("twin one", "small").IgnoreError();
       client.Put("twin one", Extent("shared"), Durability::kBuffered).IgnoreError();
     }},
    {"delete", nullptr,
     [](SimWorld&, Client& client) {
       client.Delete("one", Durability::kBuffered).IgnoreError();
       client.Delete("twin one").IgnoreError();
       client.Put("one", Extent("one"), Durability::kBuffered).IgnoreError();
       client.Delete("one").IgnoreError();
       client.Delete("twin two", Durability::kBuffered).IgnoreError();
       client.Sync().IgnoreError();
     }},
    {"punch", nullptr,
     [](SimWorld& world, Client& client) {
       uint64_t punches = 0;
       world.machine.set_trace([&punches](const std::string& line) { punches += line.find(" punch ") != line.npos; });
       client.Delete("one").IgnoreError();
       Nap(kUpkeepTurnsMs);
       world.machine.set_trace(nullptr);
       if (world.machine.crashes() == 0 && world.machine.faults_hit() == 0) REQUIRE(punches > 0);
       client.Delete("two", Durability::kBuffered).IgnoreError();
       client.Put("after", Extent("after"), Durability::kBuffered).IgnoreError();
       Nap(kUpkeepTurnsMs);
       client.Put("one", Extent("one")).IgnoreError();
       Nap(kUpkeepTurnsMs);
     }},
    {"move its record",
     [](SimWorld&, Client& client) {
       for (int i = 0; i < 12; ++i) REQUIRE(client.Put("filler", Value("filler", 3'000)).ok());
       REQUIRE(client.Flush().ok());
     },
     [](SimWorld&, Client& client) {
       client.db().Compact().IgnoreError();
       client.Delete("one", Durability::kBuffered).IgnoreError();
       client.Put("twin one", "small", Durability::kBuffered).IgnoreError();
       client.db().Compact().IgnoreError();
     }},
    {"file goes whole",
     [](SimWorld&, Client& client) {
       // With another alignment appending begins in another file.
       REQUIRE(client.Close().ok());
       Options options = SeparatingOptions();
       options.value_alignment_bytes = 2 * kValueAlignmentBytesMin;
       REQUIRE(client.Open(options).ok());
       REQUIRE(client.Put("in the second file", Extent("elsewhere")).ok());
       Nap(kUpkeepTurnsMs);
       REQUIRE(client.db().GetStats().value_files == 2);
     },
     [](SimWorld&, Client& client) {
       for (const char* key : {"one", "two", "twin one", "twin two"}) {
         client.Delete(key, Durability::kBuffered).IgnoreError();
       }
       client.Sync().IgnoreError();
       Nap(kUpkeepTurnsMs);
       client.Put("one", Extent("one")).IgnoreError();
       client.Put("again", Extent("shared"), Durability::kBuffered).IgnoreError();
     }},
};

Scenario ScenarioOf(const Step& step, bool collide) {
  return {.prepare =
              [&step, collide](SimWorld& world, Client& client) {
                client.set_value_hash(collide ? &CollidingHash : nullptr);
                Start(client);
                PutSome(client);
                if (step.prepare) step.prepare(world, client);
                Nap(kUpkeepTurnsMs);
              },
          .run = step.run,
          .look = RequireNothingLost,
          .points_min = 5};
}

TEST_CASE("wherever the crash comes in an extent's life, no pointer dangles and no space is lost", "[extents][rule4]") {
  for (const Step& step : kLife) {
    INFO(step.name);
    AtEachCrash(700, ScenarioOf(step, false));
  }
}

TEST_CASE("an operation that fails in an extent's life loses nothing acknowledged, and no space for good",
          "[extents][faults]") {
  for (const Step& step : kLife) {
    for (const unsigned operations : {kSyncOperation, kWriteOperation, kAllocateOperation}) {
      // Not every part of a life claims space.
      if (operations == kAllocateOperation && std::string_view(step.name) != "write in pieces") continue;
      INFO(step.name << ", operations " << operations);
      AtEachFault(operations, 701, ScenarioOf(step, false));
    }
  }
}

TEST_CASE(
    "a write, punch or cut that the disk lost in an extent's life is damage or an older value, and no space is lost",
    "[extents][lost]") {
  for (const Step& step : kLife) {
    INFO(step.name);
    Scenario scenario = ScenarioOf(step, false);
    scenario.points_min = 1;
    const SilentFaults lost = AtEachLostWrite(707, scenario);
    INFO(lost.points << " points, " << lost.refused << " opens refused, " << lost.unreadable << " values unreadable, "
                     << lost.unnoticed << " runs unnoticed");
    CHECK(lost.refused + lost.unreadable > 0);
    CHECK(lost.unnoticed > 0);
  }
}

TEST_CASE("a write that landed elsewhere in an extent's life is damage or an older value", "[extents][misdirected]") {
  for (const Step& step : kLife) {
    INFO(step.name);
    Scenario scenario = ScenarioOf(step, false);
    scenario.points_min = 1;
    const SilentFaults misdirected = AtEachMisdirectedWrite(708, scenario);
    CHECK(misdirected.refused + misdirected.unreadable > 0);
  }
}

TEST_CASE("contents whose hashes collide stay apart through every crash", "[extents][collisions]") {
  for (const Step& step : kLife) {
    if (std::string_view(step.name) == "write in pieces") continue;  // nothing of that length to collide with
    INFO(step.name);
    AtEachCrash(702, ScenarioOf(step, true));
  }
}

TEST_CASE("fault A4: a large value under a small one is no reference, whatever is scanned and wherever the crash comes",
          "[A4][extents]") {
  for (const bool scanned : {false, true}) {
    AtEachCrash(703, {.prepare =
                          [&](SimWorld& world, Client& client) {
                            Start(client);
                            PutSome(client);
                            REQUIRE(client.Put("one", "small").ok());
                            REQUIRE(client.Flush().ok());
                            REQUIRE(client.Put("two", "small").ok());
                            REQUIRE(client.Close().ok());
                            for (const std::string& name : world.machine.FileNames()) {
                              const uint64_t bytes = world.machine.FileSize(name);
                              if (!scanned || name.find("log/") != 0 || bytes == 0) continue;
                              world.machine.FlipBits(name, bytes - 1, std::byte{1});
                            }
                            client.events().Clear();
                            REQUIRE(client.Open(SeparatingOptions()).ok());
                            REQUIRE((client.events().Count(EventKind::kFooterFallback) > 0) == scanned);
                            REQUIRE(client.db().GetStats().value_extents == 1);
                          },
                      .run =
                          [](SimWorld&, Client& client) {
                            client.Put("one", Extent("one")).IgnoreError();
                            client.Put("again", Extent("two"), Durability::kBuffered).IgnoreError();
                            client.Sync().IgnoreError();
                            client.Put("one", "small").IgnoreError();
                            Nap(kUpkeepTurnsMs);
                            client.Put("two", Extent("one")).IgnoreError();
                          },
                      .look = RequireNothingLost,
                      .points_min = 10});
  }
}

TEST_CASE("fault A13: writing rotted content again heals every name of it, and a crash on the way leaves no lie",
          "[A13][extents]") {
  const std::string value = Extent("rotten");
  // Whether the key has its value; else it must say that it is damaged.
  const auto is_whole = [&](Client& client, const char* key) {
    const auto found = client.db().Get(key);
    if (found.ok()) REQUIRE(*found == value);
    if (!found.ok()) REQUIRE(absl::IsDataLoss(found.status()));
    return found.ok();
  };
  for (const Durability durability : {Durability::kSynced, Durability::kBuffered}) {
    std::optional<Client> client;
    bool acknowledged = false;
    const CrashTest test{.prepare =
                             [&](SimWorld& world) {
                               client.emplace(world);
                               REQUIRE(client->Open().ok());
                               Start(*client);
                               REQUIRE(client->Put("one", value).ok());
                               REQUIRE(client->Put("twin", value).ok());
                               for (const uint64_t at : {0, 5'000, 11'000}) {
                                 world.machine.FlipBits("values/0000000001.val", 4'096 + at, std::byte{4});
                               }
                               REQUIRE_FALSE(is_whole(*client, "one"));
                             },
                         .run =
                             [&](SimWorld& world) {
                               const bool ok = client->Put("third", value, durability).ok();
                               acknowledged = ok && client->Sync().ok() && world.machine.crashes() == 0;
                               client->Drop();
                             },
                         .check =
                             [&](SimWorld&) {
                               REQUIRE(client->Open(SeparatingOptions()).ok());
                               const bool third = client->db().Exists("third").value();
                               if (acknowledged) REQUIRE(third);
                               for (const char* key : {"one", "twin"}) {
                                 const bool whole = is_whole(*client, key);
                                 if (third) REQUIRE(whole);
                               }
                               REQUIRE(client->db().Put("last", value).ok());
                               client->Crash({CrashKind::kPowerCut, Survival::kNothing});
                               REQUIRE(client->Open().ok());
                               for (const char* key : {"one", "twin", "last"}) REQUIRE(is_whole(*client, key));
                               REQUIRE(client->db().GetStats().value_extents == 1);
                               REQUIRE(CheckReferences(client->db()).empty());
                               REQUIRE(client->Close().ok());
                               client.reset();
                             }};
    REQUIRE(ForEachCrash(test, {CrashKind::kPowerCut, CrashKind::kKill}, 704).points >= 4);
  }
}

TEST_CASE("a write to an extent that the disk lost in silence is damage, never another value, and can be healed",
          "[extents][A13]") {
  uint64_t lost = 0;
  bool reached = true;
  for (uint64_t point = 0; reached; ++point) {
    InSchedule(705, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      Start(client);
      PutSome(client);
      bool of_values = false;
      world.machine.set_trace([&](const std::string& line) {
        if (line.find("in silence") != std::string::npos) of_values = line.find("values/") != std::string::npos;
      });
      world.machine.Inject({.kind = Fault::Kind::kLoseWrite, .operations = kWriteOperation, .after = point});
      REQUIRE(client.Put("three", Extent("three")).ok());
      REQUIRE(client.Put("four", Extent("four")).ok());
      REQUIRE(client.Put("same as three", Extent("three")).ok());
      REQUIRE(client.Put("one", Extent("four")).ok());
      reached = world.machine.faults_hit() > 0;
      world.machine.ClearFaults();
      world.machine.set_trace(nullptr);
      if (!of_values) return client.Drop();  // a unit of the log: see the tests of damage
      ++lost;
      // Both were put twice: the second time looked, and wrote again what was not there.
      client.CheckNow();
      client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      client.CheckRecovered(true);
      RequireNothingLost(world, client);
      REQUIRE(client.Close().ok());
    });
  }
  REQUIRE(lost >= 2);
}

// Of contents that end alike.
base::Hash128Value HashOfEnd(base::Bytes value, uint64_t secret) { return base::Hash128(value.last(8), secret); }

std::string ExtentThatEndsAlike(std::string_view tag) {
  return Extent(tag).replace(kSeparatedBytes - 8, 8, "all same");
}

TEST_CASE("rotten content is healed with itself only, not with other content of the same hash",
          "[extents][collisions][A13]") {
  InSchedule(706, [](SimWorld& world) {
    const std::string rotten = ExtentThatEndsAlike("rotten"), other = ExtentThatEndsAlike("other"),
                      third = ExtentThatEndsAlike("third");
    const auto rot = [&] {
      world.machine.FlipBits("values/0000000001.val", 4'096 + kSeparatedBytes - 1, std::byte{4});
    };
    Client client(world);
    client.set_value_hash(&HashOfEnd);
    REQUIRE(client.Open().ok());
    Start(client);
    REQUIRE(client.Put("rotten", rotten).ok());
    rot();
    REQUIRE(client.Put("other", other).ok());
    REQUIRE(client.db().Get("other").value() == other);
    REQUIRE(absl::IsDataLoss(client.db().Get("rotten").status()));
    REQUIRE(client.db().GetStats().value_extents == 2);
    // And where a record is all that tells of the content.
    OpenSeparating(client);
    REQUIRE(client.Put("third", third).ok());
    REQUIRE(absl::IsDataLoss(client.db().Get("rotten").status()));
    REQUIRE(client.db().GetStats().value_extents == 3);
    REQUIRE(client.Put("again", rotten).ok());
    REQUIRE(client.db().GetStats().value_extents == 3);
    client.CheckNow();
    RequireNothingLost(world, client);
    REQUIRE(client.Close().ok());
  });
}

}  // namespace
}  // namespace firn::test
