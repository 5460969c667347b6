// A limit on all memory of a process, the page cache that it fills included.
#pragma once

#include <cstdint>
#include <string>

namespace firn::bench {

// Takes so much of the memory that is free, writes to it, and gives it back, in a process of its own. A virtual
// machine's host may have taken back what was idle: whoever uses it first then waits for each page, and would be
// measured by that.
void WarmMemory(uint64_t bytes);

// Puts the calling process, which ends soon, into a cgroup of its own with that limit. False where there are no cgroups
// that may be made: then only the engines' own settings are equal.
bool LimitMemory(uint64_t bytes);
// The most that was in use at a time since, or the process's largest resident size where there is no such cgroup.
uint64_t PeakMemoryBytes();
// Removes what processes that have ended have left.
void RemoveMemoryLimits();

}  // namespace firn::bench
