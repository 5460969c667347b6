#include "reclaim/pacer.h"

#include <algorithm>
#include <cmath>

namespace firn::reclaim {
namespace {

// Garbage is let grow through this part of the room below the ceiling before anything is moved.
constexpr double kStartPart = 0.855;
// What a byte written at the ceiling costs: 2 MiB/s. The fourth power of how far space has come covers disks of which
// reclaim gets 2 and such of which it gets 200 MiB/s: there writers settle a third of the way.
constexpr double kNanosPerByteAtCeiling = 480;
constexpr double kDebtMax = 2;
// Of the time, when space is only just above the start.
constexpr double kWorkShareMin = 0.25;
// From this debt on reclaim rests only for the sake of reads, and writers are held back.
constexpr double kBusyDebt = 0.5;
// From here on the share goes down with what the foreground suffers, to this part of what it would be.
constexpr double kSlowDownBorne = 1.5;
constexpr double kSuffersMax = 4;
// A round that took longer was held up, by a disk that hung or a machine that slept: that was no work to rest from.
constexpr uint64_t kRestNanosMax = 10'000'000'000;

}  // namespace

Goal GoalFor(const Space& space, double amplification, uint64_t segment_bytes_min, uint64_t floor_segments) {
  const auto user_part = static_cast<uint64_t>(amplification * static_cast<double>(space.user_bytes));
  const uint64_t room_min = space.needed_bytes / 4;
  Goal goal;
  const uint64_t floor = floor_segments * segment_bytes_min;
  goal.ceiling_bytes = std::max({user_part, space.needed_bytes + room_min, floor}) + space.pinned_bytes;
  const uint64_t low = std::min(space.needed_bytes + space.pinned_bytes, goal.ceiling_bytes);
  goal.start_bytes = low + static_cast<uint64_t>(kStartPart * static_cast<double>(goal.ceiling_bytes - low));
  return goal;
}

Goal Within(const Goal& goal, const Space& space, uint64_t capacity_bytes) {
  if (capacity_bytes >= goal.ceiling_bytes) return goal;
  const uint64_t low = std::min(space.needed_bytes + space.pinned_bytes, capacity_bytes);
  const uint64_t start = low + static_cast<uint64_t>(kStartPart * static_cast<double>(capacity_bytes - low));
  return {.start_bytes = std::min(goal.start_bytes, start), .ceiling_bytes = capacity_bytes};
}

bool IsPinnedOver(const Space& space, const Goal& goal) {
  return space.pinned_bytes > 0 && space.needed_bytes + 2 * space.pinned_bytes > goal.ceiling_bytes;
}

void Pacer::Update(const Space& space, const Goal& goal) {
  counted_bytes_.store(space.counted_bytes(), std::memory_order_relaxed);
  grown_bytes_.store(0, std::memory_order_relaxed);
  start_bytes_.store(goal.start_bytes, std::memory_order_relaxed);
  room_bytes_.store(std::max<uint64_t>(goal.ceiling_bytes - goal.start_bytes, 1), std::memory_order_relaxed);
  relaxed_bytes_.store(0, std::memory_order_release);  // now the others count
}

double Pacer::debt() const {
  const uint64_t relaxed_bytes = relaxed_bytes_.load(std::memory_order_acquire);
  if (relaxed_bytes == UINT64_MAX) return 0;
  const uint64_t start_bytes = start_bytes_.load(std::memory_order_relaxed);
  const uint64_t grown_bytes = grown_bytes_.load(std::memory_order_relaxed);
  const uint64_t bytes =
      counted_bytes_.load(std::memory_order_relaxed) + grown_bytes - std::min(grown_bytes, relaxed_bytes);
  if (bytes <= start_bytes) return 0;
  const uint64_t room_bytes = room_bytes_.load(std::memory_order_relaxed);
  return std::min(kDebtMax, static_cast<double>(bytes - start_bytes) / static_cast<double>(room_bytes));
}

bool Pacer::busy() const { return debt() >= kBusyDebt / 2; }

uint64_t Pacer::Throttle(uint64_t bytes) {
  const double beyond = (debt() - kBusyDebt) / (1 - kBusyDebt);
  if (beyond <= 0) return 0;
  const double slow_down = std::pow(beyond, 4) * kNanosPerByteAtCeiling;
  const auto cost = static_cast<uint64_t>(static_cast<double>(bytes) * slow_down);
  const uint64_t now = clock_.MonotonicNanos();
  // All writers share one rate. A time in the past is no credit, and nobody pays for what others could not wait for.
  uint64_t next = next_nanos_.load(std::memory_order_relaxed), due;
  do {
    due = std::min(std::max(next, now) + cost, now + kDelayNanosMax);
  } while (!next_nanos_.compare_exchange_weak(next, due, std::memory_order_relaxed));
  // What comes to less than a timer's grain is left to add up.
  constexpr uint64_t kGrainNanos = 100'000;
  if (due - now < kGrainNanos) return 0;
  const uint64_t delay = due - now;
  throttled_nanos_.fetch_add(delay, std::memory_order_relaxed);
  base::MutexLock lock(mutex_);
  never_.WaitFor(mutex_, delay);  // shorter once in a while: no harm
  return delay;
}

void Pacer::Mean::Add(const Foreground& foreground) {
  operations_ += static_cast<double>(foreground.operations);
  nanos_ += static_cast<double>(foreground.nanos);
  if (operations_ <= kOperationsMax) return;
  nanos_ *= kOperationsMax / 2 / operations_;
  operations_ = kOperationsMax / 2;
}

double Pacer::slow_down() const {
  if (!worked_.known() || !rested_.known()) return 1;
  return std::max(1.0, worked_.nanos() / std::max(1.0, rested_.nanos()));
}

uint64_t Pacer::RestNanos(uint64_t worked_nanos) const {
  const double owed = debt();
  if (owed >= 1) return 0;  // whatever the foreground suffers
  const double suffering = std::clamp(slow_down() / kSlowDownBorne, 1.0, kSuffersMax);
  const double share = std::clamp(owed / kBusyDebt, kWorkShareMin, 1.0) / suffering;
  const auto rest = static_cast<uint64_t>(static_cast<double>(worked_nanos) * (1 / share - 1));
  return std::min(rest, kRestNanosMax);
}

}  // namespace firn::reclaim
