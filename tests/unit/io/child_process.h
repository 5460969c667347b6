// Runs part of a test in a child process, where limits, users and filters can be changed for good.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "base/check.h"
#include "support/end_process.h"

namespace firn::testing {

// Returns what `body` returned in the child: "" for all well. A child that dies says so.
inline std::string InChild(const std::function<std::string()>& body) {
  int ends[2];
  FIRN_CHECK(::pipe(ends) == 0);
  const pid_t child = ::fork();
  FIRN_CHECK(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    const std::string report = body();
    const bool written = ::write(ends[1], report.data(), report.size()) == static_cast<ssize_t>(report.size());
    test::EndProcess(written ? 0 : 1);
  }
  ::close(ends[1]);
  std::string report;
  char buffer[4096];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    report.append(buffer, static_cast<size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  FIRN_CHECK(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) report += "killed by signal " + std::to_string(WTERMSIG(status));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    report += "exit code " + std::to_string(WEXITSTATUS(status));
  }
  return report;
}

inline void SetLimit(__rlimit_resource resource, rlim_t value) {
  const rlimit limit{value, value};
  FIRN_CHECK(::setrlimit(resource, &limit) == 0);
}

// From here on this process becomes an ordinary user; nothing changes when it already is one.
inline void DropRoot() {
  if (::geteuid() != 0) return;
  constexpr uid_t kNobody = 65534;
  FIRN_CHECK(::setresgid(kNobody, kNobody, kNobody) == 0);
  FIRN_CHECK(::setresuid(kNobody, kNobody, kNobody) == 0);
}

// From here on `system_call` fails with `error_number` in this process; with `argument_mask`, only when the
// third argument has one of those bits.
inline void ForbidCall(unsigned system_call, unsigned error_number, unsigned argument_mask = 0) {
  std::vector<sock_filter> filter = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 2 * sizeof(uint64_t)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, argument_mask, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error_number),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  if (argument_mask == 0) filter[2] = filter[3] = BPF_STMT(BPF_MISC | BPF_TAX, 0);
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  FIRN_CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  FIRN_CHECK(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

}  // namespace firn::testing
