// Index keys: the namespace id, big-endian so that namespaces sort apart, then the user's key.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "format/layout.h"
#include "index/tree.h"

namespace firn {

inline constexpr size_t kNamespacePrefixBytes = 4;

inline void StoreNamespacePrefix(char* to, uint32_t namespace_id) {
  for (size_t i = 0; i < kNamespacePrefixBytes; ++i) to[i] = static_cast<char>(namespace_id >> (24 - 8 * i));
}

inline uint32_t NamespaceOf(std::string_view index_key) {
  uint32_t id = 0;
  for (size_t i = 0; i < kNamespacePrefixBytes; ++i) id = id << 8 | static_cast<unsigned char>(index_key[i]);
  return id;
}

// Keeps ordinary keys on the stack, so that a get allocates nothing.
class IndexKey {
 public:
  IndexKey(uint32_t namespace_id, std::string_view key) : size_(kNamespacePrefixBytes + key.size()) {
    if (size_ > sizeof(small_)) large_ = std::make_unique_for_overwrite<char[]>(size_);
    char* to = data();
    StoreNamespacePrefix(to, namespace_id);
    std::memcpy(to + kNamespacePrefixBytes, key.data(), key.size());
  }

  std::string_view view() const { return {large_ ? large_.get() : small_, size_}; }
  std::string_view user_key() const { return view().substr(kNamespacePrefixBytes); }

 private:
  char* data() { return large_ ? large_.get() : small_; }

  size_t size_;
  std::unique_ptr<char[]> large_;
  char small_[256];
};

// The caller's flags in an index entry.
namespace entry_flags {
inline constexpr uint32_t kTombstone = 1 << 0;      // deleted at this revision; kept while someone may ask
inline constexpr uint32_t kHasExpiry = 1 << 1;      // the expiry table has an entry of the same revision
inline constexpr uint32_t kHasOlder = 1 << 2;       // older versions may be kept for snapshots
inline constexpr uint32_t kExpiryChanged = 1 << 3;  // the revision is an expiry change's, the record's is lower
// The value lies in an extent: the entry's size is its slot, and the record's size is in the flags.
inline constexpr uint32_t kSeparated = 1 << 4;
inline constexpr int kRecordBytesShift = 8;
// Of the flags: what belongs to the record and its place, and goes where these go.
inline constexpr uint32_t kPlaceFlags = kSeparated | ~uint32_t{0} << kRecordBytesShift;
}  // namespace entry_flags

// Holds a place for a key's first entry, or its first expiry, so that nothing can fail once the log has a record of it.
// Older than everything, and not there: nobody need know of it.
inline constexpr index::Entry kPlaceholder{.flags = entry_flags::kTombstone};

inline bool IsSeparated(const index::Entry& entry) { return (entry.flags & entry_flags::kSeparated) != 0; }
inline uint32_t RecordBytes(const index::Entry& entry) {
  return IsSeparated(entry) ? entry.flags >> entry_flags::kRecordBytesShift : entry.size;
}
// Makes an entry of a record with a value pointer name its extent. Such records stay far below 16 MiB.
inline void SetSeparated(index::Entry& entry, uint32_t slot) {
  entry.flags |= entry_flags::kSeparated | entry.size << entry_flags::kRecordBytesShift;
  entry.size = slot;
}

inline void SetRecordBytes(index::Entry& entry, uint32_t record_bytes) {
  if (IsSeparated(entry)) {
    constexpr uint32_t kFlags = (1u << entry_flags::kRecordBytesShift) - 1;
    entry.flags = (entry.flags & kFlags) | record_bytes << entry_flags::kRecordBytesShift;
  } else {
    entry.size = record_bytes;
  }
}

// When an entry expires, and which expiry change said so (segment 0: the put itself). Lies in a tree of its own, packed
// into an index entry; its revision is that of the entry it belongs to.
struct Expiry {
  int64_t at_ms = 0;  // 0: never
  uint32_t change_segment = 0;
  uint32_t change_size = 0;
  uint64_t revision = 0;

  index::Entry Pack() const {
    return {.segment = change_segment,
            .offset = static_cast<uint32_t>(at_ms),
            .size = static_cast<uint32_t>(static_cast<uint64_t>(at_ms) >> 32),
            .flags = change_size,
            .revision = revision};
  }
  static Expiry Unpack(const index::Entry& entry) {
    return {.at_ms = static_cast<int64_t>((uint64_t{entry.size} << 32) | entry.offset),
            .change_segment = entry.segment,
            .change_size = entry.flags,
            .revision = entry.revision};
  }
};

// One version of a key: where its record is, and when it expires.
struct Version {
  index::Entry entry;
  Expiry expiry;

  bool is_tombstone() const { return (entry.flags & entry_flags::kTombstone) != 0; }
  uint64_t record_bytes() const { return is_tombstone() ? 0 : RecordBytes(entry) + uint64_t{expiry.change_size}; }
  // Whether the put is the record at `place`, and whether the expiry is from the change of this revision in `segment`.
  bool NamesPut(format::Position place) const {
    return !is_tombstone() && entry.segment == place.segment && entry.offset == place.offset;
  }
  bool NamesChange(uint32_t segment, uint64_t revision) const {
    return expiry.change_segment == segment && segment != 0 && expiry.revision == revision;
  }
};

}  // namespace firn
