#include "faults/damaged_store.h"

namespace firn::test {
namespace {

// The segment that was active when the power went.
std::string ActiveName(DamagedStore& store) {
  const auto segments = store.Segments();
  std::string name;
  for (const auto& segment : segments) {
    if (DamagedStore::UnitOffsets(*segment).size() > 1) name = segment->file->name();
  }
  return name;
}

bool Tells(const absl::Status& status, std::string_view what) {
  return std::string_view(status.message().data(), status.message().size()).find(what) != std::string_view::npos;
}

}  // namespace

TEST_CASE("A7: bit rot in the active segment is refused, and salvage keeps every write after it") {
  DamagedStore store;
  store.Fill(8, 100, /*close=*/false);
  store.ForgetTail();
  const std::string name = ActiveName(store);
  const auto segments = store.Segments();
  const auto units = DamagedStore::UnitOffsets(**std::find_if(segments.begin(), segments.end(), [&](const auto& s) {
    return s->file->name() == name;
  }));
  REQUIRE(units.size() > 6);
  for (size_t unit = 1; unit + 3 < units.size(); ++unit) {
    store.machine().FlipBits(name, units[unit] + 100, std::byte{1});
    const auto refused = store.Open(/*read_only=*/true);
    INFO(refused.status());
    REQUIRE(absl::IsDataLoss(refused.status()));
    CHECK(Tells(refused.status(), name));
    CHECK(Tells(refused.status(), "offset " + std::to_string(units[unit])));
    CHECK(Tells(refused.status(), "revisions"));
    CHECK(Tells(refused.status(), "salvage"));
    {
      auto salvaged = store.Open(/*read_only=*/true, /*salvage=*/true);
      INFO(salvaged.status());
      REQUIRE(salvaged.ok());
      CHECK(store.CountIntact(**salvaged) >= 7);
    }
    store.machine().FlipBits(name, units[unit] + 100, std::byte{1});
  }
  auto db = store.Open();
  REQUIRE(db.ok());
  CHECK(store.CountIntact(**db) == 8);
}

TEST_CASE("a flipped bit in a sealed segment's record is DataLoss for that key and no other, bit by bit of its head") {
  DamagedStore store;
  store.Fill(3, 100, /*close=*/true);
  const auto segments = store.Segments();
  const log::Segment& segment = *segments.back();
  auto footer = log::LoadFooter(segment);
  REQUIRE(footer.has_value());
  for (format::DirectoryEntry entry; footer->Next(entry);) {
    const std::string key(entry.key);
    for (uint64_t at = entry.offset; at < entry.offset + format::kRecordFixedBytes + 4 + key.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        store.machine().FlipBits(segment.file->name(), at, static_cast<std::byte>(1 << bit));
        auto db = store.Open(/*read_only=*/true);
        REQUIRE(db.ok());
        REQUIRE(absl::IsDataLoss((*db)->Get(key).status()));
        REQUIRE(store.CountIntact(**db) == 2);
        db->reset();
        store.machine().FlipBits(segment.file->name(), at, static_cast<std::byte>(1 << bit));
      }
    }
  }
}

TEST_CASE("a segment cut at any byte of its last two units opens with what is whole") {
  DamagedStore store;
  store.Fill(6, 100, /*close=*/false);
  store.ForgetTail();
  const std::string name = ActiveName(store);
  const auto segments = store.Segments();
  const auto units = DamagedStore::UnitOffsets(**std::find_if(segments.begin(), segments.end(), [&](const auto& s) {
    return s->file->name() == name;
  }));
  const uint64_t end = units.back(), last = units[units.size() - 2], before_last = units[units.size() - 3];
  const auto disk = store.machine().Attach();
  const auto file = disk->Open(name, io::OpenMode::kReadWrite);
  REQUIRE(file.ok());
  for (uint64_t size = end; size + 1 > before_last; --size) {
    REQUIRE((*file)->Truncate(size).ok());
    auto db = store.Open(/*read_only=*/true);
    INFO("cut at " << size << ": " << db.status());
    REQUIRE(db.ok());
    REQUIRE(store.CountIntact(**db) == (size >= end ? 6 : size >= last ? 5 : 4));
  }
}

