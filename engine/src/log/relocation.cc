#include "log/relocation.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "format/unit.h"
#include "log/log.h"

namespace firn::log {
namespace {

// A larger record gets a unit of its own.
constexpr uint64_t kUnitBytesMax = uint64_t{512} << 10;

uint64_t FooterBytes(uint64_t directory_bytes) { return base::RoundUp(directory_bytes, format::kBlockBytes); }

uint64_t DirectoryBytes(uint64_t key_bytes) { return key_bytes + kDirectoryEntryBytesMax; }

}  // namespace

absl::StatusOr<std::unique_ptr<RelocationWriter>> Log::BeginRelocation(uint64_t bytes_max, uint32_t generation) {
  FIRN_CHECK(generation > 0 && bytes_max < UINT32_MAX);
  FIRN_RETURN_IF_ERROR(CheckAppending());
  FIRN_ASSIGN_OR_RETURN(std::shared_ptr<Segment> segment,
                        PrepareSegment(bytes_max, generation, io::Claimant::kReclaim));
  std::unique_ptr<RelocationWriter> writer;
  if (!base::IfMemoryPermits([&] { writer.reset(new RelocationWriter(*this, segment, bytes_max)); })) {
    Recycle(std::move(segment));
    return base::OutOfMemory();
  }
  return writer;
}

absl::StatusOr<Segment*> Log::Adopt(std::unique_ptr<RelocationWriter> writer) {
  const std::shared_ptr<Segment> segment = std::move(writer->segment_);
  FIRN_CHECK(segment != nullptr && segment->sealed.load(std::memory_order_relaxed));
  if (absl::Status status = CheckAppending(); !status.ok()) {
    writer->segment_ = segment;
    return status;
  }
  segment->settled.store(false, std::memory_order_relaxed);
  const absl::StatusOr<Written> written = base::OrOutOfMemory([&] {
    const std::string body =
        format::EncodeAdoptList({{segment->id, segment->units_end.load(std::memory_order_relaxed)}});
    return AppendControl({.type = format::RecordType::kAdopt, .value = base::AsBytes(body)}, Role::kControl, nullptr,
                         io::Claimant::kControl, segment);
  });
  if (!written.ok()) {
    writer->segment_ = segment;  // which nothing names: a spare
    return written.status();
  }
  FIRN_RETURN_IF_ERROR(WaitDurable(written->revision));
  Say(EventKind::kSegmentSealed,
      [&] { return segment->file->name() + " adopted: " + std::to_string(writer->records()) + " relocated records"; });
  return segment.get();
}

void Log::SettleRelocation(SegmentId id) {
  if (const auto segment = segments_.Get(id)) segment->settled.store(true, std::memory_order_release);
}

RelocationWriter::RelocationWriter(Log& log, std::shared_ptr<Segment> segment, uint64_t bytes_max)
    : log_(log), segment_(std::move(segment)), bytes_max_(bytes_max), memory_(kUnitBytesMax) {}

RelocationWriter::~RelocationWriter() {
  if (segment_ != nullptr) log_.Recycle(std::move(segment_), /*keep=*/status_.ok());
}

uint64_t RelocationWriter::BytesForOne(uint64_t record_bytes, uint64_t key_bytes) {
  return kFirstUnitOffset + base::RoundUp(format::kUnitHeaderBytes + record_bytes, format::kBlockBytes) +
         FooterBytes(kFooterBytesMin + DirectoryBytes(key_bytes));
}

uint64_t RelocationWriter::UnitEnd() const {
  if (payload_bytes_ == 0) return unit_offset_;
  return base::RoundUp(unit_offset_ + format::kUnitHeaderBytes + payload_bytes_, format::kBlockBytes);
}

bool RelocationWriter::Fits(uint64_t record_bytes, uint64_t key_bytes) const {
  const uint64_t in_unit = format::kUnitHeaderBytes + payload_bytes_ + record_bytes;
  const bool goes_on = payload_bytes_ != 0 && in_unit <= kUnitBytesMax;
  const uint64_t end = goes_on ? unit_offset_ + in_unit : UnitEnd() + format::kUnitHeaderBytes + record_bytes;
  return base::RoundUp(end, format::kBlockBytes) + FooterBytes(directory_bytes_ + DirectoryBytes(key_bytes)) <=
         bytes_max_;
}

absl::StatusOr<Position> RelocationWriter::Append(const format::Record& record) {
  FIRN_RETURN_IF_ERROR(status_);
  FIRN_CHECK(segment_ != nullptr && !segment_->sealed.load(std::memory_order_relaxed));
  FIRN_CHECK(format::HasDirectoryEntry(record.type));
  format::Record copy = record;
  copy.flags |= format::record_flags::kRelocated;
  // Its neighbours here are not those of its batch.
  copy.flags &= static_cast<uint8_t>(~format::record_flags::kInBatch);
  const bool has_pointer = (copy.flags & format::record_flags::kValuePointer) != 0;
  const uint64_t key_bytes = copy.key.size() + (has_pointer ? copy.value.size() : 0);
  const uint64_t size = format::RecordSize(copy);
  if (!Fits(size, key_bytes)) return base::ResourceExhausted("a relocation segment has no room for the record");

  if (payload_bytes_ != 0 && format::kUnitHeaderBytes + payload_bytes_ + size > kUnitBytesMax) {
    FIRN_RETURN_IF_ERROR(WriteUnit());
  }
  if (format::kUnitHeaderBytes + size > memory_.size()) memory_ = base::AlignedBuffer(format::kUnitHeaderBytes + size);
  const uint64_t at = format::kUnitHeaderBytes + payload_bytes_;
  format::EncodeRecord(copy, segment_->seed, unit_offset_ + at, memory_.data() + at);
  first_revision_ = payload_bytes_ == 0 ? copy.revision : std::min(first_revision_, copy.revision);
  last_revision_ = payload_bytes_ == 0 ? copy.revision : std::max(last_revision_, copy.revision);
  payload_bytes_ += size;
  directory_bytes_ += DirectoryBytes(key_bytes);
  ++records_;
  return Position{segment_->id, static_cast<uint32_t>(unit_offset_ + at)};
}

absl::Status RelocationWriter::WriteUnit() {
  const uint64_t used = format::kUnitHeaderBytes + payload_bytes_;
  const uint64_t size = UnitEnd() - unit_offset_;
  std::memset(memory_.data() + used, 0, size - used);
  segment_->time_ms_max = log_.options_.clock->NowMs();
  const base::MutableBytes unit = memory_.bytes().first(size);
  // No watermark: these units say nothing about where the log was durable.
  format::SealUnit({.blocks = static_cast<uint32_t>(size / format::kBlockBytes),
                    .payload_bytes = static_cast<uint32_t>(payload_bytes_),
                    .first_revision = first_revision_,
                    .last_revision = last_revision_,
                    .time_ms = segment_->time_ms_max},
                   segment_->seed, unit_offset_, unit);
  status_ = segment_->file->Write(unit_offset_, unit, io::Flush::kBehind);
  FIRN_RETURN_IF_ERROR(status_);
  NoteUnit(*segment_, unit.subspan(format::kUnitHeaderBytes, payload_bytes_),
           static_cast<uint32_t>(unit_offset_ + format::kUnitHeaderBytes));
  unit_offset_ += size;
  payload_bytes_ = 0;
  if (memory_.size() > kUnitBytesMax) memory_ = base::AlignedBuffer(kUnitBytesMax);
  return absl::OkStatus();
}

absl::Status RelocationWriter::Finish() {
  FIRN_RETURN_IF_ERROR(status_);
  FIRN_CHECK(segment_ != nullptr && !segment_->sealed.load(std::memory_order_relaxed));
  if (records_ == 0) return base::FailedPrecondition("a relocation segment without records is of no use");
  if (payload_bytes_ != 0) FIRN_RETURN_IF_ERROR(WriteUnit());
  const auto units_end = static_cast<uint32_t>(unit_offset_);
  segment_->units_end.store(units_end, std::memory_order_relaxed);
  segment_->written_end.store(units_end, std::memory_order_relaxed);
  // The folder was synced when the file got its name.
  status_ = WriteFooter(log_.room_, *segment_, FinishFooter(*segment_));
  FIRN_RETURN_IF_ERROR(status_);
  segment_->sealed.store(true, std::memory_order_release);
  return absl::OkStatus();
}

}  // namespace firn::log
