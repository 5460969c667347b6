// What the tests of Salvage() share: salvaging an image of a store, and looking at what came of it.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "crash/store_map.h"

namespace firn::test {

// "NAMESPACE:KEY" with value, metadata, expiry and revision.
inline State LookAtAll(DB& db) {
  State state;
  const auto look = [&](const std::string& name, const Namespace& space) {
    const std::unique_ptr<Iterator> iterator = space.NewIterator();
    for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
      std::string value;
      ValueInfo info;
      const absl::Status status = space.GetInto(iterator->key(), &value, &info);
      INFO(iterator->key() << ": " << status.ToString());
      REQUIRE(status.ok());
      state[name + ":" + std::string(iterator->key())] =
          Shown(value, info.metadata, info.expires_at_ms) + " @" + std::to_string(info.revision);
    }
  };
  look("", db.root());
  for (const std::string& name : db.ListNamespaces()) look(name, *db.OpenNamespace(name));
  return state;
}

inline State TruthOf(const StoreImage& image) {
  SimWorld world(1);
  image.PutOn(world.machine);
  Client client(world);
  Options options = SeparatingOptions();
  options.read_only = true;
  REQUIRE(client.Open(options).ok());
  return LookAtAll(client.db());
}

struct Salvaged {
  absl::Status status;
  SalvageReport report;
  bool made = false;  // a destination
  State state;
};

inline std::string Describe(const Salvaged& salvaged) {
  const SalvageReport& report = salvaged.report;
  std::string text = salvaged.status.ToString() + "\n";
  for (const std::string& note : report.notes) text += "note: " + note + "\n";
  for (const Damage& damage : report.lost) {
    text += "lost: " + damage.ToString() + ", " + std::to_string(damage.bytes) + " bytes\n";
  }
  for (const uint32_t id : report.missing_segments) text += "missing: " + std::to_string(id) + "\n";
  for (const uint32_t id : report.segments_in_doubt) text += "in doubt: " + std::to_string(id) + "\n";
  for (const LostKey& key : report.lost_keys) text += "lost key: " + key.key + ": " + key.why + "\n";
  for (const Revision revision : report.incomplete_batches) text += "batch: " + std::to_string(revision) + "\n";
  return text + test::Describe(salvaged.state);
}

// Reads the image, which must not change, and looks at what was made of it.
inline Salvaged SalvageImage(const StoreImage& image, const SalvageOptions& options = {}) {
  SimWorld from(1), to(2);
  image.PutOn(from.machine);
  const StoreImage before = StoreImage::Take(from.machine);
  Salvaged salvaged;
  auto report = SalvageOn(
      from.machine.Attach(),
      [&]() -> absl::StatusOr<Environment> {
        salvaged.made = true;
        return SimEnvironment(to);
      },
      options);
  REQUIRE(StoreImage::Take(from.machine).files == before.files);
  salvaged.status = report.status();
  if (!report.ok()) return salvaged;
  salvaged.report = *std::move(report);
  if (!salvaged.made) return salvaged;
  Client client(to);
  REQUIRE(client.Open(SeparatingOptions()).ok());
  salvaged.state = LookAtAll(client.db());
  const auto verified = client.db().Verify();
  REQUIRE(verified.ok());
  REQUIRE(verified->damages.empty());
  REQUIRE(salvaged.report.keys == salvaged.state.size());
  REQUIRE(client.Close().ok());
  return salvaged;
}

inline void RequireAll(const Salvaged& salvaged, const State& truth, bool whole = true) {
  INFO(Describe(salvaged));
  REQUIRE(salvaged.status.ok());
  REQUIRE(salvaged.state == truth);
  if (whole) REQUIRE(salvaged.report.outcome == SalvageReport::Outcome::kWhole);
}

// Exactly these keys are gone.
inline void RequireAllBut(const Salvaged& salvaged, State truth, const std::set<std::string>& lost) {
  for (const std::string& key : lost) REQUIRE(truth.erase(key) == 1);
  RequireAll(salvaged, truth, /*whole=*/false);
  if (lost.empty()) return;
  INFO(Describe(salvaged));
  REQUIRE(salvaged.report.outcome == SalvageReport::Outcome::kPartly);
}

inline std::vector<std::string> Files(const StoreImage& image, const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : image.files) {
    if (name.starts_with(folder)) names.push_back(name);
  }
  return names;
}

inline void Zero(std::string& bytes, uint64_t from, uint64_t to) {
  std::fill(bytes.begin() + static_cast<ptrdiff_t>(from), bytes.begin() + static_cast<ptrdiff_t>(to), '\0');
}

}  // namespace firn::test
