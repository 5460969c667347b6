// Which revisions are visible: the highest one below which everything has been published in the index.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/sync.h"

namespace firn::log {

// Writers draw revisions in order and publish them in any order. Lock-free.
class PublishedRevisions {
 public:
  // No more revisions than this may be drawn and not yet published.
  static constexpr uint64_t kWindow = 8192;

  // Before the first revision is drawn.
  void Reset(uint64_t revision) { published_.store(revision, std::memory_order_seq_cst); }

  uint64_t Get() const { return published_.load(std::memory_order_acquire); }

  // Everything the writer did to the index before this call is visible to whoever then reads Get() >= revision.
  void Publish(uint64_t revision) {
    base::SchedulePoint();  // the index has the change, and its revision does not count yet
    done_[revision % kWindow].store(revision, std::memory_order_seq_cst);
    Advance();
  }

  // Returns once all lower revisions are published as well, which other writers are about to do.
  void WaitFor(uint64_t revision) {
    for (int turn = 0; Get() < revision; ++turn) {
      Advance();
      if (Get() < revision) base::SpinPause(turn);
    }
  }

 private:
  // seq_cst on both sides: of two writers that publish neighbouring revisions at once, one sees the other's slot.
  void Advance() {
    uint64_t seen = published_.load(std::memory_order_seq_cst);
    while (done_[(seen + 1) % kWindow].load(std::memory_order_seq_cst) == seen + 1) {
      if (published_.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst)) ++seen;
    }
  }

  std::atomic<uint64_t> published_{0};
  std::array<std::atomic<uint64_t>, kWindow> done_{};
};

}  // namespace firn::log
