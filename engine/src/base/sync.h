// The seam for threads, locks and waiting. In production these are thin wrappers over std::mutex and
// std::thread; a thread that belongs to a Scheduler (tests only) instead asks it who runs next, so that a whole
// run of the engine follows from one seed.
//
// Rules: lock order and thread roles are in docs/concurrency.md. Spin loops call SpinPause(), so that a scheduled
// thread gives way. Lock-free code calls SchedulePoint() where another thread's step in between would matter.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include <absl/base/thread_annotations.h>

namespace firn::base {

// What a test's scheduler offers. Exactly one scheduled thread runs at a time; every call is made by that thread.
class Scheduler {
 public:
  static constexpr uint64_t kNoDeadline = UINT64_MAX;

  virtual ~Scheduler() = default;
  // Another runnable thread may run before this returns.
  virtual void Yield() = 0;
  // Sleeps until Wake(channel) or until virtual time reaches `deadline_nanos`. May return early.
  virtual void Wait(const void* channel, uint64_t deadline_nanos) = 0;
  // Lets every thread that waits for `channel` run again later. No other thread runs before this returns.
  virtual void Wake(const void* channel) = 0;
  virtual uint64_t NowNanos() = 0;
  // Starts a scheduled thread and returns its id; Join waits for it as a scheduled step.
  virtual uint64_t Spawn(std::string name, std::function<void()> body) = 0;
  virtual void Join(uint64_t id) = 0;

  // The scheduler of the calling thread; null for ordinary threads.
  static Scheduler* Current() { return current_; }
  // For implementations: called at the start and end of each thread they run.
  static void SetCurrent(Scheduler* scheduler) { current_ = scheduler; }

 private:
  static inline thread_local Scheduler* current_ = nullptr;
};

inline void SchedulePoint() {
  if (Scheduler* scheduler = Scheduler::Current(); __builtin_expect(scheduler != nullptr, 0)) scheduler->Yield();
}

// One turn of a spin loop. `turn` counts from 0; after a short while the thread gives up its time slice.
void SpinPause(int turn);

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION();
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);
  void Unlock() ABSL_UNLOCK_FUNCTION();

 private:
  friend class CondVar;
  void ReleaseInSchedule(Scheduler& scheduler) ABSL_UNLOCK_FUNCTION();

  std::mutex mutex_;
  bool held_in_schedule_ = false;  // stands in for mutex_ on scheduled threads
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Several at once, in the order given, which is the same for everybody. They outlive it, and so does the list. What is
// locked is known only when it runs, so clang's analysis is told nothing.
class MutexesLock {
 public:
  explicit MutexesLock(std::span<Mutex* const> mutexes) ABSL_NO_THREAD_SAFETY_ANALYSIS : mutexes_(mutexes) {
    for (Mutex* mutex : mutexes_) mutex->Lock();
  }
  ~MutexesLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (Mutex* mutex : mutexes_) mutex->Unlock();
  }
  MutexesLock(const MutexesLock&) = delete;

 private:
  const std::span<Mutex* const> mutexes_;
};

// Waits may return early: callers loop on their condition.
class CondVar {
 public:
  void Wait(Mutex& mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Returns false when `timeout_nanos` passed first.
  bool WaitFor(Mutex& mutex, uint64_t timeout_nanos) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void NotifyOne();
  void NotifyAll();

 private:
  std::condition_variable condition_;
};

// A thread that is joined before it is destroyed (the destructor checks).
class Thread {
 public:
  Thread() = default;
  // Linux shows the first 15 characters of `name`. Throws std::bad_alloc where none can be started. `body` catches what
  // it throws.
  Thread(std::string name, std::function<void()> body);
  Thread(Thread&& other) noexcept { *this = std::move(other); }
  Thread& operator=(Thread&&) noexcept;
  ~Thread();

  bool joinable() const { return scheduled_id_ != 0 || thread_.joinable(); }
  void Join();

 private:
  std::thread thread_;
  uint64_t scheduled_id_ = 0;
};

}  // namespace firn::base
