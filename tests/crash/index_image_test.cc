// Rule 7: an index image only makes opening faster. Whatever becomes of it, and of the segments after it was written,
// the store shows what its segments say.
#include <catch2/catch.hpp>

#include "base/sync.h"
#include "crash/extents.h"
#include "crash/image.h"
#include "crash/reclaim_history.h"
#include "crash/salvaging.h"
#include "format/index_image.h"
#include "format/superblock.h"
#include "support/rng.h"

namespace firn::test {
namespace {

constexpr uint64_t kIdleMs = 4'000;  // an image is written when a store was left alone for two seconds
const std::string kImage(format::kImageFile);

// From here on every close leaves an image.
void OpenWithImages(Client& client, const Options& options = QuietOptions()) {
  client.set_image_keys_min(1);
  client.set_usual_options(options);
  REQUIRE(client.Close().ok());
  REQUIRE(client.Open().ok());
}

// Everything that an image has to tell: records moved and not, expiries and changes of them, namespaces, one of them
// dropped, values with extents, shared ones too.
void MakeAllKinds(SimWorld& world, Client& client) {
  OpenWithImages(client, SeparatingOptions());
  MakeHistory(world, client);
  REQUIRE(client.Put("extent", Extent("one")).ok());
  REQUIRE(client.Put("twin", Extent("one")).ok());
  REQUIRE(client.Put("later", "expires later", Durability::kSynced, world.clock.WallTimeMs() + 10).ok());
  REQUIRE(client.SetExpiry("later", kNeverMs).ok());
  auto space = client.db().CreateNamespace("space");
  REQUIRE(space.ok());
  REQUIRE(space->Put("in it", "value", {}).ok());
  auto dropped = client.db().CreateNamespace("dropped");
  REQUIRE(dropped.ok());
  REQUIRE(dropped->Put("in that", kBanned, {}).ok());
  REQUIRE(client.db().DropNamespace("dropped").ok());
}

// The store's files, closed with an image of all.
StoreImage MakeClosed(uint64_t seed, State* truth) {
  StoreImage files;
  InSchedule(seed, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    MakeAllKinds(world, client);
    REQUIRE(client.Put("expires", "soon", Durability::kSynced, world.clock.WallTimeMs() + 50).ok());
    Nap(100);
    REQUIRE(client.Close().ok());
    REQUIRE(client.Open().ok());
    *truth = Look(client.db());
    REQUIRE(client.Put("last", "of all").ok());
    truth->emplace("last", Shown("of all", "", 0));
    REQUIRE(client.Close().ok());
    files = StoreImage::Take(world.machine);
    REQUIRE(files.files.contains(kImage));
  });
  return files;
}

struct OpenedWith {
  State state;
  uint64_t image_records = 0;
  size_t ignored = 0;
  bool has_image = false;  // afterwards
};

OpenedWith OpenFiles(const StoreImage& files, bool read_only = false) {
  OpenedWith opened;
  SimWorld world(1);
  files.PutOn(world.machine);
  Client client(world);
  Options options = SeparatingOptions();
  options.create_if_missing = false;
  options.read_only = read_only;
  const absl::Status status = client.Open(options);
  INFO(status.ToString() << client.events().Text());
  REQUIRE(status.ok());
  opened.state = Look(client.db());
  opened.image_records = client.db().GetStats().open_image_records;
  opened.ignored = client.events().Count(EventKind::kImageIgnored);
  const std::string wrong = CheckReferences(client.db());
  INFO(wrong);
  REQUIRE(wrong.empty());
  REQUIRE(UnexplainedValueBytes(client.db()) == 0);
  client.Drop();
  opened.has_image = StoreImage::Take(world.machine).files.contains(kImage);
  return opened;
}

TEST_CASE("rule 7: a store opens from its image as from its footers", "[rule7]") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    State truth;
    StoreImage files = MakeClosed(seed, &truth);
    for (const bool read_only : {false, true}) {
      const OpenedWith with = OpenFiles(files, read_only);
      CHECK(with.image_records > 0);
      CHECK(with.ignored == 0);
      REQUIRE(with.state == truth);
    }
    files.files.erase(kImage);
    const OpenedWith without = OpenFiles(files);
    CHECK(without.image_records == 0);
    REQUIRE(without.state == truth);
  }
}

