// Directories for the footer tests: entries that own their bytes, random ones, and a footer with the file
// around it.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "format/footer.h"
#include "unit/format/testing.h"

namespace firn::format::testing {

struct OwnedEntry {
  uint32_t namespace_id = 0;
  std::string key;
  RecordType type = RecordType::kPut;
  uint8_t flags = 0;
  uint32_t offset = 0, size = 0;
  uint64_t revision = 0;
  int64_t expires_at_ms = 0;
  std::string value_pointer;

  DirectoryEntry View() const {
    return {namespace_id, key, type, flags, offset, size, revision, expires_at_ms, value_pointer};
  }
  static OwnedEntry Of(const DirectoryEntry& entry) {
    return {entry.namespace_id, std::string(entry.key), entry.type,
            entry.flags,        entry.offset,           entry.size,
            entry.revision,     entry.expires_at_ms,    std::string(entry.value_pointer)};
  }
  auto Order() const { return std::tie(namespace_id, key, revision, offset); }
  bool operator==(const OwnedEntry&) const = default;
};

inline void Sort(std::vector<OwnedEntry>& entries) {
  std::sort(entries.begin(), entries.end(),
            [](const OwnedEntry& a, const OwnedEntry& b) { return a.Order() < b.Order(); });
}

inline FooterSummary SummaryFor(uint32_t units_end) {
  FooterSummary summary;
  summary.segment = 9;
  summary.units_end = units_end;
  summary.first_revision = 1000;
  summary.last_revision = 5000;
  summary.time_ms_max = 1'700'000'000'000;
  summary.live_ids = {.segments = {{3, 8192}, {7, 4096}}, .next_namespace_id = 12};
  summary.retired = {1, 2};
  summary.cuts = {{7, 4096}};
  summary.adopted = {{8, 8192}};
  return summary;
}

// Keys share prefixes, repeat under several revisions, and differ in their last byte's sign.
inline std::vector<OwnedEntry> RandomEntries(Random& random, size_t count, const FooterSummary& summary) {
  const RecordType types[] = {RecordType::kPut, RecordType::kDelete, RecordType::kExpiryChange,
                              RecordType::kNamespaceCreate, RecordType::kNamespaceDrop};
  std::vector<OwnedEntry> entries;
  std::string key = "k";
  for (size_t i = 0; i < count; ++i) {
    OwnedEntry entry;
    entry.namespace_id = static_cast<uint32_t>(random.Below(3) == 0 ? random.Skewed() : random.Below(3));
    if (random.Below(4) != 0) {
      key.resize(std::min<size_t>(key.size(), random.Below(20)));
      key += random.Text(1 + random.Below(8));
    }
    entry.key = key;
    entry.type = types[random.Below(std::size(types))];
    entry.flags = random.Below(2) ? record_flags::kInBatch : record_flags::kRelocated;
    entry.size = static_cast<uint32_t>(1 + random.Below(500));
    entry.offset = static_cast<uint32_t>(random.Below(summary.units_end - entry.size + 1));
    entry.revision = summary.first_revision + random.Below(summary.last_revision - summary.first_revision + 1);
    if (random.Below(3) == 0) {
      entry.expires_at_ms = static_cast<int64_t>(1 + random.Below(uint64_t{1} << 40));
      entry.flags |= record_flags::kHasExpiry;
    }
    if (random.Below(5) == 0) {
      entry.value_pointer = random.Text(random.Below(60));
      entry.flags |= record_flags::kValuePointer;
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

inline std::string BuildFooter(const std::vector<OwnedEntry>& entries, const FooterSummary& summary,
                               const ChecksumSeed& seed) {
  FooterBuilder builder;
  for (const OwnedEntry& entry : entries) builder.Add(entry.View());
  return builder.Finish(summary, seed);
}

// What recovery does: the trailer from the end of the file, then the footer.
inline std::optional<FooterReader> OpenFooter(std::string_view footer, const ChecksumSeed& seed, SegmentId segment,
                                              uint64_t file_bytes) {
  if (footer.size() < kTrailerBytes) return std::nullopt;
  const auto trailer = DecodeTrailer(base::AsBytes(footer).last(kTrailerBytes), seed, file_bytes);
  if (!trailer) return std::nullopt;
  return FooterReader::Open(std::string(footer), *trailer, seed, segment);
}

inline std::vector<OwnedEntry> ReadAll(FooterReader& reader) {
  std::vector<OwnedEntry> entries;
  for (DirectoryEntry entry; reader.Next(entry);) entries.push_back(OwnedEntry::Of(entry));
  return entries;
}

}  // namespace firn::format::testing
