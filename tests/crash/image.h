// The files of a store as plain bytes: taken from one simulated machine, damaged at will, and put on another.
#pragma once

#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "crash/client.h"
#include "log/segment.h"

namespace firn::test {

inline constexpr uint64_t kBlock = format::kBlockBytes;

struct StoreImage {
  std::map<std::string, std::string> files;

  static StoreImage Take(const SimMachine& machine) {
    StoreImage image;
    for (const std::string& name : machine.FileNames()) {
      if (name != "LOCK") image.files[name] = machine.ReadFile(name);
    }
    return image;
  }

  void PutOn(SimMachine& machine) const {
    const std::unique_ptr<io::Disk> disk = machine.Attach();
    REQUIRE(disk->MakeFolder("log").ok());
    const bool has_values = files.lower_bound("values/") != files.lower_bound("values0");
    if (has_values) REQUIRE(disk->MakeFolder("values").ok());
    for (const auto& [name, bytes] : files) {
      auto file = disk->Open(name, io::OpenMode::kCreate);
      REQUIRE(file.ok());
      REQUIRE((*file)->Allocate(bytes.size()).ok());
      base::AlignedBuffer aligned(bytes.size());
      if (bytes.empty()) continue;
      std::memset(aligned.data(), 0, aligned.size());
      std::memcpy(aligned.data(), bytes.data(), bytes.size());
      REQUIRE((*file)->Write(0, aligned.bytes(), io::Flush::kNone).ok());
      REQUIRE((*file)->Truncate(bytes.size()).ok());
      REQUIRE((*file)->Sync().ok());
    }
    REQUIRE(disk->SyncFolder("log").ok());
    if (has_values) REQUIRE(disk->SyncFolder("values").ok());
    REQUIRE(disk->SyncFolder("").ok());
    // Read-only opens expect the lock file.
    REQUIRE(disk->Lock("LOCK", true).ok());
  }

  std::string& segment(log::SegmentId id) { return files.at(log::SegmentFileName(id)); }
  const std::string& segment(log::SegmentId id) const { return files.at(log::SegmentFileName(id)); }
};

// Where the units of a segment begin, and where they end.
inline std::vector<uint64_t> UnitOffsets(const std::string& segment) {
  std::vector<uint64_t> offsets;
  uint64_t at = kBlock;
  while (at + kBlock <= segment.size() && segment.compare(at, 8, "firnUNI1") == 0) {
    offsets.push_back(at);
    at += base::LoadLe<uint32_t>(reinterpret_cast<const std::byte*>(segment.data()) + at + 48) * kBlock;
  }
  offsets.push_back(at);
  return offsets;
}

inline void Flip(std::string& bytes, uint64_t at, char mask = 1) { bytes[at] = static_cast<char>(bytes[at] ^ mask); }

// What an open of the image gave: a status, or what the store shows.
struct Opened {
  absl::Status status;
  State state;
  size_t unreadable = 0;
  std::string events;
  size_t footer_fallbacks = 0, torn_tails = 0, damages = 0;
};

struct OpenAs {
  bool read_only = false;
  bool salvage = false;
};

inline Opened OpenImage(const StoreImage& image, OpenAs as = {}) {
  SimWorld world(1);
  image.PutOn(world.machine);
  Client client(world);
  Options options = QuietOptions();
  options.create_if_missing = false;
  options.read_only = as.read_only;
  options.salvage = as.salvage;
  Opened opened;
  opened.status = client.Open(options);
  if (opened.status.ok()) opened.state = LookPast(client.db(), &opened.unreadable);
  opened.events = client.events().Text();
  opened.footer_fallbacks = client.events().Count(EventKind::kFooterFallback);
  opened.torn_tails = client.events().Count(EventKind::kTornTail);
  opened.damages = client.events().Count(EventKind::kDamageFound);
  client.Drop();
  return opened;
}

// Every key shows what it had, or is gone; nothing else is there.
inline void RequireNoLies(const State& found, const State& truth) {
  for (const auto& [key, shown] : found) {
    INFO(key << " = " << shown);
    const auto known = truth.find(key);
    REQUIRE(known != truth.end());
    REQUIRE(known->second == shown);
  }
}

}  // namespace firn::test
