// How much space there may be, how hard reclaim must work for it, and how much writers are held back meanwhile.
//
// Space goes through three zones. Up to `start_bytes` nothing happens: garbage that is left alone longest is cheapest
// to collect. From there to `ceiling_bytes` reclaim works: half way it does so all the time, and from there on writers
// are slowed by the fourth power of how far it has come. No call waits longer than kDelayNanosMax,
// whatever it writes.
//
// Thread-safe. Writers that are not to wait read a few atomics.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "base/sync.h"

namespace firn::reclaim {

struct Space {
  uint64_t user_bytes = 0;    // live keys, metadata and values
  uint64_t needed_bytes = 0;  // what the store would take without garbage: records, footers, extents, what is open
  uint64_t pinned_bytes = 0;  // garbage that snapshots hold
  uint64_t disk_bytes = 0;    // all files
  uint64_t ahead_bytes = 0;   // of these: claimed by the log, and not written yet
  uint64_t step_bytes = 0;    // what values may yet claim ahead, in one step
  // What counts against a goal: so that it grows with what is written, and not in steps.
  uint64_t counted_bytes() const { return disk_bytes + step_bytes; }
};

struct Goal {
  uint64_t start_bytes = 0;
  uint64_t ceiling_bytes = 0;
};

// A store below this many of its smallest segments (16 MiB) is left alone: the ceiling counts above it.
inline constexpr uint64_t kCeilingFloorSegments = 16;

// The ceiling is `amplification` times the user's bytes. Where records are so small that what the store needs comes
// near that, it is a quarter above the need instead: a goal that cannot be met would only keep reclaim busy for
// nothing. What snapshots pin is beyond reclaim, and comes on top.
Goal GoalFor(const Space& space, double amplification, uint64_t segment_bytes_min,
             uint64_t floor_segments = kCeilingFloorSegments);

// The same where all files together may not come above `capacity_bytes`, of a quota or a disk: a ceiling like the
// other, so that garbage is turned into room before there is none left.
Goal Within(const Goal& goal, const Space& space, uint64_t capacity_bytes);

// Whether what snapshots pin keeps the store above what its ceiling, as of GoalFor(), would be without it, whatever is
// reclaimed.
bool IsPinnedOver(const Space& space, const Goal& goal);

class Pacer {
 public:
  explicit Pacer(base::Clock& clock) : clock_(clock) {}

  void Update(const Space& space, const Goal& goal);
  // Garbage that was made since, and that Update() has not seen: whoever works out the space may come late.
  void Grew(uint64_t bytes) { grown_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  // Until the next update nobody is held back for the first `bytes` of what grows.
  void Relax(uint64_t bytes = UINT64_MAX) { relaxed_bytes_.store(bytes, std::memory_order_relaxed); }
  // 0: nothing to do; 1: at the ceiling; at most 2.
  double debt() const;

  // Whether reclaim works most of the time.
  bool busy() const;

  // Called before a write of `bytes`, holding nothing. Waits for the write's share of the slow-down, at most
  // kDelayNanosMax; returns how long.
  uint64_t Throttle(uint64_t bytes);
  uint64_t throttled_nanos() const { return throttled_nanos_.load(std::memory_order_relaxed); }

  // What the foreground did meanwhile: operations that were timed, and what they took in all.
  struct Foreground {
    uint64_t operations = 0, nanos = 0;
  };
  // By the thread that reclaims: how the foreground fared while it worked, and while it did not.
  void NoteWork(const Foreground& foreground) { worked_.Add(foreground); }
  void NoteRest(const Foreground& foreground) { rested_.Add(foreground); }
  // How many times as long the foreground's operations take while reclaim works; 1 while that is not known.
  double slow_down() const;

  // How long reclaim should rest after `worked_nanos` of work: the longer the less has to be done, and the more the
  // foreground suffers; not at all at the ceiling, and half way there only if it suffers; 10 s at most.
  uint64_t RestNanos(uint64_t worked_nanos) const;

  static constexpr uint64_t kDelayNanosMax = 20'000'000;

 private:
  // Of the recent past: half of what was seen is forgotten whenever there is enough.
  class Mean {
   public:
    void Add(const Foreground& foreground);
    bool known() const { return operations_ >= kOperationsMin; }
    double nanos() const { return nanos_ / operations_; }

   private:
    static constexpr double kOperationsMin = 16, kOperationsMax = 256;
    double operations_ = 0, nanos_ = 0;
  };

  base::Clock& clock_;
  Mean worked_, rested_;
  // Of the last update, but for what has grown. One that is read half old and half new is a moment's error in a delay.
  std::atomic<uint64_t> counted_bytes_{0}, grown_bytes_{0}, relaxed_bytes_{UINT64_MAX}, start_bytes_{0}, room_bytes_{1};
  std::atomic<uint64_t> next_nanos_{0};  // when the writers' next byte is due
  std::atomic<uint64_t> throttled_nanos_{0};
  base::Mutex mutex_;
  base::CondVar never_;
};

}  // namespace firn::reclaim
