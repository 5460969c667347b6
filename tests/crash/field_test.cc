// Faults seen in other engines (the numbers are those of the project's list), each made a test.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <set>
#include <span>
#include <thread>

#include "base/coding.h"
#include "base/sync.h"
#include "crash/image.h"
#include "format/footer_layout.h"
#include "format/unit.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

void CutPower(SimWorld& world, Client& client, Survival survival = Survival::kNothing) {
  world.machine.Crash({CrashKind::kPowerCut, survival});
  client.Drop();
}

TEST_CASE("fault A1: deletes do not come back, from footers, from scans, or from both mixed", "[A1]") {
  for (const int damaged_footers : {0, 1, 2, 3}) {
    StoreImage image;
    State truth;
    InSchedule(100, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      for (int i = 0; i < 30; ++i) REQUIRE(client.Put("key" + std::to_string(i), "old").ok());
      REQUIRE(client.Flush().ok());
      for (int i = 0; i < 30; i += 2) REQUIRE(client.Delete("key" + std::to_string(i)).ok());
      REQUIRE(client.Apply({{"key1", ""}, {"key3", "new"}, {"key5", ""}}).ok());
      REQUIRE(client.Flush().ok());
      REQUIRE(client.Put("key0", "again").ok());
      REQUIRE(client.Put("key2", "again").ok());
      REQUIRE(client.Delete("key2").ok());
      truth = Look(client.db());
      REQUIRE(truth.size() == 14);
      REQUIRE(client.Close().ok());
      image = StoreImage::Take(world.machine);
    });
    int damaged = 0;
    for (auto& [name, bytes] : image.files) {
      if (name.find("log/") == 0 && damaged < damaged_footers) bytes.back() ^= 1, ++damaged;
    }
    const Opened opened = OpenImage(image);
    INFO(opened.status.ToString() << test::Describe(opened.state));
    REQUIRE(opened.state == truth);
  }
}

TEST_CASE("fault A2: an expiry change that lands in a later segment than its value counts after every restart",
          "[A2]") {
  for (const bool crash : {false, true}) {
    InSchedule(101, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      const int64_t now_ms = world.clock.WallTimeMs(), later_ms = now_ms + 1'000'000, soon_ms = now_ms + 5'000;
      REQUIRE(client.Put("gets one", "value").ok());
      REQUIRE(client.Put("loses it", "value", Durability::kSynced, soon_ms).ok());
      REQUIRE(client.Put("prolonged", "value", Durability::kSynced, soon_ms).ok());
      REQUIRE(client.Put("shortened", "value", Durability::kSynced, later_ms).ok());
      REQUIRE(client.Flush().ok());
      REQUIRE(client.SetExpiry("gets one", later_ms).ok());
      REQUIRE(client.SetExpiry("loses it", 0).ok());
      REQUIRE(client.SetExpiry("prolonged", later_ms).ok());
      REQUIRE(client.SetExpiry("shortened", soon_ms).ok());
      REQUIRE(client.Flush().ok());
      for (int life = 0; life < 3; ++life) {
        Nap(600);
        if (crash) {
          CutPower(world, client);
        } else {
          REQUIRE(client.Close().ok());
        }
        REQUIRE(client.Open().ok());
        if (life == 0) client.CheckNow();
        world.clock.JumpWall(10'000);
        const State found = Look(client.db());
        const std::string until = " until " + std::to_string(later_ms);
        REQUIRE(found == State{{"gets one", "value" + until}, {"loses it", "value"}, {"prolonged", "value" + until}});
      }
    });
  }
}

