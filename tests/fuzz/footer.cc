// The footer: under checksums that verify it opens as a sorted directory within bounds, or not at all; and what was
// read, written again, reads equal.
//
//   input: how u8 | units' end in blocks u16 | edits of the trailer (how many in `how`, each place u8, value u8) |
//          the footer from its head on; zeros follow up to the trailer
#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "format/footer_layout.h"
#include "fuzz/raw_format.h"

namespace firn::fuzz {
namespace {

using format::DirectoryEntry;
using format::FooterReader;
using format::FooterSummary;

const format::ChecksumSeed kSeed(kSecret, SaltOf(1));
constexpr format::SegmentId kSegment = 9;

struct Entry {
  DirectoryEntry fields;
  std::string key, value_pointer;

  explicit Entry(const DirectoryEntry& entry) : fields(entry), key(entry.key), value_pointer(entry.value_pointer) {}
  auto Order() const { return std::tie(fields.namespace_id, key, fields.revision, fields.offset); }
  auto All() const {
    return std::tie(fields.namespace_id, key, fields.type, fields.flags, fields.offset, fields.size, fields.revision,
                    fields.expires_at_ms, value_pointer);
  }
};

std::vector<Entry> ReadAll(FooterReader& reader) {
  std::vector<Entry> entries;
  for (DirectoryEntry entry; reader.Next(entry);) entries.emplace_back(entry);
  return entries;
}

// As recovery does: the trailer from the end of the file, then all of it.
std::optional<FooterReader> Open(const std::string& footer, uint64_t file_bytes) {
  const auto trailer = format::DecodeTrailer(base::AsBytes(footer).last(format::kTrailerBytes), kSeed, file_bytes);
  if (!trailer) return std::nullopt;
  return FooterReader::Open(footer, *trailer, kSeed, kSegment);
}

void CheckDirectory(const std::vector<Entry>& entries, const FooterSummary& summary) {
  Require(entries.size() == summary.records, "the directory has as many entries as the head says");
  uint64_t revision_min = format::kNoRevision;
  for (size_t i = 0; i < entries.size(); ++i) {
    const DirectoryEntry& entry = entries[i].fields;
    revision_min = std::min(revision_min, entry.revision);
    Require(i == 0 || entries[i - 1].Order() < entries[i].Order(), "the directory is sorted");
    Require(uint64_t{entry.offset} + entry.size <= summary.units_end, "an entry lies within the units");
    Require(summary.first_revision <= entry.revision && entry.revision <= summary.last_revision,
            "an entry lies within the segment's revisions");
    Require(!entries[i].key.empty() && entries[i].key.size() <= kKeyBytesMax && HasDirectoryEntry(entry.type),
            "an entry is well-formed");
  }
  Require(revision_min == summary.revision_min, "the lowest revision is that of the directory");
}

void CheckRoundTrip(const std::string& footer, const std::vector<Entry>& entries, const FooterSummary& summary) {
  format::FooterBuilder builder;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    DirectoryEntry fields = entry->fields;
    fields.key = entry->key;
    fields.value_pointer = entry->value_pointer;
    builder.Add(fields);
  }
  const std::string again = builder.Finish(summary, kSeed);
  auto reader = Open(again, summary.units_end + again.size());
  Require(reader.has_value(), "a footer that was written opens");
  const std::vector<Entry> read = ReadAll(*reader);
  Require(std::equal(read.begin(), read.end(), entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.All() == b.All(); }),
          "a directory that was read and written again reads equal");
  const FooterSummary& told = reader->summary();
  Require(std::tie(told.records, told.first_revision, told.last_revision, told.revision_min, told.time_ms_max) ==
                  std::tie(summary.records, summary.first_revision, summary.last_revision, summary.revision_min,
                           summary.time_ms_max) &&
              told.live_ids == summary.live_ids && told.retired == summary.retired && told.cuts == summary.cuts &&
              told.adopted == summary.adopted,
          "a summary that was read and written again reads equal");
  // But for blocks of zeros that a writer would not have added.
  Require(again.size() < footer.size() || again == footer, "a footer has one encoding");
}

// Makes the directory all that follows the lists, so that entries may grow and shrink.
void FitDirectory(std::string& footer) {
  namespace head = format::footer_layout::head;
  uint64_t lists = 0;
  for (const size_t at : {head::kLiveIdsBytesAt, head::kRetiredBytesAt, head::kCutsBytesAt, head::kAdoptedBytesAt}) {
    lists += base::LoadLe<uint32_t>(At(footer, at));
  }
  const uint64_t rest = footer.size() - head::kHeadBytes;
  if (lists <= rest) base::StoreLe(At(footer, head::kDirectoryBytesAt), static_cast<uint32_t>(rest - lists));
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn;
  using namespace firn::fuzz;
  namespace trailer = format::footer_layout::trailer;
  enum : uint8_t { kOwnHead = 16, kFitDirectory = 32, kWrongFile = 64, kWrongSegment = 128 };
  constexpr uint8_t kEditsMask = 3;
  Input input(data, size);
  const uint8_t how = input.Byte();
  const uint32_t units_end = uint32_t{input.Number<uint16_t>()} * static_cast<uint32_t>(kBlock);
  std::string end = "firnEND1";
  end.resize(format::kTrailerBytes);
  std::vector<std::pair<uint8_t, char>> edits;
  for (int i = how & kEditsMask; i > 0; --i) {
    const uint8_t place = input.Byte();
    edits.emplace_back(place % format::kTrailerBytes, static_cast<char>(input.Byte()));
  }
  std::string footer(input.Rest());
  footer.resize(std::max(footer.size(), format::footer_layout::head::kHeadBytes));
  if ((how & kOwnHead) == 0) {
    footer.replace(0, 8, "firnFTR1");
    base::StoreLe(At(footer, 8), kSegment);
    base::StoreLe(At(footer, 12), units_end);
  }
  if ((how & kFitDirectory) != 0) FitDirectory(footer);
  footer.resize(base::RoundUp(footer.size() + format::kTrailerBytes, kBlock) - format::kTrailerBytes);
  const uint64_t file_bytes = units_end + footer.size() + format::kTrailerBytes;
  base::StoreLe(At(end, format::kVersionAt), format::kFormatVersion);
  base::StoreLe(At(end, trailer::kSegmentAt), (how & kWrongSegment) != 0 ? kSegment + 1 : kSegment);
  base::StoreLe(At(end, trailer::kFileBytesAt), file_bytes);
  base::StoreLe(At(end, trailer::kFooterOffsetAt), units_end);
  base::StoreLe(At(end, trailer::kFooterBytesAt), static_cast<uint32_t>(footer.size() + end.size()));
  for (const auto& [at, value] : edits) end[at] = static_cast<char>(end[at] ^ value);
  base::StoreLe(At(end, trailer::kBodyChecksumAt), base::Hash64(Part(footer, 0, footer.size()), kSeed.At(units_end)));
  base::StoreLe(At(end, format::kChecksumAt),
                base::Hash64(Part(end, format::kVersionAt, end.size() - format::kVersionAt),
                             kSeed.At(file_bytes - format::kTrailerBytes)));
  footer += end;
  auto reader = Open(footer, (how & kWrongFile) != 0 ? file_bytes + kBlock : file_bytes);
  if (!reader) return 0;
  Require((how & (kWrongFile | kWrongSegment)) == 0, "a footer opens in its own file only");
  const std::vector<Entry> entries = ReadAll(*reader);
  CheckDirectory(entries, reader->summary());
  CheckRoundTrip(footer, entries, reader->summary());
  return 0;
}
