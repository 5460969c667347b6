// Ending a process at once, without destructors, as a forked child has to: they are its parent's. And what its parent
// is told.
#pragma once

#include <sys/wait.h>

#include <csignal>
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

// Of what waitpid() says: SIGKILL, and no signal of the process's own making, such as a failed check's.
inline bool WasKilled(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

}  // namespace firn::test
