// For programs that share their work out among processes.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <thread>

namespace firn::test {

// The calling process stays on one processor: a simulated scheduler's handing over of the baton is then a cheap switch
// between threads.
inline void StayOn(uint64_t processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor % std::max(1u, std::thread::hardware_concurrency()), &set);
  sched_setaffinity(0, sizeof(set), &set);
}

}  // namespace firn::test
