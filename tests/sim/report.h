// What one seed did, for the table at the end. Plain data: it travels through a pipe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace firn::test {

enum class Feature : uint32_t {
  kPut,
  kDelete,
  kSetExpiry,
  kBatch,
  kBatchOverSpaces,
  kConditionHeld,
  kConditionFailed,
  kSynced,
  kBuffered,
  kMetadata,
  kLargeValue,
  kEqualValue,
  kPutStream,
  kEmptyValue,
  kGet,
  kGetInfo,
  kReadDurable,
  kGetRange,
  kGetStream,
  kMultiGet,
  kExists,
  kFound,
  kAbsent,
  kIterator,
  kIteratorStep,
  kIteratorBackward,
  kIteratorKeysOnly,
  kIteratorBounds,
  kIteratorPrefix,
  kSnapshot,
  kSnapshotRead,
  kSnapshotScan,
  kSpaceCreated,
  kSpaceDropped,
  kSpaceListed,
  kSpaceRefused,
  kSync,
  kFlush,
  kDurableRevision,
  kStats,
  kVerify,
  kScrubbed,
  kScrubPaced,
  kScrubResumed,
  kScrubSkipped,
  kCompacted,
  kCompactCancelled,
  kRelocated,
  kReclaimedAlone,
  kReadAhead,
  kThrottled,
  kPinned,
  kEvacuated,
  kGcReport,
  kImageUsed,
  kReferencesExact,
  kExtentsExact,
  kExtentShared,
  kExtentsWaiting,
  kNoValueBytesLost,
  kSpaceSettled,
  kClockJump,
  kExpiredHidden,
  kCleanClose,
  kDestroyedOpen,
  kKill,
  kPowerCut,
  kCrashInOpen,
  kCrashInClose,
  kReadOnlyOpen,
  kSecondOpenRefused,
  kTornTail,
  kFooterFallback,
  kUnackedKept,
  kUnsyncedLost,
  kWriteError,
  kSyncError,
  kWriteBackError,
  kReadError,
  kDiskFull,
  kIndexFull,
  kNoDescriptors,
  kNoMemory,
  kEvicted,
  kAnyError,
  kPoisoned,
  kBitRot,
  kMisdirected,
  kLostWrite,
  kStaleRead,
  kSalvaged,
  kSalvagedElsewhere,
  kSalvagedWhole,
  kLinked,
  kAsyncWrite,
  kAsyncRead,
  kAsyncScan,
  kAsyncGivenUp,
  kCount,
};
inline constexpr size_t kFeatures = static_cast<size_t>(Feature::kCount);
extern const std::array<const char*, kFeatures> kFeatureNames;

struct SeedReport {
  uint64_t seed = 0;
  uint64_t operations = 0, seals = 0, cuts = 0, kills = 0, lives = 0;
  uint64_t disk_operations = 0, steps = 0, switches = 0;
  uint64_t trace_hash = 0;
  std::array<uint32_t, kFeatures> counts{};

  void Count(Feature feature) { ++counts[static_cast<size_t>(feature)]; }
};

// Of these seeds the ones, at most `count`, that between them meet the rarest features most often; the rarest first.
std::vector<uint64_t> ChooseSeeds(const std::vector<SeedReport>& reports, size_t count);

}  // namespace firn::test
