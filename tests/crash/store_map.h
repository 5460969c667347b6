// A small store with some of everything, and what its files hold, told without the engine.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "crash/extents.h"
#include "crash/image.h"
#include "format/footer.h"
#include "format/segment_header.h"
#include "format/superblock.h"
#include "values/value_file.h"

namespace firn::test {

inline constexpr int64_t kFarFutureMs = int64_t{4'000'000'000'000};

// A closed store with some of everything: small and separated values, equal ones, batches, namespaces, expiries,
// deletes, what is dead, relocated records, footers.
inline StoreImage MakeRichStore() {
  StoreImage image;
  InSchedule(70, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open(SeparatingOptions()).ok());
    DB& db = client.db();
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 24; ++i) {
        const std::string key = "key" + std::to_string(i);
        REQUIRE(client.Put(key, Value(key + "/" + std::to_string(round), 900), Durability::kBuffered).ok());
      }
      REQUIRE(client.Flush().ok());
    }
    REQUIRE(client.Delete("key3").ok());
    REQUIRE(db.Compact().ok());
    auto space = db.CreateNamespace("alpha");
    REQUIRE(space.ok());
    REQUIRE(db.CreateNamespace("dropped").ok());
    REQUIRE(space->Put("in alpha", "value", {}).ok());
    REQUIRE(db.DropNamespace("dropped").ok());
    REQUIRE(client.Apply({{"batch/a", "1"}, {"batch/b", Value("2", 300)}, {"batch/c", Extent("batched")}}).ok());
    REQUIRE(client.Put("expires", "some day", Durability::kSynced, kFarFutureMs).ok());
    REQUIRE(client.Put("later", "some other day").ok());
    REQUIRE(client.SetExpiry("later", kFarFutureMs).ok());
    REQUIRE(client.Put("twin one", Extent("equal")).ok());
    REQUIRE(client.Put("twin two", Extent("equal")).ok());
    REQUIRE(client.Put("overwritten", Extent("old")).ok());
    REQUIRE(client.Put("overwritten", "new").ok());
    REQUIRE(client.Close().ok());
    image = StoreImage::Take(world.machine);
  });
  return image;
}

// Which bytes of a closed store are live, read from the files by the format's own readers alone.
class StoreMap {
 public:
  explicit StoreMap(const StoreImage& image) {
    const std::string& superblock_file = image.files.at("SUPERBLOCK");
    const auto superblock = format::DecodeSuperblock(base::AsBytes(superblock_file).first(kBlock));
    REQUIRE(superblock.ok());
    Add("SUPERBLOCK", 0, superblock_file.size());
    Add("TAIL", 2'048, 2'048 + 32);  // the close mark

    struct Sealed {
      const std::string* name;
      const std::string* bytes;
      format::FooterReader footer;
      uint32_t generation;
    };
    std::map<log::SegmentId, Sealed> sealed;
    for (const auto& [name, bytes] : image.files) {
      if (!name.starts_with("log/")) continue;
      const base::Bytes all = base::AsBytes(bytes);
      const auto header = format::DecodeSegmentHeader(all.first(kBlock), superblock->secret, superblock->uuid);
      if (!header.ok()) continue;
      const format::ChecksumSeed seed(superblock->secret, header->salt);
      const auto trailer = format::DecodeTrailer(all.last(format::kTrailerBytes), seed, bytes.size());
      if (!trailer) continue;
      auto footer = format::FooterReader::Open(bytes.substr(trailer->footer_offset), *trailer, seed, header->segment);
      REQUIRE(footer.has_value());
      sealed.insert({header->segment, {&name, &bytes, *std::move(footer), header->generation}});
    }
    auto newest = sealed.end();
    for (auto at = sealed.begin(); at != sealed.end(); ++at) {
      if (at->second.generation == 0) newest = at;
    }
    REQUIRE(newest != sealed.end());
    const format::FooterSummary& summary = newest->second.footer.summary();
    std::set<log::SegmentId> live{newest->first};
    for (const auto& listed : summary.live_ids.segments) live.insert(listed.id);
    for (const auto& adopted : summary.adopted) live.insert(adopted.segment);
    for (const log::SegmentId retired : summary.retired) live.erase(retired);

    newest_ = newest->first;
    segments_ = live;
    for (const log::SegmentId id : live) {
      Sealed& segment = sealed.at(id);
      relocated_ = relocated_ || segment.generation > 0;
      // A sealed segment is its header, its units and its footer, without a gap.
      REQUIRE(UnitOffsets(*segment.bytes).back() == segment.footer.summary().units_end);
      Add(*segment.name, 0, segment.bytes->size());
      for (format::DirectoryEntry entry; segment.footer.Next(entry);) {
        if (entry.type == format::RecordType::kExpiryChange) continue;
        Put& known = puts_[{entry.namespace_id, std::string(entry.key)}];
        if (entry.revision < known.revision) continue;
        known = {*segment.name, entry.offset, entry.size, entry.revision, entry.type, {}};
        known.pointer = format::DecodeValuePointer(base::AsBytes(entry.value_pointer));
      }
    }
    for (const auto& [key, put] : puts_) {
      if (!put.pointer) continue;
      const std::string name = values::ValueFileName(put.pointer->file);
      Add(name, 0, kBlock);
      Add(name, put.pointer->offset, put.pointer->offset + put.pointer->length);
    }
  }

  // The newest record of each key that is not an expiry change: a put, or a tombstone.
  struct Put {
    std::string file;
    uint64_t offset = 0, size = 0, revision = 0;
    format::RecordType type = format::RecordType::kPadding;
    std::optional<format::ValuePointer> pointer;
  };
  using Key = std::pair<uint32_t, std::string>;  // namespace id, key
  const std::map<Key, Put>& puts() const { return puts_; }
  const std::set<log::SegmentId>& segments() const { return segments_; }
  log::SegmentId newest() const { return newest_; }

  bool IsLive(const std::string& name, uint64_t at) const {
    const auto file = live_.find(name);
    return file != live_.end() && at < file->second.size() && file->second[at];
  }
  bool has_relocated() const { return relocated_; }
  bool Touches(const std::string& name) const { return live_.contains(name); }

 private:
  void Add(const std::string& name, uint64_t begin, uint64_t end) {
    std::vector<bool>& bytes = live_[name];
    bytes.resize(std::max<size_t>(bytes.size(), end));
    std::fill(bytes.begin() + static_cast<ptrdiff_t>(begin), bytes.begin() + static_cast<ptrdiff_t>(end), true);
  }

  std::map<std::string, std::vector<bool>> live_;
  std::map<Key, Put> puts_;
  std::set<log::SegmentId> segments_;
  log::SegmentId newest_ = 0;
  bool relocated_ = false;
};

}  // namespace firn::test
