// A store's files in words, for people and tools.
#include <algorithm>

#include <firn/inspect.h>

#include "base/aligned_buffer.h"
#include "format/footer.h"
#include "format/segment_header.h"
#include "format/superblock.h"
#include "format/unit.h"
#include "io/disk.h"
#include "log/segment_scan.h"

namespace firn {
namespace {

using Line = std::function<void(std::string_view)>;

std::string Hex(base::Bytes bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::byte b : bytes) {
    text += kDigits[static_cast<unsigned>(b) >> 4];
    text += kDigits[static_cast<unsigned>(b) & 15];
  }
  return text;
}

// Printable bytes as they are, others as \xNN; long keys are shortened.
std::string Quoted(base::Bytes bytes) {
  constexpr size_t kShown = 64;
  std::string text = "\"";
  for (std::byte b : bytes.first(std::min(bytes.size(), kShown))) {
    const char c = static_cast<char>(b);
    const bool plain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
    text += plain ? std::string(1, c) : "\\x" + Hex({&b, 1});
  }
  text += bytes.size() > kShown ? "\"... (" + std::to_string(bytes.size()) + " bytes)" : "\"";
  return text;
}

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
  } else {
    text = " namespace " + std::to_string(record.namespace_id) + " key " + Quoted(record.key);
    if (!record.metadata.empty()) text += " metadata " + std::to_string(record.metadata.size()) + " bytes";
    if (record.type == format::RecordType::kPut) text += " value " + std::to_string(record.value.size()) + " bytes";
    if (record.expires_at_ms != 0) text += " expires at " + std::to_string(record.expires_at_ms) + " ms";
    if ((record.flags & format::record_flags::kInBatch) != 0) text += " (batch goes on)";
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

absl::StatusOr<format::Superblock> ReadSuperblock(io::Disk& disk) {
  FIRN_ASSIGN_OR_RETURN(const auto file, disk.Open("SUPERBLOCK", io::OpenMode::kRead));
  base::AlignedBuffer block(format::kBlockBytes);
  absl::Status first_error;
  for (uint64_t at = 0; at < format::kSuperblockFileBytes; at += format::kBlockBytes) {
    absl::Status status = file->Read(at, block.bytes());
    if (status.ok()) {
      auto superblock = format::DecodeSuperblock(block.bytes());
      if (superblock.ok()) return superblock;
      status = superblock.status();
    }
    if (first_error.ok()) first_error = status;
  }
  return first_error;
}

}  // namespace

absl::Status DumpFile(std::string_view store_path, std::string_view file_path, const Line& line) {
  FIRN_ASSIGN_OR_RETURN(const auto store, io::OpenDisk(store_path, {.read_only = true}));
  FIRN_ASSIGN_OR_RETURN(const format::Superblock superblock, ReadSuperblock(*store));
  const size_t slash = file_path.rfind('/');
  const std::string_view file_name = slash == std::string_view::npos ? file_path : file_path.substr(slash + 1);
  if (file_name == "SUPERBLOCK") {
    line("superblock: uuid " + Hex(superblock.uuid) + ", format version " + std::to_string(superblock.format_version) +
         ", blocks of " + std::to_string(superblock.block_bytes) + " bytes, features " +
         std::to_string(superblock.features) + ", created at " + std::to_string(superblock.created_ms) + " ms");
    return absl::OkStatus();
  }
  const std::string_view folder = slash == std::string_view::npos ? "." : slash == 0 ? "/" : file_path.substr(0, slash);
  FIRN_ASSIGN_OR_RETURN(const auto disk, io::OpenDisk(folder, {.read_only = true}));
  log::Segment segment;
  FIRN_ASSIGN_OR_RETURN(segment.file, disk->Open(file_name, io::OpenMode::kRead));
  if (segment.file->size_bytes() < format::kBlockBytes) {
    return base::DataLoss(std::string(file_path) + " is too short to be a segment");
  }
  base::AlignedBuffer block(format::kBlockBytes);
  FIRN_RETURN_IF_ERROR(segment.file->Read(0, block.bytes()));
  auto header = format::DecodeSegmentHeader(block.bytes(), superblock.secret, superblock.uuid);
  if (!header.ok()) {
    return base::MakeStatus(header.status().code(),
                            std::string(file_path) + ": " + std::string(header.status().message()));
  }
  segment.id = header->segment;
  segment.header = *header;
  segment.seed = format::ChecksumSeed(superblock.secret, header->salt);
  line("segment " + std::to_string(header->segment) + ", incarnation " + std::to_string(header->incarnation) +
       ", salt " + Hex(header->salt) + ", revisions from " + std::to_string(header->first_revision) + ", created at " +
       std::to_string(header->created_ms) + " ms, file of " + std::to_string(segment.file->size_bytes()) + " bytes");
  const auto footer = log::LoadFooter(segment);
  DumpUnits(segment,
            footer ? footer->summary().units_end : base::RoundDown(segment.file->size_bytes(), format::kBlockBytes),
            line);
  if (footer) {
    DumpFooter(*footer, line);
  } else {
    line("no footer that verifies: the segment is not sealed, or its footer is damaged");
  }
  return absl::OkStatus();
}

}  // namespace firn
