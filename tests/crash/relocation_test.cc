// Rule 1 for relocation, on the log alone: a crash at each disk operation of copying, adopting and retiring
// leaves every record that lives, in the original or in a copy, and no segment is part of the store that is not whole.
#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <string>

#include "crash/client.h"
#include "unit/log/testing.h"

namespace firn::test {
namespace {

using log::Bench;
using log::Log;
using log::SegmentId;

constexpr uint64_t kSecret = 77;
constexpr int kKeys = 90;
constexpr uint64_t kRelocationBytes = 128 * 1024;

std::string KeyOf(int i) { return "key" + std::to_string(1'000 + i); }
std::string ValueOf(int i, int version) {
  return std::to_string(version) + std::string(900, static_cast<char>('a' + i % 26));
}

// One process, and what was durable before it began: later processes are held to that.
struct Life {
  explicit Life(SimWorld& world) : bench(world, kSecret) {}
  Bench bench;
  std::unique_ptr<Log> log;
};

struct Story {
  std::map<std::string, Log::Written> index;   // what lives
  std::map<std::string, std::string> durable;  // the same, with values
  std::vector<SegmentId> victims;
  std::optional<Life> life;

  // Puts, overwrites and deletes, all durable and in sealed segments.
  void Prepare(SimWorld& world) {
    life.emplace(world);
    auto opened = life->bench.Open(/*fresh=*/true);
    REQUIRE(opened.ok());
    life->log = *std::move(opened);
    Log& log = *life->log;
    for (int version = 0; version < 2; ++version) {
      for (int i = 0; i < kKeys; i += 1 + version * 2) {
        const auto written = Bench::Write(log, KeyOf(i), ValueOf(i, version));
        REQUIRE(written.ok());
        index[KeyOf(i)] = *written;
        durable[KeyOf(i)] = ValueOf(i, version);
      }
    }
    REQUIRE(log.SealActive().ok());
    for (const auto& segment : log.segments().All()) {
      if (segment->sealed) victims.push_back(segment->id);
    }
    REQUIRE(victims.size() >= 2);
    // Tombstones stay behind in a segment that is no victim.
    for (int i = 0; i < kKeys; i += 5) {
      REQUIRE(Bench::Delete(log, KeyOf(i)).ok());
      index.erase(KeyOf(i));
      durable.erase(KeyOf(i));
    }
    REQUIRE(log.SealActive().ok());
  }

  absl::Status Relocate(uint32_t generation) {
    Log& log = *life->log;
    FIRN_ASSIGN_OR_RETURN(auto writer, log.BeginRelocation(kRelocationBytes, generation));
    std::map<std::string, Log::Written> moved;
    for (const auto& [key, at] : index) {
      FIRN_ASSIGN_OR_RETURN(moved[key], life->bench.Copy(log, *writer, at));
    }
    FIRN_RETURN_IF_ERROR(writer->Finish());
    FIRN_ASSIGN_OR_RETURN(log::Segment * segment, log.Adopt(std::move(writer)));
    index = moved;
    segment->live_records += static_cast<int64_t>(index.size());
    log.SettleRelocation(segment->id);
    FIRN_RETURN_IF_ERROR(log.Retire(victims));
    victims = {segment->id};
    return absl::OkStatus();
  }

  // Moves thrice, with fresh writes in between that take the files of what was retired.
  absl::Status Run() {
    for (uint32_t generation = 1; generation <= 2; ++generation) {
      FIRN_RETURN_IF_ERROR(Relocate(generation));
      for (int i = 0; i < 80; ++i) {
        FIRN_RETURN_IF_ERROR(Bench::Put(*life->log, "fresh" + std::to_string(i), std::string(1'000, 'f')).status());
      }
      FIRN_RETURN_IF_ERROR(life->log->WaitDurable(life->log->LastReserved()));
    }
    // The last one has a higher id than all of the fresh log.
    FIRN_RETURN_IF_ERROR(Relocate(3));
    return life->log->Close();
  }

  // What the directories say, the highest revision of each key, with every place that has it.
  static void Check(SimWorld& world, const std::map<std::string, std::string>& durable) {
    for (int open = 0; open < 2; ++open) {
      Life next(world);
      auto opened = next.bench.Open(/*fresh=*/false);
      REQUIRE(opened.status() == absl::OkStatus());
      next.log = *std::move(opened);
      for (const auto& segment : next.log->segments().All()) {
        if (segment->header.generation > 0) REQUIRE(segment->sealed);
      }
      std::map<std::string, uint64_t> newest;
      for (const auto& [key, at] : next.bench.entries) newest[key] = std::max(newest[key], at.revision);
      std::map<std::string, std::string> found;
      for (const auto& [key, at] : next.bench.entries) {
        if (at.revision != newest[key]) continue;
        std::string memory;
        const auto record = Bench::Load(*next.log, next.bench.epochs, at, memory);
        REQUIRE(record);
        REQUIRE(record->revision == at.revision);
        if (record->type == format::RecordType::kDelete || key.starts_with("fresh")) continue;
        const std::string value(base::AsText(record->value));
        if (const auto other = found.find(key); other != found.end()) REQUIRE(other->second == value);
        found[key] = value;
      }
      REQUIRE(found == durable);
      REQUIRE(next.log->Close().ok());
    }
  }
};

PointCount CrashEverywhere(CrashKind kind, uint64_t seed) {
  std::optional<Story> story;
  const auto ending_on_failure = [&story](const std::function<void()>& step) {
    try {
      step();
    } catch (...) {
      story.reset();
      throw;
    }
  };
  const CrashTest test{.prepare =
                           [&](SimWorld& world) {
                             story.emplace();
                             ending_on_failure([&] { story->Prepare(world); });
                           },
                       .run =
                           [&](SimWorld& world) {
                             ending_on_failure([&] {
                               const absl::Status status = story->Run();
                               if (world.machine.crashes() == 0) REQUIRE(status == absl::OkStatus());
                               story->life.reset();
                             });
                           },
                       .check =
                           [&](SimWorld& world) {
                             ending_on_failure([&] { Story::Check(world, story->durable); });
                             story.reset();
                           }};
  return ForEachCrash(test, {kind}, seed);
}

TEST_CASE("rule 1: a crash at any point of relocation leaves each record in its original or in a whole copy",
          "[rule1][relocation]") {
  const uint64_t seed = GENERATE(1, 2);
  CHECK(CrashEverywhere(CrashKind::kPowerCut, seed).points > 30);
  CHECK(CrashEverywhere(CrashKind::kKill, seed).points > 30);
}

TEST_CASE("a relocation segment whose footer stayed and whose first unit did not is no end of the log",
          "[relocation]") {
  InSchedule(3, [](SimWorld& world) {
    Story story;
    story.Prepare(world);
    {
      Log& log = *story.life->log;
      auto writer = log.BeginRelocation(kRelocationBytes, 1);
      REQUIRE(writer.ok());
      world.machine.Inject({.kind = Fault::Kind::kLoseWrite, .operations = kWriteOperation});
      for (const auto& [key, at] : story.index) REQUIRE(story.life->bench.Copy(log, **writer, at).ok());
      REQUIRE((*writer)->Finish().ok());
      REQUIRE(world.machine.faults_hit() == 1);
      world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    }
    story.life.reset();
    Story::Check(world, story.durable);
  });
}

}  // namespace
}  // namespace firn::test
