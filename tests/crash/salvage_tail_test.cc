// Salvage() and TAIL: what only the tail buffers have, and what is lost with them.
#include <catch2/catch.hpp>
#include <optional>
#include <string>

#include "crash/salvaging.h"
#include "support/rng.h"

namespace firn::test {
namespace {

// A killed store with "sealed" in a sealed segment, and "a", "b" and "c" in the tail buffers only.
StoreImage MakeKilledStore() {
  StoreImage image;
  InSchedule(45, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("sealed", "1").ok());
    REQUIRE(client.Flush().ok());
    for (const char* key : {"a", "b", "c"}) REQUIRE(client.Put(key, key, Durability::kBuffered).ok());
    world.machine.Crash({CrashKind::kKill, Survival::kNothing});
    image = StoreImage::Take(world.machine);
    client.Drop();
  });
  return image;
}

TEST_CASE("what only the tail buffers of a killed process have is taken, even without the segment's file",
          "[salvage]") {
  const StoreImage whole = MakeKilledStore();
  RequireAll(SalvageImage(whole), TruthOf(whole));
  StoreImage image = whole;
  image.files.erase(Files(image, "log/").back());
  const Salvaged salvaged = SalvageImage(image);
  INFO(Describe(salvaged));
  for (const char* key : {":sealed", ":a", ":b", ":c"}) CHECK(salvaged.state.contains(key));
}

TEST_CASE("a TAIL that is missing, or not as a process left it, may have held buffered writes: not after a close",
          "[salvage]") {
  const StoreImage killed = MakeKilledStore(), closed = MakeRichStore();
  const State truth = TruthOf(killed), closed_truth = TruthOf(closed);
  const size_t tail_bytes = killed.files.at("TAIL").size();
  std::string random(tail_bytes, '\0');
  Rng rng(52);
  for (char& byte : random) byte = static_cast<char>(rng.Next());
  const std::string short_tail = killed.files.at("TAIL").substr(0, tail_bytes / 2);
  for (const std::optional<std::string>& tail : {std::optional<std::string>(), {""}, {short_tail}, {random}}) {
    StoreImage image = killed, closed_image = closed;
    image.files.erase("TAIL");
    closed_image.files.erase("TAIL");
    if (tail) image.files["TAIL"] = closed_image.files["TAIL"] = *tail;
    const Salvaged salvaged = SalvageImage(image);
    INFO(Describe(salvaged));
    CHECK(salvaged.state.at(":sealed") == truth.at(":sealed"));
    CHECK(salvaged.report.outcome == SalvageReport::Outcome::kPartly);
    REQUIRE(salvaged.report.lost.size() == 1);
    CHECK(salvaged.report.lost[0].file == "TAIL");
    CHECK(salvaged.report.keys_possibly_stale == salvaged.state.size());
    RequireAll(SalvageImage(closed_image), closed_truth);
  }
}

TEST_CASE("without TAIL nothing of a closed store is lost", "[salvage]") {
  const StoreImage whole = MakeRichStore();
  StoreImage image = whole;
  image.files.erase("TAIL");
  RequireAll(SalvageImage(image), TruthOf(whole));
  image.files["TAIL"] = "short";
  RequireAll(SalvageImage(image), TruthOf(whole));
}

}  // namespace
}  // namespace firn::test
