// Salvage() where what is left does not say it all: copies that no list names, and batches whose end is gone.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "crash/salvaging.h"

namespace firn::test {
namespace {

// The file in log/ that has `content`; empty if none.
std::string SegmentWith(const StoreImage& image, const std::string& content) {
  for (const std::string& name : Files(image, "log/")) {
    if (image.files.at(name).find(content) != std::string::npos) return name;
  }
  return "";
}

TEST_CASE("copies that were retired long before the end of the log are not taken for lost ones", "[salvage]") {
  std::string copies_name, copies;
  StoreImage image;
  InSchedule(61, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    for (int i = 0; i < 6; ++i) REQUIRE(client.Put("old" + std::to_string(i), Value("old", 9'000)).ok());
    REQUIRE(client.Flush().ok());
    const std::string original = SegmentWith(StoreImage::Take(world.machine), "old5");
    for (int i = 0; i < 5; ++i) REQUIRE(client.Delete("old" + std::to_string(i)).ok());
    REQUIRE(client.Flush().ok());
    REQUIRE(client.db().Compact().ok());
    const StoreImage compacted = StoreImage::Take(world.machine);
    copies_name = SegmentWith(compacted, "old5");
    REQUIRE_FALSE(copies_name.empty());
    REQUIRE(copies_name != original);
    copies = compacted.files.at(copies_name);
    // Deleted, moved away and forgotten: neither the copies nor what retired them are part of the store an hour later.
    REQUIRE(client.Delete("old5").ok());
    REQUIRE(client.Put("kept", "early").ok());
    for (int turn = 0; turn < 3; ++turn) {
      REQUIRE(client.Flush().ok());
      REQUIRE(client.db().Compact().ok());
    }
    world.clock.JumpWall(3'600'000);
    for (const char* key : {"first", "second", "third"}) {
      REQUIRE(client.Put(key, "late").ok());
      REQUIRE(client.Flush().ok());
    }
    REQUIRE(client.Put("lost", "with the end of the log").ok());
    REQUIRE(client.Close().ok());
    image = StoreImage::Take(world.machine);
  });
  REQUIRE(SegmentWith(image, "old5").empty());
  image.files[copies_name] = copies;  // a removal that a crash undid
  std::string& newest = image.files.at(SegmentWith(image, "with the end of the log"));
  for (uint64_t at = newest.find("lost"); at < newest.size(); at += 64) Flip(newest, at);
  const Salvaged salvaged = SalvageImage(image);
  INFO(Describe(salvaged));
  REQUIRE(salvaged.status.ok());
  CHECK_FALSE(salvaged.report.lost.empty());
  CHECK(salvaged.report.segments_in_doubt.empty());
  for (const char* key : {":kept", ":first", ":second", ":third"}) CHECK(salvaged.state.contains(key));
  CHECK_FALSE(salvaged.state.contains(":old5"));
}

TEST_CASE("a batch whose end is gone with the end of what is damaged is told as incomplete", "[salvage]") {
  StoreImage image;
  InSchedule(62, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("before", "1").ok());
    REQUIRE(client.Apply({{"batch/a", "1"}, {"batch/b", Value("2", 5'000)}, {"batch/c", "3"}}).ok());
    REQUIRE(client.Put("after", "1").ok());
    REQUIRE(client.Close().ok());
    image = StoreImage::Take(world.machine);
  });
  const State truth = TruthOf(image);
  std::string& segment = image.files.at(SegmentWith(image, "batch/a"));
  const uint64_t from = segment.find("batch/b");
  const auto units = UnitOffsets(segment);
  Zero(segment, from, *std::upper_bound(units.begin(), units.end(), from));
  segment.resize(units.back());  // no footer
  const Salvaged salvaged = SalvageImage(image);
  RequireAllBut(salvaged, truth, {":batch/b", ":batch/c"});
  const std::string& taken = truth.at(":batch/a");
  REQUIRE(salvaged.report.incomplete_batches == std::vector<Revision>{std::stoull(taken.substr(taken.rfind('@') + 1))});
}

}  // namespace
}  // namespace firn::test
