// Salvage(): everything whose bytes are left is in the new store, nothing else is, and the report says what is not.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "crash/salvaging.h"
#include "support/rng.h"

namespace firn::test {
namespace {

// A crashed store with `units` units of 30 keys, "u<unit>/<key>", in its newest segment, and more that follow.
StoreImage MakeCrashedStore(int units = 4) {
  StoreImage image;
  InSchedule(44, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("sealed", "1").ok());
    REQUIRE(client.Flush().ok());
    for (int unit = 0; unit < units; ++unit) {
      for (int i = 10; i < 40; ++i) {
        const std::string key = "u" + std::to_string(unit) + "/" + std::to_string(i);
        REQUIRE(client.Put(key, Value(key, 42), Durability::kBuffered).ok());  // whole tags: no key by chance
      }
      REQUIRE(client.Sync().ok());
    }
    for (const char* key : {"last", "witness"}) REQUIRE(client.Put(key, "value").ok());
    world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    image = StoreImage::Take(world.machine);
    client.Drop();
  });
  return image;
}

// The file that holds `content`, and where.
std::pair<std::string, uint64_t> Find(const StoreImage& image, const std::string& folder, const std::string& content) {
  for (const std::string& name : Files(image, folder)) {
    if (const size_t at = image.files.at(name).find(content); at != std::string::npos) return {name, at};
  }
  FAIL(content << " is in no file of " << folder);
  return {};
}

TEST_CASE("of a whole store salvage makes the same store, revisions and all", "[salvage]") {
  for (const StoreImage& image : {MakeRichStore(), MakeCrashedStore()}) RequireAll(SalvageImage(image), TruthOf(image));
}

TEST_CASE("a store made by salvage goes on where the other ended", "[salvage]") {
  const StoreImage image = MakeRichStore();
  SimWorld from(1), to(2);
  image.PutOn(from.machine);
  const auto report = SalvageOn(from.machine.Attach(), [&] { return SimEnvironment(to); }, {});
  REQUIRE(report.ok());
  uint64_t revision_max = 0;
  uint32_t namespace_max = 0;
  const StoreMap map(image);
  for (const auto& [key, put] : map.puts()) {
    revision_max = std::max(revision_max, put.revision);
    namespace_max = std::max(namespace_max, key.first);
  }
  Client client(to);
  REQUIRE(client.Open(SeparatingOptions()).ok());
  const auto revision = client.db().Put("new", "value");
  REQUIRE(revision.ok());
  CHECK(*revision > revision_max);
  const auto space = client.db().CreateNamespace("fresh");
  REQUIRE(space.ok());
  CHECK(space->id() > namespace_max + 1);  // the dropped one's is the highest
  // It is a store like any other: it reclaims, closes and opens.
  REQUIRE(client.db().Compact().ok());
  const State before = LookAtAll(client.db());
  REQUIRE(client.Close().ok());
  REQUIRE(client.Open(SeparatingOptions()).ok());
  CHECK(LookAtAll(client.db()) == before);
}

TEST_CASE("without SUPERBLOCK, or with both copies damaged, nothing is lost", "[salvage]") {
  for (const StoreImage& whole : {MakeRichStore(), MakeCrashedStore()}) {
    const State truth = TruthOf(whole);
    StoreImage image = whole;
    image.files.erase("SUPERBLOCK");
    RequireAll(SalvageImage(image), truth);
    image = whole;
    Flip(image.files.at("SUPERBLOCK"), 45);
    Flip(image.files.at("SUPERBLOCK"), kBlock + 100);
    RequireAll(SalvageImage(image), truth);
    // One header's copy is enough.
    image.files.erase("SUPERBLOCK");
    const std::vector<std::string> segments = Files(image, "log/");
    for (size_t i = 1; i < segments.size(); ++i) Zero(image.files.at(segments[i]), 256, 256 + 88);
    RequireAll(SalvageImage(image), truth);
    Zero(image.files.at(segments[0]), 256, 256 + 88);
    const Salvaged nothing = SalvageImage(image);
    CHECK(absl::IsDataLoss(nothing.status));
    CHECK_FALSE(nothing.made);
  }
}

TEST_CASE("with another store's SUPERBLOCK nothing is lost, and the report says whose it is", "[salvage]") {
  const StoreImage stores[] = {MakeRichStore(), MakeCrashedStore()};
  for (const int which : {0, 1}) {
    for (const bool both_copies : {true, false}) {
      StoreImage image = stores[which];
      const std::string& other = stores[1 - which].files.at("SUPERBLOCK");
      image.files.at("SUPERBLOCK").replace(0, kBlock, other, 0, kBlock);
      if (both_copies) image.files.at("SUPERBLOCK") = other;
      const Salvaged salvaged = SalvageImage(image);
      RequireAll(salvaged, TruthOf(stores[which]));
      CHECK(salvaged.report.superblock_from == "a segment's header");
      REQUIRE_FALSE(salvaged.report.notes.empty());
      CHECK(salvaged.report.notes[0].starts_with("SUPERBLOCK belongs to another store"));
    }
  }
}

