#include "nth/system_calls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace firn::test {
namespace {

std::atomic<bool> armed{false}, every_further{false};
std::atomic<CallFailure> kind{CallFailure::kDevice};
std::atomic<uint64_t> numbered{0}, failing{0};
std::atomic<const char*> last_failed{""};

bool IsNext(const char* name) {
  const uint64_t number = numbered.fetch_add(1, std::memory_order_relaxed);
  const bool fails = number == failing || (every_further && number > failing);
  if (fails) last_failed = name;
  return fails;
}

// Of which kinds of failure a call is capable.
enum Capable : unsigned {
  kIo = 1,
  kSpace = 2,
  kFiles = 4,
  kRam = 8,
  kSignals = 16,
  kBusy = 32,
  kSync = 64,
};

// The errno that this call is to fail with; 0: none.
int Fails(const char* name, unsigned capable) {
  if (!armed.load(std::memory_order_relaxed)) return 0;
  unsigned needed = 0;
  int error = 0;
  switch (kind.load(std::memory_order_relaxed)) {
    case CallFailure::kDevice:
      needed = kIo, error = EIO;
      break;
    case CallFailure::kNoSpace:
      needed = kSpace, error = ENOSPC;
      break;
    case CallFailure::kDescriptors:
      needed = kFiles, error = EMFILE;
      break;
    case CallFailure::kMemory:
      needed = kRam, error = ENOMEM;
      break;
    case CallFailure::kInterrupted:
      needed = kSignals, error = EINTR;
      break;
    case CallFailure::kAgain:
      needed = kBusy, error = EAGAIN;
      break;
    case CallFailure::kSyncInterrupted:
      needed = kSync, error = EINTR;
      break;
    default:
      return 0;
  }
  return (capable & needed) != 0 && IsNext(name) ? error : 0;
}

// How much of a transfer is to be made.
template <typename Size>
Size Shortened(CallFailure failure, const char* name, Size size) {
  if (!armed.load(std::memory_order_relaxed) || kind.load(std::memory_order_relaxed) != failure) return size;
  return size >= 1024 && IsNext(name) ? size / 1024 * 512 : size;
}

// The transfers that are about to be submitted. A completion that only says so would hide who takes the half for all.
void ShortenQueued(io_uring& ring) {
  const unsigned mask = *ring.sq.kring_mask;
  for (unsigned at = ring.sq.sqe_head; at != ring.sq.sqe_tail; ++at) {
    io_uring_sqe& entry = ring.sq.sqes[at & mask];
    if (entry.opcode != IORING_OP_READ && entry.opcode != IORING_OP_WRITE) continue;
    entry.len = Shortened(CallFailure::kCompletionShort, "completion", entry.len);
  }
}

// Up to where the completions of each ring were looked at.
std::mutex rings_mutex;
std::map<const io_uring*, unsigned> looked_at;

void ForgetRing(const io_uring* ring) {
  const std::lock_guard lock(rings_mutex);
  looked_at.erase(ring);
}

void Spoil(io_uring_cqe& completion) {
  const bool sync = completion.res == 0;  // a transfer of nothing is none of ours
  switch (kind.load()) {
    case CallFailure::kCompletionDevice:
      if (completion.res >= 0 && IsNext("completion")) completion.res = -EIO;
      break;
    case CallFailure::kCompletionNoSpace:
      if (completion.res >= 0 && IsNext("completion")) completion.res = -ENOSPC;
      break;
    case CallFailure::kCompletionInterrupted:
      if (completion.res > 0 && IsNext("completion")) completion.res = -EINTR;
      break;
    case CallFailure::kCompletionSyncInterrupted:
      if (sync && IsNext("completion")) completion.res = -EINTR;
      break;
    case CallFailure::kCompletionAgain:
      if (completion.res > 0 && IsNext("completion")) completion.res = -EAGAIN;
      break;
    case CallFailure::kCompletionCancelled:
      if (sync && IsNext("completion")) completion.res = -ECANCELED;
      break;
    default:
      break;
  }
}

// The completions that came in since the last look.
void LookAt(io_uring& ring) {
  const std::lock_guard lock(rings_mutex);
  const unsigned head = *ring.cq.khead, tail = __atomic_load_n(ring.cq.ktail, __ATOMIC_ACQUIRE);
  auto [seen, is_new] = looked_at.try_emplace(&ring, head);
  const unsigned from = std::exchange(seen->second, tail);
  const unsigned mask = *ring.cq.kring_mask;
  for (unsigned at = from; at != tail; ++at) Spoil(ring.cq.cqes[at & mask]);
  if (kind.load() != CallFailure::kCompletionsReordered) return;
  for (unsigned a = from, b = tail; b - a > 1 && a != --b; ++a) {
    if (IsNext("completion")) std::swap(ring.cq.cqes[a & mask], ring.cq.cqes[b & mask]);
    if (b - a <= 1) break;
  }
}

bool SpoilsCompletions() { return armed && kind.load() >= CallFailure::kCompletionDevice; }

}  // namespace

