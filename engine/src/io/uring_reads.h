// AsyncReads on a ring of their own, which is also what their thread waits on: a wake-up is a completion like any
// other, of a poll of a descriptor.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "io/async_reads.h"
#include "io/ring.h"
#include "io/transfer.h"

namespace firn::io {

// Of files that have descriptors: PosixFile.
class UringReads final : public AsyncReads {
 public:
  // An error where there is no ring that can wait for a time.
  static absl::StatusOr<std::unique_ptr<UringReads>> Create(Counters& counters, size_t depth,
                                                            const RingFeatures& features);
  int descriptor() override;
  void Wake() noexcept override;

 protected:
  void DoQueue(ReadRequest& request) override;
  void DoWait(uint64_t timeout_nanos) override;
  bool DoHandOver() noexcept override;

 private:
  struct Flight {
    ReadRequest* request = nullptr;
    Transfer transfer{TransferKind::kRead, 0, 0};
  };

  UringReads(Counters& counters, size_t depth, WakeDescriptor wake, WakeDescriptor completed,
             std::unique_ptr<Ring> ring);
  void QueuePoll();
  void QueueRest(size_t flight);
  void Reap();
  void Finish(size_t flight);
  void GiveUpRing();

  const WakeDescriptor wake_;
  // Signalled by the ring for those who wait elsewhere, once somebody asked for it. The ring's own descriptor does not
  // become readable when a completion is left for its owner to run (IORING_SETUP_DEFER_TASKRUN).
  const WakeDescriptor completed_;
  // A wake-up signals it itself: of a completion that an eventfd sets off the kernel does not always tell another one.
  std::atomic<bool> signals_{false};
  const std::unique_ptr<Ring> ring_;
  bool ring_usable_ = true;
  std::vector<Flight> flights_;  // by tag
  // Have room for all.
  std::vector<size_t> free_;
  std::vector<size_t> queued_tags_;  // tags in the order of the ring's queue, since it was handed over last
};

}  // namespace firn::io