TEST_CASE("a segment of zeros or of random bytes is refused with its name when it was part of the store") {
  for (const bool random : {false, true}) {
    DamagedStore store;
    store.Fill(40, 3'000, /*close=*/true);
    const auto segments = store.Segments();
    const std::string name = segments[1]->file->name();
    const auto id = segments[1]->id;
    std::string content(store.machine().FileSize(name), '\0');
    Rng rng(5);
    for (char& c : content) c = random ? static_cast<char>(rng.Next()) : '\0';
    store.Overwrite(name, 0, content);
    const auto refused = store.Open();
    INFO(refused.status());
    CHECK(absl::IsDataLoss(refused.status()));
    CHECK(Tells(refused.status(), "segment " + std::to_string(id)));
    CHECK(Tells(refused.status(), "salvage"));
    auto salvaged = store.Open(/*read_only=*/false, /*salvage=*/true);
    INFO(salvaged.status());
    REQUIRE(salvaged.ok());
    const int intact = store.CountIntact(**salvaged);
    CHECK(intact >= 20);
    CHECK(intact < 40);
    REQUIRE((*salvaged)->Put("after", "salvage").ok());
    REQUIRE((*salvaged)->Close().ok());
    auto again = store.Open();
    INFO(again.status());
    REQUIRE(again.ok());
    CHECK(store.CountIntact(**again) == intact);
  }
}

TEST_CASE("a missing segment is refused, and a store without any that verifies too") {
  DamagedStore store;
  store.Fill(40, 3'000, /*close=*/true);
  auto segments = store.Segments();
  const std::string first = segments.front()->file->name();
  const auto disk = store.machine().Attach();
  REQUIRE(disk->Remove(first).ok());
  CHECK(absl::IsDataLoss(store.Open().status()));
  for (const auto& segment : segments) static_cast<void>(disk->Remove(segment->file->name()));
  const auto refused = store.Open();
  CHECK(absl::IsDataLoss(refused.status()));
  CHECK(Tells(refused.status(), "SUPERBLOCK"));
}

TEST_CASE("tail buffers that are missing, random, or of an earlier time cost nothing that is on disk") {
  for (const int kind : {0, 1, 2}) {
    DamagedStore store;
    store.Fill(10, 500, /*close=*/false);
    const std::string stale = store.machine().ReadFile("TAIL");
    {
      auto db = store.Open();
      REQUIRE(db.ok());
      REQUIRE((*db)->Put("more", "after").ok());
      store.expected["more"] = "after";
      store.machine().Crash({CrashKind::kPowerCut, Survival::kSectors});
    }
    std::string content = stale;
    Rng rng(6);
    if (kind == 0) store.ForgetTail();
    if (kind == 1) {
      for (char& c : content) c = static_cast<char>(rng.Next());
    }
    if (kind != 0) store.Overwrite("TAIL", 0, content);
    auto db = store.Open();
    INFO(kind << " " << db.status());
    REQUIRE(db.ok());
    CHECK(store.CountIntact(**db) == 11);
  }
}

TEST_CASE("one damaged superblock copy is used past; with both damaged the store is refused") {
  DamagedStore store;
  store.Fill(3, 100, /*close=*/true);
  store.machine().FlipBits("SUPERBLOCK", 40, std::byte{1});
  {
    auto db = store.Open();
    REQUIRE(db.ok());
    CHECK(store.CountIntact(**db) == 3);
    CHECK(store.events().Count(EventKind::kDamageFound) == 1);
    REQUIRE((*db)->Close().ok());
  }
  store.machine().FlipBits("SUPERBLOCK", format::kBlockBytes + 41, std::byte{1});
  const auto refused = store.Open();
  CHECK(absl::IsDataLoss(refused.status()));
  CHECK(Tells(refused.status(), "SUPERBLOCK"));
}

}  // namespace firn::test
