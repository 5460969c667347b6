#include "io/uring_reads.h"

#include <cstdint>
#include <utility>

#include "base/memory.h"
#include "io/posix_file.h"

namespace firn::io {
namespace {

constexpr size_t kWakeTag = SIZE_MAX;

int FdOf(const ReadRequest& request) { return static_cast<PosixFile*>(request.file)->fd(); }

}  // namespace

absl::StatusOr<std::unique_ptr<UringReads>> UringReads::Create(Counters& counters, size_t depth,
                                                               const RingFeatures& features) {
  FIRN_ASSIGN_OR_RETURN(WakeDescriptor wake, WakeDescriptor::Create());
  FIRN_ASSIGN_OR_RETURN(WakeDescriptor completed, WakeDescriptor::Create());
  // One entry more for the poll.
  FIRN_ASSIGN_OR_RETURN(std::unique_ptr<Ring> ring, Ring::Create(features, static_cast<unsigned>(depth) + 1));
  if (!ring->waits_with_timeout()) return base::Unimplemented("io_uring: the kernel cannot wait for a time");
  return std::unique_ptr<UringReads>(
      new UringReads(counters, depth, std::move(wake), std::move(completed), std::move(ring)));
}

UringReads::UringReads(Counters& counters, size_t depth, WakeDescriptor wake, WakeDescriptor completed,
                       std::unique_ptr<Ring> ring)
    : AsyncReads(counters, depth),
      wake_(std::move(wake)),
      completed_(std::move(completed)),
      ring_(std::move(ring)),
      flights_(depth) {
  queued_tags_.reserve(depth + 1);
  for (size_t i = depth; i > 0; --i) free_.push_back(i - 1);
  QueuePoll();
}

int UringReads::descriptor() {
  if (!signals_ && ring_usable_ && !ring_->SignalTo(completed_.get())) return -1;
  if (!signals_.exchange(true)) completed_.Signal();  // what came before
  return completed_.get();
}

void UringReads::Wake() noexcept {
  wake_.Signal();
  if (signals_.load()) completed_.Signal();
}

void UringReads::QueuePoll() {
  queued_tags_.push_back(kWakeTag);
  ring_->QueuePoll(wake_.get(), kWakeTag);
}

void UringReads::DoQueue(ReadRequest& request) {
  const size_t flight = free_.back();
  free_.pop_back();
  flights_[flight] = {&request, Transfer(TransferKind::kRead, request.offset, request.out.size())};
  QueueRest(flight);
}

void UringReads::QueueRest(size_t flight) {
  const auto& [request, transfer] = flights_[flight];
  queued_tags_.push_back(flight);
  if (!ring_usable_) return;
  const size_t piece_bytes = PieceBytes(TransferKind::kRead, transfer.rest_bytes());
  ring_->QueueRead(FdOf(*request), transfer.offset(), request->out.subspan(transfer.done_bytes(), piece_bytes), flight);
}

// What the kernel does not take now DoWait() hands over, and finds out why.
bool UringReads::DoHandOver() noexcept {
  if (!ring_usable_ || ring_->queued() < Ring::kHandedOverAtOnce) return false;
  ring_->TrySubmit();
  queued_tags_.erase(queued_tags_.begin(), queued_tags_.end() - static_cast<std::ptrdiff_t>(ring_->queued()));
  return queued_tags_.empty();
}

void UringReads::DoWait(uint64_t timeout_nanos) {
  if (signals_.load()) completed_.Clear();
  // What Reap() queues, the rest of a short read or the poll, is handed over as well.
  while (ring_usable_ && ring_->SubmitFor(timeout_nanos)) {
    queued_tags_.clear();
    Reap();
    if (queued_tags_.empty()) return;
    timeout_nanos = 0;
  }
  if (ring_usable_) {
    GiveUpRing();
    timeout_nanos = 0;  // something may have ended
  }
  if (wake_.Wait(queued_tags_.empty() ? timeout_nanos : 0)) wake_.Clear();
  for (const size_t flight : queued_tags_) Finish(flight);
  queued_tags_.clear();
}

void UringReads::Reap() {
  ring_->ForEachCompletion([this](uint64_t tag, int64_t result) {
    if (tag == kWakeTag) {
      wake_.Clear();
      if (ring_usable_) QueuePoll();
      return;
    }
    const bool goes_on = flights_[tag].transfer.Advance(SeenResult(TransferKind::kRead, result));
    if (goes_on) {
      QueueRest(tag);
    } else {
      Finish(tag);
    }
  });
}

// Sets the status; what the ring has not read is read by system calls.
void UringReads::Finish(size_t flight) {
  const auto& [request, transfer] = flights_[flight];
  request->status = base::OrOutOfMemory([&, request = request, &transfer = transfer] {
    const std::string& name = request->file->name();
    return transfer.ended()
               ? transfer.status(name)
               : ReadWhole(FdOf(*request), name, transfer.offset(), request->out.subspan(transfer.done_bytes()));
  });
  free_.push_back(flight);
  Ended(*request);
}

// The kernel takes nothing more. What it has taken is waited for; the rest, and all that follows, goes by system calls.
void UringReads::GiveUpRing() {
  ring_usable_ = false;
  queued_tags_.erase(queued_tags_.begin(), queued_tags_.end() - static_cast<std::ptrdiff_t>(ring_->queued()));
  std::erase(queued_tags_, kWakeTag);
  wake_.Signal();  // or the poll would be waited for
  ring_->AwaitInFlight();
  Reap();
}

}  // namespace firn::io
