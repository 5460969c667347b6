// Rule 6 of the design: the files that a linked copy shares with the store are never punched, recycled, truncated or
// appended to, whatever the store does and wherever the crash comes. For each part of the rule there is a mutant in
// tests/mutants.
#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

#include "crash/extents.h"
#include "log/segment.h"

namespace firn::test {
namespace {

constexpr int kSegments = 3;

// A copy of the store's sealed segments, or of its value files, made of links; and what was in them then.
class LinkedCopy {
 public:
  void Take(SimMachine& machine, const std::vector<std::string>& names) {
    contents_.clear();
    REQUIRE(!names.empty());
    for (const std::string& name : names) {
      const std::string linked = "copy/" + name.substr(name.find('/') + 1);
      machine.Link(name, linked);
      contents_[linked] = machine.ReadFile(linked);
    }
  }
  void RequireUntouched(const SimMachine& machine) const {
    for (const auto& [linked, content] : contents_) {
      INFO(linked << ", " << content.size() << " bytes, now " << machine.FileSize(linked));
      REQUIRE(machine.FileSize(linked) == content.size());
      REQUIRE((machine.ReadFile(linked) == content));  // no text of a failure shows whole files
    }
  }

 private:
  std::map<std::string, std::string> contents_;
};

std::vector<std::string> FilesIn(const SimMachine& machine, const std::string& folder) {
  std::vector<std::string> names;
  for (const std::string& name : machine.FileNames()) {
    if (name.find(folder + "/") == 0) names.push_back(name);
  }
  return names;
}

std::vector<std::string> SealedSegments(const DB& db) {
  std::vector<std::string> names;
  for (const SegmentReport& each : db.GcReport()) {
    if (each.sealed) names.push_back(log::SegmentFileName(each.segment));
  }
  return names;
}

std::string KeyOf(int i) { return "key" + std::to_string(i); }

// After the crash as well nothing that the store does may reach the copy: what is garbage by now would be given back,
// what a power cut brought back would be used again.
void LiveOn(SimWorld& world, Client& client, const LinkedCopy& copy) {
  copy.RequireUntouched(world.machine);
  for (int life = 0; life < 2; ++life) {
    const std::string tag = "life" + std::to_string(life);
    for (int i = 0; i < kSegments; ++i) client.FillSegment(tag + "-" + std::to_string(i));
    REQUIRE(client.Put("large", Extent(tag)).ok());
    REQUIRE(client.Flush().ok());
    Nap(kUpkeepTurnsMs);
    REQUIRE(client.db().Compact().ok());
    client.CheckNow();
    REQUIRE(client.db().Verify()->damages.empty());
    copy.RequireUntouched(world.machine);
    REQUIRE(client.Close().ok());
    copy.RequireUntouched(world.machine);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    client.CheckNow();
    copy.RequireUntouched(world.machine);
  }
}

TEST_CASE("rule 6: segments that a copy shares are retired and not reused, wherever the crash comes",
          "[rule6][links]") {
  LinkedCopy copy;
  AtEachCrash(720, {.prepare =
                        [&](SimWorld& world, Client& client) {
                          for (int i = 0; i < kSegments; ++i) {
                            REQUIRE(client.Put(KeyOf(i), "or its segment would be dead").ok());
                            client.FillSegment("old" + std::to_string(i));
                          }
                          REQUIRE(client.Flush().ok());
                          const std::vector<std::string> sealed = SealedSegments(client.db());
                          REQUIRE(sealed.size() >= kSegments);
                          copy.Take(world.machine, sealed);
                        },
                    .run =
                        [&](SimWorld& world, Client& client) {
                          for (int i = 0; i < kSegments; ++i) {
                            client.Put(KeyOf(i), "again", Durability::kBuffered).IgnoreError();
                          }
                          client.Put("filler", "short", Durability::kBuffered).IgnoreError();
                          client.Sync().IgnoreError();
                          // They are dead, and retired, however late the upkeep thread is.
                          for (int turn = 0; turn < 20 && !SealedSegments(client.db()).empty(); ++turn) {
                            Nap(kUpkeepTurnsMs);
                          }
                          if (world.machine.crashes() == 0) REQUIRE(SealedSegments(client.db()).empty());
                          for (int i = 0; i < kSegments; ++i) {
                            client.FillSegment("new" + std::to_string(i), Durability::kBuffered);
                          }
                          client.Sync().IgnoreError();
                          client.db().Compact().IgnoreError();
                          client.Close().IgnoreError();
                        },
                    .look = [&](SimWorld& world, Client& client) { LiveOn(world, client, copy); }});
}

TEST_CASE("rule 6: a shared segment whose footer is damaged is scanned by each open, and gets no new one",
          "[rule6][links]") {
  InSchedule(723, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    for (int i = 0; i < kSegments; ++i) {
      REQUIRE(client.Put(KeyOf(i), "kept").ok());
      client.FillSegment("old" + std::to_string(i));
    }
    REQUIRE(client.Close().ok());
    std::vector<std::string> names = FilesIn(world.machine, "log");
    names.pop_back();  // the newest: without its footer a closed store is damaged
    REQUIRE(names.size() >= kSegments);
    for (const std::string& name : names) {
      world.machine.FlipBits(name, world.machine.FileSize(name) - 8, std::byte{1});
    }
    LinkedCopy copy;
    copy.Take(world.machine, names);
    for (int life = 0; life < 3; ++life) {
      client.events().Clear();
      REQUIRE(client.Open().ok());
      REQUIRE((client.events().Count(EventKind::kFooterFallback) > 0 || life > 0));
      REQUIRE(client.Flush().ok());  // with nothing of its own to be sealed
      Nap(kUpkeepTurnsMs);
      copy.RequireUntouched(world.machine);
      client.FillSegment("life" + std::to_string(life));
      REQUIRE(client.Flush().ok());
      REQUIRE(client.db().Compact().ok());
      client.CheckNow();
      if (life == 1) client.Crash({CrashKind::kPowerCut, Survival::kNothing});
      if (life != 1) REQUIRE(client.Close().ok());
      copy.RequireUntouched(world.machine);
    }
  });
}

TEST_CASE("rule 6: value files that a copy shares are neither punched, cut nor appended to, wherever the crash comes",
          "[rule6][links]") {
  constexpr int kValues = 6;
  const bool reopened = GENERATE(false, true);
  LinkedCopy copy;
  AtEachCrash(721, {.prepare =
                        [&](SimWorld& world, Client& client) {
                          OpenSeparating(client);
                          for (int i = 0; i < kValues; ++i) {
                            REQUIRE(client.Put(KeyOf(i), Extent("v" + std::to_string(i))).ok());
                          }
                          REQUIRE(client.Flush().ok());
                          copy.Take(world.machine, FilesIn(world.machine, "values"));
                          // What is cut at a clean end is cut now, and what is appended to begins anew.
                          if (reopened) OpenSeparating(client);
                        },
                    .run =
                        [&](SimWorld& world, Client& client) {
                          // The file that is still written to belongs to a copy that has not sealed it.
                          if (reopened) client.Put("fresh", Extent("fresh"), Durability::kBuffered).IgnoreError();
                          for (int i = 0; i < kValues; i += 2) {
                            client.Delete(KeyOf(i), Durability::kBuffered).IgnoreError();
                          }
                          client.Sync().IgnoreError();
                          Nap(kUpkeepTurnsMs);
                          client.db().Compact().IgnoreError();
                          if (world.machine.crashes() == 0) REQUIRE(client.db().GetStats().value_waiting_bytes > 0);
                          client.Delete(KeyOf(1)).IgnoreError();
                          client.Close().IgnoreError();
                        },
                    .look =
                        [&](SimWorld& world, Client& client) {
                          LiveOn(world, client, copy);
                          // Dead whole: its name goes, and the copy keeps it.
                          for (int i = 0; i < kValues; ++i) client.Delete(KeyOf(i)).IgnoreError();
                          Nap(kUpkeepTurnsMs);
                          REQUIRE(client.db().Compact().ok());
                          copy.RequireUntouched(world.machine);
                          for (const std::string& name : FilesIn(world.machine, "values")) {
                            REQUIRE(name != "values/0000000001.val");
                          }
                        }});
}

TEST_CASE("rule 6: a recovery gives back no orphan, gap or tail of a value file that a copy shares", "[rule6][links]") {
  const CrashKind kind = GENERATE(CrashKind::kPowerCut, CrashKind::kKill);
  LinkedCopy copy;
  AtEachCrash(722, {.prepare =
                        [&](SimWorld& world, Client& client) {
                          OpenSeparating(client);
                          for (int i = 0; i < 3; ++i) REQUIRE(client.Put(KeyOf(i), Extent(KeyOf(i))).ok());
                          // A gap that was not punched yet, and extents whose records get lost if the power fails.
                          REQUIRE(client.Delete(KeyOf(1)).ok());
                          for (int i = 3; i < 6; ++i) {
                            REQUIRE(client.Put(KeyOf(i), Extent(KeyOf(i)), Durability::kBuffered).ok());
                          }
                          const std::vector<std::string> names = FilesIn(world.machine, "values");
                          REQUIRE(names.size() == 1);
                          // Claimed ahead: the tail.
                          REQUIRE(world.machine.FileSize(names[0]) > 8 * kSeparatedBytes);
                          copy.Take(world.machine, names);
                          client.Crash({kind, Survival::kNothing});
                        },
                    .run =
                        [](SimWorld& world, Client& client) {
                          if (!client.Open(SeparatingOptions()).ok()) return;
                          const uint64_t crashes = world.machine.crashes();
                          client.Put("fresh", Extent("fresh"), Durability::kBuffered).IgnoreError();
                          client.Delete(KeyOf(0)).IgnoreError();
                          Nap(kUpkeepTurnsMs);
                          if (world.machine.crashes() == crashes) {
                            REQUIRE(client.db().GetStats().value_waiting_bytes > 2 * kSeparatedBytes);
                          }
                          client.Close().IgnoreError();
                        },
                    .look = [&](SimWorld& world, Client& client) { LiveOn(world, client, copy); }});
}

TEST_CASE("rule 6: a linked copy gone, its files are the store's own again and give their space back",
          "[rule6][links]") {
  InSchedule(723, [](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    OpenSeparating(client);
    for (int i = 0; i < 4; ++i) REQUIRE(client.Put(KeyOf(i), Extent(KeyOf(i))).ok());
    LinkedCopy copy;
    copy.Take(world.machine, FilesIn(world.machine, "values"));
    for (int i = 0; i < 3; ++i) REQUIRE(client.Delete(KeyOf(i)).ok());
    REQUIRE(client.db().Compact().ok());
    REQUIRE(client.db().GetStats().value_waiting_bytes >= 3 * kSeparatedBytes);
    copy.RequireUntouched(world.machine);
    const std::unique_ptr<io::Disk> disk = world.machine.Attach();
    for (const std::string& name : FilesIn(world.machine, "copy")) REQUIRE(disk->Remove(name).ok());
    RequireNothingLost(world, client);
    REQUIRE(client.Close().ok());
  });
}

}  // namespace
}  // namespace firn::test
