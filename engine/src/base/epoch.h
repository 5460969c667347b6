// Epoch-based reclamation: readers that take no lock, and memory (or segment files) that is freed only when
// no reader can still see it. Source: K. Fraser, "Practical lock-freedom", 2004, section 5.2.3.
//
//   EpochGuard guard(domain);        // reader: what it finds from here on stays valid until the guard ends
//   domain.Retire([node] { ... });   // writer: after the last pointer to `node` was unlinked
//
// Proof. Retire() reads its tag t from epoch_ and moves epoch_ on in one seq_cst step R, after the pointer was
// unlinked. A guard loads an epoch e, stores it into its thread's slot (seq_cst), and then loads epoch_ again (seq_cst,
// L). If L comes after R in the order of seq_cst operations, it reads what R wrote or later, so R synchronises with L,
// and the reader sees that the pointer is unlinked. If L comes before R, so does the store to the slot, and Drain(),
// which looks at the slots after R, sees e or what the thread stored after it had left; e is not above what L read,
// which is at most t, so the call waits. A call runs when every occupied slot holds an epoch above its tag: such an e
// was read from what R wrote or later. Without L a processor may load the pointer before the slot's store is visible to
// others.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/sync.h"

namespace firn::base {

class EpochDomain {
 public:
  EpochDomain();
  EpochDomain(const EpochDomain&) = delete;
  // Runs what is still deferred. No reader may be inside.
  ~EpochDomain();

  // Defers `call` until every reader now inside has left. Thread-safe. Calls are run by later Retire() and
  // Drain() calls, outside any lock of the domain; they must not throw.
  void Retire(std::function<void()> call);

  // Memory for calls to be deferred, had before the change that makes them necessary.
  class Promise {
   public:
    Promise(EpochDomain& domain, size_t count);
    ~Promise();  // what was not used is given back
    Promise(Promise&& other) noexcept : domain_(other.domain_), left_(std::exchange(other.left_, 0)) {}
    // As the domain's, `count` times at most. Allocates nothing, if `call` captures two pointers at most.
    void Retire(std::function<void()> call) noexcept;

   private:
    EpochDomain& domain_;
    size_t left_;
  };

  // Runs whatever has become safe; returns how many calls still wait.
  size_t Drain();
  // Waits until every reader that was inside at the call has left; everything deferred before it has run when
  // this returns, on whatever thread. The caller holds no guard and is no deferred call.
  void Synchronize();

 private:
  friend class EpochGuard;

  static constexpr size_t kSlotsPerChunk = 64;
  static constexpr size_t kChunks = 256;  // so at most 16,384 threads at a time use stores

  struct alignas(64) Slot {
    std::atomic<uint64_t> epoch{0};  // 0: nobody inside
    uint32_t depth = 0;              // nested guards; touched by the slot's own thread only
  };
  using Chunk = std::array<Slot, kSlotsPerChunk>;
  struct Deferred {
    uint64_t epoch = 0;
    std::function<void()> call;
  };

  Slot& SlotOfThisThread();
  uint64_t OldestEpochInside() const;
  void MakeRoom(size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // There is room. True if it is time to drain.
  bool Push(std::function<void()> call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Deferred Pop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::atomic<uint64_t> epoch_{1};
  Chunk first_chunk_;  // ordinary programs need no other, and no memory to enter
  std::array<std::atomic<Chunk*>, kChunks> chunks_{};
  Mutex mutex_;
  // A ring: deferred_count_ calls from deferred_first_ on, whose tags ascend.
  std::vector<Deferred> deferred_ ABSL_GUARDED_BY(mutex_);
  size_t deferred_first_ ABSL_GUARDED_BY(mutex_) = 0, deferred_count_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t promised_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<uint32_t> drains_running_{0};  // that have taken calls off deferred_
};

class EpochGuard {
 public:
  explicit EpochGuard(EpochDomain& domain) : slot_(domain.SlotOfThisThread()) {
    if (slot_.depth++ > 0) return;
    slot_.epoch.store(domain.epoch_.load(std::memory_order_acquire), std::memory_order_seq_cst);
    static_cast<void>(domain.epoch_.load(std::memory_order_seq_cst));
  }
  ~EpochGuard() {
    if (--slot_.depth == 0) slot_.epoch.store(0, std::memory_order_release);
  }
  EpochGuard(const EpochGuard&) = delete;

 private:
  EpochDomain::Slot& slot_;
};

}  // namespace firn::base
