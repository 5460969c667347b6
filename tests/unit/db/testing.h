// What the tests of the public API share: stores on a simulated and on a real disk, and short words for statuses.
#pragma once

#include <firn/db.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "db/open.h"
#include "support/crash_points.h"
#include "support/must.h"
#include "support/scheduler.h"
#include "support/temp_dir.h"

namespace firn::testing {

using test::Crash;
using test::CrashKind;
using test::Must;
using test::SimScheduler;
using test::SimWorld;
using test::Survival;

constexpr absl::StatusCode kOk = absl::StatusCode::kOk;
constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;
constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kPrecondition = absl::StatusCode::kFailedPrecondition;
constexpr absl::StatusCode kExhausted = absl::StatusCode::kResourceExhausted;
constexpr absl::StatusCode kUnavailable = absl::StatusCode::kUnavailable;
constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;
constexpr absl::StatusCode kExists = absl::StatusCode::kAlreadyExists;

inline absl::StatusCode Code(const absl::Status& status) { return status.code(); }
template <typename T>
absl::StatusCode Code(const absl::StatusOr<T>& result) {
  return result.status().code();
}

// The value, or the status in words.
inline std::string Text(const absl::Status& status) { return status.ok() ? "" : std::string(status.ToString()); }
inline std::string Text(const absl::StatusOr<std::string>& result) {
  return result.ok() ? *result : Text(result.status());
}
inline const std::string kAbsent = "NOT_FOUND: no such key";

inline PutOptions Buffered() {
  PutOptions options;
  options.durability = Durability::kBuffered;
  return options;
}

inline PutOptions PutIf(const Condition& condition) {
  PutOptions options;
  options.condition = condition;
  return options;
}

inline PutOptions Expiring(int64_t expires_at_ms) {
  PutOptions options;
  options.expires_at_ms = expires_at_ms;
  return options;
}

inline WriteOptions If(const Condition& condition) { return {.condition = condition}; }

// Remembers what the store said.
class Events final : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
  }
  size_t Count(EventKind kind) const {
    const std::lock_guard lock(mutex_);
    return static_cast<size_t>(
        std::count_if(events_.begin(), events_.end(), [kind](const Event& e) { return e.kind == kind; }));
  }
  std::string MessageOf(EventKind kind) const {
    const std::lock_guard lock(mutex_);
    for (const Event& event : events_) {
      if (event.kind == kind) return event.message;
    }
    return "";
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

inline absl::StatusOr<std::unique_ptr<DB>> OpenIn(SimWorld& world, const Options& options = {},
                                                  uint64_t segment_bytes = 0) {
  return OpenOn(options, {.disk = world.machine.Attach(),
                          .clock = &world.clock,
                          .random = &world.random,
                          .segment_bytes_min_for_test = segment_bytes,
                          .cache_bytes_max = 0});  // reads are to meet the disk
}

// A store on a simulated machine, on ordinary threads. Time stands still unless the test moves it.
struct SimStore {
  explicit SimStore(const Options& given = {}, uint64_t segment = 0) : options(given), segment_bytes(segment) {
    Open();
  }

  void Open() { db = Must(OpenIn(world, options, segment_bytes)); }
  void Reopen() {
    Must(db->Close());
    db.reset();
    Open();
  }
  void CrashAndReopen(const Crash& crash) {
    world.machine.Crash(crash);
    db.reset();
    Open();
  }
  int64_t NowMs() { return world.clock.WallTimeMs(); }
  DB* operator->() { return db.get(); }

  Options options;
  uint64_t segment_bytes;
  SimWorld world{1};
  std::unique_ptr<DB> db;
};

// A store in a directory of the machine.
struct RealStore {
  explicit RealStore(const Options& given = {}) : options(given) { Open(); }

  void Open() { db = Must(DB::Open(options, dir.path())); }
  void Reopen() {
    Must(db->Close());
    db.reset();
    Open();
  }
  DB* operator->() { return db.get(); }

  Options options;
  TempDir dir;
  std::unique_ptr<DB> db;
};

// Runs `body` under a seed's scheduler, so that background work and time follow from the seed.
inline void Scheduled(uint64_t seed, const std::function<void(SimWorld&)>& body) {
  INFO("seed " << seed);
  SimWorld world(seed);
  SimScheduler scheduler({.seed = seed});
  REQUIRE(scheduler.Run([&] { body(world); }));
}

// Lets virtual time go by for a scheduled thread; the background threads do what is due.
inline void PassTime(SimWorld& world, uint64_t milliseconds) {
  base::Mutex mutex;
  base::CondVar never;
  const uint64_t until = world.clock.MonotonicNanos() + milliseconds * 1'000'000;
  base::MutexLock lock(mutex);
  for (uint64_t now; (now = world.clock.MonotonicNanos()) < until;) never.WaitFor(mutex, until - now);
}

// All that an iterator shows, "key=value" apart by spaces.
inline std::string Forward(Iterator& iterator, bool with_values = true) {
  std::string all;
  for (iterator.SeekToFirst(); iterator.Valid(); iterator.Next()) {
    all += (all.empty() ? "" : " ") + std::string(iterator.key());
    if (with_values) all += "=" + std::string(iterator.value());
  }
  if (!iterator.status().ok()) all += " " + std::string(iterator.status().ToString());
  return all;
}

inline std::string Backward(Iterator& iterator) {
  std::string all;
  for (iterator.SeekToLast(); iterator.Valid(); iterator.Prev()) {
    all += (all.empty() ? "" : " ") + std::string(iterator.key());
  }
  if (!iterator.status().ok()) all += " " + std::string(iterator.status().ToString());
  return all;
}

inline std::string Contents(const Namespace& space, IteratorOptions options = {}) {
  return Forward(*space.NewIterator(std::move(options)));
}
inline std::string Contents(const DB& db) { return Contents(db.root()); }

inline std::string NumberedKey(size_t number) {
  std::string digits = std::to_string(number);
  return "key" + std::string(7 - digits.size(), '0') + digits;
}

}  // namespace firn::testing