TEST_CASE("without footers nothing is lost", "[salvage]") {
  const StoreImage whole = MakeRichStore();
  StoreImage image = whole;
  for (const std::string& name : Files(image, "log/")) {
    std::string& bytes = image.files.at(name);
    Zero(bytes, std::min<uint64_t>(bytes.size(), UnitOffsets(bytes).back()), bytes.size());
  }
  RequireAll(SalvageImage(image), TruthOf(whole));
}

TEST_CASE("without the headers of sealed segments, and without their names, nothing is lost", "[salvage]") {
  const StoreImage whole = MakeRichStore();
  const StoreMap map(whole);
  StoreImage image = whole;
  int number = 90;
  for (const log::SegmentId id : map.segments()) {
    std::string bytes = image.segment(id);
    Zero(bytes, 0, kBlock);
    image.files.erase(log::SegmentFileName(id));
    image.files["log/00000009" + std::to_string(++number) + ".seg"] = bytes;
  }
  RequireAll(SalvageImage(image), TruthOf(whole));
}

TEST_CASE("with any single bit of an unsealed segment's header wrong nothing is lost", "[salvage]") {
  const StoreImage whole = MakeCrashedStore(1);
  const State truth = TruthOf(whole);
  const std::string name = Find(whole, "log/", "u0/10").first;
  StoreImage image = whole;
  image.files.at("TAIL").assign(whole.files.at("TAIL").size(), '\0');
  for (uint64_t bit = 0; bit < 88 * 8; ++bit) {
    INFO("bit " << bit);
    Flip(image.files.at(name), bit / 8, static_cast<char>(1 << bit % 8));
    RequireAll(SalvageImage(image), truth, /*whole=*/false);
    Flip(image.files.at(name), bit / 8, static_cast<char>(1 << bit % 8));
  }
}

TEST_CASE("of a damaged unit exactly the records that are damaged are lost, and lengths and headers cost no more",
          "[salvage]") {
  const StoreImage whole = MakeCrashedStore();
  const State truth = TruthOf(whole);
  const std::string name = Find(whole, "log/", "u0/10").first;
  const std::string& bytes = whole.files.at(name);
  const std::vector<uint64_t> units = UnitOffsets(bytes);
  constexpr uint64_t kValueSizeBeforeKey = 1, kKeySizeBeforeKey = 3, kHeadBeforeKey = 22;
  for (int i = 10; i < 40; i += 3) {
    const std::string key = "u1/" + std::to_string(i), after = "u2/" + std::to_string(49 - i);
    const uint64_t at = bytes.find(key), at_after = bytes.find(after);
    for (const uint64_t place : {at + 20, at - kValueSizeBeforeKey, at - kKeySizeBeforeKey, at - kHeadBeforeKey}) {
      for (const bool head_too : {false, true}) {
        INFO(key << ", " << place << (head_too ? ", and the unit's header" : ""));
        StoreImage image = whole;
        Flip(image.files.at(name), place);
        Flip(image.files.at(name), at_after + 20);
        const uint64_t unit = *(std::upper_bound(units.begin(), units.end(), at) - 1);
        if (head_too) Flip(image.files.at(name), unit + 30);
        const Salvaged salvaged = SalvageImage(image);
        RequireAllBut(salvaged, truth, {":" + key, ":" + after});
        CHECK(salvaged.report.lost.size() == 2);
        CHECK(salvaged.report.incomplete_batches.empty());
        CHECK(salvaged.report.keys_possibly_stale > 0);
        for (const Damage& lost : salvaged.report.lost) CHECK(lost.bytes < 100);
      }
    }
  }
  // Only the header.
  StoreImage image = whole;
  Flip(image.files.at(name), units[2] + 30);
  RequireAll(SalvageImage(image), truth);
}

