#include "base/sync.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/tsan.h"

namespace firn::base {

void SpinPause(int turn) {
  if (Scheduler* scheduler = Scheduler::Current()) {
    scheduler->Yield();
    return;
  }
  constexpr int kTurnsBeforeYield = 256;
  if (turn < kTurnsBeforeYield) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  } else {
    sched_yield();
  }
}

void Mutex::Lock() {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    tsan::BeforeLock(this);
    mutex_.Lock();
    tsan::AfterLock(this);
    return;
  }
  scheduler->Yield();
  while (held_in_schedule_) scheduler->Wait(this, Scheduler::kNoDeadline);
  held_in_schedule_ = true;
}

bool Mutex::TryLock() {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    tsan::BeforeTryLock(this);
    const bool locked = mutex_.TryLock();
    tsan::AfterTryLock(this, locked);
    return locked;
  }
  scheduler->Yield();
  return !std::exchange(held_in_schedule_, true);
}

void Mutex::Unlock() {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    tsan::BeforeUnlock(this);
    mutex_.Unlock();
    tsan::AfterUnlock(this);
    return;
  }
  ReleaseInSchedule(*scheduler);
  scheduler->Yield();  // touches nothing of the mutex: whoever runs now may destroy it
}

void Mutex::ReleaseInSchedule(Scheduler& scheduler) {
  held_in_schedule_ = false;
  scheduler.Wake(this);
}

void CondVar::Wait(Mutex& mutex) {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    const tsan::ReleasedWhileWaiting released(&mutex);
    condition_.Wait(&mutex.mutex_);
    return;
  }
  // No other thread runs between the release and the wait, so no wake-up is missed.
  mutex.ReleaseInSchedule(*scheduler);
  scheduler->Wait(this, Scheduler::kNoDeadline);
  mutex.Lock();
}

bool CondVar::WaitFor(Mutex& mutex, uint64_t timeout_nanos) {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    const auto nanos = static_cast<int64_t>(std::min<uint64_t>(timeout_nanos, INT64_MAX));
    const tsan::ReleasedWhileWaiting released(&mutex);
    return !condition_.WaitWithTimeout(&mutex.mutex_, absl::Nanoseconds(nanos));
  }
  const uint64_t now = scheduler->NowNanos();
  const uint64_t deadline = now + std::min(timeout_nanos, Scheduler::kNoDeadline - now);
  mutex.ReleaseInSchedule(*scheduler);
  scheduler->Wait(this, deadline);
  const bool in_time = scheduler->NowNanos() < deadline;
  mutex.Lock();
  return in_time;
}

void CondVar::NotifyOne() {
  if (Scheduler* scheduler = Scheduler::Current()) {
    scheduler->Wake(this);
    return;
  }
  condition_.Signal();
}

void CondVar::NotifyAll() {
  if (Scheduler* scheduler = Scheduler::Current()) {
    scheduler->Wake(this);
    return;
  }
  condition_.SignalAll();
}

Thread::Thread(std::string name, std::function<void()> body) {
  if (Scheduler* scheduler = Scheduler::Current()) {
    scheduled_id_ = scheduler->Spawn(std::move(name), std::move(body));
    return;
  }
  thread_ = std::thread([name = name.substr(0, 15), body = std::move(body)] {
    pthread_setname_np(pthread_self(), name.c_str());
    body();
  });
}

Thread& Thread::operator=(Thread&& other) noexcept {
  FIRN_CHECK(!joinable());
  thread_ = std::move(other.thread_);
  scheduled_id_ = std::exchange(other.scheduled_id_, 0);
  return *this;
}

Thread::~Thread() { FIRN_CHECK(!joinable()); }

void Thread::Join() {
  if (scheduled_id_ != 0) {
    Scheduler::Current()->Join(std::exchange(scheduled_id_, 0));
  } else if (thread_.joinable()) {
    thread_.join();
  }
}

}  // namespace firn::base
