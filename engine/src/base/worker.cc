#include "base/worker.h"

#include <utility>

#include "base/memory.h"

namespace firn::base {

void Worker::Start(std::string name, Clock& clock, std::function<uint64_t()> turn) {
  thread_ = Thread(std::move(name), [this, &clock, turn = std::move(turn)] { Run(clock, turn); });
}

void Worker::Kick() {
  MutexLock lock(mutex_);
  kicked_ = true;
  wake_.NotifyOne();
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stop_ = true;
    wake_.NotifyOne();
  }
  thread_.Join();
}

void Worker::Run(Clock& clock, const std::function<uint64_t()>& turn) {
  for (uint64_t due_nanos = kUntilKicked;;) {
    {
      MutexLock lock(mutex_);
      while (!kicked_ && !stop_) {
        if (due_nanos == kUntilKicked) {
          wake_.Wait(mutex_);
          continue;
        }
        const uint64_t now_nanos = clock.MonotonicNanos();
        if (now_nanos >= due_nanos) break;
        wake_.WaitFor(mutex_, due_nanos - now_nanos);
      }
      if (stop_) return;
      kicked_ = false;
    }
    constexpr uint64_t kAgainNanos = 50'000'000;
    if (!IfMemoryPermits([&] { due_nanos = turn(); })) due_nanos = clock.MonotonicNanos() + kAgainNanos;
  }
}

}  // namespace firn::base
