// Records: what a store remembers. Each carries its own checksum, so that one record can be read and checked
// alone.
//
//   checksum u64 | revision u64 | type u8 | flags u8 | namespace v | key size v | metadata size v | value
//   size v | [expiry v, if kHasExpiry] | key | metadata | value, value pointer or body
//
// v is a varint. The checksum covers everything after it and is seeded with the record's place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <firn/limits.h>

#include "base/coding.h"
#include "base/status.h"
#include "format/layout.h"

namespace firn::format {

enum class RecordType : uint8_t {
  kPadding = 0,  // the rest of a unit
  kPut = 1,
  kDelete = 2,
  kRangeDelete = 3,   // reserved
  kExpiryChange = 4,  // expiry of the key's present value; 0 removes it; moves no value
  kPrepare = 5,       // reserved, as the next two: two-phase commit
  kCommit = 6,
  kRollback = 7,
  kNamespaceCreate = 8,  // in kSystemNamespace; key: the new id, big-endian u32, then the name
  kNamespaceDrop = 9,    // same key. A tombstone for all the namespace's keys: its id is never used again
  kLiveIds = 10,         // body: LiveIds. First record of each segment
  kRetire = 11,          // body: RetireList
  kCut = 12,             // body: CutList
  kHorizon = 13,         // reserved: oldest revision a watch may start from
  kAdopt = 14,           // body: AdoptList
};

namespace record_flags {
inline constexpr uint8_t kHasExpiry = 1 << 0;
inline constexpr uint8_t kValuePointer = 1 << 1;  // the value field is an encoded ValuePointer
inline constexpr uint8_t kInBatch = 1 << 2;       // the next record of the unit belongs to the same operation
inline constexpr uint8_t kRelocated = 1 << 3;     // a copy made by reclaim; never replayed to a watch
inline constexpr uint8_t kAll = kHasExpiry | kValuePointer | kInBatch | kRelocated;
}  // namespace record_flags

// A view: the bytes belong to the caller.
struct Record {
  uint64_t revision = 0;
  RecordType type = RecordType::kPadding;
  uint8_t flags = 0;
  uint32_t namespace_id = 0;
  int64_t expires_at_ms = 0;  // absolute; encoded only with kHasExpiry, which EncodeRecord sets by itself
  base::Bytes key;
  base::Bytes metadata;
  base::Bytes value;
};

// Of kNamespaceCreate and kNamespaceDrop: id and name.
inline constexpr size_t kNamespaceKeyBytesMax = sizeof(uint32_t) + kNamespaceNameBytesMax;

inline constexpr size_t kRecordFixedBytes = 18;
// The largest head (everything before the key).
inline constexpr size_t kRecordHeadBytesMax = kRecordFixedBytes + 5 * base::kVarintBytesMax;

// Bytes the record takes. Does not depend on the revision, so that space can be reserved before one is drawn.
uint64_t RecordSize(const Record& record);
// Writes exactly RecordSize(record) bytes to `to`, checksum included. `offset` is the record's place in its
// segment.
void EncodeRecord(const Record& record, const ChecksumSeed& seed, uint64_t offset, std::byte* to);

struct DecodedRecord {
  Record record;  // views into the input
  uint64_t size_bytes = 0;
};
// Decodes the record at the front of `bytes` (which may go on after it) and verifies its checksum. Nothing
// when it does not verify or is not well-formed: unknown type or flag, sizes outside the limits of
// firn/limits.h.
std::optional<DecodedRecord> DecodeRecord(base::Bytes bytes, const ChecksumSeed& seed, uint64_t offset);
// As DecodeRecord but without the checksum, for bytes whose unit has been verified.
std::optional<DecodedRecord> ParseRecord(base::Bytes bytes);

// Bodies of control records, in the record's value field.
struct LiveIds {
  struct Segment {
    SegmentId id = kNoSegment;
    uint32_t end = 0;  // where its units end: nothing beyond is believed, everything before was durable
    bool operator==(const Segment&) const = default;
  };
  std::vector<Segment> segments;  // every live segment but the one this record is in; ascending ids
  uint32_t next_namespace_id = kFirstUserNamespace;
  bool operator==(const LiveIds&) const = default;
};
std::string EncodeLiveIds(const LiveIds& live);
std::optional<LiveIds> DecodeLiveIds(base::Bytes body);

std::string EncodeRetireList(const std::vector<SegmentId>& retired);
std::optional<std::vector<SegmentId>> DecodeRetireList(base::Bytes body);

// Where unsealed segments end.
std::string EncodeCutList(const std::vector<Position>& cuts);
std::optional<std::vector<Position>> DecodeCutList(base::Bytes body);

// Relocation segments that are part of the store from here on, and where each ends: whole and durable before.
std::string EncodeAdoptList(const std::vector<Position>& adopted);
std::optional<std::vector<Position>> DecodeAdoptList(base::Bytes body);

inline constexpr uint64_t kValuePieceBytes = uint64_t{64} << 10;  // what one of a value pointer's checksums covers

// Names the bytes of a separated value. Its place is resolved by the value store.
struct ValuePointer {
  uint64_t hash_low = 0, hash_high = 0;  // XXH3-128 of the value, keyed with the store's secret
  uint64_t length = 0;
  uint32_t file = 0;
  uint64_t offset = 0;
  std::vector<uint64_t> piece_checksums;  // one per kValuePieceBytes begun: XXH3-64 seeded with the secret
  bool operator==(const ValuePointer&) const = default;
};
std::string EncodeValuePointer(const ValuePointer& pointer);

// Of a value pointer all but the checksums of its pieces; `check` stands for these.
struct ExtentName {
  uint64_t hash_low = 0, hash_high = 0;
  uint64_t length = 0;
  uint32_t file = 0;
  uint64_t offset = 0;
  uint32_t check = 0;
  bool operator==(const ExtentName&) const = default;
};
std::optional<ValuePointer> DecodeValuePointer(base::Bytes bytes);

}  // namespace firn::format
