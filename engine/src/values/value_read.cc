// Reading extents back, each verified before anybody sees it.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "values/value_store.h"

namespace firn::values {
namespace {

// Longer reads go out as several requests at once.
constexpr uint64_t kRequestBytes = uint64_t{256} << 10;

}  // namespace

absl::Status ValueStore::Damage(const Place& place, std::string_view what) const {
  return base::DataLoss(ValueFileName(files_.At(place.file).id) + " at " + std::to_string(place.offset) + ", " +
                        std::to_string(place.length) + " bytes: " + std::string(what));
}

absl::Status ValueStore::Read(Slot slot, base::MutableBytes out) {
  const Place place = table_.PlaceOf(slot);
  FIRN_CHECK(out.size() == place.length);
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(files_.At(place.file)));
  FIRN_RETURN_IF_ERROR(ReadInto(*handle, place.offset, out));
  return Verify(slot, out);
}

absl::StatusOr<ValueStore::Blocks> ValueStore::BlocksOf(Slot slot) {
  const Place place = table_.PlaceOf(slot);
  FIRN_ASSIGN_OR_RETURN(Handle handle, files_.Open(files_.At(place.file)));
  return Blocks{std::move(handle), place.offset, base::RoundUp(place.length, format::kBlockBytes), place.length,
                table_.HashOf(slot)};
}

absl::Status ValueStore::Verify(const Blocks& blocks, base::Bytes value) const {
  if (options_.hash(value, secret_) == blocks.hash) return absl::OkStatus();
  return base::DataLoss(blocks.file->name() + " at " + std::to_string(blocks.offset) + ", " +
                        std::to_string(blocks.length) + " bytes: the value's hash does not match");
}

ValueStore::PlaceInFile ValueStore::PlaceInFileOf(Slot slot) const {
  const Place place = table_.PlaceOf(slot);
  return {ValueFileName(files_.At(place.file).id), place.offset};
}

absl::Status ValueStore::Verify(Slot slot, base::Bytes value) const {
  if (options_.hash(value, secret_) == table_.HashOf(slot)) return absl::OkStatus();
  return Damage(table_.PlaceOf(slot), "the value's hash does not match");
}

absl::Status ValueStore::ReadPieces(Slot slot, std::span<const uint64_t> piece_checksums, uint64_t offset,
                                    base::MutableBytes out) {
  const Place place = table_.PlaceOf(slot);
  if (offset > place.length || out.size() > place.length - offset) {
    return base::MakeStatus(absl::StatusCode::kOutOfRange, "the value has " + std::to_string(place.length) + " bytes");
  }
  if (piece_checksums.size() != base::RoundUp(place.length, format::kValuePieceBytes) / format::kValuePieceBytes) {
    return base::InvalidArgument("a value of " + std::to_string(place.length) + " bytes does not have " +
                                 std::to_string(piece_checksums.size()) + " checksums");
  }
  if (out.empty()) return absl::OkStatus();
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(files_.At(place.file)));
  BufferPool::Lease buffer(buffers_);
  const uint64_t end = offset + out.size();
  const uint64_t pieces_end = std::min(base::RoundUp(end, format::kValuePieceBytes), place.length);
  for (uint64_t at = base::RoundDown(offset, format::kValuePieceBytes); at < pieces_end; at += kPieceBytes) {
    const uint64_t size = std::min<uint64_t>(kPieceBytes, pieces_end - at);
    const base::MutableBytes bytes = buffer.bytes().first(size);
    FIRN_RETURN_IF_ERROR(
        ReadBlocks(*handle, place.offset + at, buffer.bytes().first(base::RoundUp(size, format::kBlockBytes))));
    for (uint64_t piece = 0; piece < size; piece += format::kValuePieceBytes) {
      const auto content = bytes.subspan(piece, std::min(format::kValuePieceBytes, size - piece));
      if (base::Hash64(content, secret_) == piece_checksums[(at + piece) / format::kValuePieceBytes]) continue;
      return Damage({place.file, place.offset + at + piece, content.size()}, "the piece's checksum does not match");
    }
    const uint64_t from = std::max(at, offset), to = std::min(at + size, end);
    std::memcpy(out.data() + (from - offset), bytes.data() + (from - at), to - from);
  }
  return absl::OkStatus();
}

