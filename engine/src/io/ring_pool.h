// The rings of one disk, one for each thread that reads through it.
//
// Lifetime. The pool owns the rings; a thread only remembers where its own is, beside a weak reference to the pool.
//
// The thread ends first: its thread_local list locks the weak reference and has the pool destroy the ring.
//
// The disk closes first: the pool destroys all rings (io_uring allows that from any thread once the owner is outside,
// and no call of the disk may be running). The thread's entry stays behind with an expired reference; it is matched by
// the pool's number, which is never used twice, so it is never followed again.
//
// Both at once: either the lock() succeeds, and the pool lives until the thread has dropped its ring, or it fails, and
// the pool alone destroys the ring.
//
// A forked child has neither the rings' memory nor a usable mutex; it only closes its copies of the
// descriptors.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/sync.h"
#include "io/ring.h"

namespace firn::io {

class RingPool : public std::enable_shared_from_this<RingPool> {
 public:
  explicit RingPool(const RingFeatures& features);

  // The calling thread's ring, made at its first use. Null when there can be none now (descriptors or memory
  // are used up, the thread is ending): the caller then does without.
  Ring* OfThisThread();
  // Destroys the calling thread's ring, one that Submit() found unusable.
  void DropOfThisThread();

  size_t size();
  const RingFeatures& features() const { return features_; }

 private:
  friend struct ThreadRings;
  void Drop(Ring* ring);

  const RingFeatures features_;
  const uint64_t number_;
  const uint64_t fork_generation_;
  base::Mutex mutex_;
  std::vector<std::unique_ptr<Ring>> rings_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace firn::io
