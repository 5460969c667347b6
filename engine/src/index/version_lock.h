// The lock word of a node: a version counter with a lock bit and an obsolete bit. Readers never write it;
// they read the version, then the node's content, then the version again, and believe the content if it
// stayed the same.
//
// Proof that an unchanged version means one consistent content. The content is made of atomic words. A writer
// sets the lock bit first and stores every word with release order. A reader loads every word with acquire
// order.
//
// Each word is at least as new as the version: Read() acquires what the unlock that made this version released.
//
// No word is newer: had the reader loaded a word that was stored under a later lock, that load would synchronise with
// the store, the setting of the lock bit would happen before Unchanged(), and Unchanged() would see it.
//
// No fence is needed, and on x86 neither order costs an instruction.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/sync.h"

namespace firn::index {

class VersionLock {
 public:
  // Waits until no writer is inside. IsObsolete() of the result: the node has left the tree, start again at
  // the root.
  uint64_t Read() const {
    uint64_t version = word_.load(std::memory_order_acquire);
    for (int turn = 0; (version & kLocked) != 0; ++turn) {
      base::SpinPause(turn);
      version = word_.load(std::memory_order_acquire);
    }
    return version;
  }
  // Does not wait. The version is good for TryLock() only, which fails where somebody holds the lock.
  uint64_t Peek() const { return word_.load(std::memory_order_acquire) & ~kLocked; }
  // For the holder of the lock.
  uint64_t ReadLocked() const { return word_.load(std::memory_order_relaxed); }
  static bool IsObsolete(uint64_t version) { return (version & kObsolete) != 0; }

  bool Unchanged(uint64_t version) const {
    base::SchedulePoint();
    return word_.load(std::memory_order_relaxed) == version;
  }

  // Takes the lock if the version is still `version`, and makes `version` the one that Unchanged() accepts
  // while the lock is held. Never waits, so locks may be tried in any order.
  bool TryLock(uint64_t& version) {
    base::SchedulePoint();
    if (!word_.compare_exchange_strong(version, version | kLocked, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      return false;
    }
    version |= kLocked;
    base::SchedulePoint();
    return true;
  }
  void Unlock() { Leave(kStep); }
  // Nothing was changed under the lock: readers need not start again.
  void UnlockUnchanged() { Leave(0); }
  void UnlockObsolete() { Leave(kStep | kObsolete); }

 private:
  static constexpr uint64_t kObsolete = 1;
  static constexpr uint64_t kLocked = 2;
  static constexpr uint64_t kStep = 4;

  void Leave(uint64_t change) {
    const uint64_t word = word_.load(std::memory_order_relaxed);
    word_.store(word - kLocked + change, std::memory_order_release);
  }

  std::atomic<uint64_t> word_{0};
};

}  // namespace firn::index
