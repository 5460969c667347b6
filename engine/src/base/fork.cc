#include "base/fork.h"

#include <pthread.h>

#include <atomic>

#include "base/check.h"

namespace firn::base {
namespace {

std::atomic<uint64_t> generation{1};

void InForkedChild() { generation.fetch_add(1, std::memory_order_relaxed); }

bool WatchForks() {
  FIRN_CHECK(pthread_atfork(nullptr, nullptr, InForkedChild) == 0);
  return true;
}

// While the program starts, before it can have forked with a store open.
[[maybe_unused]] const bool watching = WatchForks();

}  // namespace

uint64_t ForkGeneration() { return generation.load(std::memory_order_relaxed); }

}  // namespace firn::base