std::string_view NameOf(CallFailure failure) {
  constexpr std::string_view kNames[] = {"EIO",
                                         "ENOSPC",
                                         "EMFILE",
                                         "ENOMEM",
                                         "EINTR",
                                         "EAGAIN",
                                         "short",
                                         "sync-EINTR",
                                         "completion-EIO",
                                         "completion-ENOSPC",
                                         "completion-short",
                                         "completion-EINTR",
                                         "completion-sync-EINTR",
                                         "completion-EAGAIN",
                                         "completion-ECANCELED",
                                         "completions-delayed",
                                         "completions-reordered"};
  return kNames[static_cast<size_t>(failure)];
}

bool IsHarmless(CallFailure failure) {
  switch (failure) {
    case CallFailure::kInterrupted:
    case CallFailure::kAgain:
    case CallFailure::kShort:
    case CallFailure::kCompletionShort:
    case CallFailure::kCompletionInterrupted:
    case CallFailure::kCompletionAgain:
    case CallFailure::kCompletionCancelled:
    case CallFailure::kCompletionsDelayed:
    case CallFailure::kCompletionsReordered:
      return true;
    default:
      return false;
  }
}

void FailCall(CallFailure failure, uint64_t point, bool lasting) {
  kind = failure;
  numbered = 0;
  failing = point;
  every_further = lasting;
  last_failed = "";
  armed = true;
}

FailedCalls StopFailingCalls() {
  armed = false;
  return {numbered, last_failed.load()};
}

}  // namespace firn::test

using namespace firn::test;  // NOLINT: what follows has C's names

// Each call as it is, or the failure. What the engine calls and may fail; the others (close, munmap, ...) it may not
// ask.
#define WRAPPED(result, name, parameters, arguments, capable, failure) \
  extern "C" {                                                         \
  result __real_##name parameters;                                     \
  result __wrap_##name parameters {                                    \
    if (const int error = Fails(#name, capable); error != 0) {         \
      errno = error;                                                   \
      return failure;                                                  \
    }                                                                  \
    return __real_##name arguments;                                    \
  }                                                                    \
  }

// NOLINTBEGIN(bugprone-reserved-identifier): the linker wants these names, __wrap_ and __real_
WRAPPED(ssize_t, pread, (int fd, void* to, size_t size, off_t at),
        (fd, to, Shortened(CallFailure::kShort, "pread", size), at), kIo | kRam | kSignals | kBusy, -1)
WRAPPED(ssize_t, pwrite, (int fd, const void* from, size_t size, off_t at),
        (fd, from, Shortened(CallFailure::kShort, "pwrite", size), at), kIo | kSpace | kRam | kSignals | kBusy, -1)
WRAPPED(int, eventfd, (unsigned count, int flags), (count, flags), kFiles | kRam, -1)
WRAPPED(int, fdatasync, (int fd), (fd), kIo | kSpace | kSync, -1)
WRAPPED(int, fsync, (int fd), (fd), kIo | kSpace | kSync, -1)
WRAPPED(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), kIo | kSpace | kSignals, -1)
WRAPPED(int, ftruncate, (int fd, off_t size), (fd, size), kIo | kSignals, -1)
WRAPPED(int, sync_file_range, (int fd, off_t at, off_t size, unsigned flags), (fd, at, size, flags),
        kIo | kSpace | kRam, -1)
WRAPPED(int, posix_fadvise, (int fd, off_t at, off_t size, int advice), (fd, at, size, advice), kIo, error)
WRAPPED(int, fstat, (int fd, struct stat* to), (fd, to), kIo | kRam, -1)
WRAPPED(int, fstatat, (int fd, const char* name, struct stat* to, int flags), (fd, name, to, flags), kIo | kRam, -1)
WRAPPED(int, fstatvfs, (int fd, struct statvfs* to), (fd, to), kIo | kRam, -1)
WRAPPED(int, mkdir, (const char* name, mode_t mode), (name, mode), kIo | kSpace | kRam, -1)
WRAPPED(int, mkdirat, (int fd, const char* name, mode_t mode), (fd, name, mode), kIo | kSpace | kRam, -1)
WRAPPED(int, unlinkat, (int fd, const char* name, int flags), (fd, name, flags), kIo | kRam, -1)
WRAPPED(int, renameat, (int from_fd, const char* from, int to_fd, const char* to), (from_fd, from, to_fd, to),
        kIo | kSpace | kRam, -1)
