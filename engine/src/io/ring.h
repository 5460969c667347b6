// One io_uring with its queue, used by one thread. Another thread may destroy it once the owner is outside.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>

#include "base/coding.h"
#include "base/status.h"

namespace firn::io {

// What the kernel can do; found once per disk.
struct RingFeatures {
  unsigned setup_flags = 0;
};

class Ring {
 public:
  static constexpr unsigned kDepth = 128;
  // The kernel is given reads whenever so many are queued: each time costs a system call and wakes the device, which is
  // idle meanwhile.
  static constexpr unsigned kHandedOverAtOnce = 8;

  // The best set of features this kernel accepts. An error says why there is no usable ring: forbidden
  // (seccomp, sysctl), too old, an operation missing.
  static absl::StatusOr<RingFeatures> Probe();
  static absl::StatusOr<std::unique_ptr<Ring>> Create(const RingFeatures& features, unsigned depth = kDepth);
  Ring(const Ring&) = delete;
  // Nothing may be in flight.
  ~Ring();

  // Queue one operation; at most kDepth may be queued or in flight. `tag` comes back with its completion.
  void QueueRead(int fd, uint64_t offset, base::MutableBytes out, uint64_t tag);
  // The next queued operation starts only when this one has moved every byte, and is cancelled otherwise.
  void QueueLinkedWrite(int fd, uint64_t offset, base::Bytes data, uint64_t tag);
  void QueueDataSync(int fd, uint64_t tag);
  // Completes once, when there is something to be read.
  void QueuePoll(int fd, uint64_t tag);

  // Hands over what is queued and waits until `completions_min` completions are there. False when the kernel
  // takes nothing more: what is queued will never start, what is in flight has completed, and the ring is
  // only good for reading its completions and being destroyed.
  bool Submit(unsigned completions_min);
  // Hands over what the kernel takes now, and waits for nothing.
  void TrySubmit();
  // Hands over what is queued and waits until a completion is there, or so much time has passed; may return earlier,
  // and with 0 does not wait. False as above, but for what is in flight, which completes still.
  bool SubmitFor(uint64_t timeout_nanos);
  // Waits until all that was handed over has completed; what is queued stays queued.
  void AwaitInFlight();
  // Queued, and not handed over.
  unsigned queued() const { return io_uring_sq_ready(&ring_); }
  // Whether SubmitFor() waits for the time it is told.
  bool waits_with_timeout() const { return (ring_.features & IORING_FEAT_EXT_ARG) != 0; }
  // Every completion from now on is signalled to an eventfd. False where there is no memory for it.
  bool SignalTo(int eventfd) { return io_uring_register_eventfd(&ring_, eventfd) == 0; }
  // True when everything queued so far went to the kernel in the last Submit() as one batch; links hold only
  // then.
  bool submitted_as_one() const { return submitted_as_one_; }

  // Calls `take(tag, result)` for every completion that is there.
  template <typename Take>
  void ForEachCompletion(Take take) {
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      const uint64_t tag = completion->user_data;
      const int64_t result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      --in_flight_;
      take(tag, result);
    }
  }

 private:
  Ring();
  io_uring_sqe* NextEntry();

  io_uring ring_{};
  unsigned in_flight_ = 0;  // handed to the kernel, completion not yet taken
  bool submitted_as_one_ = false;
  const uint64_t fork_generation_;
};

}  // namespace firn::io
