// Bodies of control records and the value pointer: what stands in a record's value field. The record's
// checksum covers them.
#include <firn/limits.h>

#include "base/check.h"
#include "format/record.h"

namespace firn::format {
namespace {

void AppendVarint(std::string& to, uint64_t value) {
  std::byte encoded[base::kVarintBytesMax];
  const std::byte* end = base::StoreVarint(encoded, value);
  to.append(base::AsText({encoded, end}));
}

void AppendFixed(std::string& to, uint64_t value) {
  std::byte encoded[sizeof(value)];
  base::StoreLe(encoded, value);
  to.append(base::AsText(encoded));
}

// Reads list bodies: counts that the rest of the body has no room for are refused before memory is reserved
// for them.
class BodyReader {
 public:
  explicit BodyReader(base::Bytes body) : reader_(body) {}

  uint32_t Uint32() {
    const uint64_t value = reader_.Varint();
    if (value > UINT32_MAX) in_range_ = false;
    return static_cast<uint32_t>(value);
  }
  SegmentId Segment() {
    const SegmentId id = Uint32();
    if (id == kNoSegment) in_range_ = false;
    return id;
  }
  size_t Count(size_t item_bytes_min) {
    const uint64_t count = reader_.Varint();
    if (count > reader_.remaining() / item_bytes_min) in_range_ = false;
    return in_range_ ? count : 0;
  }
  bool ok() const { return reader_.ok() && in_range_; }
  bool AtEnd() const { return ok() && reader_.remaining() == 0; }

 private:
  base::Reader reader_;
  bool in_range_ = true;
};

// Cut lists and adopt lists alike.
std::string EncodePositions(const std::vector<Position>& positions) {
  std::string body;
  AppendVarint(body, positions.size());
  for (const Position& position : positions) {
    FIRN_CHECK(position.segment != kNoSegment);
    AppendVarint(body, position.segment);
    AppendVarint(body, position.offset);
  }
  return body;
}

std::optional<std::vector<Position>> DecodePositions(base::Bytes body) {
  BodyReader reader(body);
  const size_t count = reader.Count(2);
  std::vector<Position> positions;
  positions.reserve(count);
  for (size_t i = 0; i < count && reader.ok(); ++i) {
    const SegmentId segment = reader.Segment();
    positions.push_back({segment, reader.Uint32()});
  }
  if (!reader.AtEnd()) return std::nullopt;
  return positions;
}

uint64_t PieceCount(uint64_t length) { return (length + kValuePieceBytes - 1) / kValuePieceBytes; }

}  // namespace

std::string EncodeLiveIds(const LiveIds& live) {
  std::string body;
  AppendVarint(body, live.next_namespace_id);
  AppendVarint(body, live.segments.size());
  SegmentId previous = kNoSegment;
  for (const LiveIds::Segment& segment : live.segments) {
    FIRN_CHECK(segment.id > previous);
    AppendVarint(body, segment.id - previous);
    AppendVarint(body, segment.end);
    previous = segment.id;
  }
  return body;
}

std::optional<LiveIds> DecodeLiveIds(base::Bytes body) {
  BodyReader reader(body);
  LiveIds live;
  live.next_namespace_id = reader.Uint32();
  const size_t count = reader.Count(2);
  live.segments.reserve(count);
  SegmentId previous = kNoSegment;
  for (size_t i = 0; i < count && reader.ok(); ++i) {
    const SegmentId step = reader.Segment();
    if (step > UINT32_MAX - previous) return std::nullopt;
    previous += step;
    live.segments.push_back({previous, reader.Uint32()});
  }
  if (!reader.AtEnd()) return std::nullopt;
  return live;
}

std::string EncodeRetireList(const std::vector<SegmentId>& retired) {
  std::string body;
  AppendVarint(body, retired.size());
  for (const SegmentId id : retired) {
    FIRN_CHECK(id != kNoSegment);
    AppendVarint(body, id);
  }
  return body;
}

std::optional<std::vector<SegmentId>> DecodeRetireList(base::Bytes body) {
  BodyReader reader(body);
  const size_t count = reader.Count(1);
  std::vector<SegmentId> retired;
  retired.reserve(count);
  for (size_t i = 0; i < count && reader.ok(); ++i) retired.push_back(reader.Segment());
  if (!reader.AtEnd()) return std::nullopt;
  return retired;
}

std::string EncodeCutList(const std::vector<Position>& cuts) { return EncodePositions(cuts); }
std::optional<std::vector<Position>> DecodeCutList(base::Bytes body) { return DecodePositions(body); }

std::string EncodeAdoptList(const std::vector<Position>& adopted) { return EncodePositions(adopted); }
std::optional<std::vector<Position>> DecodeAdoptList(base::Bytes body) { return DecodePositions(body); }

std::string EncodeValuePointer(const ValuePointer& pointer) {
  FIRN_CHECK(pointer.length <= kValueBytesMax);
  FIRN_CHECK(pointer.piece_checksums.size() == PieceCount(pointer.length));
  std::string bytes;
  AppendFixed(bytes, pointer.hash_low);
  AppendFixed(bytes, pointer.hash_high);
  AppendVarint(bytes, pointer.length);
  AppendVarint(bytes, pointer.file);
  AppendVarint(bytes, pointer.offset);
  for (const uint64_t checksum : pointer.piece_checksums) AppendFixed(bytes, checksum);
  return bytes;
}

std::optional<ValuePointer> DecodeValuePointer(base::Bytes bytes) {
  base::Reader reader(bytes);
  ValuePointer pointer;
  pointer.hash_low = reader.Fixed<uint64_t>();
  pointer.hash_high = reader.Fixed<uint64_t>();
  pointer.length = reader.Varint();
  const uint64_t file = reader.Varint();
  pointer.offset = reader.Varint();
  if (!reader.ok() || pointer.length > kValueBytesMax || file > UINT32_MAX) return std::nullopt;
  pointer.file = static_cast<uint32_t>(file);
  const uint64_t pieces = PieceCount(pointer.length);
  if (reader.remaining() != pieces * sizeof(uint64_t)) return std::nullopt;
  pointer.piece_checksums.reserve(pieces);
  for (uint64_t i = 0; i < pieces; ++i) pointer.piece_checksums.push_back(reader.Fixed<uint64_t>());
  return pointer;
}

}  // namespace firn::format