// Fills `out`, of any size and address, from the blocks at `offset`.
absl::Status ValueStore::ReadInto(io::File& file, uint64_t offset, base::MutableBytes out) {
  const bool aligned =
      options_.use_callers_memory && reinterpret_cast<uintptr_t>(out.data()) % io::File::kAlignmentBytes == 0;
  const uint64_t direct_bytes = aligned ? base::RoundDown(out.size(), format::kBlockBytes) : 0;
  if (direct_bytes > 0) FIRN_RETURN_IF_ERROR(ReadBlocks(file, offset, out.first(direct_bytes)));
  if (direct_bytes == out.size()) return absl::OkStatus();
  BufferPool::Lease buffer(buffers_);
  for (uint64_t at = direct_bytes; at < out.size(); at += kPieceBytes) {
    const uint64_t size = std::min<uint64_t>(kPieceBytes, out.size() - at);
    FIRN_RETURN_IF_ERROR(ReadBlocks(file, offset + at, buffer.bytes().first(base::RoundUp(size, format::kBlockBytes))));
    std::memcpy(out.data() + at, buffer.bytes().data(), size);
  }
  return absl::OkStatus();
}

// Whole blocks to aligned memory.
absl::Status ValueStore::ReadBlocks(io::File& file, uint64_t offset, base::MutableBytes out) {
  const auto named = [&](const absl::Status& status) {
    // A file that ends before the extent does has lost it.
    return absl::IsOutOfRange(status) ? base::DataLoss(std::string(status.message())) : status;
  };
  if (out.size() <= kRequestBytes) return named(file.Read(offset, out));
  std::vector<io::ReadRequest> requests;
  requests.reserve(out.size() / kRequestBytes + 1);
  for (uint64_t at = 0; at < out.size(); at += kRequestBytes) {
    requests.push_back({.file = &file,
                        .offset = offset + at,
                        .out = out.subspan(at, std::min<uint64_t>(kRequestBytes, out.size() - at))});
  }
  disk_.ReadMany(requests);
  for (const io::ReadRequest& request : requests) FIRN_RETURN_IF_ERROR(named(request.status));
  return absl::OkStatus();
}

absl::StatusOr<bool> ValueStore::Compare(io::File& file, const Place& place, const Source& source) {
  BufferPool::Lease buffer(buffers_);
  for (uint64_t at = 0; at < place.length; at += kPieceBytes) {
    const uint64_t size = std::min<uint64_t>(kPieceBytes, place.length - at);
    FIRN_RETURN_IF_ERROR(
        ReadBlocks(file, place.offset + at, buffer.bytes().first(base::RoundUp(size, format::kBlockBytes))));
    FIRN_ASSIGN_OR_RETURN(const base::Bytes expected, source(at, size));
    if (std::memcmp(buffer.bytes().data(), expected.data(), size) != 0) return false;
  }
  return true;
}

absl::StatusOr<base::Hash128Value> ValueStore::HashOnDisk(io::File& file, uint64_t offset, uint64_t length) {
  if (options_.hash != &base::Hash128) {  // a test's, which wants all at once
    base::AlignedBuffer whole(length);
    FIRN_RETURN_IF_ERROR(ReadBlocks(file, offset, whole.bytes()));
    return options_.hash(whole.bytes().first(length), secret_);
  }
  BufferPool::Lease buffer(buffers_);
  base::Hasher128 hasher(secret_);
  for (uint64_t at = 0; at < length; at += kPieceBytes) {
    const uint64_t size = std::min<uint64_t>(kPieceBytes, length - at);
    FIRN_RETURN_IF_ERROR(ReadBlocks(file, offset + at, buffer.bytes().first(base::RoundUp(size, format::kBlockBytes))));
    hasher.Add(buffer.bytes().first(size));
  }
  return hasher.Get();
}

}  // namespace firn::values
