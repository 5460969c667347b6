// Values in parts and in streams.
#include <algorithm>
#include <utility>

#include "db/store.h"
#include "values/stream_writer.h"

namespace firn {
namespace {

constexpr uint64_t kStreamPieceBytes = uint64_t{1} << 20;

}  // namespace

// Reads [offset, offset + length) of the value, cut to its end. The caller is inside an epoch guard.
absl::Status Store::ReadPart(std::string_view index_key, const Version& version, uint64_t offset, uint64_t length,
                             std::string* part, uint64_t* value_bytes) {
  std::string record_value;
  FIRN_RETURN_IF_ERROR(ReadInlineRecord(index_key, version, &record_value, nullptr, Caching::kFill));
  const bool separated = IsSeparated(version.entry);
  *value_bytes = separated ? values_->length(version.entry.size) : record_value.size();
  if (offset > *value_bytes) {
    return base::MakeStatus(
        absl::StatusCode::kOutOfRange,
        "offset " + std::to_string(offset) + " lies beyond a value of " + std::to_string(*value_bytes) + " bytes");
  }
  length = std::min(length, *value_bytes - offset);
  if (!separated) {
    part->assign(record_value, offset, length);
    return absl::OkStatus();
  }
  const auto pointer = format::DecodeValuePointer(base::AsBytes(record_value));
  if (!pointer) return base::DataLoss("a value pointer cannot be read");
  part->resize(length);
  if (length == 0) return absl::OkStatus();
  return values_->ReadPieces(version.entry.size, pointer->piece_checksums, offset,
                             std::as_writable_bytes(std::span(part->data(), part->size())));
}

absl::StatusOr<std::string> Store::GetRange(uint32_t namespace_id, std::string_view key, uint64_t offset,
                                            uint64_t length, const ReadOptions& options) {
  OperationTimer timer(gets_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckUsable());
  FIRN_RETURN_IF_ERROR(CheckReadKey(key));
  if (!IsAlive(namespace_id)) return base::NotFound("no such namespace");
  const IndexKey index_key(namespace_id, key);
  const uint64_t at = options.snapshot != nullptr ? options.snapshot->revision() : kNewest;
  std::string part;
  std::optional<uint64_t> revision;  // none: absence is told
  const absl::Status status = [&] {
    base::EpochGuard guard(epochs_);
    FIRN_ASSIGN_OR_RETURN(const Version version, LocateServable(index_key.view(), at));
    revision = version.entry.revision;
    uint64_t value_bytes;
    return ReadPart(index_key.view(), version, offset, length, &part, &value_bytes);
  }();
  const bool told = status.ok() || absl::IsNotFound(status);
  if (options.read_durable && told) FIRN_RETURN_IF_ERROR(AwaitDurable(revision.value_or(AbsenceRevision(at))));
  FIRN_RETURN_IF_ERROR(status);
  user_bytes_read_.Add(part.size());
  return part;
}

absl::StatusOr<Version> Store::LocateServable(std::string_view index_key, uint64_t revision) const {
  const auto version = Locate(index_key, revision);
  if (!version) {
    FIRN_RETURN_IF_ERROR(CheckAbsenceServable(revision));
    return base::NotFound("no such key");
  }
  FIRN_RETURN_IF_ERROR(CheckServable(*version));
  return *version;
}

absl::Status Store::GetStream(uint32_t namespace_id, std::string_view key, const ValueSink& sink,
                              const ReadOptions& options) {
  OperationTimer timer(gets_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckUsable());
  FIRN_RETURN_IF_ERROR(CheckReadKey(key));
  if (!IsAlive(namespace_id)) return base::NotFound("no such namespace");
  // A view keeps the version, and with it the extent, however long the sink takes.
  std::optional<View> view;
  if (options.snapshot == nullptr) view.emplace(*this);
  const uint64_t revision = view ? view->revision() : options.snapshot->revision();
  return StreamAt(IndexKey(namespace_id, key).view(), revision, sink, options.read_durable);
}

absl::Status Store::StreamAt(std::string_view index_key, uint64_t revision, const ValueSink& sink, bool durable) {
  std::string part;
  uint64_t value_bytes = 1;
  for (uint64_t offset = 0; offset < value_bytes; offset += part.size()) {
    uint64_t version_revision = revision;  // of which absence is told
    const absl::Status status = [&] {
      base::EpochGuard guard(epochs_);
      FIRN_ASSIGN_OR_RETURN(const Version version, LocateServable(index_key, revision));
      version_revision = version.entry.revision;
      // A record is read and verified whole: once.
      const uint64_t length = IsSeparated(version.entry) ? kStreamPieceBytes : UINT64_MAX;
      return ReadPart(index_key, version, offset, length, &part, &value_bytes);
    }();
    const bool told = status.ok() || absl::IsNotFound(status);
    if (durable && told && offset == 0) FIRN_RETURN_IF_ERROR(AwaitDurable(version_revision));
    FIRN_RETURN_IF_ERROR(status);
    user_bytes_read_.Add(part.size());
    for (size_t at = 0; at < part.size(); at += kStreamPieceBytes) {
      FIRN_RETURN_IF_ERROR(sink(std::string_view(part).substr(at, kStreamPieceBytes)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Revision> Store::PutStream(const WriteOperation& operation, const ValueSource& source,
                                          Durability durability) {
  FIRN_RETURN_IF_ERROR(CheckWritable());
  FIRN_RETURN_IF_ERROR(CheckAhead(operation));
  const uint64_t threshold = options_.value_separation_threshold_bytes;
  const uint64_t head_bytes_max = threshold == 0 ? kValueBytesMax : std::max(threshold, kStreamPieceBytes);
  std::string head;  // what is too small for an extent
  std::unique_ptr<values::StreamWriter> writer;
  uint64_t total = 0;
  for (;;) {
    FIRN_ASSIGN_OR_RETURN(const std::string_view piece, source());
    if (piece.empty()) break;
    FIRN_RETURN_IF_ERROR(log_->health());
    total += piece.size();
    if (total > kValueBytesMax) {
      return base::InvalidArgument("the stream has more than " + std::to_string(kValueBytesMax) +
                                   " bytes; a value has at most that");
    }
    if (writer == nullptr && total <= head_bytes_max) {
      head += piece;
      continue;
    }
    if (writer == nullptr) {
      writer = values_->BeginStream([this, waits = 0]() mutable { return AwaitRoom(waits); });
      Throttle(head.size());
      FIRN_RETURN_IF_ERROR(writer->Append(base::AsBytes(std::exchange(head, std::string()))));
    }
    Throttle(piece.size());
    FIRN_RETURN_IF_ERROR(writer->Append(base::AsBytes(piece)));
  }
  WriteOperation whole = operation;
  whole.value = head;
  if (writer == nullptr) return Write(whole, durability);
  FIRN_ASSIGN_OR_RETURN(const values::ValueStore::Stored stored, writer->Finish());
  return WriteStored(whole, stored, total, durability);
}

}  // namespace firn