TEST_CASE("rule 7: an image that is damaged anywhere is found out, and the open goes on without it", "[rule7]") {
  State truth;
  const StoreImage files = MakeClosed(2, &truth);
  const uint64_t size = files.files.at(kImage).size();
  const auto require_ignored = [&](const StoreImage& damaged) {
    for (const bool read_only : {false, true}) {
      const OpenedWith opened = OpenFiles(damaged, read_only);
      REQUIRE(opened.ignored == 1);
      REQUIRE(opened.image_records == 0);
      REQUIRE(opened.state == truth);
      REQUIRE(opened.has_image == read_only);
    }
  };
  const std::string& whole = files.files.at(kImage);
  for (uint64_t at = 0; at < size; at += whole[at] == 0 ? 509 : 13) {
    INFO("byte " << at << " of " << size);
    StoreImage damaged = files;
    Flip(damaged.files.at(kImage), at, static_cast<char>(1 << at % 8));
    // Of key filters a store that is only read wants nothing.
    const OpenedWith opened = OpenFiles(damaged);
    REQUIRE(opened.ignored == 1);
    REQUIRE(opened.image_records == 0);
    REQUIRE(opened.state == truth);
    REQUIRE(!opened.has_image);
  }
  {
    SimWorld world(1);
    StoreImage damaged = files;
    Flip(damaged.files.at(kImage), size / 2);
    damaged.PutOn(world.machine);
    Client client(world);
    Options options = SeparatingOptions();
    options.read_only = true;
    REQUIRE(client.Open(options).ok());
    const auto report = client.db().Verify();
    REQUIRE(report.ok());
    REQUIRE(report->damages.size() == 1);
    CHECK(report->damages[0].file == kImage);
    client.Drop();
  }
  for (const uint64_t cut : {uint64_t{0}, uint64_t{1}, kBlock, size - kBlock, size - 1}) {
    INFO("cut to " << cut);
    StoreImage damaged = files;
    damaged.files.at(kImage).resize(cut);
    require_ignored(damaged);
  }
}

// Whoever knows the secret can make any checksum fit.
TEST_CASE("rule 7: an image that is forged never ends the process", "[rule7]") {
  State truth;
  const StoreImage files = MakeClosed(5, &truth);
  const std::string& image = files.files.at(kImage);
  const auto superblock = format::DecodeSuperblock(base::AsBytes(files.files.at("SUPERBLOCK")).first(kBlock));
  REQUIRE(superblock.ok());
  const auto layout = format::DecodeImageLayout(base::AsBytes(image).first(kBlock), *superblock, image.size());
  REQUIRE(layout.ok());
  const auto head = format::DecodeImageHead(base::AsBytes(image).first(kBlock), *layout,
                                            base::AsBytes(image).subspan(layout->manifest_at), *superblock);
  REQUIRE(head.ok());
  const format::ChecksumSeed seed(superblock->secret, head->salt);
  Rng rng(77);
  uint64_t believed = 0;
  for (int round = 0; round < 600; ++round) {
    INFO("round " << round);
    StoreImage forged = files;
    std::string& bytes = forged.files.at(kImage);
    const base::MutableBytes block = std::as_writable_bytes(std::span(bytes)).subspan(kBlock, layout->BlockBytes(0));
    const uint64_t used = 16 + base::LoadLe<uint32_t>(block.data() + 12);
    for (uint64_t changes = rng.Between(1, 3); changes > 0; --changes) {
      block[rng.Between(8, used - 1)] = static_cast<std::byte>(rng.Next() >> rng.Below(8));
    }
    base::StoreLe(block.data(), base::Hash64(block.subspan(8), seed.At(kBlock)));
    SimWorld world(1);
    forged.PutOn(world.machine);
    Client client(world);
    Options options = SeparatingOptions();
    options.read_only = rng.OneIn(2);
    const absl::Status status = client.Open(options);
    INFO(status.ToString());
    REQUIRE(status.ok());
    believed += client.db().GetStats().open_image_records != 0;
    size_t unreadable = 0;
    LookPast(client.db(), &unreadable);
    client.Drop();
  }
  CHECK(believed > 50);
}

