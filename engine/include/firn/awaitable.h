// What an AsyncContext gives to `co_await`. Users need not name it.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <new>
#include <optional>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

namespace firn {

class AsyncQueue;

// Names an operation of a context; never used twice by it.
using AsyncId = uint64_t;

// An operation that a coroutine waits for, or that waits for its turn. Stays where it is.
class AwaitableBase {
 public:
  AwaitableBase(const AwaitableBase&) = delete;

 protected:
  explicit AwaitableBase(AsyncQueue* queue) : queue_(queue) {}
  // The coroutine has its answer, or is destroyed without.
  virtual ~AwaitableBase();

  // False: it failed at once, and the coroutine goes on.
  bool Suspend(std::coroutine_handle<> coroutine);
  void Resume();
  virtual absl::StatusOr<AsyncId> Begin() = 0;
  virtual void Fail(const absl::Status& status) = 0;

 private:
  friend class AsyncQueue;
  enum class State { kIdle, kInLine, kInFlight };

  AsyncQueue* const queue_;
  State state_ = State::kIdle;
  AsyncId id_ = 0;
  std::coroutine_handle<> coroutine_;
  AwaitableBase* previous_ = nullptr;  // in line
  AwaitableBase* next_ = nullptr;
};

template <typename Answer>
class [[nodiscard]] Awaitable final : private AwaitableBase {
 public:
  // Begins the operation, which is to call what it is given with the answer.
  using Call = std::function<absl::StatusOr<AsyncId>(std::function<void(Answer)>)>;

  template <typename Start>
  Awaitable(AsyncQueue* queue, const Start& start) : AwaitableBase(queue) {
    try {
      call_ = start;
    } catch (const std::bad_alloc&) {  // Begin() says so
    }
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> coroutine) { return Suspend(coroutine); }
  Answer await_resume() { return *std::move(answer_); }

 private:
  absl::StatusOr<AsyncId> Begin() override {
    if (!call_) return absl::ResourceExhaustedError("out of memory");
    return call_([this](Answer answer) {
      answer_.emplace(std::move(answer));
      Resume();
    });
  }
  void Fail(const absl::Status& status) override { answer_.emplace(status); }

  Call call_;
  std::optional<Answer> answer_;
};

}  // namespace firn
