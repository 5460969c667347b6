#include "support/process.h"

#include <csignal>

#include <fcntl.h>
#include <unistd.h>

namespace firn::tools {

bool PrepareProcess() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) != -1) continue;
    // The lowest free number, which is `fd`. Opened the wrong way round: an empty input must not pass for a value, nor
    // a result that nobody got for one that was printed.
    if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) return false;
  }
  return std::signal(SIGXFSZ, SIG_IGN) != SIG_ERR;
}

}  // namespace firn::tools