// Threads put their own keys while segments fill and are sealed; everything acknowledged is there afterwards.
template <typename Thread, typename Open>
void WriteWhileSealing(const Open& open, int writers, int puts, const std::function<void(DB&)>& end) {
  std::vector<int> acknowledged(static_cast<size_t>(writers), 0);
  {
    std::unique_ptr<DB> db = open();
    std::vector<Thread> threads;
    std::atomic<int> running{writers};
    const auto write = [&](int w) {
      for (int i = 0; i < puts; ++i) {
        PutOptions options;
        options.durability = i % 4 == 0 ? Durability::kSynced : Durability::kBuffered;
        const std::string key = std::to_string(w) + "/" + std::to_string(i);
        if (db->Put(key, Value(key, 1'500), options).ok()) ++acknowledged[static_cast<size_t>(w)];
      }
      --running;
    };
    for (int w = 0; w < writers; ++w) {
      if constexpr (std::is_same_v<Thread, base::Thread>) {
        threads.emplace_back("writer", [&write, w] { write(w); });
      } else {
        threads.emplace_back([&write, w] { write(w); });
      }
    }
    while (running > 0) REQUIRE(db->Flush().ok());
    for (Thread& thread : threads) {
      if constexpr (std::is_same_v<Thread, base::Thread>) {
        thread.Join();
      } else {
        thread.join();
      }
    }
    end(*db);
  }
  std::unique_ptr<DB> db = open();
  for (int w = 0; w < writers; ++w) {
    REQUIRE(acknowledged[static_cast<size_t>(w)] == puts);
    for (int i = 0; i < puts; ++i) {
      const std::string key = std::to_string(w) + "/" + std::to_string(i);
      const auto value = db->Get(key);
      INFO(key << ": " << value.status().ToString());
      REQUIRE(value.ok());
      REQUIRE(*value == Value(key, 1'500));
    }
  }
  REQUIRE(db->Close().ok());
}

TEST_CASE("fault A3: sealing drains writers, in every schedule: nothing acknowledged is missing after a reopen",
          "[A3]") {
  for (uint64_t seed = 200; seed < 215; ++seed) {
    for (const bool killed : {false, true}) {
      InSchedule(
          seed,
          [&](SimWorld& world) {
            const auto open = [&] {
              auto db = OpenOn(QuietOptions(), SimEnvironment(world));
              REQUIRE(db.ok());
              return *std::move(db);
            };
            WriteWhileSealing<base::Thread>(open, 4, 40, [&](DB& db) {
              if (killed) {
                world.machine.Crash({CrashKind::kKill, Survival::kNothing});
              } else {
                REQUIRE(db.Close().ok());
              }
            });
          },
          0.5);
    }
  }
}

TEST_CASE("fault A3: sealing drains writers, with real threads on a real disk", "[A3]") {
  testing::TempDir dir;
  const auto open = [&] {
    auto db = DB::Open({}, dir.path());
    REQUIRE(db.ok());
    return *std::move(db);
  };
  WriteWhileSealing<std::thread>(open, 8, 600, [](DB& db) { REQUIRE(db.Close().ok()); });
}

// Lets the footer that a segment's file ends with say all that the segment's own would, but for the checksums. False if
// it is its own.
bool ForgeFooter(std::string& bytes, const std::string& file) {
  using namespace format::footer_layout;
  const auto segment = static_cast<log::SegmentId>(std::strtoul(file.c_str() + std::strlen("log/"), nullptr, 10));
  std::byte* const end = std::as_writable_bytes(std::span(bytes)).data() + bytes.size() - format::kTrailerBytes;
  if (base::LoadLe<uint64_t>(end + trailer::kFileBytesAt) == bytes.size()) return false;
  const auto footer_bytes = base::LoadLe<uint32_t>(end + trailer::kFooterBytesAt);
  const auto footer_offset = static_cast<uint32_t>(bytes.size() - footer_bytes);
  base::StoreLe<log::SegmentId>(end + trailer::kSegmentAt, segment);
  base::StoreLe<uint64_t>(end + trailer::kFileBytesAt, bytes.size());
  base::StoreLe<uint32_t>(end + trailer::kFooterOffsetAt, footer_offset);
  std::byte* const begin = end + format::kTrailerBytes - footer_bytes;
  REQUIRE(base::LoadLe<uint64_t>(begin + format::kMagicAt) == kHeadMagic);
  base::StoreLe<log::SegmentId>(begin + head::kSegmentAt, segment);
  base::StoreLe<uint32_t>(begin + head::kUnitsEndAt, footer_offset);
  return true;
}

// Rot in front of an imitation whose units begin at blocks, in a segment without a footer: the scan looks for the next
// unit in the imitation. Returns how often there was one.
size_t ScanOverImitations(const StoreImage& image, std::string_view key, const State& truth) {
  size_t scans = 0;
  for (const auto& [file, bytes] : image.files) {
    const size_t at = bytes.find(std::string(key) + "xxxx");
    if (file.find("log/") != 0 || at == std::string::npos || bytes.find("firnEND1", at) == std::string::npos) continue;
    StoreImage rotten = image;
    rotten.files[file][at + key.size()] ^= 1;
    rotten.files[file].back() ^= 1;
    const Opened opened = OpenImage(rotten, {.salvage = true});
    REQUIRE(opened.status.ok());
    REQUIRE(opened.footer_fallbacks == 1);
    REQUIRE(opened.unreadable == 0);
    REQUIRE_FALSE(opened.state.contains("forged"));
    RequireNoLies(opened.state, truth);
    ++scans;
  }
  return scans;
}

TEST_CASE("fault A6: a value that looks like a footer, a unit or a record is only a value", "[A6]") {
  // The store's own bytes are the best imitation there is: a whole sealed segment, put back as values.
  std::string segment;
  int forgeries = 0;
  InSchedule(102, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("forged", "by an imitation").ok());
    REQUIRE(client.Delete("anchor").ok());
    REQUIRE(client.Flush().ok());
    for (const std::string& each : world.machine.FileNames()) {
      const std::string bytes = each.find("log/") == 0 ? world.machine.ReadFile(each) : "";
      if (bytes.find("forged") != std::string::npos) segment = bytes;
    }
    REQUIRE(segment.size() >= 3 * 4'096);
    REQUIRE(client.Delete("forged").ok());
    REQUIRE(client.Put("anchor", "x").ok());
    const std::string aligned_key = "block aligned";
    const std::string about = segment.substr(100);  // as long as the value will be, give or take a few bytes
    const size_t head_bytes =
        format::RecordSize({.key = base::AsBytes(aligned_key), .value = base::AsBytes(about)}) - about.size();
    const size_t filler_bytes = format::kBlockBytes - format::kUnitHeaderBytes - head_bytes;
    // At any alignment: the trailer of the imitation ends where the file will end, its units begin at blocks.
    for (const size_t shift : {0, 1, 7, 64, 100, 4'000}) {
      REQUIRE(client.Put("imitation" + std::to_string(shift), std::string(shift, 'x') + segment).ok());
      REQUIRE(client.Put(aligned_key, std::string(filler_bytes, 'x') + segment.substr(format::kBlockBytes)).ok());
    }
    const State truth = Look(client.db());
    for (const bool seal : {false, true}) {
      if (seal) REQUIRE(client.Flush().ok());
      CutPower(world, client);
      StoreImage image = StoreImage::Take(world.machine);
      REQUIRE(client.Open().ok());
      REQUIRE(client.events().Count(EventKind::kDamageFound) == 0);
      REQUIRE(Look(client.db()) == truth);
      if (seal) REQUIRE(ScanOverImitations(image, aligned_key, truth) >= 4);
      // Cut so that the file ends with the imitation's own trailer.
      for (auto& [file, bytes] : image.files) {
        const size_t at = bytes.rfind("firnEND1");
        if (file.find("log/") != 0 || at == std::string::npos || bytes.find("imitation") == std::string::npos) continue;
        bytes.resize(at + format::kTrailerBytes);
        const Opened opened = OpenImage(image, {.salvage = true});
        REQUIRE(opened.status.ok());
        REQUIRE(opened.unreadable == 0);
        REQUIRE_FALSE(opened.state.contains("forged"));
        RequireNoLies(opened.state, truth);
        if (seal) continue;
        // Whoever made it may have guessed all but the checksums: it is worth no more than one without its magic.
        if (!ForgeFooter(bytes, file)) continue;
        const Opened forged = OpenImage(image, {.salvage = true});
        REQUIRE(forged.status.ok());
        REQUIRE(forged.unreadable == 0);
        REQUIRE(forged.state == opened.state);
        forgeries += bytes.size() % format::kBlockBytes == 0 ? 1 : 0;
      }
    }
  });
  REQUIRE(forgeries > 0);
}

TEST_CASE(
    "fault A7: bit rot in the active segment is refused with place, loss and remedy; salvage keeps all that verifies",
    "[A7]") {
  StoreImage image;
  State truth;
  InSchedule(103, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open(QuietOptions(), 4 * kSmallSegmentBytes).ok());
    for (int i = 0; i < 10; ++i) REQUIRE(client.Put("key" + std::to_string(i), Value("value", 3'000)).ok());
    REQUIRE(client.Apply({{"batch1", "x"}, {"batch2", "y"}}).ok());
    for (int i = 10; i < 13; ++i) REQUIRE(client.Put("key" + std::to_string(i), Value("value", 3'000)).ok());
    truth = Look(client.db());
    CutPower(world, client);
    image = StoreImage::Take(world.machine);
  });
  image.files.erase("TAIL");
  const auto rot = [](StoreImage damaged, const std::vector<std::string>& places) {
    for (const std::string& place : places) {
      for (auto& [name, bytes] : damaged.files) {
        if (const size_t at = bytes.find(place); name.find("log/") == 0 && at != std::string::npos) bytes[at + 1] ^= 4;
      }
    }
    return damaged;
  };
  struct Case {
    std::vector<std::string> places, lost;
  };
  for (const Case& each :
       {Case{{"key4"}, {"key4"}}, Case{{"key4", "key5"}, {"key4", "key5"}}, Case{{"key2", "key7"}, {"key2", "key7"}},
        Case{{"batch2"}, {"batch1", "batch2"}}, Case{{"batch1"}, {"batch1", "batch2"}}}) {
    const StoreImage damaged = rot(image, each.places);
    const Opened opened = OpenImage(damaged);
    INFO(each.places[0] << ": " << opened.status.ToString());
    REQUIRE(absl::IsDataLoss(opened.status));
    for (const char* part : {"log/0000000", "offset", "revisions", "salvage"}) {
      REQUIRE(opened.status.message().find(part) != std::string::npos);
    }
    State expected = truth;
    for (const std::string& key : each.lost) expected.erase(key);
    const Opened salvaged = OpenImage(damaged, {.salvage = true});
    INFO(salvaged.status.ToString() << "\n" << salvaged.events << "salvaged\n" << test::Describe(salvaged.state));
    REQUIRE(salvaged.status.ok());
    REQUIRE(salvaged.damages > 0);
    REQUIRE(salvaged.state == expected);
  }
}

TEST_CASE("fault A7: a store that was salvaged opens without salvage afterwards", "[A7]") {
  InSchedule(104, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    for (int i = 0; i < 5; ++i) REQUIRE(client.Put("key" + std::to_string(i), "value").ok());
    CutPower(world, client);
    for (const std::string& name : world.machine.FileNames()) {
      const std::string bytes = name.find("log/") == 0 ? world.machine.ReadFile(name) : "";
      if (const size_t at = bytes.find("key2"); at != std::string::npos) world.machine.FlipBits(name, at, std::byte{1});
    }
    REQUIRE(absl::IsDataLoss(client.Open()));
    Options options = QuietOptions();
    options.salvage = true;
    for (int life = 0; life < 3; ++life) {
      const absl::Status status = client.Open(options);
      INFO("life " << life << ": " << status.ToString());
      REQUIRE(status.ok());
      REQUIRE(Look(client.db()).size() == 4);
      if (life == 0) {
        Nap(100);  // until what was salvaged is sealed
        CutPower(world, client);
      } else {
        REQUIRE(client.Close().ok());
      }
      options.salvage = false;
    }
  });
}

TEST_CASE("fault A9: a batch torn by a power cut or a kill at any point is there whole or not at all", "[A9]") {
  for (const Durability durability : {Durability::kSynced, Durability::kBuffered}) {
    std::optional<Client> client;
    for (const CrashKind kind : {CrashKind::kPowerCut, CrashKind::kKill}) {
      const CrashTest test{
          .prepare =
              [&](SimWorld& world) {
                client.emplace(world);
                REQUIRE(client->Open().ok());
                REQUIRE(client->Put("b", "before").ok());
              },
          .run =
              [&](SimWorld&) {
                for (int round = 0; round < 3; ++round) {
                  const std::string tag = std::to_string(round);
                  // Larger than a block, so that sectors and pages of it are torn apart.
                  client->Apply({{"a", Value(tag, 5'000)}, {"b", ""}, {"c", Value(tag, 7'000)}}, durability)
                      .IgnoreError();
                  client->Apply({{"b", tag}, {"a", ""}, {"d", Value(tag, 9'000)}}, durability).IgnoreError();
                }
                client->Sync().IgnoreError();
                client->Drop();
              },
          .check =
              [&](SimWorld&) {
                try {
                  client->CheckRecovered(kind == CrashKind::kPowerCut);
                } catch (...) {
                  client.reset();
                  throw;
                }
                client.reset();
              }};
      ForEachCrash(test, {kind}, 105);
    }
  }
}

TEST_CASE("fault A9: a kill in the middle of writing a batch into the tail buffers leaves none of it", "[A9]") {
  // What the killed process had put into the mapping is cut at each byte of the batch's last record.
  InSchedule(106, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("before", "durable").ok());
    REQUIRE(client.Put("buffered", "x", Durability::kBuffered).ok());
    REQUIRE(
        client
            .Apply({{"first of three", "x"}, {"second of three", "y"}, {"third of three", "z"}}, Durability::kBuffered)
            .ok());
    world.machine.Crash({CrashKind::kKill, Survival::kNothing});
    client.Drop();
    StoreImage image = StoreImage::Take(world.machine);
    const std::string tail = image.files.at("TAIL");
    const size_t begin = tail.find("first of three"), end = tail.find("third of three") + 15;
    REQUIRE(begin != std::string::npos);
    for (size_t keep = begin; keep <= end; ++keep) {
      image.files.at("TAIL") = tail.substr(0, keep) + std::string(tail.size() - keep, '\0');
      const Opened opened = OpenImage(image, {.read_only = keep % 8 != 0});
      INFO("cut at byte " << keep - begin << ": " << opened.status.ToString() << "\n" << test::Describe(opened.state));
      REQUIRE(opened.status.ok());
      REQUIRE(opened.state.contains("before"));
      REQUIRE(opened.state.contains("buffered"));
      REQUIRE(opened.state.size() == (keep == end ? 5u : 2u));
    }
  });
}

TEST_CASE(
    "fault A11: after a failed fsync nothing more is accepted, what is not durable is not served, and nothing "
    "acknowledged is lost",
    "[A11]") {
  for (const unsigned operation : {kSyncOperation, kWriteOperation}) {
    for (const Survival survival : kSurvivals) {
      InSchedule(107, [&](SimWorld& world) {
        Client client(world);
        REQUIRE(client.Open().ok());
        REQUIRE(client.Put("durable", "yes").ok());
        REQUIRE(client.Put("deleted", "durable too").ok());
        REQUIRE(client.Put("gone", "durable too").ok());
        REQUIRE(client.Put("rewritten", "old").ok());
        Nap(100);
        REQUIRE(client.Put("buffered", "no", Durability::kBuffered).ok());
        REQUIRE(client.Put("rewritten", "new", Durability::kBuffered).ok());
        REQUIRE(client.Delete("deleted", Durability::kBuffered).ok());
        world.machine.Inject({.operations = operation});
        REQUIRE(absl::IsUnavailable(client.Put("failing", "x")));
        REQUIRE(world.machine.faults_hit() == 1);  // one failure is enough: nothing is tried again
        REQUIRE(client.events().Count(EventKind::kPoisoned) == 1);
        DB& db = client.db();
        REQUIRE(absl::IsUnavailable(client.Put("more", "x")));
        REQUIRE(absl::IsUnavailable(client.Put("more", "x", Durability::kBuffered)));
        REQUIRE(absl::IsUnavailable(db.Sync()));
        REQUIRE(absl::IsUnavailable(db.Flush()));
        REQUIRE(db.GetStats().poisoned);
        REQUIRE(*db.Get("durable") == "yes");
        REQUIRE(*db.Get("gone") == "durable too");
        for (const char* key : {"buffered", "rewritten", "failing", "deleted"}) {
          const auto value = db.Get(key);
          INFO(key << ": " << value.status().ToString());
          REQUIRE(absl::IsUnavailable(value.status()));
          REQUIRE(absl::IsUnavailable(db.Exists(key).status()));
        }
        auto walk = db.NewIterator({.keys_only = true});
        walk->SeekToFirst();  // whether "deleted" is there nobody knows
        REQUIRE_FALSE(walk->Valid());
        REQUIRE(absl::IsUnavailable(walk->status()));
        walk.reset();
        REQUIRE(absl::IsUnavailable(client.Close()));
        CutPower(world, client, survival);
        client.CheckRecovered(true);
      });
    }
  }
}

TEST_CASE("fault A11: after a failed fsync a walk marks each entry that is not durable", "[A11]") {
  InSchedule(108, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("a", "durable").ok());
    REQUIRE(client.Put("c", "durable").ok());
    Nap(100);
    REQUIRE(client.Put("b", "buffered", Durability::kBuffered).ok());
    world.machine.Inject({.operations = kSyncOperation});
    REQUIRE(absl::IsUnavailable(client.Put("c", "failing")));
    for (const bool keys_only : {false, true}) {
      const auto walk = client.db().NewIterator({.keys_only = keys_only});
      std::string seen;
      for (walk->SeekToFirst(); walk->Valid(); walk->Next()) {
        static_cast<void>(walk->value());
        seen += std::string(walk->key()) + (walk->status().ok()                   ? "+"
                                            : absl::IsUnavailable(walk->status()) ? "-"
                                                                                  : "?");
      }
      CHECK(seen == "a+b-c-");
    }
    REQUIRE(absl::IsUnavailable(client.Close()));
  });
}

}  // namespace
}  // namespace firn::test