TEST_CASE("below a footer the lost keys are known, and an older version is taken on request only", "[salvage]") {
  StoreImage whole;
  InSchedule(46, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    REQUIRE(client.db().Put("key", Value("old", 200), {{}, 0, "metadata"}).ok());
    REQUIRE(client.Flush().ok());
    REQUIRE(client.Put("key", Value("new", 200), Durability::kBuffered).ok());
    REQUIRE(client.Put("neighbour", Value("neighbour", 200), Durability::kBuffered).ok());
    REQUIRE(client.Close().ok());
    whole = StoreImage::Take(world.machine);
  });
  const State truth = TruthOf(whole);
  StoreImage image = whole;
  const auto [name, at] = Find(image, "log/", Value("new", 200));
  Flip(image.files.at(name), at + 20);
  const Salvaged salvaged = SalvageImage(image);
  RequireAllBut(salvaged, truth, {":key"});
  REQUIRE(salvaged.report.lost_keys.size() == 1);
  CHECK(salvaged.report.lost_keys[0].key == "key");
  CHECK(salvaged.report.lost_keys[0].instead == LostKey::Instead::kNothing);
  CHECK(salvaged.report.lost_keys[0].why.find(name) != std::string::npos);
  CHECK(salvaged.report.keys_possibly_stale == 0);  // nothing was lost unseen

  const Salvaged older = SalvageImage(image, {.older_versions = true});
  INFO(Describe(older));
  REQUIRE(older.state.at(":key").find("[metadata]") != std::string::npos);
  REQUIRE(older.report.lost_keys.size() == 1);
  CHECK(older.report.lost_keys[0].instead == LostKey::Instead::kOlderVersion);
}

TEST_CASE("a missing segment costs what it held, and is named", "[salvage]") {
  const StoreImage whole = MakeRichStore();
  const StoreMap map(whole);
  const State truth = TruthOf(whole);
  for (const log::SegmentId id : map.segments()) {
    INFO("segment " << id);
    StoreImage image = whole;
    image.files.erase(log::SegmentFileName(id));
    const Salvaged salvaged = SalvageImage(image);
    INFO(Describe(salvaged));
    REQUIRE(salvaged.report.missing_segments == std::vector<uint32_t>{id});
    REQUIRE(salvaged.report.outcome == SalvageReport::Outcome::kPartly);
    // Everything else of the default namespace is there; what was deleted or overwritten in it may be back.
    for (const auto& [key, put] : map.puts()) {
      if (key.first != format::kDefaultNamespace || put.file == log::SegmentFileName(id)) continue;
      if (put.type == format::RecordType::kPut)
        CHECK(salvaged.state.at(":" + key.second) == truth.at(":" + key.second));
    }
  }
}

TEST_CASE("a delete that is lost is told of as a key that may be stale", "[salvage]") {
  StoreImage image;
  InSchedule(47, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("deleted", "back").ok());
    REQUIRE(client.Put("stays", "1").ok());
    REQUIRE(client.Flush().ok());
    REQUIRE(client.Delete("deleted").ok());
    REQUIRE(client.Put("lost", "1").ok());
    REQUIRE(client.Flush().ok());
    REQUIRE(client.Put("later", "1").ok());
    REQUIRE(client.Close().ok());
    image = StoreImage::Take(world.machine);
  });
  image.files.erase(Find(image, "log/", "lost").first);
  const Salvaged salvaged = SalvageImage(image);
  INFO(Describe(salvaged));
  CHECK(salvaged.state.size() == 3);
  CHECK(salvaged.state.contains(":deleted"));
  CHECK(salvaged.report.keys_possibly_stale == 2);  // not "later"
}

TEST_CASE("a value file that is missing or cut costs the keys whose values were in it, and these are named",
          "[salvage]") {
  const StoreImage whole = MakeRichStore();
  const StoreMap map(whole);
  const State truth = TruthOf(whole);
  const std::vector<std::string> files = Files(whole, "values/");
  REQUIRE_FALSE(files.empty());
  for (const std::string& name : files) {
    for (uint64_t left = 0; left <= whole.files.at(name).size(); left += kBlock) {
      StoreImage image = whole;
      if (left == 0) {
        image.files.erase(name);
      } else {
        image.files.at(name).resize(left);
      }
      std::set<std::string> lost;
      for (const auto& [key, put] : map.puts()) {
        if (!put.pointer || values::ValueFileName(put.pointer->file) != name) continue;
        if (put.pointer->offset + put.pointer->length > left) lost.insert(":" + key.second);
      }
      INFO(name << " cut to " << left);
      const Salvaged salvaged = SalvageImage(image);
      RequireAllBut(salvaged, truth, lost);
      std::set<std::string> named;
      for (const LostKey& key : salvaged.report.lost_keys) named.insert(":" + key.key);
      CHECK(named == lost);
    }
  }
  // Its header and its name say the same; one of them is enough, and without both of them it is lost.
  StoreImage image = whole;
  Zero(image.files.at(files[0]), 0, kBlock);
  RequireAll(SalvageImage(image), truth);
  image = whole;
  image.files["values/0000000077.val"] = image.files.at(files[0]);
  image.files.erase(files[0]);
  RequireAll(SalvageImage(image), truth);
}

