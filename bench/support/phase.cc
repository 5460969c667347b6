#include "support/phase.h"

#include <atomic>
#include <barrier>
#include <mutex>
#include <thread>
#include <vector>

#include "support/failure.h"
#include "support/timing.h"

namespace firn::bench {

Took RunPhase(const Phase& phase, const TurnMaker& make) {
  constexpr uint64_t kTurnsPerLook = 16;  // at the clock
  std::atomic<uint64_t> operations{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  absl::Status failure;
  double cpu_before = 0;
  SteadyClock::time_point began;
  // Once all have what they work with.
  std::barrier start(phase.threads, [&]() noexcept {
    cpu_before = CpuSeconds();
    began = SteadyClock::now();
  });
  const auto work = [&](int thread) {
    const Turn turn = make(thread);
    start.arrive_and_wait();
    uint64_t mine = 0;
    const absl::Status status = Caught([&] {
      for (uint64_t turns = 0; !failed; ++turns) {
        if (turns % kTurnsPerLook == 0 && SecondsSince(began) >= phase.seconds) break;
        const uint64_t count = turn();
        if (count == 0) break;
        mine += count;
      }
      return absl::OkStatus();
    });
    if (!status.ok()) {
      const std::lock_guard lock(mutex);
      failure.Update(status);
      failed = true;
    }
    operations += mine;
  };
  std::vector<std::thread> others;
  for (int i = 1; i < phase.threads; ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& thread : others) thread.join();
  if (failure.ok() && phase.finish) failure = phase.finish();
  if (!failure.ok()) {
    throw Failure{absl::Status(failure.code(), phase.name + ": " + std::string(failure.message()))};
  }
  Took took;
  took.seconds = SecondsSince(began);
  took.cpu_seconds = CpuSeconds() - cpu_before;
  took.operations = operations;
  return took;
}

}  // namespace firn::bench
