// What a store tells its owner unasked.
#pragma once

#include <string>

namespace firn {

enum class EventKind {
  kDiskFallback,    // io_uring or direct I/O cannot be used here; slower means are
  kTailNotLocked,   // RLIMIT_MEMLOCK forbids locking the tail buffers
  kRecovered,       // opened after a crash; the message counts what was found
  kTornTail,        // unacknowledged bytes at the end of the log were dropped; normal after a crash
  kDamageFound,     // acknowledged bytes do not verify
  kFooterFallback,  // a segment's footer is missing or damaged; the segment was scanned
  kSegmentSealed,
  kSegmentRetired,
  kDiskFull,  // no room for writes, on the disk or below max_disk_bytes
  kDiskRoom,  // there is room for writes again
  // What snapshots and iterators pin keeps the store above its ceiling, whatever reclaim does; and no longer.
  kPinnedOverCeiling,
  kPinnedBelowCeiling,
  kImageIgnored,  // the index image does not verify, or is not of this state; opening took longer and lost nothing
  kPoisoned,      // a write or flush failed; the store no longer accepts writes
};

struct Event {
  EventKind kind;
  std::string message;  // one sentence: what, where (file, offset), and what follows
};

// Called from whichever thread noticed, which may hold the lock of a key it is writing. Must be thread-safe, be quick,
// and not call the store.
class EventListener {
 public:
  virtual ~EventListener() = default;
  virtual void OnEvent(const Event& event) = 0;
};

}  // namespace firn
