// What salvage brings back from between damaged records.
#include <algorithm>
#include <catch2/catch.hpp>

#include "crash/image.h"
#include "format/unit.h"

namespace firn::test {
namespace {

struct Units {
  StoreImage image;
  State truth;
  log::SegmentId segment = 0;
};

// A crashed store with `units` units of 30 keys, "u<unit>/<key>", in one segment, and later ones that vouch for them.
Units MakeUnits(int units) {
  Units sample;
  InSchedule(42, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    for (int unit = 0; unit < units; ++unit) {
      for (int i = 10; i < 40; ++i) {
        const std::string key = "u" + std::to_string(unit) + "/" + std::to_string(i);
        REQUIRE(client.Put(key, Value(key, 40), Durability::kBuffered).ok());
      }
      REQUIRE(client.Sync().ok());
    }
    for (const char* key : {"last", "witness"}) REQUIRE(client.Put(key, "value").ok());
    sample.truth = Look(client.db());
    world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    sample.image = StoreImage::Take(world.machine);
    client.Drop();
  });
  sample.image.files.erase("TAIL");
  for (const auto& [name, bytes] : sample.image.files) {
    if (bytes.find("u0/10") != std::string::npos)
      sample.segment = static_cast<log::SegmentId>(std::stoul(name.substr(4)));
  }
  return sample;
}

TEST_CASE("salvage loses of damaged units side by side no more than the damaged records", "[damage][salvage]") {
  constexpr int kUnits = 5, kKeys = 30;
  const Units sample = MakeUnits(kUnits);
  REQUIRE(sample.truth.size() == kUnits * kKeys + 2);
  const std::string& whole = sample.image.segment(sample.segment);
  const auto key_at = [&](int unit, int i) {
    return whole.find("u" + std::to_string(unit) + "/" + std::to_string(10 + i));
  };
  const auto unit_of = [&](int unit) {
    const auto offsets = UnitOffsets(whole);
    return *(std::upper_bound(offsets.begin(), offsets.end(), key_at(unit, 0)) - 1);
  };
  constexpr uint64_t kValueSizeBeforeKey = 1, kKeySizeBeforeKey = 3;
  const auto lost = [&](const StoreImage& image) {
    REQUIRE(absl::IsDataLoss(OpenImage(image).status));
    const Opened opened = OpenImage(image, {.salvage = true});
    INFO(opened.events << test::Describe(opened.state));
    REQUIRE(opened.status.ok());
    RequireNoLies(opened.state, sample.truth);
    return sample.truth.size() - opened.state.size();
  };
  for (int neighbours = 1; neighbours <= 3; ++neighbours) {
    for (int i = 0; i < kKeys; i += 7) {
      INFO(neighbours << " neighbours, record " << i << " of each");
      StoreImage values = sample.image, lengths = sample.image, heads = sample.image, mixed = sample.image;
      for (int unit = 1; unit <= neighbours; ++unit) {
        Flip(values.segment(sample.segment), key_at(unit, i) + 20);
        Flip(lengths.segment(sample.segment),
             key_at(unit, i) - (unit % 2 == 1 ? kValueSizeBeforeKey : kKeySizeBeforeKey));
        Flip(heads.segment(sample.segment), unit_of(unit) + 30);
        Flip(mixed.segment(sample.segment), key_at(unit, i) + (unit == 1 ? -kValueSizeBeforeKey : 20));
      }
      const auto n = static_cast<size_t>(neighbours), behind = static_cast<size_t>(kKeys - i);
      CHECK(lost(values) == n);
      CHECK(lost(lengths) <= n * behind);
      CHECK(lost(heads) == 0);
      CHECK(lost(mixed) <= behind + n - 1);
      // Where neither its header nor a record's length is sure, whatever follows the unit still is.
      Flip(mixed.segment(sample.segment), unit_of(1) + 30);
      CHECK(lost(mixed) <= behind + n);
    }
  }
}

TEST_CASE("salvage never tears a batch, whichever bit of its unit is wrong", "[damage][salvage]") {
  Units sample;
  InSchedule(43, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("before", "1", Durability::kBuffered).ok());
    REQUIRE(client.Apply({{"batch/a", "1"}, {"batch/b", "2"}, {"batch/c", "3"}}, Durability::kBuffered).ok());
    REQUIRE(client.Put("between", "1", Durability::kBuffered).ok());
    REQUIRE(client.Apply({{"tail/a", "1"}, {"tail/b", "2"}}, Durability::kBuffered).ok());
    REQUIRE(client.Sync().ok());
    for (const char* key : {"last", "witness"}) REQUIRE(client.Put(key, "value").ok());
    sample.truth = Look(client.db());
    world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    sample.image = StoreImage::Take(world.machine);
    client.Drop();
  });
  sample.image.files.erase("TAIL");
  for (auto& [name, bytes] : sample.image.files) {
    const uint64_t first = bytes.find("before"), end = bytes.find("tail/b");
    if (first == std::string::npos) continue;
    for (uint64_t bit = (first - 22) * 8; bit < (end + 7) * 8; ++bit) {
      INFO("bit " << bit % 8 << " of byte " << bit / 8);
      Flip(bytes, bit / 8, static_cast<char>(1 << bit % 8));
      const Opened opened = OpenImage(sample.image, {.read_only = true, .salvage = true});
      Flip(bytes, bit / 8, static_cast<char>(1 << bit % 8));
      INFO(opened.status.ToString() << test::Describe(opened.state));
      REQUIRE(opened.status.ok());
      RequireNoLies(opened.state, sample.truth);
      REQUIRE(opened.state.size() < sample.truth.size());
      const auto has = [&](const char* key) { return opened.state.contains(key); };
      REQUIRE((has("batch/a") == has("batch/b") && has("batch/b") == has("batch/c")));
      REQUIRE(has("tail/a") == has("tail/b"));
    }
  }
}

}  // namespace
}  // namespace firn::test