TEST_CASE("a separated value whose record is damaged is had through the footer, without its metadata", "[salvage]") {
  StoreImage image;
  InSchedule(53, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    PutOptions options;
    options.metadata = "what is beside it";
    REQUIRE(client.db().Put("with", Extent("one"), options).ok());
    REQUIRE(client.db().Put("without", Extent("two"), {}).ok());
    REQUIRE(client.Close().ok());
    image = StoreImage::Take(world.machine);
  });
  const State truth = TruthOf(image);
  const auto [name, at] = Find(image, "log/", "what is beside it");
  Flip(image.files.at(name), at, 1);
  const Salvaged salvaged = SalvageImage(image);
  INFO(Describe(salvaged));
  CHECK(salvaged.report.outcome == SalvageReport::Outcome::kPartly);
  REQUIRE(salvaged.report.lost_keys.size() == 1);
  CHECK(salvaged.report.lost_keys[0].key == "with");
  CHECK(salvaged.report.lost_keys[0].instead == LostKey::Instead::kWithoutMetadata);
  CHECK(salvaged.state.at(":without") == truth.at(":without"));
  CHECK(salvaged.state.at(":with").find(Shown(Extent("one"), "", 0)) == 0);
  CHECK(salvaged.state.at(":with").find("what is beside it") == std::string::npos);
}

TEST_CASE("what is left of a damaged batch is taken, and the batch is named", "[salvage]") {
  for (const bool closed : {false, true}) {
    StoreImage whole;
    Revision batch = 0;
    InSchedule(48, [&](SimWorld& world) {
      Client client(world);
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("before", "1", Durability::kBuffered).ok());
      REQUIRE(client.Apply({{"batch/a", "1"}, {"batch/b", "2"}, {"batch/c", "3"}}, Durability::kBuffered).ok());
      batch = client.revision_max();
      REQUIRE(client.Put("between", "1", Durability::kBuffered).ok());
      REQUIRE(client.Sync().ok());
      for (const char* key : {"last", "witness"}) REQUIRE(client.Put(key, "value").ok());
      if (closed) {
        REQUIRE(client.Close().ok());
      } else {
        world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
      }
      whole = StoreImage::Take(world.machine);
      client.Drop();
    });
    const State truth = TruthOf(whole);
    for (const std::string key : {"batch/a", "batch/b", "batch/c", "before", "between"}) {
      INFO(key << (closed ? ", closed" : ", crashed"));
      StoreImage image = whole;
      const auto [name, at] = Find(image, "log/", key);
      Flip(image.files.at(name), at);
      const Salvaged salvaged = SalvageImage(image);
      RequireAllBut(salvaged, truth, {":" + key});
      const bool in_batch = key.starts_with("batch");
      const std::vector<Revision>& named = salvaged.report.incomplete_batches;
      if (in_batch) CHECK(named == std::vector<Revision>{batch});
      // Whether the record before a batch belonged to it cannot be told without a footer.
      if (!in_batch && (closed || key == "between")) CHECK(named.empty());
    }
  }
}

TEST_CASE("keys of a namespace whose name is lost come under another one", "[salvage]") {
  StoreImage image;
  uint32_t id = 0;
  InSchedule(49, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    auto space = client.db().CreateNamespace("named");
    REQUIRE(space.ok());
    id = space->id();
    REQUIRE(client.Flush().ok());
    REQUIRE(client.db().CreateNamespace("lost-" + std::to_string(id)).ok());
    REQUIRE(space->Put("key", "value", {}).ok());
    REQUIRE(client.Close().ok());
    image = StoreImage::Take(world.machine);
  });
  image.files.erase(Find(image, "log/", "named").first);
  const Salvaged salvaged = SalvageImage(image);
  INFO(Describe(salvaged));
  REQUIRE(salvaged.report.renamed_namespaces.size() == 1);
  CHECK(salvaged.report.renamed_namespaces[0].id == id);
  CHECK(salvaged.report.renamed_namespaces[0].name == "lost-" + std::to_string(id) + "-2");
  CHECK(salvaged.state.contains("lost-" + std::to_string(id) + "-2:key"));
}

