// The disk that power cuts are made with: what it keeps, loses and tears.
#include "powercut/volatile_disk.h"

#include <catch2/catch.hpp>
#include <cerrno>
#include <string>
#include <vector>

namespace firn::test {
namespace {

constexpr uint64_t kBytes = 1 << 20, kSectors = 16, kStep = kSectors * VolatileDisk::kSectorBytes;

struct Rig {
  std::vector<VolatileDisk::CutReport> cuts;
  VolatileDisk disk{kBytes, [this](const VolatileDisk::CutReport& report) { cuts.push_back(report); }};

  int Write(uint64_t offset, char byte, uint64_t bytes = kStep) {
    return disk.Write(offset, std::vector<std::byte>(bytes, std::byte(byte)));
  }
  // One letter for each sector; '?' where a sector is not of one byte.
  std::string Sectors(uint64_t offset) {
    std::string text;
    std::vector<std::byte> sector(VolatileDisk::kSectorBytes);
    for (uint64_t i = 0; i < kSectors; ++i) {
      REQUIRE(disk.Read(offset + i * sector.size(), sector) == 0);
      const bool whole = sector == std::vector<std::byte>(sector.size(), sector[0]);
      text += !whole ? '?' : sector[0] == std::byte(0) ? '.' : static_cast<char>(sector[0]);
    }
    return text;
  }
  void CutAndReturn(const VolatileDisk::CutRule& rule) {
    disk.Cut(rule);
    disk.PowerOn();
  }
};

TEST_CASE("a flush makes every earlier write durable, and a cut loses what came after it") {
  Rig rig;
  REQUIRE(rig.Write(0, 'a') == 0);
  REQUIRE(rig.disk.Flush() == 0);
  REQUIRE(rig.Write(0, 'b') == 0);
  CHECK(rig.Sectors(0) == "bbbbbbbbbbbbbbbb");
  CHECK(rig.disk.counts().unflushed == 1);
  rig.CutAndReturn({.lost_percent = 100});
  CHECK(rig.Sectors(0) == "aaaaaaaaaaaaaaaa");
  REQUIRE(rig.cuts.size() == 1);
  CHECK(rig.cuts[0].lost == 1);
}

TEST_CASE("a cut keeps some unflushed writes, loses some, and tears some between sectors or blocks") {
  Rig rig;
  constexpr uint64_t kWrites = 100;
  for (uint64_t i = 0; i < kWrites; ++i) REQUIRE(rig.Write(i * kStep, 'x') == 0);
  rig.CutAndReturn({.seed = 1});
  uint64_t kept = 0, lost = 0, torn = 0, torn_in_a_block = 0;
  for (uint64_t i = 0; i < kWrites; ++i) {
    const std::string sectors = rig.Sectors(i * kStep);
    CHECK(sectors.find('?') == std::string::npos);
    torn_in_a_block += std::string("xxxxxxxx........").find(sectors.substr(0, 8)) == std::string::npos;
    ++(sectors == "xxxxxxxxxxxxxxxx" ? kept : sectors == "................" ? lost : torn);
  }
  const VolatileDisk::CutReport& report = rig.cuts[0];
  CHECK(report.lost + report.torn + report.kept == kWrites);
  // Of a torn write every coin may fall alike.
  CHECK(lost >= report.lost);
  CHECK(kept >= report.kept);
  CHECK((kept > 0 && lost > 0 && torn > torn_in_a_block && torn_in_a_block > 0));
}

TEST_CASE("a later write may survive without an earlier one, and the same seed decides the same") {
  std::string first;
  for (int turn = 0; turn < 2; ++turn) {
    Rig rig;
    std::string seen;
    for (uint64_t i = 0; i < 32; ++i) REQUIRE(rig.Write(i * kStep, 'x') == 0);
    rig.CutAndReturn({.seed = 7, .torn_percent = 0});
    for (uint64_t i = 0; i < 32; ++i) seen += rig.Sectors(i * kStep)[0];
    CHECK(seen.find(".x") != std::string::npos);
    if (turn == 0) first = seen;
    CHECK(seen == first);
  }
}

TEST_CASE("the request that a cut comes with fails, as does every other until the power is back") {
  Rig rig;
  REQUIRE(rig.Write(0, 'a') == 0);
  rig.disk.CutAfter(1, {.lost_percent = 100});
  REQUIRE(rig.Write(kStep, 'b') == 0);
  CHECK(rig.disk.Flush() == EIO);
  CHECK(rig.cuts.size() == 1);
  std::vector<std::byte> sector(VolatileDisk::kSectorBytes);
  CHECK(rig.disk.Read(0, sector) == EIO);
  CHECK(rig.Write(0, 'c') == EIO);
  CHECK(rig.disk.Flush() == EIO);
  rig.disk.PowerOn();
  CHECK(rig.Sectors(0) == "................");
  CHECK(rig.Sectors(kStep) == "................");
  CHECK(rig.disk.Flush() == 0);
  rig.disk.CutAfter(0, {.lost_percent = 0, .torn_percent = 0});
  CHECK(rig.Write(0, 'd') == EIO);
  rig.disk.PowerOn();
  CHECK(rig.Sectors(0) == "dddddddddddddddd");
}

TEST_CASE("a cut that waits for a flush comes in its stead, with all that it would have made durable") {
  Rig rig;
  rig.disk.CutAfter(1, {.lost_percent = 100, .at_flush = true});
  REQUIRE(rig.disk.Flush() == 0);
  for (uint64_t i = 0; i < 5; ++i) REQUIRE(rig.Write(i * kStep, 'a') == 0);
  CHECK(rig.disk.Flush() == EIO);
  REQUIRE(rig.cuts.size() == 1);
  CHECK(rig.cuts[0].lost == 5);
}

TEST_CASE("a disk that ignores flushes loses what it said was durable") {
  Rig rig;
  rig.disk.set_ignores_flushes(true);
  REQUIRE(rig.Write(0, 'a') == 0);
  REQUIRE(rig.disk.Flush() == 0);
  rig.CutAndReturn({.lost_percent = 100});
  CHECK(rig.Sectors(0) == "................");
}

TEST_CASE("nothing is written or read beyond the end") {
  Rig rig;
  CHECK(rig.Write(kBytes, 'a', 1) == ENOSPC);
  CHECK(rig.Write(kBytes - 1, 'a', 2) == ENOSPC);
  CHECK(rig.Write(kBytes - 1, 'a', 1) == 0);
}

}  // namespace
}  // namespace firn::test
