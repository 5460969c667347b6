#include "support/scheduler.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <malloc.h>
#include <sched.h>

#include "base/check.h"
#include "support/uncounted.h"

namespace firn::test {

namespace {

// Keeps this thread, and those it starts, on the core it is on. Only one of them ever runs, and to wake another core
// for each hand-over takes longer than what is done between two.
class OneCore {
 public:
  OneCore() {
    const int core = sched_getcpu();
    if (core < 0 || core >= CPU_SETSIZE || sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    kept_ = sched_setaffinity(0, sizeof(one), &one) == 0;  // where that is forbidden it is only slower
  }
  ~OneCore() {
    if (kept_) sched_setaffinity(0, sizeof(before_), &before_);
  }
  OneCore(const OneCore&) = delete;

 private:
  cpu_set_t before_;
  bool kept_ = false;
};

// A simulated machine's memory is a few MiB that come and go thousands of times. Given back to the kernel each time,
// its pages cost more than the engine that runs on them.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace

SimScheduler::SimScheduler(Options options) : options_(std::move(options)), rng_(options_.seed) {}

SimScheduler::~SimScheduler() {
  // Only threads that got stuck are left; they never touch the scheduler again.
  for (const std::shared_ptr<Task>& task : tasks_) {
    if (task->thread.joinable()) task->thread.detach();
  }
}

bool SimScheduler::Run(std::function<void()> body) {
  static const bool kept [[maybe_unused]] = (KeepFreedMemory(), true);
  const OneCore one_core;
  Spawn("main", std::move(body));
  GiveBaton(*tasks_.front());
  while (true) {
    Task* ended;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ended_ != nullptr || stuck_; });
      if (stuck_) break;
      ended = std::exchange(ended_, nullptr);
    }
    Reap(*ended);
    if (tasks_.empty()) break;
    Task* next = PickNext();
    if (next == nullptr) break;
    GiveBaton(*next);
  }
  if (thrown_) std::rethrow_exception(thrown_);
  return tasks_.empty();
}

void SimScheduler::Reap(Task& task) {
  // The baton stays with the thread until its thread-local destructors are through, so these are serialised as well.
  task.thread.join();
  Wake(&task);
  std::erase_if(tasks_, [&task](const std::shared_ptr<Task>& other) { return other.get() == &task; });
}

uint64_t SimScheduler::Spawn(std::string name, std::function<void()> body) {
  const Uncounted not_the_engines;
  auto task = std::make_shared<Task>();
  task->id = next_id_++;
  task->name = std::move(name);
  task->body = std::move(body);
  task->weight = rng_.OneIn(4) ? 8 : 1;
  tasks_.push_back(task);
  const uint64_t id = task->id;
  Task& placed = *task;
  placed.thread = std::thread([this, task = std::move(task)] { RunTask(task); });
  if (running_ != nullptr) Yield();
  return id;
}

void SimScheduler::RunTask(const std::shared_ptr<Task>& task) {
  AwaitBaton(*task);
  SetCurrent(this);
  try {
    task->body();
  } catch (...) {
    if (!thrown_) thrown_ = std::current_exception();
  }
  task->body = nullptr;
  task->ending = true;
  std::lock_guard lock(mutex_);
  ended_ = task.get();
  changed_.notify_one();
}

void SimScheduler::Join(uint64_t id) {
  const Uncounted not_the_engines;
  Yield();
  while (true) {
    const auto found = std::find_if(tasks_.begin(), tasks_.end(), [id](const auto& task) { return task->id == id; });
    if (found == tasks_.end()) return;
    Wait(found->get(), kNoDeadline);
  }
}

void SimScheduler::Step() {
  ++steps_;
  now_nanos_ += options_.nanos_per_step;
  if (step_hook_ && !in_step_hook_) {
    in_step_hook_ = true;
    step_hook_();
    in_step_hook_ = false;
  }
}

void SimScheduler::Yield() {
  const Uncounted not_the_engines;
  Task& self = *running_;
  if (self.ending || in_step_hook_) return;
  Step();
  if (tasks_.size() > 1 && rng_.Chance(options_.switch_probability)) {
    PassBaton(self);
  } else if (steps_ >= options_.steps_max) {
    PassBaton(self);  // reports it
  }
}

void SimScheduler::Wait(const void* channel, uint64_t deadline_nanos) {
  const Uncounted not_the_engines;
  Task& self = *running_;
  FIRN_CHECK(!self.ending && !in_step_hook_);
  Step();
  if (!rng_.Chance(options_.early_return_probability)) {
    self.state = State::kWaiting;
    self.channel = channel;
    self.deadline_nanos = deadline_nanos;
  }
  PassBaton(self);
}

