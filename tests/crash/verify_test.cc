// Verify and Scrub: any wrong bit of a live byte is found, what is not damage is never called so, and a store at work
// is not held up.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdio>
#include <map>
#include <set>
#include <utility>

#include "base/sync.h"
#include "crash/salvaging.h"

namespace firn::test {
namespace {

Options ReadOnly(bool salvage = false) {
  Options options = SeparatingOptions();
  options.read_only = true;
  options.salvage = salvage;
  return options;
}

bool Names(const std::vector<Damage>& damages, const std::string& name, uint64_t at) {
  return std::any_of(damages.begin(), damages.end(), [&](const Damage& damage) {
    return damage.file == name && damage.offset <= at && at < damage.offset + damage.bytes;
  });
}

// Flips one bit in turn, or all 8, of every byte (or each `step`th) of every file, one at a time, under a store that is
// open for reading.
void FlipAll(int bits, uint64_t step) {
  const StoreImage image = MakeRichStore();
  const StoreMap map(image);
  REQUIRE(map.has_relocated());
  SimWorld world(1);
  image.PutOn(world.machine);
  Client client(world);
  REQUIRE(client.Open(ReadOnly()).ok());
  REQUIRE(client.db().Verify()->damages.empty());
  uint64_t live_bytes = 0, dead_bytes = 0, dead_in_live_files = 0, flips = 0;
  for (const auto& [name, bytes] : image.files) {
    for (uint64_t at = 0; at < bytes.size(); ++at) {
      const bool live = map.IsLive(name, at);
      ++(live ? live_bytes : dead_bytes);
      if (!live && map.Touches(name) && name != "TAIL") ++dead_in_live_files;
      // Of what is dead a sample: nothing depends on it.
      if (at % (live ? step : 509) != 0) continue;
      for (int bit = 0; bit < bits; ++bit, ++flips) {
        const auto mask = static_cast<std::byte>(1 << (bits == 8 ? bit : static_cast<int>(at % 8)));
        world.machine.FlipBits(name, at, mask);
        const auto report = client.db().Verify();
        world.machine.FlipBits(name, at, mask);
        const bool right = report.ok() && (live ? Names(report->damages, name, at) : report->damages.empty());
        if (right) continue;
        FAIL((live ? "live" : "dead") << " byte " << at << " of " << name << ", mask " << static_cast<int>(mask) << ": "
                                      << report.status().ToString() << " "
                                      << (report.ok() && !report->damages.empty() ? report->damages[0].ToString()
                                                                                  : "no damage"));
      }
    }
  }
  std::printf("%llu flips: %llu live bytes, %llu dead ones, of these %llu in files that have live ones\n",
              static_cast<unsigned long long>(flips), static_cast<unsigned long long>(live_bytes),
              static_cast<unsigned long long>(dead_bytes), static_cast<unsigned long long>(dead_in_live_files));
  // Nearly all that the store needs is checked: in its files only the overwritten extent and the slack of others are
  // dead. The rest of the space is TAIL, RESERVE and spares.
  REQUIRE(dead_in_live_files * 10 < live_bytes);
  REQUIRE(client.db().Verify()->damages.empty());
}

TEST_CASE("Verify finds a wrong bit in every live byte of a closed store, and names file and offset", "[verify]") {
  FlipAll(1, test::kPointsStep == 1 ? 1 : 37);
}

// Not run by itself, for its time: eight times that of the one above, which flips each of these bytes once.
TEST_CASE("Verify finds every single wrong bit of every live byte of a closed store", "[.][every-bit]") {
  FlipAll(8, 1);
}

TEST_CASE("a wrong bit that is there before the open is named by the open or by Verify", "[verify]") {
  const StoreImage image = MakeRichStore();
  const StoreMap map(image);
  for (const auto& [name, bytes] : image.files) {
    // All of what an open reads of each file, and a sample of the rest.
    for (uint64_t at = name == "TAIL" ? 2'048 : 0; at < bytes.size(); at += at % kBlock < 96 ? 5 : 251) {
      if (!map.IsLive(name, at)) continue;
      const auto mask = static_cast<std::byte>(1 << at % 8);
      SimWorld world(1);
      image.PutOn(world.machine);
      world.machine.FlipBits(name, at, mask);
      Client client(world);
      absl::Status status = client.Open(ReadOnly());
      INFO("byte " << at << " of " << name << ": " << status.ToString());
      bool named = !status.ok() && status.message().find(name) != std::string_view::npos;
      if (!status.ok()) {
        // What `firn verify` does.
        REQUIRE(absl::IsDataLoss(status));
        REQUIRE(status.message().find("offset") != std::string_view::npos);
        status = client.Open(ReadOnly(/*salvage=*/true));
        REQUIRE(status.ok());
      }
      const auto report = client.db().Verify();
      REQUIRE(report.ok());
      named = named || Names(report->damages, name, at);
      REQUIRE(named);
    }
  }
}

TEST_CASE("damage names the keys that cannot be read because of it, and no others", "[verify]") {
  InSchedule(71, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    auto space = client.db().CreateNamespace("space");
    REQUIRE(space.ok());
    REQUIRE(client.Put("inline", Value("inline", 2'000), Durability::kBuffered).ok());
    REQUIRE(client.Put("neighbour", Value("neighbour", 2'000), Durability::kBuffered).ok());
    REQUIRE(client.Put("dead", Value("soon dead", 2'000), Durability::kBuffered).ok());
    REQUIRE(client.Put("dead", "alive").ok());
    REQUIRE(client.Put("large", Extent("large")).ok());
    REQUIRE(space->Put("same large", Extent("large"), {}).ok());
    REQUIRE(client.Flush().ok());
    for (int i = 0; i < 100; ++i) REQUIRE(client.Put("filler", Value("f", 5'000)).ok());  // out of the tail buffers
    const auto flip = [&](const std::string& folder, const std::string& content) {
      for (const std::string& name : world.machine.FileNames()) {
        if (!name.starts_with(folder)) continue;
        const size_t at = world.machine.ReadFile(name).find(content);
        if (at != std::string::npos) world.machine.FlipBits(name, at + 20, std::byte{1});
      }
    };
    flip("log/", Value("inline", 2'000));
    flip("log/", Value("soon dead", 2'000));
    flip("values/", Extent("large"));
    const auto report = client.db().Scrub({.bytes_per_second = 0});
    REQUIRE(report.ok());
    REQUIRE(report->damages.size() == 2);  // the records lie in one unit
    CHECK(report->damages[0].keys == std::vector<AffectedKey>{{"", "inline"}});
    CHECK(report->damages[0].keys_in_all == 1);
    CHECK(report->damages[1].keys == std::vector<AffectedKey>{{"", "large"}, {"space", "same large"}});
    CHECK(client.events().Count(EventKind::kDamageFound) == 2);
    CHECK(absl::IsDataLoss(client.db().Get("inline").status()));
    CHECK(client.db().Get("neighbour").ok());
    client.Drop();
  });
}

TEST_CASE("everything that a store is open without is listed: each missing segment, and the keys of missing values",
          "[verify]") {
  const StoreImage whole = MakeRichStore();
  const StoreMap map(whole);
  StoreImage image = whole;
  std::set<std::string> gone;
  for (const log::SegmentId id : map.segments()) {
    if (gone.size() == 2 || id == map.newest()) continue;
    gone.insert(log::SegmentFileName(id));
  }
  REQUIRE(gone.size() == 2);
  std::map<std::string, std::set<std::string>> keys_of;  // by value file
  for (const auto& [key, put] : map.puts()) {
    if (!put.pointer || key.first != format::kDefaultNamespace || gone.contains(put.file)) continue;
    keys_of[values::ValueFileName(put.pointer->file)].insert(key.second);
  }
  REQUIRE_FALSE(keys_of.empty());
  for (const std::string& name : gone) image.files.erase(name);
  for (const auto& [name, keys] : keys_of) image.files.erase(name);

  SimWorld world(1);
  image.PutOn(world.machine);
  Client client(world);
  REQUIRE(absl::IsDataLoss(client.Open(ReadOnly())));
  REQUIRE(client.Open(ReadOnly(/*salvage=*/true)).ok());
  const auto report = client.db().Verify();
  REQUIRE(report.ok());
  const auto damage_of = [&](const std::string& name) {
    const auto damage = std::find_if(report->damages.begin(), report->damages.end(),
                                     [&](const Damage& each) { return each.file == name; });
    INFO(name);
    REQUIRE(damage != report->damages.end());
    return *damage;
  };
  for (const std::string& name : gone) damage_of(name);
  for (const auto& [name, keys] : keys_of) {
    const Damage damage = damage_of(name);
    std::set<std::string> named;
    for (const AffectedKey& affected : damage.keys) {
      if (affected.namespace_name.empty()) named.insert(affected.key);
    }
    // An older version may have come up of a key whose newest one is gone with its segment.
    CHECK(std::includes(named.begin(), named.end(), keys.begin(), keys.end()));
    CHECK(damage.keys_in_all == damage.keys.size());
  }
}

// Puts, overwrites and deletes of values of all sizes, and reclaim, until `stop`.
void Work(Client& client, const std::atomic<bool>& stop) {
  for (uint64_t i = 0; !stop; ++i) {
    const std::string key = "busy" + std::to_string(i % 7);
    const size_t bytes = i % 3 == 0 ? kSeparatedBytes + i % 5 * 4'096 : 3'000;
    REQUIRE(client.db().Put(key, Value(key + std::to_string(i), bytes), {{Durability::kBuffered, {}}, 0, {}}).ok());
    if (i % 5 == 0) REQUIRE(client.db().Delete("busy" + std::to_string((i + 3) % 7)).ok());
    if (i % 20 == 0) REQUIRE(client.db().Compact().ok());
    Nap(1);
  }
}

TEST_CASE("under load a scrub finds the damage that is there and no other, while segments are retired under it",
          "[verify][scrub]") {
  for (const bool damaged : {false, true}) {
    for (uint64_t seed = 700; seed < 712; ++seed) {
      InSchedule(
          seed,
          [&](SimWorld& world) {
            Client client(world);
            REQUIRE(client.Open(SeparatingOptions()).ok());
            REQUIRE(client.Put("still", Extent("nobody touches this")).ok());
            if (damaged) world.machine.FlipBits("values/0000000001.val", kBlock + 5'000, std::byte{16});
            std::atomic<bool> stop{false};
            base::Thread worker("worker", [&] { Work(client, stop); });
            Nap(50);
            uint64_t skipped = 0;
            for (int pass = 0; pass < 4; ++pass) {
              const auto report = client.db().Scrub({.bytes_per_second = uint64_t{1} << 20});
              REQUIRE(report.ok());
              INFO((report->damages.empty() ? "" : report->damages[0].ToString()));
              REQUIRE(report->damages.size() == (damaged ? 1 : 0));
              if (damaged) REQUIRE(report->damages[0].keys == std::vector<AffectedKey>{{"", "still"}});
              skipped += report->segments_skipped;
            }
            CHECK(skipped > 0);
            stop = true;
            worker.Join();
            client.Drop();
          },
          0.25, 50'000'000);
    }
  }
}

TEST_CASE("a scrub keeps to its bytes per second, in steps, and is heard at least ten times a second",
          "[verify][scrub]") {
  InSchedule(72, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    for (int i = 0; i < 40; ++i) {
      REQUIRE(client.Put("key" + std::to_string(i), Value(std::to_string(i), i % 2 == 0 ? 40'000 : 3'000)).ok());
    }
    REQUIRE(client.Flush().ok());
    base::Scheduler& time = *base::Scheduler::Current();
    for (const uint64_t rate : {uint64_t{64} << 10, uint64_t{512} << 10}) {
      uint64_t last_heard = time.NowNanos(), longest = 0;
      const uint64_t began = last_heard;
      const auto report = client.db().Scrub({.bytes_per_second = rate, .from = {}, .progress = [&](uint64_t, uint64_t) {
                                               const uint64_t now = time.NowNanos();
                                               longest = std::max(longest, now - std::exchange(last_heard, now));
                                               return true;
                                             }});
      REQUIRE(report.ok());
      REQUIRE(report->values == 20);
      const double seconds = static_cast<double>(time.NowNanos() - began) / 1e9;
      INFO(report->bytes << " bytes at " << rate << " a second took " << seconds << " s");
      CHECK(seconds * static_cast<double>(rate) >= static_cast<double>(report->bytes));
      CHECK(seconds * static_cast<double>(rate) <= static_cast<double>(report->bytes) * 1.5 + 200'000);
      CHECK(longest <= 110'000'000);
    }
    client.Drop();
  });
}

TEST_CASE("a scrub that is cancelled says where it was, and goes on from there, in another process too",
          "[verify][scrub]") {
  const StoreImage image = MakeRichStore();
  const auto scrub = [](Client& client, const std::string& from, uint64_t turns) {
    auto report = client.db().Scrub(
        {.bytes_per_second = 0, .from = from, .progress = [&](uint64_t, uint64_t) { return turns-- > 0; }});
    REQUIRE(report.ok());
    return *report;
  };
  SimWorld whole_world(1);
  image.PutOn(whole_world.machine);
  Client whole_client(whole_world);
  REQUIRE(whole_client.Open(ReadOnly()).ok());
  const VerifyReport whole = scrub(whole_client, "", 1'000'000);
  REQUIRE(whole.cursor.empty());
  REQUIRE(whole.values >= 2);
  for (uint64_t turns = 0; turns < 40; ++turns) {
    SimWorld world(1);
    image.PutOn(world.machine);
    Client client(world);
    REQUIRE(client.Open(ReadOnly()).ok());
    const VerifyReport first = scrub(client, "", turns);
    REQUIRE(client.Close().ok());
    if (first.cursor.empty()) {
      REQUIRE(turns > 3);
      break;
    }
    REQUIRE(client.Open(ReadOnly()).ok());
    const VerifyReport rest = scrub(client, first.cursor, 1'000'000);
    INFO(turns << " turns, then from " << first.cursor);
    CHECK(rest.cursor.empty());
    // Nothing is left out, and no segment is read twice from its start.
    CHECK(first.segments + rest.segments == whole.segments);
    CHECK(first.records + rest.records == whole.records);
    CHECK(first.values + rest.values >= whole.values);
  }
  for (const char* wrong : {"x", "log:", "log:x", "values:0", "values:zz", "log:1x"}) {
    CHECK(absl::IsInvalidArgument(whole_client.db().Scrub({.from = wrong}).status()));
  }
}

TEST_CASE("a TAIL that is missing is damage unless the store was closed, for verify as for salvage",
          "[verify][salvage]") {
  for (const bool closed : {true, false}) {
    StoreImage image;
    InSchedule(73, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("durable", "1").ok());
      REQUIRE(client.Put("buffered", "2", Durability::kBuffered).ok());
      if (closed) REQUIRE(client.Close().ok());
      if (!closed) world.machine.Crash({CrashKind::kKill, Survival::kEverything});
      image = StoreImage::Take(world.machine);
      client.Drop();
    });
    REQUIRE(image.files.erase("TAIL") == 1);
    SimWorld world(1);
    image.PutOn(world.machine);
    Client client(world);
    REQUIRE(client.Open(ReadOnly()).ok());
    const auto report = client.db().Verify();
    REQUIRE(report.ok());
    REQUIRE(report->damages.size() == (closed ? 0 : 1));
    if (!closed) CHECK(report->damages[0].file == "TAIL");
    CHECK(SalvageImage(image).report.lost.size() == report->damages.size());
  }
}

TEST_CASE("a check that cannot be made is a status, and no damage", "[verify]") {
  const StoreImage image = MakeRichStore();
  SimWorld world(1);
  image.PutOn(world.machine);
  Client client(world);
  REQUIRE(client.Open(ReadOnly()).ok());
  world.machine.Crash({CrashKind::kKill, Survival::kNothing});
  const auto report = client.db().Verify();
  CHECK(absl::IsUnavailable(report.status()));
  client.Drop();
}

}  // namespace
}  // namespace firn::test