TEST_CASE("rule 7: an image that says more than the log, or is of other segments, is not believed", "[rule7]") {
  InSchedule(3, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    OpenWithImages(client);
    PutMany(client, "first");
    REQUIRE(client.Put("deleted later", "value").ok());
    REQUIRE(client.Close().ok());
    const StoreImage early = StoreImage::Take(world.machine);
    REQUIRE(client.Open().ok());
    const State truth = Look(client.db());
    REQUIRE(client.Delete("deleted later").ok());
    PutMany(client, "second");
    REQUIRE(client.Close().ok());
    // The log of before, with the image of after: the delete is not there.
    StoreImage mixed = early;
    mixed.files[kImage] = StoreImage::Take(world.machine).files.at(kImage);
    const OpenedWith opened = OpenFiles(mixed);
    CHECK(opened.ignored == 1);
    CHECK(!opened.has_image);  // or it would seem to fit once the log has grown
    REQUIRE(opened.state == truth);
  });
  State truth;
  StoreImage one = MakeClosed(1, &truth);
  State other_truth;
  one.files[kImage] = MakeClosed(4, &other_truth).files.at(kImage);
  const OpenedWith opened = OpenFiles(one);
  CHECK(opened.ignored == 1);
  REQUIRE(opened.state == truth);
}

// Two stores grew out of the files of one, and the image of one came to the other.
TEST_CASE("rule 7: an image of segments that only have the same ids is not believed", "[rule7]") {
  StoreImage common;
  InSchedule(14, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    OpenWithImages(client);
    REQUIRE(client.Put("common", "value").ok());
    REQUIRE(client.Close().ok());
    common = StoreImage::Take(world.machine);
  });
  const auto grow = [&](uint64_t seed, const std::string& tag, int puts, State* truth) {
    StoreImage files;
    InSchedule(seed, [&](SimWorld& world) {
      common.PutOn(world.machine);
      Client client(world);
      client.set_image_keys_min(1);
      REQUIRE(client.Open().ok());
      for (int i = 0; i < puts; ++i) REQUIRE(client.Put(tag + std::to_string(i), tag).ok());
      *truth = Look(client.db());
      REQUIRE(client.Close().ok());
      files = StoreImage::Take(world.machine);
    });
    return files;
  };
  State here, there;
  StoreImage files = grow(15, "here", 8, &here);
  files.files[kImage] = grow(16, "there", 4, &there).files.at(kImage);
  const OpenedWith opened = OpenFiles(files);
  CHECK(opened.ignored == 1);
  REQUIRE(opened.state == here);
}

TEST_CASE("rule 7: a crash while a store is closed with an image costs nothing", "[rule7]") {
  AtEachCrash(7, {.prepare = MakeAllKinds, .run = [](SimWorld&, Client& client) {
                    client.Put("last", "of all").IgnoreError();
                    client.Close().IgnoreError();
                    if (!client.Open().ok()) return;
                    PutMany(client, "again", 2);
                    client.Close().IgnoreError();
                  }});
}

TEST_CASE("rule 7: a fault while an image is written or read costs nothing", "[rule7]") {
  for (const unsigned operation : kFaultyOperations) {
    AtEachFault(operation, 8, {.prepare = MakeAllKinds, .run = [](SimWorld&, Client& client) {
                                 client.Put("last", "of all").IgnoreError();
                                 client.Close().IgnoreError();
                                 if (!client.Open().ok()) return;
                                 client.Put("last", "again").IgnoreError();
                                 client.Close().IgnoreError();
                               }});
  }
}

