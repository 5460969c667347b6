#include "support/child.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace firn::bench {
namespace {

using Json = nlohmann::json;

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
volatile std::sig_atomic_t interrupted = 0;
volatile std::sig_atomic_t running_child = 0;

extern "C" void EndChild(int) {
  interrupted = 1;
  if (running_child != 0) ::kill(running_child, SIGKILL);
}

// Whoever started us, as nohup does, may have chosen that a signal be ignored.
void Handle(void (*handler)(int)) {
  for (const int signal : kSignals) {
    if (std::signal(signal, handler) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

void WriteAll(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t count = ::write(fd, text.data() + at, text.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;  // the parent is gone
    at += static_cast<size_t>(count);
  }
}

std::string ReadAll(int fd) {
  std::string text;
  char block[4'096];
  while (true) {
    const ssize_t count = ::read(fd, block, sizeof(block));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(block, static_cast<size_t>(count));
  }
}

[[noreturn]] void RunAndExit(const std::function<absl::StatusOr<Figures>()>& function, int fd) {
  const absl::StatusOr<Figures> figures = function();
  const Json answer = figures.ok() ? Json{{"figures", *figures}} : Json{{"error", figures.status().ToString()}};
  WriteAll(fd, answer.dump(-1, ' ', false, Json::error_handler_t::replace));
  // No destructors: what they would end is the parent's.
  ::_exit(0);
}

}  // namespace

absl::StatusOr<Figures> RunInChild(const std::function<absl::StatusOr<Figures>()>& function) {
  int ends[2];
  if (::pipe(ends) != 0) return absl::ErrnoToStatus(errno, "pipe");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "fork");
  if (child == 0) {
    Handle(SIG_DFL);
    ::close(ends[0]);
    RunAndExit(function, ends[1]);
  }
  running_child = child;
  if (Interrupted()) ::kill(child, SIGKILL);
  ::close(ends[1]);
  const std::string text = ReadAll(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  running_child = 0;
  const Json answer = Json::parse(text, nullptr, false);
  if (answer.is_discarded()) {
    return absl::UnavailableError("the child ended " + (WIFSIGNALED(status)
                                                            ? "by signal " + std::to_string(WTERMSIG(status))
                                                            : std::string("without a result")));
  }
  if (answer.contains("error")) return absl::UnavailableError(answer["error"].get<std::string>());
  return answer["figures"].get<Figures>();
}

void EndChildrenOnSignals() { Handle(EndChild); }

bool Interrupted() { return interrupted != 0; }

}  // namespace firn::bench
