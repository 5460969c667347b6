// Telling a forked child from the process that opened something. A child shares no thread, no ring and no
// tail buffer with its parent: what was opened before the fork() is the parent's alone.
#pragma once

#include <cstdint>

namespace firn::base {

// Grows by one in every child that fork() makes and never changes within a process. Whoever must not be used
// in a child keeps the value from its construction and compares. Costs one load. A clone() or vfork() that
// bypasses pthread_atfork handlers is not seen.
uint64_t ForkGeneration();

}  // namespace firn::base