// What the image speaks for is overwritten, deleted, moved, retired and used again.
void AgeImage(SimWorld&, Client& client) {
  client.Delete(KeyOf(1), Durability::kBuffered).IgnoreError();
  client.Delete(KeyOf(2), Durability::kBuffered).IgnoreError();
  PutMany(client, "fourth", 5);
  client.SetExpiry(KeyOf(9), kNeverMs, Durability::kBuffered).IgnoreError();
  client.Put("extent", Extent("two"), Durability::kBuffered).IgnoreError();
  client.Flush().IgnoreError();
  client.db().Compact().IgnoreError();
  client.Delete(KeyOf(0), Durability::kBuffered).IgnoreError();
  client.Put("twin", "small", Durability::kBuffered).IgnoreError();
  client.Flush().IgnoreError();
  client.db().Compact().IgnoreError();
  Nap(kUpkeepMs);
  client.Put("last", "of all", Durability::kBuffered).IgnoreError();
  client.Sync().IgnoreError();
}

void CloseWithImage(SimWorld& world, Client& client) {
  MakeAllKinds(world, client);
  REQUIRE(client.Close().ok());
  REQUIRE(client.Open().ok());
  REQUIRE(client.db().GetStats().open_image_records > 0);
}

TEST_CASE("rule 7: newer segments are merged over an image that is out of date, wherever the crash comes", "[rule7]") {
  AtEachCrash(9, {.prepare = CloseWithImage, .run = AgeImage, .look = [](SimWorld&, Client& client) {
                    RequireNoneBack(client.db());
                    CHECK(client.events().Count(EventKind::kImageIgnored) == 0);
                    REQUIRE(client.db().Compact().ok());
                    RequireNoneBack(client.db());
                  }});
}

TEST_CASE("rule 7: values are moved, where holes cannot be punched, under an image that names the old place",
          "[rule7]") {
  const auto prepare = [](SimWorld& world, Client& client) {
    world.machine.set_can_punch(false);
    OpenWithImages(client, SeparatingOptions());
    for (int i = 0; i < 12; ++i) REQUIRE(client.Put(KeyOf(i), Extent(std::to_string(i))).ok());
    REQUIRE(client.SetExpiry(KeyOf(8), kNeverMs).ok());
    REQUIRE(client.SetExpiry(KeyOf(9), kNeverMs).ok());
    REQUIRE(client.Close().ok());
    REQUIRE(client.Open().ok());
    for (int i = 0; i < 7; ++i) REQUIRE(client.Delete(KeyOf(i)).ok());
  };
  AtEachCrash(10, {.prepare = prepare,
                   .run =
                       [](SimWorld&, Client& client) {
                         const auto snapshot = client.db().GetSnapshot();
                         client.Delete(KeyOf(11), Durability::kBuffered).IgnoreError();
                         client.db().Compact().IgnoreError();
                         client.db().Compact().IgnoreError();
                         Nap(kUpkeepMs);
                         client.Put("last", "of all").IgnoreError();
                       },
                   .look =
                       [](SimWorld&, Client& client) {
                         const auto verified = client.db().Verify();
                         REQUIRE(verified.ok());
                         REQUIRE(verified->damages.empty());
                       }});
}

TEST_CASE("rule 7: a store left alone writes an image, and a kill after that merges what came later", "[rule7]") {
  AtEachCrash(11, {.prepare =
                       [](SimWorld& world, Client& client) {
                         OpenWithImages(client);
                         MakeHistory(world, client);
                       },
                   .run =
                       [](SimWorld&, Client& client) {
                         client.Put("buffered", "not yet durable", Durability::kBuffered).IgnoreError();
                         client.Delete(KeyOf(1), Durability::kBuffered).IgnoreError();
                         Nap(kIdleMs);
                         client.Delete(KeyOf(2), Durability::kBuffered).IgnoreError();
                         PutMany(client, "fourth", 5);
                         client.Flush().IgnoreError();
                         client.db().Compact().IgnoreError();
                         client.Put("last", "of all").IgnoreError();
                       },
                   .look = [](SimWorld&, Client& client) { RequireNoneBack(client.db()); }});
}

