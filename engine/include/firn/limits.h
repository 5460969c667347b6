// Every limit of a store, in one place. Each has a test one below, at and one above.
#pragma once

#include <cstddef>
#include <cstdint>

namespace firn {

inline constexpr size_t kKeyBytesMin = 1;
inline constexpr size_t kKeyBytesMax = 65'535;
inline constexpr uint64_t kValueBytesMax = uint64_t{1} << 30;  // 1 GiB
inline constexpr size_t kMetadataBytesMax = 4'096;
inline constexpr uint64_t kBatchBytesMax = uint64_t{64} << 20;  // keys, metadata and values of one Batch
inline constexpr size_t kNamespaceNameBytesMax = 64;            // 1..64 of A-Z a-z 0-9 _ -
inline constexpr size_t kNamespacesMax = 1'024;                 // beside the default one
inline constexpr size_t kMultiGetKeysMax = 1'048'576;

// Operations in flight of one AsyncContext, and values that its iterators read at a time.
inline constexpr uint32_t kAsyncInFlightMin = 1;
inline constexpr uint32_t kAsyncInFlightMax = 4'096;
inline constexpr uint32_t kAsyncReadAhead = 32;

inline constexpr uint64_t kMemoryBudgetBytesMin = uint64_t{16} << 20;
inline constexpr uint64_t kValueSeparationThresholdBytesMin = uint64_t{4} << 10;
inline constexpr uint32_t kValueAlignmentBytesMin = 4 * 1024;
inline constexpr uint32_t kValueAlignmentBytesMax = 128 * 1024;
inline constexpr double kSpaceAmplificationMin = 1.1;
inline constexpr double kSpaceAmplificationMax = 10;
// Of max_disk_bytes: what an empty store takes, its reserve, and room to work in.
inline constexpr uint64_t kMaxDiskBytesMin = uint64_t{16} << 20;
inline constexpr uint32_t kFlushIntervalMsMin = 1;
inline constexpr uint32_t kFlushIntervalMsMax = 60'000;

// Absolute expiry times, milliseconds since 1970-01-01 UTC. 0 means "never"; the largest is in the year 10889.
inline constexpr int64_t kExpiryMsMax = (int64_t{1} << 48) - 1;

}  // namespace firn
