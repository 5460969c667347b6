#include "powercut/power_disk_client.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>

#include "powercut/machine.h"

namespace firn::test {
namespace {

std::string Numbers(const VolatileDisk::CutRule& rule) {
  return std::to_string(rule.seed) + " " + std::to_string(rule.lost_percent) + " " + std::to_string(rule.torn_percent);
}

}  // namespace

PowerDisk::PowerDisk(const std::string& program, const std::string& folder, uint64_t bytes)
    : folder_(folder), image_(folder + "/disk") {
  int to[2], from[2];
  if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) throw HarnessError("no pipe");
  const std::string size = std::to_string(bytes);
  process_ = ::fork();
  if (process_ < 0) throw HarnessError("no process");
  if (process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // An interrupt from the terminal is for the parent, which takes everything down in order.
    ::setpgid(0, 0);
    ::dup2(to[0], STDIN_FILENO);
    ::dup2(from[1], STDOUT_FILENO);
    ::execl(program.c_str(), program.c_str(), folder.c_str(), size.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(to[0]);
  ::close(from[1]);
  to_ = to[1];
  from_ = from[0];
  if (const std::string line = NextLine(); line != "ready") {
    throw NotPermitted("FUSE cannot be used: " + program + " did not come up");
  }
}

PowerDisk::~PowerDisk() {
  ::close(to_);  // it ends with that
  ::close(from_);
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  ::umount2(folder_.c_str(), MNT_DETACH);
}

std::string PowerDisk::NextLine() {
  for (;;) {
    if (const size_t end = heard_.find('\n'); end != std::string::npos) {
      std::string line = heard_.substr(0, end);
      heard_.erase(0, end + 1);
      return line;
    }
    char some[256];
    const ssize_t bytes = ::read(from_, some, sizeof(some));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return "";
    heard_.append(some, static_cast<size_t>(bytes));
  }
}

bool PowerDisk::TakeEvent(const std::string& line) {
  if (!line.starts_with("cut ")) return false;
  std::istringstream words(line.substr(4));
  VolatileDisk::CutReport& report = cut_.emplace();
  words >> report.lost >> report.torn >> report.kept;
  return true;
}

void PowerDisk::Listen() {
  if (const std::string line = NextLine(); !TakeEvent(line)) throw HarnessError("the power disk has ended: " + line);
}

std::string PowerDisk::Ask(const std::string& command) {
  const std::string text = command + "\n";
  if (::write(to_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw HarnessError("the power disk has ended");
  }
  for (;;) {
    const std::string line = NextLine();
    if (TakeEvent(line)) continue;
    if (!line.starts_with("ok")) throw HarnessError("the power disk says '" + line + "' to '" + command + "'");
    return line.substr(2);
  }
}

void PowerDisk::CutAfter(uint64_t requests, const VolatileDisk::CutRule& rule) {
  Ask("arm " + std::to_string(requests) + " " + Numbers(rule) + (rule.at_flush ? " 1" : " 0"));
}

void PowerDisk::Cut(const VolatileDisk::CutRule& rule) { Ask("cut " + Numbers(rule)); }

void PowerDisk::PowerOn() {
  Ask("on");
  cut_.reset();
}

void PowerDisk::Lie() { Ask("lie"); }

VolatileDisk::Counts PowerDisk::counts() {
  std::istringstream words(Ask("counts"));
  VolatileDisk::Counts counts;
  words >> counts.writes >> counts.flushes;
  return counts;
}

}  // namespace firn::test
