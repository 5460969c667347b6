// For programs that share their work out among processes.
#pragma once

#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <thread>

namespace firn::test {

// The calling process stays on one processor, so that a simulated scheduler's handing over of the baton is a cheap
// switch between threads; and it ends when its parent does, however that comes.
inline void BecomeWorker(uint64_t processor) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor % std::max(1u, std::thread::hardware_concurrency()), &set);
  sched_setaffinity(0, sizeof(set), &set);
}

}  // namespace firn::test
