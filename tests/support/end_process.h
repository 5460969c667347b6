// Ending a process at once, without destructors, as a forked child has to: they are its parent's.
#pragma once

#include <cstdlib>

#ifdef FIRN_COVERAGE
extern "C" void __gcov_dump();
#endif

namespace firn::test {

// As std::_Exit(). What the process has run counts, where coverage is counted: only exit() sees to that by itself.
[[noreturn]] inline void EndProcess(int status) {
#ifdef FIRN_COVERAGE
  __gcov_dump();
#endif
  std::_Exit(status);
}

}  // namespace firn::test
