#include "io/bus_errors.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/fork.h"
#include "base/sync.h"

namespace firn::io {
namespace {

// Where the handler finds what is guarded: a list that only grows, of places that are used again. Who takes a guard out
// of its place waits for the handlers that may have seen it there.
struct Place {
  std::atomic<BusErrorGuard*> guard{nullptr};
  Place* next = nullptr;
};
std::atomic<Place*> places{nullptr};
std::atomic<uint32_t> handlers_looking{0};

struct sigaction previous;

// The default, for what is not ours: the signal comes again, of itself where an access caused it, and ends the process.
void EndAsByDefault(int signal, const siginfo_t& info) {
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  ::sigaction(signal, &by_default, nullptr);
  // Sent by somebody, or by the kernel for memory that nobody has touched yet.
  if (info.si_code <= 0 || info.si_code == BUS_MCEERR_AO) ::raise(signal);
}

void PassOn(int signal, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_DFL) {
    EndAsByDefault(signal, *info);
  } else if (previous.sa_handler == SIG_IGN) {
    const bool of_access = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
    if (of_access) EndAsByDefault(signal, *info);  // which cannot be ignored
  } else {
    previous.sa_handler(signal);
  }
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  bool replaced = false;
  if (info->si_code > 0) {
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    handlers_looking.fetch_add(1, std::memory_order_seq_cst);
    for (Place* place = places.load(std::memory_order_acquire); place != nullptr && !replaced; place = place->next) {
      BusErrorGuard* const guard = place->guard.load(std::memory_order_seq_cst);
      replaced = guard != nullptr && guard->Replace(address);
    }
    handlers_looking.fetch_sub(1, std::memory_order_seq_cst);
  }
  errno = saved_errno;
  if (!replaced) PassOn(signal, info, context);
}

// Once in a process: a second time might find another's handler that passes on to this one.
void InstallHandler() {
  constexpr uint64_t kInstalled = UINT64_MAX;
  static std::atomic<uint64_t> state{0};  // else the generation of the process that is about to
  for (int turn = 0; state.load(std::memory_order_acquire) != kInstalled; ++turn) {
    // A fork() may have come while another thread of the parent was at it: that thread is not in this process.
    uint64_t seen = state.load(std::memory_order_relaxed);
    const uint64_t self = base::ForkGeneration();
    if (seen == kInstalled || seen == self || !state.compare_exchange_strong(seen, self)) {
      base::SpinPause(turn);
      continue;
    }
    struct sigaction ours {};
    ours.sa_sigaction = OnBusError;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    ::sigemptyset(&ours.sa_mask);
    struct sigaction before {};
    FIRN_CHECK(::sigaction(SIGBUS, nullptr, &before) == 0);
    const bool is_ours = (before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction == OnBusError;
    if (!is_ours) {
      previous = before;
      FIRN_CHECK(::sigaction(SIGBUS, &ours, nullptr) == 0);
    }
    state.store(kInstalled, std::memory_order_release);
  }
}

// Copies a page that may be unreadable; then there are zeros.
void CopyPage(void* to, uintptr_t from, size_t bytes) {
  const iovec local{to, bytes}, remote{reinterpret_cast<void*>(from), bytes};
  const ssize_t copied = ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0);
  if (copied == static_cast<ssize_t>(bytes) || (copied < 0 && errno == EFAULT)) return;
  // The system call is not to be had, as in some sandboxes. That the page is not readable is the rarer case by far, and
  // ends the process.
  std::memcpy(to, remote.iov_base, bytes);
}

}  // namespace

std::unique_ptr<BusErrorGuard> BusErrorGuard::Watch(base::MutableBytes mapping) {
  InstallHandler();
  const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  FIRN_CHECK(reinterpret_cast<uintptr_t>(mapping.data()) % page_bytes == 0);
  std::unique_ptr<BusErrorGuard> guard(new BusErrorGuard(mapping, page_bytes));
  for (Place* place = places.load(std::memory_order_acquire); place != nullptr; place = place->next) {
    BusErrorGuard* expected = nullptr;
    if (place->guard.compare_exchange_strong(expected, guard.get())) return guard;
  }
  auto place = std::make_unique<Place>();
  place->guard.store(guard.get(), std::memory_order_relaxed);
  place->next = places.load(std::memory_order_relaxed);
  while (!places.compare_exchange_weak(place->next, place.get(), std::memory_order_acq_rel)) {
  }
  static_cast<void>(place.release());
  return guard;
}

BusErrorGuard::BusErrorGuard(base::MutableBytes mapping, size_t page_bytes)
    : fork_generation_(base::ForkGeneration()),
      begin_(reinterpret_cast<uintptr_t>(mapping.data())),
      page_bytes_(page_bytes),
      pages_((mapping.size() + page_bytes - 1) / page_bytes),
      states_(new std::atomic<PageState>[pages_]()) {}

BusErrorGuard::~BusErrorGuard() {
  for (Place* place = places.load(std::memory_order_acquire); place != nullptr; place = place->next) {
    BusErrorGuard* expected = this;
    if (place->guard.compare_exchange_strong(expected, nullptr)) break;
  }
  // A child has no other threads, and those of its parent are counted still.
  if (base::ForkGeneration() != fork_generation_) return;
  for (int turn = 0; handlers_looking.load(std::memory_order_seq_cst) != 0; ++turn) base::SpinPause(turn);
}

bool BusErrorGuard::Replace(uintptr_t address) {
  if (address < begin_ || address - begin_ >= pages_ * page_bytes_) return false;
  if (base::ForkGeneration() != fork_generation_) return false;
  const size_t page = (address - begin_) / page_bytes_;
  // Before the page is copied: what is stored into it after that, which only a store that did not fail can be, is
  // followed by a look at this.
  tripped_.store(true, std::memory_order_seq_cst);
  std::atomic<PageState>& state = states_[page];
  PageState seen = kOfFile;
  if (!state.compare_exchange_strong(seen, kBeingReplaced)) {
    while (seen == kBeingReplaced) seen = state.load(std::memory_order_acquire);
    return seen == kOwn;
  }
  const uintptr_t at = begin_ + page * page_bytes_;
  constexpr int kReadWrite = PROT_READ | PROT_WRITE;
  void* const own = ::mmap(nullptr, page_bytes_, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  bool replaced = false;
  if (own != MAP_FAILED) {
    CopyPage(own, at, page_bytes_);
    // In one step: at no time does another thread find anything else there than either page.
    constexpr int kThere = MREMAP_MAYMOVE | MREMAP_FIXED;
    replaced = ::mremap(own, page_bytes_, page_bytes_, kThere, reinterpret_cast<void*>(at)) != MAP_FAILED;
    if (!replaced) ::munmap(own, page_bytes_);
  }
  state.store(replaced ? kOwn : kGivenUp, std::memory_order_release);
  return replaced;
}

}  // namespace firn::io
