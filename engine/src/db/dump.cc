// A store's files in words, for people and tools.
#include <algorithm>
#include <vector>

#include <firn/inspect.h>

#include "base/aligned_buffer.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/footer.h"
#include "format/segment_header.h"
#include "format/superblock.h"
#include "format/unit.h"
#include "io/disk.h"
#include "log/segment_scan.h"

namespace firn {
namespace {

using Line = std::function<void(std::string_view)>;

using base::Hex;
using base::Quoted;

std::string_view Name(format::RecordType type) {
  switch (type) {
    case format::RecordType::kPadding:
      return "padding";
    case format::RecordType::kPut:
      return "put";
    case format::RecordType::kDelete:
      return "delete";
    case format::RecordType::kRangeDelete:
      return "range-delete";
    case format::RecordType::kExpiryChange:
      return "expiry-change";
    case format::RecordType::kPrepare:
      return "prepare";
    case format::RecordType::kCommit:
      return "commit";
    case format::RecordType::kRollback:
      return "rollback";
    case format::RecordType::kNamespaceCreate:
      return "namespace-create";
    case format::RecordType::kNamespaceDrop:
      return "namespace-drop";
    case format::RecordType::kLiveIds:
      return "live-ids";
    case format::RecordType::kRetire:
      return "retire";
    case format::RecordType::kCut:
      return "cut";
    case format::RecordType::kHorizon:
      return "horizon";
    case format::RecordType::kAdopt:
      return "adopt";
  }
  return "unknown";
}

std::string DescribeBody(const format::Record& record) {
  std::string text;
  if (record.type == format::RecordType::kLiveIds) {
    const auto live = format::DecodeLiveIds(record.value);
    if (!live) return " (body does not decode)";
    text = " next namespace " + std::to_string(live->next_namespace_id) + ", segments:";
    for (const auto& segment : live->segments) {
      text += " " + std::to_string(segment.id) + " up to " + std::to_string(segment.end);
    }
  } else if (record.type == format::RecordType::kRetire) {
    for (auto id : format::DecodeRetireList(record.value).value_or(std::vector<format::SegmentId>{})) {
      text += " segment " + std::to_string(id);
    }
  } else if (record.type == format::RecordType::kCut) {
    for (auto cut : format::DecodeCutList(record.value).value_or(std::vector<format::Position>{})) {
      text += " segment " + std::to_string(cut.segment) + " ends at " + std::to_string(cut.offset);
    }
  } else if (record.type == format::RecordType::kAdopt) {
    for (auto end : format::DecodeAdoptList(record.value).value_or(std::vector<format::Position>{})) {
      text += " segment " + std::to_string(end.segment) + " up to " + std::to_string(end.offset);
    }
  } else {
    text = " namespace " + std::to_string(record.namespace_id) + " key " + Quoted(record.key);
    if (!record.metadata.empty()) text += " metadata " + std::to_string(record.metadata.size()) + " bytes";
    if (record.type == format::RecordType::kPut) text += " value " + std::to_string(record.value.size()) + " bytes";
    if (record.expires_at_ms != 0) text += " expires at " + std::to_string(record.expires_at_ms) + " ms";
    if ((record.flags & format::record_flags::kInBatch) != 0) text += " (batch goes on)";
    if ((record.flags & format::record_flags::kRelocated) != 0) text += " (relocated)";
  }
  return text;
}

void DumpUnits(const log::Segment& segment, uint64_t limit, const Line& line) {
  log::SegmentScanner scanner(segment);
  for (uint64_t at = log::kFirstUnitOffset; at < limit;) {
    const auto unit = scanner.UnitAt(at);
    if (!unit) {
      const auto next = scanner.FindUnit(at + format::kBlockBytes, limit);
      const uint64_t until = next.value_or(limit);
      line(std::to_string(at) + " no unit verifies here, up to " + std::to_string(until) +
           (next ? ": damage, for another unit follows" : ": unused, torn or damaged"));
      at = until;
      continue;
    }
    const format::UnitHeader& header = unit->header;
    line(std::to_string(at) + " unit of " + std::to_string(header.blocks) + " blocks, " +
         std::to_string(header.payload_bytes) + " payload bytes, revisions " + std::to_string(header.first_revision) +
         ".." + std::to_string(header.last_revision) + ", durable up to segment " +
         std::to_string(header.durable.segment) + " offset " + std::to_string(header.durable.offset) + ", time " +
         std::to_string(header.time_ms) + " ms");
    const uint64_t payload_at = at + format::kUnitHeaderBytes;
    for (size_t done = 0; done < unit->payload.size();) {
      const auto record = format::DecodeRecord(unit->payload.subspan(done), segment.seed, payload_at + done);
      if (!record) {
        line("  " + std::to_string(payload_at + done) + " a record that does not verify");
        break;
      }
      line("  " + std::to_string(payload_at + done) + " revision " + std::to_string(record->record.revision) + " " +
           std::string(Name(record->record.type)) + DescribeBody(record->record));
      done += record->size_bytes;
    }
    at += uint64_t{header.blocks} * format::kBlockBytes;
  }
}

void DumpFooter(const format::FooterReader& read_only_footer, const Line& line) {
  format::FooterReader footer = read_only_footer;
  const format::FooterSummary& summary = footer.summary();
  line(std::to_string(summary.units_end) + " footer: " + std::to_string(summary.records) + " records, revisions " +
       std::to_string(summary.first_revision) + ".." + std::to_string(summary.last_revision) + ", time " +
       std::to_string(summary.time_ms_max) + " ms");
  for (format::DirectoryEntry entry; footer.Next(entry);) {
    line("  namespace " + std::to_string(entry.namespace_id) + " key " + Quoted(base::AsBytes(entry.key)) + " " +
         std::string(Name(entry.type)) + " revision " + std::to_string(entry.revision) + " at " +
         std::to_string(entry.offset) + ", " + std::to_string(entry.size) + " bytes" +
         (entry.expires_at_ms != 0 ? ", expires at " + std::to_string(entry.expires_at_ms) + " ms" : ""));
  }
}

absl::Status Prefixed(const std::string& prefix, const absl::Status& status) {
  return base::MakeStatus(status.code(), prefix + ": " + std::string(status.message()));
}

constexpr uint64_t kSuperblockCopies[] = {0, format::kBlockBytes};
constexpr std::string_view kSuperblockFile = "SUPERBLOCK";

absl::StatusOr<format::Superblock> ReadSuperblockCopy(io::File& file, uint64_t at) {
  if (at + format::kBlockBytes > file.size_bytes()) {
    return base::DataLoss("superblock: the file ends at " + std::to_string(file.size_bytes()));
  }
  base::AlignedBuffer block(format::kBlockBytes);
  FIRN_RETURN_IF_ERROR(file.Read(at, block.bytes()));
  return format::DecodeSuperblock(block.bytes());
}

absl::StatusOr<format::Superblock> ReadSuperblock(std::string_view store_path) {
  const std::string path = std::string(store_path) + "/" + std::string(kSuperblockFile);
  FIRN_ASSIGN_OR_RETURN(const auto store, io::OpenDisk(store_path, {.read_only = true}));
  const auto file = store->Open(kSuperblockFile, io::OpenMode::kRead);
  if (!file.ok()) return Prefixed(path, file.status());
  absl::Status first_error;
  for (const uint64_t at : kSuperblockCopies) {
    auto superblock = ReadSuperblockCopy(**file, at);
    if (superblock.ok()) return superblock;
    if (first_error.ok()) first_error = Prefixed(path, superblock.status());
  }
  return first_error;
}

// Both copies. The first error of those that do not verify.
absl::Status DumpSuperblock(io::File& file, const Line& line) {
  absl::Status first_error;
  std::vector<format::Superblock> copies;
  for (const uint64_t at : kSuperblockCopies) {
    const std::string where = std::to_string(at) + " superblock";
    const auto copy = ReadSuperblockCopy(file, at);
    if (!copy.ok()) {
      line(where + " does not verify: " + std::string(copy.status().message()));
      if (first_error.ok()) first_error = Prefixed("the copy at " + std::to_string(at), copy.status());
      continue;
    }
    line(where + ": uuid " + Hex(copy->uuid) + ", format version " + std::to_string(copy->format_version) +
         ", blocks of " + std::to_string(copy->block_bytes) + " bytes, features " + std::to_string(copy->features) +
         ", created at " + std::to_string(copy->created_ms) + " ms");
    copies.push_back(*copy);
  }
  if (copies.size() == 2 && copies[0] != copies[1]) line("the two copies differ; the first one counts");
  return first_error;
}

std::string Describe(const format::SegmentHeader& header) {
  return "segment " + std::to_string(header.segment) + ", incarnation " + std::to_string(header.incarnation) +
         ", salt " + Hex(header.salt) + ", revisions from " + std::to_string(header.first_revision) + ", created at " +
         std::to_string(header.created_ms) + " ms, generation " + std::to_string(header.generation);
}

// With the salt as it stands, units still verify when something else in the header is damaged.
absl::Status DumpSegment(log::Segment& segment, base::Bytes block, const format::Superblock& superblock,
                         const Line& line) {
  const std::string size_text = ", file of " + std::to_string(segment.file->size_bytes()) + " bytes";
  const auto header = format::DecodeSegmentHeader(block, superblock.secret, superblock.uuid);
  if (absl::IsNotFound(header.status())) {
    line("no segment yet: the header is a block of zeros" + size_text);
    return absl::OkStatus();
  }
  if (absl::IsFailedPrecondition(header.status())) return header.status();
  segment.header = format::UncheckedSegmentHeader(block);
  segment.id = segment.header.segment;
  segment.seed = format::ChecksumSeed(superblock.secret, segment.header.salt);
  if (!header.ok()) {
    line("the header does not verify: " + std::string(header.status().message()) + "; its fields as they stand:");
  }
  line(Describe(segment.header) + size_text);
  const auto footer = log::LoadFooter(segment);
  DumpUnits(segment,
            footer ? footer->summary().units_end : base::RoundDown(segment.file->size_bytes(), format::kBlockBytes),
            line);
  if (footer) {
    DumpFooter(*footer, line);
  } else {
    line("no footer that verifies: the segment is not sealed, or its footer is damaged");
  }
  return header.status();
}

absl::Status Dump(std::string_view store_path, std::string_view file_path, const Line& line) {
  const size_t slash = file_path.rfind('/');
  const std::string_view file_name = slash == std::string_view::npos ? file_path : file_path.substr(slash + 1);
  const std::string_view folder = slash == std::string_view::npos ? "." : slash == 0 ? "/" : file_path.substr(0, slash);
  FIRN_ASSIGN_OR_RETURN(const auto disk, io::OpenDisk(folder, {.read_only = true}));
  log::Segment segment;
  FIRN_ASSIGN_OR_RETURN(segment.file, disk->Open(file_name, io::OpenMode::kRead));
  const bool has_superblock = std::any_of(std::begin(kSuperblockCopies), std::end(kSuperblockCopies),
                                          [&](uint64_t at) { return ReadSuperblockCopy(*segment.file, at).ok(); });
  if (file_name == kSuperblockFile || has_superblock) {
    return DumpSuperblock(*segment.file, line);
  }
  if (file_name.ends_with(".val")) {
    return base::InvalidArgument(
        "a value file holds the bytes of separated values, and nothing that says whose they are: the records in log/ "
        "do");
  }
  base::AlignedBuffer block(format::kBlockBytes);
  const bool has_header = segment.file->size_bytes() >= format::kBlockBytes;
  if (has_header) FIRN_RETURN_IF_ERROR(segment.file->Read(0, block.bytes()));
  if (!file_name.ends_with(".seg") && !(has_header && format::HasSegmentMagic(block.bytes()))) {
    return base::InvalidArgument("neither a segment nor a superblock");
  }
  if (!has_header) {
    return base::DataLoss("the file of " + std::to_string(segment.file->size_bytes()) +
                          " bytes is too short to be a segment");
  }
  FIRN_ASSIGN_OR_RETURN(const format::Superblock superblock, ReadSuperblock(store_path));
  return DumpSegment(segment, block.bytes(), superblock, line);
}

}  // namespace

absl::Status DumpFile(std::string_view store_path, std::string_view file_path,
                      const std::function<void(std::string_view line)>& line) {
  return base::OrOutOfMemory([&] { return Dump(store_path, file_path, line); });
}

}  // namespace firn
