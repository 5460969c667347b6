#include "io/ring.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/fork.h"

namespace firn::io {
namespace {

constexpr int kRefusalsMax = 1'000;

// Best first. Completions are wanted only where the owner waits for them, so the kernel need not interrupt
// it.
constexpr unsigned kSetupFlags[] = {
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
    0,
};

absl::Status CheckOperations() {
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(io_uring_get_probe(), io_uring_free_probe);
  if (probe == nullptr) return base::Unimplemented("io_uring: the kernel does not list its operations");
  for (const auto& [code, name] :
       {std::pair{IORING_OP_READ, "READ"}, {IORING_OP_WRITE, "WRITE"}, {IORING_OP_FSYNC, "FSYNC"}}) {
    if (io_uring_opcode_supported(probe.get(), code) == 0) {
      return base::Unimplemented(std::string("io_uring: the kernel has no IORING_OP_") + name);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Ring::Ring() : fork_generation_(base::ForkGeneration()) { ring_.ring_fd = -1; }

Ring::~Ring() {
  if (ring_.ring_fd < 0) return;
  if (base::ForkGeneration() == fork_generation_) {
    io_uring_queue_exit(&ring_);
  } else {
    ::close(ring_.ring_fd);  // a child never had the mappings
  }
}

absl::StatusOr<std::unique_ptr<Ring>> Ring::Create(const RingFeatures& features, unsigned depth) {
  std::unique_ptr<Ring> ring(new Ring);
  io_uring_params parameters{};
  parameters.flags = features.setup_flags;
  const int result = io_uring_queue_init_params(depth, &ring->ring_, &parameters);
  if (result < 0) {
    ring->ring_.ring_fd = -1;
    return base::ErrnoStatus(-result, "io_uring_setup");
  }
  if (const int kept = io_uring_ring_dontfork(&ring->ring_); kept < 0) {
    return base::ErrnoStatus(-kept, "io_uring: keeping a ring out of children");
  }
  return ring;
}

absl::StatusOr<RingFeatures> Ring::Probe() {
  absl::Status refusal;
  for (const unsigned flags : kSetupFlags) {
    const RingFeatures features{.setup_flags = flags};
    const auto ring = Create(features, 4);
    if (ring.ok()) {
      FIRN_RETURN_IF_ERROR(CheckOperations());
      // A sandbox may allow the setup alone.
      io_uring_prep_nop((*ring)->NextEntry());
      if (!(*ring)->Submit(1)) return base::Unimplemented("io_uring_enter refuses to submit");
      (*ring)->ForEachCompletion([](uint64_t, int64_t) {});
      return features;
    }
    refusal = ring.status();
    if (refusal.code() != absl::StatusCode::kInvalidArgument) break;  // EINVAL: it does not know the flags
  }
  return refusal;
}

io_uring_sqe* Ring::NextEntry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  FIRN_CHECK(entry != nullptr);
  return entry;
}

void Ring::QueueRead(int fd, uint64_t offset, base::MutableBytes out, uint64_t tag) {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_read(entry, fd, out.data(), static_cast<unsigned>(out.size()), offset);
  entry->user_data = tag;
}

void Ring::QueueLinkedWrite(int fd, uint64_t offset, base::Bytes data, uint64_t tag) {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_write(entry, fd, data.data(), static_cast<unsigned>(data.size()), offset);
  entry->flags |= IOSQE_IO_LINK;
  entry->user_data = tag;
}

void Ring::QueueDataSync(int fd, uint64_t tag) {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
  entry->user_data = tag;
}

void Ring::QueuePoll(int fd, uint64_t tag) {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_poll_add(entry, fd, POLLIN);
  entry->user_data = tag;
}

void Ring::TrySubmit() {
  const unsigned queued_before = queued();
  static_cast<void>(io_uring_submit(&ring_));
  in_flight_ += queued_before - queued();
}

bool Ring::SubmitFor(uint64_t timeout_nanos) {
  constexpr uint64_t kNanosPerSecond = 1'000'000'000;
  for (int refusals = 0;;) {
    const unsigned queued_before = queued();
    int result;
    if (timeout_nanos == 0) {
      result = io_uring_submit_and_get_events(&ring_);
    } else {
      __kernel_timespec timeout{
          .tv_sec = static_cast<int64_t>(std::min(timeout_nanos / kNanosPerSecond, uint64_t{1} << 32)),
          .tv_nsec = static_cast<int64_t>(timeout_nanos % kNanosPerSecond)};
      io_uring_cqe* completion = nullptr;
      result = io_uring_submit_and_wait_timeout(&ring_, &completion, 1, &timeout, nullptr);
    }
    in_flight_ += queued_before - queued();
    const bool waited = result >= 0 || result == -EINTR || result == -ETIME;
    if (waited && queued() == 0) return true;
    const bool transient = waited || result == -EAGAIN || result == -EBUSY;
    if (!transient || ++refusals == kRefusalsMax) return false;
    timeout_nanos = 0;
    sched_yield();
  }
}

void Ring::AwaitInFlight() {
  while (io_uring_cq_ready(&ring_) < in_flight_) {
    io_uring_cqe* completion = nullptr;
    const int result = io_uring_wait_cqe_nr(&ring_, &completion, in_flight_);
    // The kernel writes into buffers until then: there is no way on without it.
    FIRN_CHECK(result >= 0 || result == -EINTR || result == -EAGAIN);
  }
}

bool Ring::Submit(unsigned completions_min) {
  submitted_as_one_ = true;
  bool refused = false;
  for (int refusals = 0;;) {
    const unsigned queued = io_uring_sq_ready(&ring_);
    // After a refusal only what is in flight can still complete.
    const unsigned wanted = refused ? in_flight_ : completions_min;
    if (io_uring_cq_ready(&ring_) >= wanted && (queued == 0 || refused)) return !refused;
    io_uring_cqe* completion = nullptr;
    const int result =
        refused ? io_uring_wait_cqe_nr(&ring_, &completion, wanted) : io_uring_submit_and_wait(&ring_, wanted);
    if (!refused && result >= 0) {
      in_flight_ += static_cast<unsigned>(result);
      if (static_cast<unsigned>(result) < queued) submitted_as_one_ = false;
      refusals = 0;
      continue;
    }
    if (result >= 0 || result == -EINTR) continue;
    const bool transient = result == -EAGAIN || result == -EBUSY;
    if (transient && ++refusals < kRefusalsMax) {
      sched_yield();
      continue;
    }
    // The kernel writes into the buffers of what is in flight until it completes: there is no way back to a
    // status.
    FIRN_CHECK(!refused || in_flight_ == 0);
    refused = true;
    refusals = 0;
  }
}

}  // namespace firn::io