TEST_CASE("copies that reclaim made are not lost with the record that adopted them", "[salvage]") {
  StoreImage whole;
  InSchedule(50, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 30; ++i) {
        const std::string key = "key" + std::to_string(i);
        REQUIRE(client.Put(key, Value(key + std::to_string(round), round == 0 || i % 3 != 0 ? 900 : 10)).ok());
      }
      REQUIRE(client.Flush().ok());
    }
    REQUIRE(client.db().Compact().ok());
    REQUIRE(client.Close().ok());
    whole = StoreImage::Take(world.machine);
  });
  const State truth = TruthOf(whole);
  const StoreMap map(whole);
  REQUIRE(map.has_relocated());
  for (const bool without_tail : {false, true}) {
    StoreImage image = whole;
    image.files.erase(log::SegmentFileName(map.newest()));
    if (without_tail) image.files.erase("TAIL");
    const Salvaged salvaged = SalvageImage(image);
    INFO(Describe(salvaged));
    CHECK(salvaged.state == truth);
    CHECK_FALSE(salvaged.report.segments_in_doubt.empty());
    CHECK(salvaged.report.outcome == SalvageReport::Outcome::kPartly);
  }
  // Opened in place, with the mark of the close that tells that something is missing.
  StoreImage image = whole;
  image.files.erase(log::SegmentFileName(map.newest()));
  const Opened opened = OpenImage(image, {.salvage = true});
  INFO(opened.status.ToString() << opened.events);
  REQUIRE(opened.status.ok());
  CHECK(opened.unreadable == 0);
  CHECK(opened.state.size() == truth.size());
}

TEST_CASE("salvage refuses a source that a process writes to, and a destination that is a store", "[salvage]") {
  SimWorld from(1), to(2);
  MakeRichStore().PutOn(from.machine);
  const auto environment = [&] { return SimEnvironment(to); };
  {
    Client writer(from);
    REQUIRE(writer.Open(SeparatingOptions()).ok());
    CHECK(absl::IsUnavailable(SalvageOn(from.machine.Attach(), environment, {}).status()));
    REQUIRE(writer.Close().ok());
    Options options = SeparatingOptions();
    options.read_only = true;
    REQUIRE(writer.Open(options).ok());
    CHECK(SalvageOn(from.machine.Attach(), environment, {}).ok());
  }
  CHECK(absl::IsFailedPrecondition(SalvageOn(from.machine.Attach(), environment, {}).status()));
  CHECK(absl::IsInvalidArgument(Salvage("/tmp/source", "/tmp/source/within").status()));
  CHECK(absl::IsNotFound(Salvage("/nonexistent/source", "/nonexistent/destination").status()));
  SimWorld third(3);
  const auto cancelled = SalvageOn(from.machine.Attach(), [&] { return SimEnvironment(third); },
                                   {.progress = [](uint64_t, uint64_t) { return false; }});
  CHECK(absl::IsCancelled(cancelled.status()));
  // What that left is no store, and is in nobody's way.
  Client client(third);
  Options options = SeparatingOptions();
  options.create_if_missing = false;
  CHECK(absl::IsNotFound(client.Open(options)));
  CHECK(SalvageOn(from.machine.Attach(), [&] { return SimEnvironment(third); }, {}).ok());
  REQUIRE(client.Open(options).ok());
  CHECK(LookAtAll(client.db()) == TruthOf(MakeRichStore()));
}

TEST_CASE("where nothing verifies no destination is made", "[salvage]") {
  StoreImage image = MakeCrashedStore();
  Rng rng(51);
  for (const std::string& name : Files(image, "log/")) {
    for (char& byte : image.files.at(name)) byte = static_cast<char>(rng.Next());
  }
  const Salvaged salvaged = SalvageImage(image);
  INFO(Describe(salvaged));
  CHECK(salvaged.status.ok());
  CHECK_FALSE(salvaged.made);
  CHECK(salvaged.report.outcome == SalvageReport::Outcome::kNothing);
  CHECK_FALSE(salvaged.report.lost.empty());
}

TEST_CASE("where every segment was wiped, each of them is reported", "[salvage]") {
  for (const bool cut : {false, true}) {
    StoreImage image = MakeRichStore();
    const std::vector<std::string> segments = Files(image, "log/");
    for (const std::string& name : segments) {
      std::string& bytes = image.files.at(name);
      bytes.assign(cut ? 0 : bytes.size(), '\0');
    }
    const Salvaged salvaged = SalvageImage(image);
    INFO(Describe(salvaged));
    CHECK(salvaged.report.outcome == SalvageReport::Outcome::kNothing);
    std::set<std::string> named;
    for (const Damage& lost : salvaged.report.lost) named.insert(lost.file);
    CHECK(named == std::set<std::string>(segments.begin(), segments.end()));
  }
}

}  // namespace
}  // namespace firn::test
