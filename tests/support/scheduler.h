// Runs threads one at a time, in an order that follows from a seed.
//
// Every scheduled thread is a real thread, but only the holder of the baton runs; it passes the baton on at scheduling
// points (locks, waits, disk operations, SchedulePoint()). Because the baton is handed over under a mutex, everything
// one thread did happens before what the next one does: no data race can come from the scheduler itself.
//
// Time is virtual. It moves on to the next deadline when nobody can run (or those who can only spin), and by
// `nanos_per_step` at each point.
//
//   SimScheduler scheduler({.seed = 7});
//   scheduler.Run([] { base::Thread worker("worker", [] { ... }); worker.Join(); });
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/sync.h"
#include "support/rng.h"

namespace firn::test {

class SimScheduler final : public base::Scheduler {
 public:
  struct Options {
    uint64_t seed = 1;
    // How often a scheduling point passes the baton on: near 0 gives long runs, 1 switches at each point.
    double switch_probability = 0.25;
    // How often a wait returns although nobody woke it, which base::CondVar permits.
    double early_return_probability = 0.02;
    uint64_t nanos_per_step = 0;
    uint64_t steps_max = 50'000'000;
    // Gets the report when nobody can ever run again, or the steps are used up. When it returns, the stuck threads are
    // left where they are for good. Empty: print and abort.
    std::function<void(const std::string& report)> on_stuck;
  };

  explicit SimScheduler(Options options);
  ~SimScheduler() override;

  // Runs `body` as the scheduled thread "main" until every scheduled thread has ended. False when they got stuck.
  // Rethrows what a thread threw. To be called once, by an ordinary thread.
  bool Run(std::function<void()> body);

  void Yield() override;
  void Wait(const void* channel, uint64_t deadline_nanos) override;
  void Wake(const void* channel) override;
  uint64_t NowNanos() override { return now_nanos_; }
  uint64_t Spawn(std::string name, std::function<void()> body) override;
  void Join(uint64_t id) override;

  // Called at every scheduling point by the thread that runs. It must not wait.
  void SetStepHook(std::function<void()> hook) { step_hook_ = std::move(hook); }

  // Of the time since `nanos`, how much passed while somebody could have run: no deadline was missed for lack of zeal.
  uint64_t ForcedNanosSince(uint64_t nanos) const;

  uint64_t steps() const { return steps_; }
  uint64_t switches() const { return switches_; }
  // Equal for equal runs: what a replay is compared by.
  uint64_t trace_hash() const { return trace_hash_; }
  void MixIntoTrace(uint64_t value) { trace_hash_ = (trace_hash_ ^ value) * 0x100000001B3u; }

 private:
  enum class State { kRunnable, kWaiting };
  struct Task {
    uint64_t id = 0;
    std::string name;
    std::function<void()> body;
    State state = State::kRunnable;
    const void* channel = nullptr;
    uint64_t deadline_nanos = kNoDeadline;
    uint64_t weight = 1;  // chance of being chosen, relative to the others
    bool ending = false;  // its body is over; thread-local destructors may still run
    std::thread thread;

    std::mutex mutex;
    std::condition_variable turn;
    bool has_baton = false;
  };

  void Step();
  void RunTask(const std::shared_ptr<Task>& task);
  void PassBaton(Task& self);
  void GiveBaton(Task& next);
  static void AwaitBaton(Task& self);
  Task* PickNext();
  void Reap(Task& task);
  void ReportStuck(const std::string& why);
  [[noreturn]] static void ParkForGood(Task& self);

  const Options options_;
  Rng rng_;

  // All of these belong to whoever holds the baton.
  std::vector<std::shared_ptr<Task>> tasks_;  // not yet ended, by id
  Task* running_ = nullptr;
  uint64_t next_id_ = 1;
  uint64_t now_nanos_ = 1'000'000'000;
  uint64_t steps_ = 0;
  uint64_t time_moved_at_step_ = 0;
  struct Forced {
    uint64_t until_nanos, nanos;
  };
  std::vector<Forced> forced_;  // moves of time under those who spin
  uint64_t switches_ = 0;
  uint64_t trace_hash_ = 0xCBF29CE484222325u;
  std::function<void()> step_hook_;
  bool in_step_hook_ = false;
  std::exception_ptr thrown_;

  // Between the scheduled threads and the thread inside Run().
  std::mutex mutex_;
  std::condition_variable changed_;
  Task* ended_ = nullptr;
  bool stuck_ = false;
};

// Of a scheduled thread: waits in virtual time, so that background threads get their turn.
void Nap(uint64_t milliseconds);

}  // namespace firn::test
