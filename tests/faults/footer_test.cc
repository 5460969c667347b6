#include "faults/damaged_store.h"

namespace firn::test {

TEST_CASE("A5: any one flipped bit of a footer costs a scan and nothing else") {
  DamagedStore store;
  store.Fill(6, 100, /*close=*/true);
  const auto segments = store.Segments();
  const log::Segment& segment = *segments.back();
  const auto footer = log::LoadFooter(segment);
  REQUIRE(footer.has_value());
  const std::string name = segment.file->name();
  const uint64_t end = store.machine().FileSize(name);
  uint64_t scans = 0;
  for (uint64_t at = footer->summary().units_end; at < end; ++at) {
    // All bits of a byte one by one where the footer's content is; elsewhere, in padding, one of them.
    const bool padding = store.machine().ReadFile(name)[at] == 0;
    for (int bit = padding ? static_cast<int>(at % 8) : 0; bit < 8; bit += padding ? 8 : 1) {
      const auto mask = static_cast<std::byte>(1 << bit);
      store.machine().FlipBits(name, at, mask);
      const size_t before = store.events().Count(EventKind::kFooterFallback);
      auto db = store.Open(/*read_only=*/true);
      INFO("bit " << bit << " of byte " << at << ": " << db.status());
      REQUIRE(db.ok());
      REQUIRE(store.CountIntact(**db) == 6);
      scans += store.events().Count(EventKind::kFooterFallback) - before;
      store.machine().FlipBits(name, at, mask);
    }
  }
  INFO(scans << " scans");
  CHECK(scans == 0);  // the newest segment is walked as after a crash, which is no event of its own
  CHECK(store.events().Count(EventKind::kDamageFound) == 0);
}

TEST_CASE("A5: a damaged footer of an older segment is told, and the next open needs no scan") {
  DamagedStore store;
  store.Fill(40, 3'000, /*close=*/true);
  const auto segments = store.Segments();
  REQUIRE(segments.size() > 2);
  const std::string name = segments.front()->file->name();
  store.machine().FlipBits(name, store.machine().FileSize(name) - 20, std::byte{4});
  {
    auto db = store.Open();
    REQUIRE(db.ok());
    CHECK(store.CountIntact(**db) == 40);
    CHECK(store.events().Count(EventKind::kFooterFallback) == 1);
    REQUIRE((*db)->Close().ok());
  }
  auto db = store.Open();
  REQUIRE(db.ok());
  CHECK(store.CountIntact(**db) == 40);
  CHECK(store.events().Count(EventKind::kFooterFallback) == 1);
}

TEST_CASE("A6: a value that looks like a footer, a trailer, a unit or a record is only a value") {
  DamagedStore store;
  store.Fill(5, 200, /*close=*/true);
  const auto segments = store.Segments();
  const std::string bytes = store.machine().ReadFile(segments.back()->file->name());
  const auto footer = log::LoadFooter(*segments.back());
  REQUIRE(footer.has_value());
  const size_t units_end = footer->summary().units_end;
  const std::vector<std::string> lookalikes = {
      bytes.substr(units_end),                              // a footer
      bytes.substr(bytes.size() - format::kTrailerBytes),   // a trailer
      bytes.substr(log::kFirstUnitOffset, 8192),            // units
      bytes.substr(log::kFirstUnitOffset + 64, 200),        // records
      bytes,                                                // a whole segment
  };
  for (const bool close : {true, false}) {
    {
      auto db = store.Open();
      REQUIRE(db.ok());
      for (size_t i = 0; i < lookalikes.size(); ++i) {
        // At every alignment to blocks that matters: as the end of a unit, and in its middle.
        for (const size_t shift : {size_t{0}, size_t{1}, size_t{4'096 - 200}}) {
          const std::string key = "like" + std::to_string(i) + "-" + std::to_string(shift);
          store.expected[key] = std::string(shift, 'x') + lookalikes[i];
          REQUIRE((*db)->Put(key, store.expected[key]).ok());
        }
      }
      if (close) {
        REQUIRE((*db)->Close().ok());
      } else {
        store.machine().Crash({CrashKind::kPowerCut, Survival::kSectors});
      }
    }
    auto db = store.Open();
    REQUIRE(db.ok());
    CHECK(store.CountIntact(**db) == static_cast<int>(store.expected.size()));
    CHECK(store.events().Count(EventKind::kDamageFound) == 0);
  }
}

}  // namespace firn::test
