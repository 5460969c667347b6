// A full disk: writes that wait a moment for reclaim to make room, and noticing that there is some.
#include "db/store.h"

namespace firn {
namespace {

// A write that finds no room waits this often and this long at most for reclaim to make some.
constexpr int kRoomWaitsMax = 10;
constexpr uint64_t kRoomWaitNanos = 50'000'000;
// Where reclaim found nothing to do, waiting for it is in vain for this long, unless something becomes garbage.
constexpr uint64_t kNoGarbageNanos = 1'000'000'000;

}  // namespace

// For a write that was refused, holding nothing: whether it should try again. Upkeep is woken and given the time to
// turn garbage into room. `waits` counts how often the write has waited.
bool Store::AwaitRoom(int& waits) {
  if (waits++ >= kRoomWaitsMax || !log_->health().ok()) return false;
  if (!room_->full() && room_->whole()) return true;  // somebody has made some just now
  if (raw_clock_.MonotonicNanos() < no_garbage_until_nanos_) return false;
  base::MutexLock lock(upkeep_mutex_);
  const uint64_t request = ++room_requests_;
  upkeep_kicked_ = true;
  upkeep_wake_.NotifyOne();
  while (room_served_ < request) {
    if (upkeep_stop_ || waits++ >= kRoomWaitsMax) return false;
    room_wake_.WaitFor(upkeep_mutex_, kRoomWaitNanos);
  }
  return room_made_;
}

uint64_t Store::RoomRequests() {
  base::MutexLock lock(upkeep_mutex_);
  return room_requests_;
}

// Tells the writes that asked for room before what came of it.
void Store::ServeRoom(uint64_t requests, bool made) {
  base::MutexLock lock(upkeep_mutex_);
  if (room_served_ >= requests) return;
  room_served_ = requests;
  room_made_ = made;
  if (!made) no_garbage_until_nanos_ = raw_clock_.MonotonicNanos() + kNoGarbageNanos;
  room_wake_.NotifyAll();
}

// Whether there is room for another segment, once what is only kept in case it is needed was given back.
bool Store::MakeRoom() {
  const uint64_t bytes = log_->GetStats().target_segment_bytes;
  if (room_->HasRoomFor(bytes)) return true;
  log_->RemoveSpares();
  {
    base::MutexLock lock(reclaim_mutex_);
    values_->GiveBackAhead();
  }
  return room_->HasRoomFor(bytes);
}

}  // namespace firn
