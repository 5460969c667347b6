// Salvage() of a store that is whole: what is gone by rights is no loss, and does not come back. Dropped namespaces,
// which reclaim forgets, are for the model check (tests/sim/seed_copies.cc).
#include <algorithm>
#include <catch2/catch.hpp>

#include "crash/salvaging.h"

namespace firn::test {
namespace {

bool IsAnywhereIn(const StoreImage& image, const std::string& folder, const std::string& content) {
  const std::vector<std::string> names = Files(image, folder);
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return image.files.at(name).find(content) != std::string::npos; });
}

TEST_CASE("a key that has expired is no loss, though its value was given back, and no older version takes its place",
          "[salvage]") {
  StoreImage image;
  InSchedule(51, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    const int64_t soon_ms = world.clock.WallTimeMs() + 1'000;
    REQUIRE(client.Put("kept", Value("kept", 20'000)).ok());
    REQUIRE(client.Put("put anew", "older").ok());
    REQUIRE(client.Put("put anew", Value("expires", 20'000), Durability::kSynced, soon_ms).ok());
    REQUIRE(client.Put("changed", Value("expires by a change", 30'000)).ok());
    REQUIRE(client.SetExpiry("changed", soon_ms).ok());
    REQUIRE(client.Close().ok());
    world.clock.JumpWall(10'000);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    REQUIRE(client.Put("later", "by the clock of the log").ok());
    REQUIRE(client.Close().ok());
    image = StoreImage::Take(world.machine);
  });
  REQUIRE(IsAnywhereIn(image, "values/", "kept.kept"));
  REQUIRE_FALSE(IsAnywhereIn(image, "values/", "expires"));
  for (const bool older_versions : {false, true}) {
    const Salvaged salvaged = SalvageImage(image, {.older_versions = older_versions});
    INFO(Describe(salvaged));
    CHECK(salvaged.report.outcome == SalvageReport::Outcome::kWhole);
    CHECK(salvaged.state.size() == 2);
    CHECK(salvaged.state.contains(":kept"));
    CHECK(salvaged.state.contains(":later"));
  }
}

}  // namespace
}  // namespace firn::test
