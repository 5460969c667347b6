// A thread that does a turn of its work whenever it is kicked, and when the time it asked for has come.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/sync.h"

namespace firn::base {

class Worker {
 public:
  static constexpr uint64_t kUntilKicked = UINT64_MAX;

  Worker() = default;
  Worker(const Worker&) = delete;

  // `turn` returns when the next one is due if nobody kicks before, as the clock counts MonotonicNanos(). One that runs
  // out of memory is tried again a little later.
  void Start(std::string name, Clock& clock, std::function<uint64_t()> turn);
  // A turn will begin after this, unless Stop() comes first. Any thread, at any time; kicks during a turn come to one
  // more.
  void Kick();
  // Returns when the turn under way has ended. Not thread-safe; does nothing where nothing runs.
  void Stop();

 private:
  void Run(Clock& clock, const std::function<uint64_t()>& turn);

  Mutex mutex_;
  CondVar wake_;
  bool kicked_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;
};

}  // namespace firn::base
