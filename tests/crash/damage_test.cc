// Damage to a store's files, enumerated: a clear status, never a crash, never a wrong value, and nothing lost but what
// the damage itself destroyed and the last units, which no later watermark covers.
#include <catch2/catch.hpp>

#include "crash/image.h"
#include "format/unit.h"
#include "support/rng.h"

namespace firn::test {
namespace {

struct Sample {
  StoreImage image;
  State truth;
  log::SegmentId sealed = 0, active = 0;  // of those with user data
};

// Two sealed segments and, unless `closed`, an active one, each with two synced units of user data.
Sample MakeSample(bool closed) {
  Sample sample;
  InSchedule(40, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    for (int segment = 0; segment < 3; ++segment) {
      const std::string name = "s" + std::to_string(segment);
      REQUIRE(client.Put(name + "/one", Value("one")).ok());
      REQUIRE(client.Apply({{name + "/two", Value("two")}, {name + "/three", Value("three", 5'000)}}).ok());
      REQUIRE(client.Put(name + "/four", Value("four")).ok());
      if (segment < 2) REQUIRE(client.Flush().ok());
      Nap(100);
    }
    sample.truth = Look(client.db());
    if (closed) {
      REQUIRE(client.Close().ok());
    } else {
      world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    }
    sample.image = StoreImage::Take(world.machine);
    client.Drop();
  });
  sample.image.files.erase("TAIL");  // of no use after a power cut, and large
  for (const auto& [name, bytes] : sample.image.files) {
    if (name.find("log/") != 0 || bytes.find("s2/one") == std::string::npos) continue;
    sample.active = static_cast<log::SegmentId>(std::stoul(name.substr(4)));
  }
  sample.sealed = sample.active - 1;
  REQUIRE(sample.image.segment(sample.sealed).find("s1/one") != std::string::npos);
  return sample;
}

void RequireWhole(const Opened& opened, const Sample& sample) {
  INFO(opened.status.ToString() << "\n" << opened.events << test::Describe(opened.state));
  REQUIRE(opened.status.ok());
  REQUIRE(opened.unreadable == 0);
  REQUIRE(opened.state == sample.truth);
}

// An open is refused with DataLoss or shows no lie; salvage always opens, shows no lie, and keeps the other segments.
void RequireHonest(const StoreImage& image, const Sample& sample, log::SegmentId damaged) {
  const Opened opened = OpenImage(image);
  INFO(opened.status.ToString() << "\n" << opened.events);
  if (!opened.status.ok()) {
    REQUIRE(absl::IsDataLoss(opened.status));
    REQUIRE(opened.status.message().find("log/") != std::string::npos);
  }
  RequireNoLies(opened.state, sample.truth);
  const Opened salvaged = OpenImage(image, {.salvage = true});
  INFO("salvaged: " << salvaged.status.ToString() << "\n" << salvaged.events << test::Describe(salvaged.state));
  REQUIRE(salvaged.status.ok());
  RequireNoLies(salvaged.state, sample.truth);
  for (const auto& [key, shown] : sample.truth) {
    if (key.find(damaged == sample.active ? "s2/" : "s1/") == 0) continue;
    REQUIRE(salvaged.state.contains(key));
  }
}

// Quick where it holds: for tests of thousands of cases.
void RequireKept(const Opened& opened, const Sample& sample, const State& kept, uint64_t cut_at) {
  bool holds = opened.status.ok();
  for (const auto& [key, shown] : opened.state) {
    const auto known = sample.truth.find(key);
    holds = holds && known != sample.truth.end() && known->second == shown;
  }
  for (const auto& [key, shown] : kept) holds = holds && opened.state.contains(key);
  if (!holds) FAIL("cut at " << cut_at << ": " << opened.status.ToString() << "\n" << test::Describe(opened.state));
}

TEST_CASE("the undamaged samples open whole", "[damage]") {
  for (const bool closed : {false, true}) {
    const Sample sample = MakeSample(closed);
    RequireWhole(OpenImage(sample.image), sample);
    RequireWhole(OpenImage(sample.image, {.read_only = true}), sample);
    RequireWhole(OpenImage(sample.image, {.salvage = true}), sample);
  }
}

TEST_CASE("fault A5: with any single bit of a footer flipped the store opens whole, by scanning", "[damage][A5]") {
  Sample sample = MakeSample(true);
  std::string& bytes = sample.image.segment(sample.sealed);
  const uint64_t footer = UnitOffsets(bytes).back();
  REQUIRE(bytes.compare(footer, 8, "firnFTR1") == 0);
  REQUIRE(bytes.size() - footer <= 2 * kBlock);
  for (uint64_t at = footer; at < bytes.size(); ++at) {
    // Everywhere each bit of what means something, and one of the padding's bytes.
    const bool padding = at > footer + 400 && at + 80 < bytes.size();
    for (int bit = padding ? static_cast<int>(at % 8) : 0; bit < 8; bit += padding ? 8 : 1) {
      INFO("byte " << at - footer << " of the footer, bit " << bit);
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      const Opened opened = OpenImage(sample.image, {.read_only = true});
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      RequireWhole(opened, sample);
      REQUIRE(opened.footer_fallbacks == 1);
    }
  }
}

TEST_CASE("with any single bit of a record header flipped no wrong value is shown and the damage is named",
          "[damage]") {
  Sample sample = MakeSample(false);
  // In a segment scanned because its footer is damaged too, and in the active one below a later watermark.
  for (const log::SegmentId id : {sample.sealed, sample.active}) {
    std::string& bytes = sample.image.segment(id);
    const std::string key = id == sample.active ? "s2/one" : "s1/one";
    const uint64_t end = bytes.find(key);
    if (id == sample.sealed) bytes[bytes.size() - 1] = static_cast<char>(bytes[bytes.size() - 1] ^ 1);
    constexpr uint64_t kHeadBytes = 8 + 8 + 1 + 1 + 4;
    for (uint64_t bit = 0; bit < kHeadBytes * 8; ++bit) {
      const uint64_t at = end - kHeadBytes + bit / 8;
      INFO("bit " << bit << " of the record of " << key);
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit % 8));
      const Opened opened = OpenImage(sample.image, {.read_only = true});
      const Opened salvaged = OpenImage(sample.image, {.read_only = true, .salvage = true});
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit % 8));
      INFO(opened.status.ToString());
      REQUIRE(absl::IsDataLoss(opened.status));
      REQUIRE(opened.status.message().find(log::SegmentFileName(id)) != std::string::npos);
      REQUIRE(opened.status.message().find("offset") != std::string::npos);
      REQUIRE(opened.status.message().find("salvage") != std::string::npos);
      INFO(test::Describe(salvaged.state));
      RequireNoLies(salvaged.state, sample.truth);
      REQUIRE(salvaged.state.size() + 1 == sample.truth.size());
    }
  }
}

TEST_CASE("a bit flipped below a footer that verifies is found when the value is read, and by nothing else's loss",
          "[damage]") {
  Sample sample = MakeSample(true);
  std::string& bytes = sample.image.segment(sample.sealed);
  const uint64_t at = bytes.find("s1/three") + 100;
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  const Opened opened = OpenImage(sample.image);
  REQUIRE(opened.status.ok());
  REQUIRE(opened.unreadable == 1);
  RequireNoLies(opened.state, sample.truth);
  REQUIRE(opened.state.size() + 1 == sample.truth.size());
}

TEST_CASE("a segment of zeros or of random bytes is never taken for data", "[damage]") {
  for (const bool closed : {false, true}) {
    const Sample sample = MakeSample(closed);
    for (const log::SegmentId id : {sample.sealed, sample.active}) {
      StoreImage image = sample.image;
      std::string& bytes = image.segment(id);
      bytes.assign(bytes.size(), '\0');
      RequireHonest(image, sample, id);
      if (id == sample.sealed) REQUIRE(absl::IsDataLoss(OpenImage(image).status));
      Rng rng(50);
      for (char& byte : bytes) byte = static_cast<char>(rng.Next());
      RequireHonest(image, sample, id);
      REQUIRE(absl::IsDataLoss(OpenImage(image).status));
      bytes.clear();
      RequireHonest(image, sample, id);
    }
  }
}

// Under a sanitizer, of the cuts that are far from the edges of blocks, one in so many: odd, for each way to have its
// turn.
constexpr uint64_t kCutsStep = test::kPointsStep == 1 ? 1 : 13;

TEST_CASE(
    "a segment cut at every byte of its last two units loses those at most, and never in silence if acknowledged data "
    "is provably gone",
    "[damage]") {
  for (const bool closed : {false, true}) {
    const Sample sample = MakeSample(closed);
    for (const log::SegmentId id : {sample.sealed, sample.active}) {
      if (closed && id == sample.sealed) continue;  // no other than in a crashed store
      const std::string whole = sample.image.segment(id);
      const std::vector<uint64_t> offsets = UnitOffsets(whole);
      REQUIRE(offsets.size() >= 4);
      const uint64_t from = offsets[offsets.size() - 3], to = offsets.back();
      State before_last_two = sample.truth;
      const std::string prefix = id == sample.active ? "s2" : "s1";
      for (const char* key : {"/two", "/three", "/four"}) before_last_two.erase(prefix + key);
      StoreImage image = sample.image;
      std::string& bytes = image.segment(id);
      for (uint64_t size = to + 1; size-- > from;) {
        bytes.resize(size);
        // Most cuts are looked at in one way each, those near the edges of blocks in all.
        const bool all = size % kBlock < 8 || size % kBlock > kBlock - 4;
        if (!all && size % kCutsStep != 0) continue;
        for (const bool read_only : {false, true}) {
          if (!all && read_only != (size % 4 < 2)) continue;
          const bool salvage = !all && size % 4 % 2 == 1;
          if (!salvage) {
            const Opened opened = OpenImage(image, {.read_only = read_only});
            if (id == sample.sealed && size < to) {
              if (!absl::IsDataLoss(opened.status)) FAIL("cut at " << size << ": " << opened.status.ToString());
            } else {
              RequireKept(opened, sample, before_last_two, size);
            }
          }
          if (salvage || all) {
            RequireKept(OpenImage(image, {.read_only = read_only, .salvage = true}), sample, before_last_two, size);
          }
        }
      }
    }
  }
}

TEST_CASE("a missing segment that is listed is DataLoss and named, and salvage keeps the rest", "[damage]") {
  const Sample sample = MakeSample(true);
  StoreImage image = sample.image;
  image.files.erase(log::SegmentFileName(sample.sealed));
  const Opened opened = OpenImage(image);
  REQUIRE(absl::IsDataLoss(opened.status));
  REQUIRE(opened.status.message().find(log::SegmentFileName(sample.sealed)) != std::string::npos);
  RequireHonest(image, sample, sample.sealed);
}

TEST_CASE("a damaged segment header is never taken for an unused file", "[damage]") {
  for (const bool closed : {false, true}) {
    const Sample sample = MakeSample(closed);
    for (const log::SegmentId id : {sample.sealed, sample.active}) {
      for (uint64_t bit = 0; bit < 80 * 8; bit += 3) {
        INFO("segment " << id << (closed ? ", closed" : ", crashed") << ", bit " << bit << " of its header");
        StoreImage image = sample.image;
        std::string& bytes = image.segment(id);
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
        const Opened opened = OpenImage(image, {.read_only = true});
        INFO(opened.status.ToString());
        // A version from the future is refused as such.
        REQUIRE((absl::IsDataLoss(opened.status) || absl::IsFailedPrecondition(opened.status)));
      }
    }
  }
}

TEST_CASE("TAIL missing, random, of zeros or from an earlier time loses nothing that is durable", "[damage]") {
  StoreImage early, late;
  State truth;
  InSchedule(41, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    for (int i = 0; i < 20; ++i) {
      REQUIRE(client.Put("key" + std::to_string(i % 4), Value(std::to_string(i), 3'000)).ok());
      REQUIRE(client.Put("buffered", std::to_string(i), Durability::kBuffered).ok());
      if (i == 7 || i == 14) early = StoreImage::Take(world.machine);
      if (i == 11) REQUIRE(client.Flush().ok());
    }
    REQUIRE(client.Sync().ok());
    truth = Look(client.db());
    world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    late = StoreImage::Take(world.machine);
    client.Drop();
  });
  std::vector<std::string> tails{early.files.at("TAIL"), std::string(early.files.at("TAIL").size(), '\0')};
  Rng rng(60);
  tails.push_back(tails[0]);
  for (size_t i = 0; i < tails[2].size(); i += 8)
    base::StoreLe(reinterpret_cast<std::byte*>(tails[2].data()) + i, rng.Next());
  tails.push_back(tails[0]);
  for (size_t i = 8'192; i < tails[3].size(); i += 4'096) tails[3][i + 30] = static_cast<char>(rng.Next());
  for (const std::string& tail : tails) {
    for (const bool read_only : {false, true}) {
      late.files["TAIL"] = tail;
      const Opened opened = OpenImage(late, {.read_only = read_only});
      INFO(opened.status.ToString() << "\n" << opened.events);
      REQUIRE(opened.status.ok());
      REQUIRE(opened.damages == 0);
      REQUIRE(opened.state == truth);
    }
  }
  late.files.erase("TAIL");
  REQUIRE(OpenImage(late).state == truth);
}

TEST_CASE("TAIL of another size is refused for writing, with what to do, and salvage puts it aside", "[damage]") {
  for (const bool closed : {false, true}) {
    Sample sample = MakeSample(closed);
    for (const size_t size : {size_t{0}, size_t{15}, size_t{4'096}, size_t{2'000'000}}) {
      sample.image.files["TAIL"] = std::string(size, 'x');
      RequireWhole(OpenImage(sample.image, {.read_only = true}), sample);
      const Opened opened = OpenImage(sample.image);
      INFO(opened.status.ToString());
      REQUIRE(absl::IsDataLoss(opened.status));
      for (const char* part : {"/TAIL: it has", "buffered writes", "--salvage"}) {
        REQUIRE(opened.status.message().find(part) != std::string::npos);
      }
      InSchedule(49, [&](SimWorld& world) {
        sample.image.PutOn(world.machine);
        Client client(world);
        Options options = QuietOptions();
        options.salvage = true;
        REQUIRE(client.Open(options).ok());
        REQUIRE(client.events().Count(EventKind::kDamageFound) == 1);
        REQUIRE(client.Put("key", "value").ok());
        REQUIRE(client.Close().ok());
        REQUIRE(world.machine.FileSize("TAIL.damaged") == size);
        REQUIRE(client.Open().ok());
        REQUIRE(Look(client.db()).size() == sample.truth.size() + 1);
        REQUIRE(client.Close().ok());
      });
    }
  }
}

TEST_CASE("one damaged superblock is replaced by its copy, two are DataLoss, none is no fresh store", "[damage]") {
  const Sample sample = MakeSample(true);
  for (const uint64_t copy : {uint64_t{0}, kBlock}) {
    for (uint64_t bit = 0; bit < 88 * 8; bit += 5) {
      StoreImage image = sample.image;
      char& byte = image.files.at("SUPERBLOCK")[copy + bit / 8];
      byte = static_cast<char>(byte ^ (1 << bit % 8));
      const Opened opened = OpenImage(image, {.read_only = true});
      RequireWhole(opened, sample);
      REQUIRE(opened.damages == 1);
    }
  }
  StoreImage image = sample.image;
  std::string& superblock = image.files.at("SUPERBLOCK");
  superblock[100] = superblock[kBlock + 100] = 'x';
  REQUIRE(absl::IsDataLoss(OpenImage(image).status));
  superblock.assign(superblock.size(), '\0');
  REQUIRE(absl::IsDataLoss(OpenImage(image, {.salvage = true}).status));
  image.files.erase("SUPERBLOCK");
  // Asked to create one or not.
  for (const bool read_only : {false, true}) {
    const Opened opened = OpenImage(image, {.read_only = read_only});
    INFO(opened.status.ToString());
    REQUIRE(absl::IsDataLoss(opened.status));
    REQUIRE(opened.status.message().find("SUPERBLOCK") != std::string::npos);
  }
  SimWorld world(1);
  image.PutOn(world.machine);
  Client client(world);
  const absl::Status status = client.Open();
  INFO(status.ToString());
  REQUIRE(absl::IsDataLoss(status));
}

TEST_CASE(
    "a damaged copy of the superblock is found by verify and repaired by the next open for writing, through a "
    "power cut",
    "[damage][superblock]") {
  const Sample sample = MakeSample(true);
  const std::string whole = sample.image.files.at("SUPERBLOCK");
  const auto damages = [](const StoreImage& image) {
    SimWorld world(1);
    image.PutOn(world.machine);
    Client client(world);
    Options options = QuietOptions();
    options.read_only = true;
    REQUIRE(client.Open(options).ok());
    const auto report = client.db().Verify();
    REQUIRE(report.ok());
    return report->damages;
  };
  REQUIRE(damages(sample.image).empty());
  for (const uint64_t copy : {uint64_t{0}, kBlock}) {
    StoreImage image = sample.image;
    std::string& superblock = image.files.at("SUPERBLOCK");
    Flip(superblock, copy + 50);
    const auto found = damages(image);
    REQUIRE(found.size() == 1);
    REQUIRE(found[0].ToString().find("SUPERBLOCK at offset " + std::to_string(copy)) == 0);

    SimWorld world(1);
    image.PutOn(world.machine);
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.events().Text().find("written again") != std::string::npos);
    world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
    REQUIRE(world.machine.ReadFile("SUPERBLOCK") == whole);
    client.Drop();

    // Cut short at every operation, sector by sector.
    for (uint64_t operation = 0; operation < 12; ++operation) {
      SimWorld cut(operation);
      image.PutOn(cut.machine);
      Client unlucky(cut);
      cut.machine.CrashAfter(operation, {CrashKind::kPowerCut, Survival::kSectors});
      unlucky.Open().IgnoreError();
      unlucky.Drop();
      StoreImage left = image;
      left.files["SUPERBLOCK"] = cut.machine.ReadFile("SUPERBLOCK");
      RequireWhole(OpenImage(left), sample);
    }
  }
  StoreImage image = sample.image;
  image.files.at("SUPERBLOCK").resize(kBlock);
  REQUIRE(damages(image).size() == 1);
  RequireWhole(OpenImage(image), sample);
}

}  // namespace
}  // namespace firn::test
