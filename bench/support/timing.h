// Time, and what the process took of the processors.
#pragma once

#include <chrono>

namespace firn::bench {

using SteadyClock = std::chrono::steady_clock;
inline double SecondsSince(SteadyClock::time_point began) {
  return std::chrono::duration<double>(SteadyClock::now() - began).count();
}

// Of the whole process, its background threads included, since it began.
double CpuSeconds();

}  // namespace firn::bench
