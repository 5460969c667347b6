#include "base/epoch.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include <pthread.h>

#include "base/check.h"

namespace firn::base {
namespace {

// Small dense numbers for live threads, so that a domain's slots are an array. A number is reused once its
// thread has ended.
class ThreadNumbers {
 public:
  size_t Take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return next_++;
    const size_t number = free_.back();
    free_.pop_back();
    return number;
  }
  void Give(size_t number) {
    const std::lock_guard lock(mutex_);
    free_.push_back(number);
  }
  static ThreadNumbers& Instance() {
    static auto* numbers = [] {
      // In the child of a fork the mutex must not be held by a thread that is not there.
      pthread_atfork([] { Instance().mutex_.lock(); }, [] { Instance().mutex_.unlock(); },
                     [] { Instance().mutex_.unlock(); });
      return new ThreadNumbers;  // outlives every thread's destructors
    }();
    return *numbers;
  }

 private:
  std::mutex mutex_;  // of all schedules and of none, so not base::Mutex
  std::vector<size_t> free_;
  size_t next_ = 0;
};

size_t NumberOfThisThread() {
  // Trivial, and so alive to the thread's end: destructors of thread-local objects that run after the holder's may use
  // a store still. They get a number that is never given back.
  thread_local bool ended = false;
  thread_local size_t late_number = SIZE_MAX;
  struct Holder {
    size_t number = ThreadNumbers::Instance().Take();
    ~Holder() {
      ThreadNumbers::Instance().Give(number);
      ended = true;
    }
  };
  if (ended) {
    if (late_number == SIZE_MAX) late_number = ThreadNumbers::Instance().Take();
    return late_number;
  }
  thread_local Holder holder;
  return holder.number;
}

}  // namespace

EpochDomain::~EpochDomain() {
  std::deque<Deferred> rest;
  {
    MutexLock lock(mutex_);
    rest.swap(deferred_);
  }
  for (Deferred& deferred : rest) deferred.call();
  for (auto& chunk : chunks_) delete chunk.load(std::memory_order_relaxed);
}

EpochDomain::Slot& EpochDomain::SlotOfThisThread() {
  const size_t number = NumberOfThisThread();
  FIRN_CHECK(number < kSlotsPerChunk * kChunks);
  std::atomic<Chunk*>& place = chunks_[number / kSlotsPerChunk];
  Chunk* chunk = place.load(std::memory_order_acquire);
  if (chunk == nullptr) {
    auto* fresh = new Chunk;
    if (place.compare_exchange_strong(chunk, fresh, std::memory_order_seq_cst)) {
      chunk = fresh;
    } else {
      delete fresh;
    }
  }
  return (*chunk)[number % kSlotsPerChunk];
}

uint64_t EpochDomain::OldestEpochInside() const {
  uint64_t oldest = UINT64_MAX;
  for (const auto& place : chunks_) {
    const Chunk* chunk = place.load(std::memory_order_seq_cst);
    if (chunk == nullptr) continue;
    for (const Slot& slot : *chunk) {
      const uint64_t epoch = slot.epoch.load(std::memory_order_seq_cst);
      if (epoch != 0) oldest = std::min(oldest, epoch);
    }
  }
  return oldest;
}

void EpochDomain::Retire(std::function<void()> call) {
  constexpr size_t kDrainEvery = 64;
  bool drain;
  {
    MutexLock lock(mutex_);
    deferred_.push_back({epoch_.fetch_add(1, std::memory_order_seq_cst), std::move(call)});
    drain = deferred_.size() % kDrainEvery == 0;
  }
  if (drain) Drain();
}

size_t EpochDomain::Drain() {
  std::vector<Deferred> ready;
  size_t waiting;
  {
    MutexLock lock(mutex_);
    const uint64_t oldest = OldestEpochInside();
    while (!deferred_.empty() && deferred_.front().epoch < oldest) {
      ready.push_back(std::move(deferred_.front()));
      deferred_.pop_front();
    }
    waiting = deferred_.size();
    drains_running_.fetch_add(1, std::memory_order_relaxed);
  }
  for (Deferred& deferred : ready) deferred.call();
  drains_running_.fetch_sub(1, std::memory_order_release);
  return waiting;
}

void EpochDomain::Synchronize() {
  const uint64_t target = epoch_.fetch_add(1, std::memory_order_seq_cst);
  for (int turn = 0; OldestEpochInside() <= target; ++turn) SpinPause(turn);
  Drain();
  // Another thread's Drain() may have taken calls and not run them yet. It counted itself before it released
  // the mutex that our Drain() held after it.
  for (int turn = 0; drains_running_.load(std::memory_order_acquire) != 0; ++turn) SpinPause(turn);
}

}  // namespace firn::base
