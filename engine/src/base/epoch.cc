#include "base/epoch.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include <pthread.h>

#include "base/check.h"

namespace firn::base {
namespace {

constexpr size_t kDrainEvery = 64;

// Small dense numbers for live threads, so that a domain's slots are an array. A number is reused once its
// thread has ended.
class ThreadNumbers {
 public:
  size_t Take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      free_.reserve(next_ + 1);  // so that Give(), which a thread's end calls, needs no memory
      return next_++;
    }
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
      const int refused = pthread_atfork([] { Instance().mutex_.lock(); }, [] { Instance().mutex_.unlock(); },
                                         [] { Instance().mutex_.unlock(); });
      FIRN_CHECK(refused == 0);
      return new ThreadNumbers;  // outlives every thread's destructors
    }();
    return *numbers;
  }

 private:
  std::mutex mutex_;          // of all schedules and of none, so not base::Mutex
  std::vector<size_t> free_;  // has room for all numbers
  size_t next_ = 0;
};

// Made while the program starts: a child of a fork that came while another thread made them would wait for it for good.
[[maybe_unused]] const ThreadNumbers& numbers_made_early = ThreadNumbers::Instance();

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

EpochDomain::EpochDomain() { chunks_[0].store(&first_chunk_, std::memory_order_relaxed); }

EpochDomain::~EpochDomain() {
  for (;;) {
    Deferred deferred;
    {
      MutexLock lock(mutex_);
      if (deferred_count_ == 0) break;
      deferred = Pop();
    }
    deferred.call();
  }
  for (size_t i = 1; i < kChunks; ++i) delete chunks_[i].load(std::memory_order_relaxed);
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

void EpochDomain::MakeRoom(size_t count) {
  const size_t needed = deferred_count_ + promised_ + count;
  if (needed <= deferred_.size()) return;
  std::vector<Deferred> larger(std::max({needed, 2 * deferred_.size(), kDrainEvery}));
  for (size_t i = 0; i < deferred_count_; ++i) {
    larger[i] = std::move(deferred_[(deferred_first_ + i) % deferred_.size()]);
  }
  deferred_.swap(larger);
  deferred_first_ = 0;
}

bool EpochDomain::Push(std::function<void()> call) {
  Deferred& place = deferred_[(deferred_first_ + deferred_count_++) % deferred_.size()];
  place.epoch = epoch_.fetch_add(1, std::memory_order_seq_cst);
  place.call = std::move(call);
  return deferred_count_ % kDrainEvery == 0;
}

EpochDomain::Deferred EpochDomain::Pop() {
  Deferred deferred = std::exchange(deferred_[deferred_first_], Deferred());
  deferred_first_ = (deferred_first_ + 1) % deferred_.size();
  --deferred_count_;
  return deferred;
}

void EpochDomain::Retire(std::function<void()> call) {
  bool drain;
  {
    MutexLock lock(mutex_);
    MakeRoom(1);
    drain = Push(std::move(call));
  }
  if (drain) Drain();
}

EpochDomain::Promise::Promise(EpochDomain& domain, size_t count) : domain_(domain), left_(count) {
  if (count == 0) return;
  MutexLock lock(domain_.mutex_);
  domain_.MakeRoom(count);
  domain_.promised_ += count;
}

EpochDomain::Promise::~Promise() {
  if (left_ == 0) return;
  MutexLock lock(domain_.mutex_);
  domain_.promised_ -= left_;
}

void EpochDomain::Promise::Retire(std::function<void()> call) noexcept {
  FIRN_CHECK(left_ > 0);
  --left_;
  bool drain;
  {
    MutexLock lock(domain_.mutex_);
    --domain_.promised_;
    drain = domain_.Push(std::move(call));
  }
  if (drain) domain_.Drain();
}

size_t EpochDomain::Drain() {
  for (;;) {
    std::array<Deferred, kDrainEvery> ready;  // memory may be what is short
    size_t count = 0, waiting;
    {
      MutexLock lock(mutex_);
      const uint64_t oldest = OldestEpochInside();
      while (count < ready.size() && deferred_count_ != 0 && deferred_[deferred_first_].epoch < oldest) {
        ready[count++] = Pop();
      }
      waiting = deferred_count_;
      constexpr size_t kRoomKept = 4096;
      if (waiting == 0 && promised_ == 0 && deferred_.size() > kRoomKept) std::vector<Deferred>().swap(deferred_);
      drains_running_.fetch_add(1, std::memory_order_relaxed);
    }
    for (size_t i = 0; i < count; ++i) ready[i].call();
    drains_running_.fetch_sub(1, std::memory_order_release);
    if (count < ready.size()) return waiting;
  }
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
