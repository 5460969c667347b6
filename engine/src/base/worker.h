// A thread that does a turn of its work whenever it is kicked, and when the time it asked for has come.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/sync.h"

namespace firn::base {

class Worker {
 public:
  static constexpr uint64_t kUntilKicked = UINT64_MAX;

  Worker() = default;
  Worker(const Worker&) = delete;

  // `turn` returns how many nanoseconds to wait for a kick before the next turn.
  void Start(std::string name, std::function<uint64_t()> turn);
  // There will be a turn that begins after this. Any thread, at any time; kicks during a turn come to one more.
  void Kick();
  // Returns when the turn under way has ended. Not thread-safe; does nothing where nothing runs.
  void Stop();
  bool running() const { return thread_.joinable(); }

 private:
  void Run(const std::function<uint64_t()>& turn);

  Mutex mutex_;
  CondVar wake_;
  bool kicked_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;
};

}  // namespace firn::base
