#include "io/async_reads.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/check.h"
#include "base/memory.h"

namespace firn::io {

AsyncReads::AsyncReads(Counters& counters, size_t depth) : counters_(counters) { ended_.reserve(depth); }

AsyncReads::~AsyncReads() { FIRN_CHECK(in_flight_ == 0); }

void AsyncReads::Queue(ReadRequest& request) noexcept {
  FIRN_CHECK(in_flight_ < ended_.capacity());
  ++in_flight_;
  request.status = base::OrOutOfMemory([&] { return request.file->CheckRead(request.offset, request.out); });
  if (!request.status.ok() || request.out.empty()) return Ended(request);
  ++queued_;
  DoQueue(request);
  if (DoHandOver()) queued_ = 0;
}

void AsyncReads::Wait(uint64_t timeout_nanos) {
  queued_ = 0;
  DoWait(ended_.empty() ? timeout_nanos : 0);
}

void AsyncReads::ReadNow(ReadRequest& request) noexcept {
  request.status = base::OrOutOfMemory([&] { return request.file->DoRead(request.offset, request.out); });
}

ReadRequest* AsyncReads::Take() {
  if (ended_.empty()) return nullptr;
  ReadRequest* const request = ended_.back();
  ended_.pop_back();
  --in_flight_;
  if (request->status.ok()) {
    counters_.reads.fetch_add(1, std::memory_order_relaxed);
    counters_.read_bytes.fetch_add(request->out.size(), std::memory_order_relaxed);
  }
  return request;
}

absl::StatusOr<WakeDescriptor> WakeDescriptor::Create() {
  WakeDescriptor wake;
  wake.fd_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.fd_.valid()) return base::ErrnoStatus(errno, "eventfd");
  return wake;
}

void WakeDescriptor::Signal() const noexcept {
  const uint64_t one = 1;
  // It fails only where the count is at its end already.
  static_cast<void>(RetryInterrupted([&] { return ::write(fd_.get(), &one, sizeof(one)); }));
}

void WakeDescriptor::Clear() const noexcept {
  uint64_t count;
  static_cast<void>(RetryInterrupted([&] { return ::read(fd_.get(), &count, sizeof(count)); }));
}

bool WakeDescriptor::Wait(uint64_t timeout_nanos) const noexcept {
  constexpr uint64_t kNanosPerSecond = 1'000'000'000, kSecondsMax = 1'000'000'000;
  pollfd polled{.fd = fd_.get(), .events = POLLIN, .revents = 0};
  const timespec timeout{.tv_sec = static_cast<time_t>(std::min(timeout_nanos / kNanosPerSecond, kSecondsMax)),
                         .tv_nsec = static_cast<long>(timeout_nanos % kNanosPerSecond)};
  return ::ppoll(&polled, 1, &timeout, nullptr) > 0;
}

ReadsInTurn::ReadsInTurn(Counters& counters, size_t depth, WakeDescriptor wake)
    : AsyncReads(counters, depth), wake_(std::move(wake)) {
  waiting_.reserve(depth);
}

void ReadsInTurn::DoWait(uint64_t timeout_nanos) {
  if (wake_.Wait(waiting_.empty() ? timeout_nanos : 0)) wake_.Clear();
  for (ReadRequest* const request : waiting_) {
    ReadNow(*request);
    Ended(*request);
  }
  waiting_.clear();
}

}  // namespace firn::io
