#include "demo/import_process.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <span>

#include <firn/db.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/files.h"
#include "support/text.h"
#include "support/tree_import.h"

namespace firn::tools {
namespace {

// What the importing process says through the pipe. Shorter than PIPE_BUF, so each arrives whole or not at
// all.
struct Message {
  enum class Kind : uint64_t { kCommitted, kLeftOut, kWaiting };
  Kind kind;
  uint64_t index;
  uint64_t bytes;
};

struct Pipe {
  Descriptor read_end, write_end;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe(fds) != 0) return absl::ErrnoToStatus(errno, "make a pipe");
  return Pipe{Descriptor(fds[0]), Descriptor(fds[1])};
}

void Send(int fd, const Message& message) {
  char bytes[sizeof(message)];
  std::memcpy(bytes, &message, sizeof(message));
  if (!WriteAll(fd, {bytes, sizeof(bytes)}, "the pipe").ok()) _exit(1);
}

// False at the end of what the process said.
bool Receive(int fd, Message* message) {
  char bytes[sizeof(*message)];
  size_t used = 0;
  while (used < sizeof(bytes)) {
    const ssize_t count = read(fd, bytes + used, sizeof(bytes) - used);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    used += static_cast<size_t>(count);
  }
  std::memcpy(message, bytes, sizeof(bytes));
  return true;
}

absl::Status ImportAllButLast(const std::string& store_path, const std::vector<TreeEntry>& entries,
                              uint64_t batch_bytes, int report_fd, int leash_fd) {
  absl::StatusOr<std::unique_ptr<DB>> db = DB::Open({}, store_path);
  if (!db.ok()) return db.status();
  ImportOptions options;
  options.batch_bytes = batch_bytes;
  ImportCallbacks callbacks;
  callbacks.on_left_out = [&](size_t i, const absl::Status&) { Send(report_fd, {Message::Kind::kLeftOut, i, 0}); };
  callbacks.on_changed = [](size_t) {};
  callbacks.on_committed = [&](size_t end, uint64_t bytes) {
    Send(report_fd, {Message::Kind::kCommitted, end, bytes});
  };
  const auto all_but_last = std::span(entries).first(entries.size() - 1);
  if (absl::Status status = ImportEntries(**db, (*db)->root(), all_but_last, options, callbacks).status();
      !status.ok()) {
    return status;
  }
  Send(report_fd, {Message::Kind::kWaiting, 0, 0});
  // Ends when the parent is gone; the kill comes first.
  char unused;
  return read(leash_fd, &unused, 1) == 0 ? absl::CancelledError("the demo is gone") : absl::OkStatus();
}

// Follows the reports of `child` until it is dead, and kills it on the way.
KilledImport Follow(pid_t child, int report_fd, uint64_t kill_after_bytes) {
  KilledImport outcome;
  Message message;
  while (Receive(report_fd, &message)) {
    bool kill_now = false;
    switch (message.kind) {
      case Message::Kind::kCommitted:
        outcome.committed_end = message.index;
        outcome.committed_bytes = message.bytes;
        ++outcome.commits;
        kill_now = message.bytes >= kill_after_bytes;
        break;
      case Message::Kind::kLeftOut:
        outcome.left_out.push_back(message.index);
        break;
      case Message::Kind::kWaiting:
        kill_now = true;
        break;
    }
    // What it said before it died is still in the pipe, and counts. A second kill does no harm.
    if (kill_now) kill(child, SIGKILL);
  }
  return outcome;
}

}  // namespace

absl::StatusOr<KilledImport> ImportUntilKilled(const std::string& store_path, const std::vector<TreeEntry>& entries,
                                               uint64_t batch_bytes, uint64_t kill_after_bytes) {
  absl::StatusOr<Pipe> report = MakePipe();
  absl::StatusOr<Pipe> leash = MakePipe();
  if (!report.ok()) return report.status();
  if (!leash.ok()) return leash.status();
  std::fflush(nullptr);

  const auto start = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "start the importing process");
  if (child == 0) {
    report->read_end.Close();
    leash->write_end.Close();
    const absl::Status status =
        ImportAllButLast(store_path, entries, batch_bytes, report->write_end.get(), leash->read_end.get());
    std::fprintf(stderr, "firn-demo: importing process: %s\n", MessageOf(status).c_str());
    _exit(1);
  }
  report->write_end.Close();
  leash->read_end.Close();
  KilledImport outcome = Follow(child, report->read_end.get(), kill_after_bytes);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  int wait_status = 0;
  while (waitpid(child, &wait_status, 0) < 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, "wait for the importing process");
  }
  if (!WIFSIGNALED(wait_status) || WTERMSIG(wait_status) != SIGKILL) {
    return absl::InternalError("the importing process ended by itself; its message is above");
  }
  return outcome;
}

}  // namespace firn::tools
