// A limit on all memory of a process, the page cache that it fills included.
#pragma once

#include <cstdint>
#include <string>

namespace firn::bench {

// Puts the calling process, which ends soon, into a cgroup of its own with that limit. False where there are no cgroups
// that may be made: then only the engines' own settings are equal.
bool LimitMemory(uint64_t bytes);
// The most that was in use at a time since, or the process's largest resident size where there is no such cgroup.
uint64_t PeakMemoryBytes();
// Removes what processes that have ended have left.
void RemoveMemoryLimits();

}  // namespace firn::bench
