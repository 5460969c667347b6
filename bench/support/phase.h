// A phase of a benchmark: threads that all do the same at once, and how long it took.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include <absl/status/status.h>

namespace firn::bench {

// One or more operations, of which it says how many; 0: there is no more to do. Throws Failure.
using Turn = std::function<uint64_t()>;
// Called in each thread, before the clock starts.
using TurnMaker = std::function<Turn(int thread)>;

struct Phase {
  std::string name;  // for what is said of a failure
  int threads = 1;
  double seconds = std::numeric_limits<double>::infinity();  // else until every turn has said 0
  std::function<absl::Status()> finish = nullptr;            // once, at the end, and in the time
};

struct Took {
  double seconds = 0, cpu_seconds = 0;  // the latter of the whole process
  uint64_t operations = 0;

  double per_second() const { return static_cast<double>(operations) / seconds; }
  // Of all threads together: with two, half of what one waited.
  double ns_each() const { return seconds * 1e9 / operations_or_one(); }
  double cpu_ns_each() const { return cpu_seconds * 1e9 / operations_or_one(); }

 private:
  double operations_or_one() const { return static_cast<double>(operations == 0 ? 1 : operations); }
};

// The calling thread is the first of them. Throws Failure, with the phase's name.
Took RunPhase(const Phase& phase, const TurnMaker& make);

}  // namespace firn::bench
