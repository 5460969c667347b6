// Footers: the directory of every record of a sealed segment, written once. With it a store opens without
// reading data.
//
// A footer starts at the block after the last unit. Entries are sorted by (namespace, key, revision) and
// prefix-compressed; control records are left out, except through the counters. The trailer is the last
// kTrailerBytes of the file and names where the footer starts, so that one read of the file's end usually
// finds all of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/status.h"
#include "format/layout.h"
#include "format/record.h"

namespace firn::format {

inline constexpr size_t kTrailerBytes = 64;

// Whether records of this type have a directory entry. Padding has none, control records are carried by the
// summary.
bool HasDirectoryEntry(RecordType type);

// One record, as the footer knows it.
struct DirectoryEntry {
  uint32_t namespace_id = 0;
  std::string_view key;
  RecordType type = RecordType::kPadding;
  uint8_t flags = 0;
  uint32_t offset = 0;  // in the segment
  uint32_t size = 0;    // of the record
  uint64_t revision = 0;
  int64_t expires_at_ms = 0;       // encoded only with kHasExpiry, which the builder sets by itself
  std::string_view value_pointer;  // encoded; empty without kValuePointer
};

inline constexpr uint64_t kNoRevision = UINT64_MAX;  // above all revisions

struct FooterSummary {
  SegmentId segment = kNoSegment;
  uint32_t units_end = 0;                          // where the units end and the footer starts
  uint64_t records = 0;                            // entries in the directory; the builder fills it in
  uint64_t first_revision = 0, last_revision = 0;  // over all records, control records included
  // The lowest in the directory, kNoRevision if that is empty; the builder fills it in. A relocation segment's records
  // are old: what it may hide or be hidden by is told by this.
  uint64_t revision_min = 0;
  int64_t time_ms_max = 0;         // the newest unit's time
  LiveIds live_ids;                // the segment's own first record
  std::vector<SegmentId> retired;  // by its retire records
  std::vector<Position> cuts;      // by its cut records
  std::vector<Position> adopted;   // by its adopt records
};

// Collects entries as units are flushed, in any order; compact, because a full segment's worth is held in
// memory.
class FooterBuilder {
 public:
  void Add(const DirectoryEntry& entry);
  // The whole footer, from the block after the last unit to the end of the file: a multiple of kBlockBytes,
  // trailer at its very end. Sorts, in 16 more bytes per entry, and leaves the builder empty. Every entry was
  // added once, lies below summary.units_end and within the summary's revisions.
  std::string Finish(const FooterSummary& summary, const ChecksumSeed& seed);

  // What the builder holds, room for growth included.
  uint64_t memory_bytes() const { return arena_.capacity() + positions_.capacity() * sizeof(positions_[0]); }
  uint64_t entries() const { return positions_.size(); }
  uint64_t revision_min() const { return revision_min_; }
  // Calls `visit` with namespace and key of each entry, in the order they were added.
  void ForEachKey(const std::function<void(uint32_t, std::string_view)>& visit) const;

 private:
  void AppendDirectory(std::string& footer, const FooterSummary& summary) const;

  std::string arena_;
  std::vector<uint32_t> positions_;  // of each entry's start in arena_
  uint64_t revision_min_ = kNoRevision;
};

struct Trailer {
  uint32_t footer_offset = 0;  // == units_end
  uint32_t footer_bytes = 0;   // trailer included
  uint64_t file_bytes = 0;     // the file's length when sealed; a trailer found elsewhere is not one
};
// `end` is the last kTrailerBytes of a file of `file_bytes`.
std::optional<Trailer> DecodeTrailer(base::Bytes end, const ChecksumSeed& seed, uint64_t file_bytes);

// Whose trailer it seems to be: for salvage of a segment whose header is lost. Whether it is tells DecodeTrailer, with
// the seed that follows from the salt.
struct TrailerIdentity {
  SegmentId segment = kNoSegment;
  Salt salt{};
};
std::optional<TrailerIdentity> PeekTrailer(base::Bytes end);

// Of a key, as directories are sorted.
struct KeyPlace {
  uint32_t namespace_id = 0;
  std::string key;
  auto operator<=>(const KeyPlace&) const = default;
};

// A whole footer, verified. Copies share the bytes; entries are views into them (keys into the reader's scratch).
class FooterReader {
 public:
  using Visitor = std::function<void(const FooterSummary&, const DirectoryEntry&)>;

  // `bytes` starts at the footer's offset and is footer_bytes long. Nothing when any checksum or field is
  // wrong: whoever asks falls back to scanning. The whole directory is walked once: `visit` sees each entry, also of a
  // footer that is refused in the end.
  static std::optional<FooterReader> Open(std::string bytes, const Trailer& trailer, const ChecksumSeed& seed,
                                          SegmentId segment, const Visitor& visit = nullptr);

  const FooterSummary& summary() const { return body_->summary; }
  // Walks the directory in order. `entry`'s views are valid until the next call. False at the end.
  bool Next(DirectoryEntry& entry);
  void Rewind();
  // Next() gives the first entry that is not below `place`.
  void Seek(const KeyPlace& place);
  // Keys of the directory in order, one for each kKeysApart entries.
  static constexpr uint64_t kKeysApart = 128;
  std::vector<KeyPlace> SampleKeys() const;

 private:
  // The entry before a position: the next one is encoded against it and sorts after it.
  struct Place {
    size_t position = 0;
    uint32_t namespace_id = 0;
    uint64_t revision = 0;
    uint32_t offset = 0;
    std::string key;
  };
  struct Body {
    std::string bytes;
    FooterSummary summary;
    size_t directory_begin = 0, directory_end = 0;
    std::vector<Place> marks;  // one for each kKeysApart entries
  };

  FooterReader() = default;
  static bool ReadHead(Body& body, const Trailer& trailer, SegmentId segment);

  std::shared_ptr<const Body> body_;
  Place at_;
};

}  // namespace firn::format
