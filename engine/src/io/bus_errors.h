// A mapped file without SIGBUS. Where the file system has shut down, the disk has no room for a copy of a shared block,
// or the medium cannot be read, the kernel answers a store or a load with that signal, which ends the process: no
// status reaches whoever touched the memory. Here the page is replaced by one of the process's own, and the mapping
// says so.
//
// The handler is installed once, with the first mapping. It answers for guarded memory alone; every other SIGBUS goes
// to the handler that was there before. What an application installs later hides it, unless it passes on in the same
// way.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/aligned_buffer.h"

namespace firn::io {

class BusErrorGuard {
 public:
  // Of whole pages, which stay mapped until this is destroyed.
  static std::unique_ptr<BusErrorGuard> Watch(base::MutableBytes mapping);
  ~BusErrorGuard();
  BusErrorGuard(const BusErrorGuard&) = delete;

  // Whether a page was replaced. It holds what the file's page did, or zeros where that could not be read; what is
  // stored there from then on does not reach the file. Whoever stores first and asks then is told of its own store.
  bool tripped() const { return tripped_.load(std::memory_order_seq_cst); }

  // For the handler: true if the page at `address` is guarded, and now is memory that can be used. Safe in a signal.
  bool Replace(uintptr_t address);

 private:
  enum PageState : uint8_t { kOfFile, kBeingReplaced, kOwn, kGivenUp };

  BusErrorGuard(base::MutableBytes mapping, size_t page_bytes);

  const uint64_t fork_generation_;  // a child does not have the mapping
  const uintptr_t begin_;
  const size_t page_bytes_, pages_;
  const std::unique_ptr<std::atomic<PageState>[]> states_;
  std::atomic<bool> tripped_{false};
};

}  // namespace firn::io