TEST_CASE("rule 7: an image of an idle store is of use after a power cut, and so is what it leaves out", "[rule7]") {
  InSchedule(17, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    OpenWithImages(client);
    PutMany(client, "first");
    REQUIRE(client.Flush().ok());
    Nap(kUpkeepMs);  // what upkeep has to make durable it makes durable now
    REQUIRE(client.Delete(KeyOf(1), Durability::kBuffered).ok());
    Nap(kIdleMs);
    client.Crash({CrashKind::kPowerCut, Survival::kNothing});
    REQUIRE(client.Open().ok());
    CHECK(client.db().GetStats().open_image_records > 0);
    const State found = Look(client.db());
    CHECK(found.contains(KeyOf(0)));
    CHECK(!found.contains(KeyOf(1)));
    REQUIRE(client.Close().ok());
  });
}

TEST_CASE("rule 7: a store that is still filling a segment writes an image too once it is left alone", "[rule7]") {
  InSchedule(18, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    OpenWithImages(client);
    // Each segment is prepared while the one before it is filled.
    const std::string value(4'096, 'v');
    for (int i = 0; client.events().Count(EventKind::kSegmentSealed) < 5; ++i) {
      REQUIRE(client.Put(KeyOf(i % 100), value).ok());
    }
    REQUIRE(!StoreImage::Take(world.machine).files.contains(kImage));
    Nap(kIdleMs);
    CHECK(StoreImage::Take(world.machine).files.contains(kImage));
    REQUIRE(client.Close().ok());
  });
}

TEST_CASE("rule 7: what an open with salvage has brought back stays", "[rule7]") {
  InSchedule(12, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    OpenWithImages(client);
    REQUIRE(client.Put("key", "old").ok());
    REQUIRE(client.Flush().ok());
    REQUIRE(client.Put("key", "new").ok());
    REQUIRE(client.Flush().ok());
    REQUIRE(client.Put("other", "value").ok());
    REQUIRE(client.Close().ok());
    StoreImage files = StoreImage::Take(world.machine);
    REQUIRE(files.files.contains(kImage));
    // The segment with the newer value is lost.
    const auto lost = std::find_if(files.files.begin(), files.files.end(), [](const auto& file) {
      return file.first.starts_with("log/") && file.second.find("keynew") != std::string::npos;
    });
    REQUIRE(lost != files.files.end());
    files.files.erase(lost);
    SimWorld after(13);
    files.PutOn(after.machine);
    Options options = QuietOptions();
    options.salvage = true;
    Client salvaged(after);
    salvaged.set_image_keys_min(1);
    REQUIRE(salvaged.Open(options).ok());
    const State found = Look(salvaged.db());
    CHECK(found.at("key") == "old");
    REQUIRE(salvaged.Put("later", "value").ok());
    salvaged.Crash({CrashKind::kKill, Survival::kEverything});
    REQUIRE(salvaged.Open().ok());
    CHECK(Look(salvaged.db()).at("key") == "old");
    salvaged.Drop();
  });
}

TEST_CASE("rule 7: the id of a namespace that was dropped is never given again", "[rule7]") {
  InSchedule(14, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    OpenWithImages(client);
    REQUIRE(client.Put("key", "value").ok());
    REQUIRE(client.db().CreateNamespace("dropped").ok());
    REQUIRE(client.db().DropNamespace("dropped").ok());
    REQUIRE(client.Close().ok());
    REQUIRE(client.Open().ok());
    REQUIRE(client.db().GetStats().open_image_records > 0);
    auto space = client.db().CreateNamespace("space");
    REQUIRE(space.ok());
    REQUIRE(space->Put("in it", "value", {}).ok());
    const State truth = LookAtAll(client.db());
    REQUIRE(client.Close().ok());
    // The record of the drop would hide it.
    RequireAll(SalvageImage(StoreImage::Take(world.machine)), truth);
  });
}

}  // namespace
}  // namespace firn::test