WRAPPED(int, faccessat, (int fd, const char* name, int mode, int flags), (fd, name, mode, flags), kIo | kRam, -1)
WRAPPED(int, flock, (int fd, int operation), (fd, operation), (operation & LOCK_UN) != 0 ? 0 : kIo | kRam | kSignals,
        -1)
WRAPPED(void*, mmap, (void* at, size_t size, int protection, int flags, int fd, off_t offset),
        (at, size, protection, flags, fd, offset), kFiles | kRam | kIo, MAP_FAILED)
WRAPPED(int, madvise, (void* at, size_t size, int advice), (at, size, advice), kIo | kRam, -1)
WRAPPED(int, mlock, (const void* at, size_t size), (at, size), kRam, -1)
WRAPPED(DIR*, fdopendir, (int fd), (fd), kRam, nullptr)
WRAPPED(struct dirent*, readdir, (DIR * stream), (stream), kIo, nullptr)
WRAPPED(void*, XXH3_createState, (), (), kRam, nullptr)
WRAPPED(struct io_uring_probe*, io_uring_get_probe, (), (), kRam, nullptr)

extern "C" {

int __real_open(const char* name, int flags, ...);
int __wrap_open(const char* name, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  if (const int error = Fails("open", kIo | kFiles | kRam | kSignals); error != 0) {
    errno = error;
    return -1;
  }
  return __real_open(name, flags, mode);
}

int __real_openat(int fd, const char* name, int flags, ...);
int __wrap_openat(int fd, const char* name, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  const unsigned creates = (flags & O_CREAT) != 0 ? unsigned{kSpace} : 0;
  if (const int error = Fails("openat", kIo | kFiles | kRam | kSignals | creates); error != 0) {
    errno = error;
    return -1;
  }
  return __real_openat(fd, name, flags, mode);
}

int __real_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* parameters);
int __wrap_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* parameters) {
  if (const int error = Fails("io_uring_queue_init_params", kFiles | kRam); error != 0) return -error;
  ForgetRing(ring);
  return __real_io_uring_queue_init_params(entries, ring, parameters);
}

// std::thread calls it from its own library, where --wrap does not reach.
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  if (Fails("pthread_create", kRam) != 0) return EAGAIN;
  static const auto next = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return next(thread, attributes, body, argument);
}

int __real_io_uring_ring_dontfork(io_uring* ring);
int __wrap_io_uring_ring_dontfork(io_uring* ring) {
  if (const int error = Fails("io_uring_ring_dontfork", kRam); error != 0) return -error;
  return __real_io_uring_ring_dontfork(ring);
}

int __real_io_uring_submit_and_get_events(io_uring* ring);
int __wrap_io_uring_submit_and_get_events(io_uring* ring) {
  if (const int error = Fails("io_uring_submit_and_get_events", kRam | kSignals | kBusy); error != 0) return -error;
  if (SpoilsCompletions()) ShortenQueued(*ring);
  const int result = __real_io_uring_submit_and_get_events(ring);
  if (SpoilsCompletions()) LookAt(*ring);
  return result;
}

int __real_io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** completion, unsigned wanted,
                                            __kernel_timespec* timeout, sigset_t* signals);
int __wrap_io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** completion, unsigned wanted,
                                            __kernel_timespec* timeout, sigset_t* signals) {
  if (const int error = Fails("io_uring_submit_and_wait_timeout", kRam | kSignals | kBusy); error != 0) return -error;
  if (SpoilsCompletions()) ShortenQueued(*ring);
  const int result = __real_io_uring_submit_and_wait_timeout(ring, completion, wanted, timeout, signals);
  if (SpoilsCompletions()) LookAt(*ring);
  return result;
}

int __real_io_uring_submit_and_wait(io_uring* ring, unsigned wanted);
int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wanted) {
  // Refused before anything was taken. A refusal that lasts is no EAGAIN any more.
  if (const int error = Fails("io_uring_submit_and_wait", kRam | kSignals | kBusy); error != 0) return -error;
  if (!SpoilsCompletions()) return __real_io_uring_submit_and_wait(ring, wanted);
  ShortenQueued(*ring);
  const bool early = kind.load() == CallFailure::kCompletionsDelayed && IsNext("io_uring_submit_and_wait");
  const int result = __real_io_uring_submit_and_wait(ring, early ? 0 : wanted);
  LookAt(*ring);
  return result;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
