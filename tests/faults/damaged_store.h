// A small store on a simulated machine whose files a test then damages.
#pragma once

#include <firn/db.h>

#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "db/open.h"
#include "format/segment_header.h"
#include "format/superblock.h"
#include "log/segment_scan.h"
#include "support/crash_points.h"

namespace firn::test {

class EventTexts final : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    const base::MutexLock lock(mutex_);
    texts_.emplace(event.kind, event.message);
  }
  size_t Count(EventKind kind) {
    const base::MutexLock lock(mutex_);
    return texts_.count(kind);
  }

 private:
  base::Mutex mutex_;
  std::multimap<EventKind, std::string> texts_;
};

class DamagedStore {
 public:
  explicit DamagedStore(uint64_t seed = 1) : world_(seed) {}

  SimMachine& machine() { return world_.machine; }
  EventTexts& events() { return events_; }

  absl::StatusOr<std::unique_ptr<DB>> Open(bool read_only = false, bool salvage = false) {
    Options options;
    options.read_only = read_only;
    options.salvage = salvage;
    options.listener = &events_;
    return OpenOn(options, {.disk = world_.machine.Attach(),
                            .clock = &world_.clock,
                            .random = &world_.random,
                            .segment_bytes_min_for_test = 64 * 1024});
  }

  // Fills the store with `puts` synced values of `value_bytes`, one unit each, and ends by Close or by a power cut that
  // loses nothing durable. `expected` is then what it holds.
  void Fill(int puts, size_t value_bytes, bool close) {
    auto db = Open();
    REQUIRE(db.ok());
    for (int i = 0; i < puts; ++i) {
      const std::string key = "key" + std::to_string(i);
      const std::string value = key + std::string(value_bytes, static_cast<char>('a' + i % 26));
      REQUIRE((*db)->Put(key, value).ok());
      expected[key] = value;
    }
    if (close) {
      REQUIRE((*db)->Close().ok());
    } else {
      world_.machine.Crash({CrashKind::kPowerCut, Survival::kSectors});
    }
    db->reset();
  }

  // No help from the tail buffers: what is on disk counts.
  void ForgetTail() { REQUIRE(world_.machine.Attach()->Remove("TAIL").ok()); }

  // The segment files with a valid header, oldest first, as recovery sees them.
  std::vector<std::unique_ptr<log::Segment>> Segments() {
    disk_ = world_.machine.Attach();
    std::vector<std::unique_ptr<log::Segment>> segments;
    const std::string superblock_bytes = world_.machine.ReadFile("SUPERBLOCK");
    const auto superblock = format::DecodeSuperblock(base::AsBytes(superblock_bytes).first(format::kBlockBytes));
    REQUIRE(superblock.ok());
    for (const std::string& name : world_.machine.FileNames()) {
      if (!name.starts_with("log/")) continue;
      const std::string bytes = world_.machine.ReadFile(name);
      if (bytes.size() < format::kBlockBytes) continue;
      const auto header = format::DecodeSegmentHeader(base::AsBytes(bytes).first(format::kBlockBytes),
                                                      superblock->secret, superblock->uuid);
      if (!header.ok()) continue;
      auto segment = std::make_unique<log::Segment>();
      segment->id = header->segment;
      segment->header = *header;
      segment->seed = format::ChecksumSeed(superblock->secret, header->salt);
      segment->file = *disk_->Open(name, io::OpenMode::kRead);
      segments.push_back(std::move(segment));
    }
    std::sort(segments.begin(), segments.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
    return segments;
  }

  // Where the units of a segment begin, and where the last one ends.
  static std::vector<uint64_t> UnitOffsets(const log::Segment& segment) {
    log::SegmentScanner scanner(segment);
    std::vector<uint64_t> offsets = {log::kFirstUnitOffset};
    while (const auto unit = scanner.UnitAt(offsets.back())) {
      offsets.push_back(offsets.back() + uint64_t{unit->header.blocks} * format::kBlockBytes);
    }
    return offsets;
  }

  // Every key either has its value or is missing (NotFound, DataLoss); never anything else. Returns how many have it.
  int CountIntact(DB& db) const {
    int intact = 0;
    for (const auto& [key, value] : expected) {
      const auto found = db.Get(key);
      if (found.ok()) {
        if (*found != value) FAIL("a wrong value for " << key);
        ++intact;
      } else if (!absl::IsNotFound(found.status()) && !absl::IsDataLoss(found.status())) {
        FAIL(key << ": " << found.status());
      }
    }
    return intact;
  }

  // Overwrites a file's blocks.
  void Overwrite(const std::string& name, uint64_t offset, std::string_view bytes) {
    const auto disk = world_.machine.Attach();
    const auto file = disk->Open(name, io::OpenMode::kReadWrite);
    REQUIRE(file.ok());
    base::AlignedBuffer aligned(bytes.size());
    std::memcpy(aligned.data(), bytes.data(), bytes.size());
    REQUIRE((*file)->Write(offset, aligned.bytes().first(bytes.size()), io::Flush::kData).ok());
  }

  std::map<std::string, std::string> expected;

 private:
  SimWorld world_;
  EventTexts events_;
  std::unique_ptr<io::Disk> disk_;
};

}  // namespace firn::test
