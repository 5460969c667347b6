#include "base/sync.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <new>
#include <system_error>
#include <utility>

#include "base/check.h"

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
    mutex_.lock();
    return;
  }
  scheduler->Yield();
  while (held_in_schedule_) scheduler->Wait(this, Scheduler::kNoDeadline);
  held_in_schedule_ = true;
}

bool Mutex::TryLock() {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    return mutex_.try_lock();
  }
  scheduler->Yield();
  return !std::exchange(held_in_schedule_, true);
}

void Mutex::Unlock() {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    mutex_.unlock();
    return;
  }
  ReleaseInSchedule(*scheduler);
  scheduler->Yield();  // touches nothing of the mutex: whoever runs now may destroy it
}

void Mutex::ReleaseInSchedule(Scheduler& scheduler) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  held_in_schedule_ = false;
  scheduler.Wake(this);
}

void CondVar::Wait(Mutex& mutex) {
  Scheduler* scheduler = Scheduler::Current();
  if (scheduler == nullptr) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();  // the caller holds it still
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
    constexpr uint64_t kLongestWaitNanos = uint64_t{365} * 24 * 3600 * 1'000'000'000;  // a deadline must not overflow
    const auto nanos = static_cast<int64_t>(std::min(timeout_nanos, kLongestWaitNanos));
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    const auto result = condition_.wait_for(lock, std::chrono::nanoseconds(nanos));
    lock.release();
    return result == std::cv_status::no_timeout;
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
  condition_.notify_one();
}

void CondVar::NotifyAll() {
  if (Scheduler* scheduler = Scheduler::Current()) {
    scheduler->Wake(this);
    return;
  }
  condition_.notify_all();
}

Thread::Thread(std::string name, std::function<void()> body) {
  if (Scheduler* scheduler = Scheduler::Current()) {
    scheduled_id_ = scheduler->Spawn(std::move(name), std::move(body));
    return;
  }
  try {
    thread_ = std::thread([name = name.substr(0, 15), body = std::move(body)] {
      pthread_setname_np(pthread_self(), name.c_str());
      body();
    });
  } catch (const std::system_error&) {
    throw std::bad_alloc();  // no memory for its stack, or too many threads: to whoever asked the same
  }
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
