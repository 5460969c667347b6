// Makes the Nth allocation of the engine fail: every operator new of the program comes by here.
#pragma once

#include <cstdint>

namespace firn::test {

// From here on allocations that are not Uncounted are numbered, over all threads, and number `point` throws
// std::bad_alloc; with `lasting` those after it too.
void FailAllocation(uint64_t point, bool lasting);
// Nothing fails any more. How many were numbered; `point` was reached if it is less.
uint64_t StopFailingAllocations();

}  // namespace firn::test
