// Where the footer's fields stand; shared by its builder and its reader only.
//
//   head | live ids | retire list | cut list | adopt list | directory | zeros | trailer
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/block.h"
#include "format/footer.h"

namespace firn::format::footer_layout {

inline constexpr uint64_t kHeadMagic = Magic("firnFTR1");
inline constexpr uint64_t kTrailerMagic = Magic("firnEND1");

namespace head {
inline constexpr size_t kSegmentAt = 8;
inline constexpr size_t kUnitsEndAt = 12;
inline constexpr size_t kRecordsAt = 16;
inline constexpr size_t kFirstRevisionAt = 24;
inline constexpr size_t kLastRevisionAt = 32;
inline constexpr size_t kRevisionMinAt = 40;
inline constexpr size_t kTimeMsMaxAt = 48;
inline constexpr size_t kLiveIdsBytesAt = 56;
inline constexpr size_t kRetiredBytesAt = 60;
inline constexpr size_t kCutsBytesAt = 64;
inline constexpr size_t kAdoptedBytesAt = 68;
inline constexpr size_t kDirectoryBytesAt = 72;
inline constexpr size_t kHeadBytes = 76;

static_assert(kMagicAt + sizeof(uint64_t) == kSegmentAt);
static_assert(kSegmentAt + sizeof(SegmentId) == kUnitsEndAt);
static_assert(kUnitsEndAt + sizeof(uint32_t) == kRecordsAt);
static_assert(kRecordsAt + sizeof(uint64_t) == kFirstRevisionAt);
static_assert(kFirstRevisionAt + sizeof(uint64_t) == kLastRevisionAt);
static_assert(kLastRevisionAt + sizeof(uint64_t) == kRevisionMinAt);
static_assert(kRevisionMinAt + sizeof(uint64_t) == kTimeMsMaxAt);
static_assert(kTimeMsMaxAt + sizeof(int64_t) == kLiveIdsBytesAt);
static_assert(kLiveIdsBytesAt + sizeof(uint32_t) == kRetiredBytesAt);
static_assert(kRetiredBytesAt + sizeof(uint32_t) == kCutsBytesAt);
static_assert(kCutsBytesAt + sizeof(uint32_t) == kAdoptedBytesAt);
static_assert(kAdoptedBytesAt + sizeof(uint32_t) == kDirectoryBytesAt);
static_assert(kDirectoryBytesAt + sizeof(uint32_t) == kHeadBytes, "the head has no unused byte");
}  // namespace head

namespace trailer {
// kMagicAt, kChecksumAt and kVersionAt are those of format/block.h.
inline constexpr size_t kSegmentAt = 20;
inline constexpr size_t kBodyChecksumAt = 24;
inline constexpr size_t kFileBytesAt = 32;
inline constexpr size_t kFooterOffsetAt = 40;
inline constexpr size_t kFooterBytesAt = 44;
inline constexpr size_t kSaltAt = 48;

static_assert(kVersionAt + sizeof(uint32_t) == kSegmentAt);
static_assert(kSegmentAt + sizeof(SegmentId) == kBodyChecksumAt);
static_assert(kBodyChecksumAt + sizeof(uint64_t) == kFileBytesAt);
static_assert(kFileBytesAt + sizeof(uint64_t) == kFooterOffsetAt);
static_assert(kFooterOffsetAt + sizeof(uint32_t) == kFooterBytesAt);
static_assert(kFooterBytesAt + sizeof(uint32_t) == kSaltAt);
static_assert(kSaltAt + sizeof(Salt) == kTrailerBytes, "the trailer has no unused byte");
}  // namespace trailer

// A directory entry's head, before its value pointer and key suffix: type, flags, eight varints at most.
inline constexpr size_t kEntryHeadBytesMax = 2 + 8 * base::kVarintBytesMax;

}  // namespace firn::format::footer_layout