void SimScheduler::Wake(const void* channel) {
  const Uncounted not_the_engines;
  for (const std::shared_ptr<Task>& task : tasks_) {
    if (task->state == State::kWaiting && task->channel == channel) task->state = State::kRunnable;
  }
}

void SimScheduler::PassBaton(Task& self) {
  Task* next = PickNext();
  if (next == nullptr) ParkForGood(self);
  if (next != &self) {
    ++switches_;
    GiveBaton(*next);
    AwaitBaton(self);
  }
  self.state = State::kRunnable;
}

void SimScheduler::GiveBaton(Task& next) {
  running_ = &next;
  MixIntoTrace(next.id);
  std::lock_guard lock(next.mutex);
  next.has_baton = true;
  next.turn.notify_one();
}

void SimScheduler::AwaitBaton(Task& self) {
  std::unique_lock lock(self.mutex);
  self.turn.wait(lock, [&self] { return self.has_baton; });
  self.has_baton = false;
}

void SimScheduler::ParkForGood(Task& self) {
  while (true) AwaitBaton(self);
}

uint64_t SimScheduler::ForcedNanosSince(uint64_t nanos) const {
  uint64_t sum = 0;
  for (const Forced& forced : forced_) {
    if (forced.until_nanos > nanos) sum += forced.nanos;
  }
  return sum;
}

SimScheduler::Task* SimScheduler::PickNext() {
  constexpr uint64_t kReweighOneIn = 512, kStepsBeforeTimeMoves = 5'000;
  if (steps_ >= options_.steps_max) {
    ReportStuck("the step limit is reached");
    return nullptr;
  }
  uint64_t weights = 0;
  for (int round = 0; round < 2 && weights == 0; ++round) {
    uint64_t next_deadline = kNoDeadline;
    for (const std::shared_ptr<Task>& task : tasks_) {
      if (task->state == State::kWaiting && task->deadline_nanos <= now_nanos_) task->state = State::kRunnable;
      if (task->state == State::kRunnable) {
        weights += task->weight;
      } else {
        next_deadline = std::min(next_deadline, task->deadline_nanos);
      }
    }
    if (weights == 0 && next_deadline == kNoDeadline) {
      ReportStuck("deadlock");
      return nullptr;
    }
    // A spinning thread may wait for one that sleeps: time moves on under it as well.
    const bool spinning = steps_ - time_moved_at_step_ > kStepsBeforeTimeMoves && next_deadline != kNoDeadline;
    if (weights == 0 || spinning) {
      if (weights != 0 && next_deadline > now_nanos_) forced_.push_back({next_deadline, next_deadline - now_nanos_});
      now_nanos_ = std::max(now_nanos_, next_deadline);
      time_moved_at_step_ = steps_;
    }
  }
  uint64_t ticket = rng_.Below(weights);
  for (const std::shared_ptr<Task>& task : tasks_) {
    if (task->state != State::kRunnable) continue;
    if (ticket < task->weight) {
      if (rng_.OneIn(kReweighOneIn)) task->weight = rng_.OneIn(4) ? 8 : 1;
      return task.get();
    }
    ticket -= task->weight;
  }
  FIRN_CHECK(false);
  return nullptr;
}

void SimScheduler::ReportStuck(const std::string& why) {
  std::string report =
      why + " at step " + std::to_string(steps_) + ", virtual time " + std::to_string(now_nanos_) + " ns; threads:";
  for (const std::shared_ptr<Task>& task : tasks_) {
    char line[256];
    if (task->state == State::kRunnable) {
      std::snprintf(line, sizeof(line), "\n  %s: runnable", task->name.c_str());
    } else if (task->deadline_nanos == kNoDeadline) {
      std::snprintf(line, sizeof(line), "\n  %s: waits for %p", task->name.c_str(), task->channel);
    } else {
      std::snprintf(line, sizeof(line), "\n  %s: waits for %p until %llu ns", task->name.c_str(), task->channel,
                    static_cast<unsigned long long>(task->deadline_nanos));
    }
    report += line;
  }
  if (!options_.on_stuck) {
    std::fprintf(stderr, "%s\n", report.c_str());
    std::abort();
  }
  options_.on_stuck(report);
  std::lock_guard lock(mutex_);
  stuck_ = true;
  changed_.notify_one();
}

void Nap(uint64_t milliseconds) {
  base::Scheduler* scheduler = base::Scheduler::Current();
  const uint64_t until = scheduler->NowNanos() + milliseconds * 1'000'000;
  while (scheduler->NowNanos() < until) scheduler->Wait(&until, until);
}

}  // namespace firn::test
