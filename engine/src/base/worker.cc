#include "base/worker.h"

#include <utility>

namespace firn::base {

void Worker::Start(std::string name, std::function<uint64_t()> turn) {
  thread_ = Thread(std::move(name), [this, turn = std::move(turn)] { Run(turn); });
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

void Worker::Run(const std::function<uint64_t()>& turn) {
  for (uint64_t wait_nanos = kUntilKicked;;) {
    {
      MutexLock lock(mutex_);
      bool in_time = true;
      while (!kicked_ && !stop_ && in_time) {
        if (wait_nanos == kUntilKicked) {
          wake_.Wait(mutex_);
        } else {
          in_time = wake_.WaitFor(mutex_, wait_nanos);
        }
      }
      if (stop_) return;
      kicked_ = false;
    }
    wait_nanos = turn();
  }
}

}  // namespace firn::base
