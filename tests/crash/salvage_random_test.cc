// Salvage() of a store with random damage.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "crash/salvaging.h"
#include "support/rng.h"

namespace firn::test {
namespace {

// `ever_written`: every version that each key of the default namespace ever had, shown without its revision.
void CheckRandomDamage(uint64_t seed, const StoreImage& whole, const StoreMap& map, const State& truth,
                       const std::set<std::string>& ever_written) {
  Rng rng(seed);
  StoreImage image = whole;
  const auto random_file = [&](const std::string& folder) -> std::string {
    const std::vector<std::string> names = Files(image, folder);
    return names.empty() ? "" : names[rng.Below(names.size())];
  };
  for (uint64_t wounds = 1 + rng.Below(4); wounds > 0; --wounds) {
    const std::string name = random_file(rng.OneIn(4) ? "values/" : rng.OneIn(8) ? "SUPER" : "log/");
    if (name.empty()) continue;
    std::string& bytes = image.files.at(name);
    const uint64_t from = bytes.empty() ? 0 : rng.Below(bytes.size());
    switch (rng.Below(5)) {
      case 0:
        for (uint64_t flips = 1 + rng.Below(20); flips > 0 && !bytes.empty(); --flips) {
          Flip(bytes, rng.Below(bytes.size()), static_cast<char>(1 << rng.Below(8)));
        }
        break;
      case 1:
        bytes.resize(base::RoundDown(from, kBlock));
        break;
      case 2:
        Zero(bytes, from, std::min<uint64_t>(bytes.size(), from + 1 + rng.Below(9'000)));
        break;
      case 3:
        for (uint64_t at = from; at < std::min<uint64_t>(bytes.size(), from + 600); ++at) {
          bytes[at] = static_cast<char>(rng.Next());
        }
        break;
      default:
        if (rng.OneIn(2)) image.files.erase(name);
        break;
    }
  }
  if (rng.OneIn(4)) image.files.erase("TAIL");

  const Salvaged salvaged = SalvageImage(image);
  INFO("seed " << seed << "\n" << Describe(salvaged));
  const auto is_intact = [&](const std::string& name, uint64_t from, uint64_t to) {
    const auto file = image.files.find(name);
    if (file == image.files.end()) return false;
    return file->second.size() >= to &&
           file->second.compare(from, to - from, whole.files.at(name), from, to - from) == 0;
  };
  const bool superblock_left = [&] {
    if (is_intact("SUPERBLOCK", 0, kBlock) || is_intact("SUPERBLOCK", kBlock, 2 * kBlock)) return true;
    const std::vector<std::string> names = Files(image, "log/");
    return std::any_of(names.begin(), names.end(), [&](const auto& name) { return is_intact(name, 256, 256 + 88); });
  }();
  if (!superblock_left) {
    REQUIRE(absl::IsDataLoss(salvaged.status));
    return;
  }
  REQUIRE(salvaged.status.ok());
  // Nothing is made up.
  for (const auto& [key, shown] : salvaged.state) {
    if (!key.starts_with(":")) continue;
    INFO(key << " = " << shown);
    REQUIRE(ever_written.contains(key + " = " + shown.substr(0, shown.rfind(" @"))));
  }
  // Everything whose bytes are left is there.
  for (const auto& [key, put] : map.puts()) {
    if (key.first != format::kDefaultNamespace || put.type != format::RecordType::kPut) continue;
    const uint64_t file_bytes = whole.files.at(put.file).size();
    const bool has_salt = is_intact(put.file, 48, 64) || is_intact(put.file, file_bytes - 64, file_bytes);
    if (!has_salt || !is_intact(put.file, put.offset, put.offset + put.size)) continue;
    if (put.pointer) {
      const std::string name = values::ValueFileName(put.pointer->file);
      const uint64_t end = put.pointer->offset + put.pointer->length;
      if (!is_intact(name, put.pointer->offset, end)) continue;
      if (image.files.at(name).size() < base::RoundUp(end, kBlock)) continue;
    }
    INFO(key.second << " was intact");
    REQUIRE(salvaged.state.contains(":" + key.second));
    // Its newest put; a change of its expiry may be what is lost.
    const auto value_of = [](const std::string& shown) {
      return shown.substr(0, std::min(shown.find(" until"), shown.rfind(" @")));
    };
    REQUIRE(value_of(salvaged.state.at(":" + key.second)) == value_of(truth.at(":" + key.second)));
  }
}

TEST_CASE("whatever the damage, all that is left is saved, and nothing that was never written", "[salvage][random]") {
  const StoreImage whole = MakeRichStore();
  const StoreMap map(whole);
  const State truth = TruthOf(whole);
  std::set<std::string> ever_written;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 24; ++i) {
      const std::string key = "key" + std::to_string(i);
      ever_written.insert(":" + key + " = " + Shown(Value(key + "/" + std::to_string(round), 900), "", 0));
    }
  }
  for (const auto& [key, value] : std::map<std::string, std::string>{{"batch/a", "1"},
                                                                     {"batch/b", Value("2", 300)},
                                                                     {"batch/c", Extent("batched")},
                                                                     {"later", "some other day"},
                                                                     {"twin one", Extent("equal")},
                                                                     {"twin two", Extent("equal")},
                                                                     {"overwritten", "new"}}) {
    ever_written.insert(":" + key + " = " + Shown(value, "", 0));
  }
  ever_written.insert(":overwritten = " + Shown(Extent("old"), "", 0));
  ever_written.insert(":expires = " + Shown("some day", "", kFarFutureMs));
  ever_written.insert(":later = " + Shown("some other day", "", kFarFutureMs));
  for (const auto& [key, shown] : truth) {
    if (key.starts_with(":")) REQUIRE(ever_written.contains(key + " = " + shown.substr(0, shown.rfind(" @"))));
  }
  for (uint64_t seed = 0; seed < 600 / kPointsStep; ++seed) CheckRandomDamage(seed, whole, map, truth, ever_written);
}

}  // namespace
}  // namespace firn::test
