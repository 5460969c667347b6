// One thread with hundreds of operations in flight. Usage: firn-async [DIRECTORY]; the store is made there, or in a
// temporary place.
#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>

#include <firn/async.h>

namespace {

constexpr size_t kKeys = 20'000;
constexpr size_t kWritersAtATime = 64;

std::string KeyOf(size_t number) { return "key/" + std::to_string(number); }
std::string ValueOf(size_t number) { return std::to_string(number) + std::string(4'000, '.'); }

class Stopwatch {
 public:
  void Print(const char* what, size_t count) const {
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began_;
    std::printf("%-44s %8.0f a second\n", what, static_cast<double>(count) / taken.count());
  }

 private:
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

// A coroutine that nobody waits for.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

// Each of the writers puts one key after the other, and waits until it is durable.
Detached Write(firn::AsyncContext& context, size_t first, absl::Status* failure) {
  for (size_t number = first; number < kKeys; number += kWritersAtATime) {
    const absl::StatusOr<firn::Revision> revision = co_await context.Put(KeyOf(number), ValueOf(number));
    if (!revision.ok()) *failure = revision.status();
  }
}

absl::Status WriteAll(firn::AsyncContext& context) {
  absl::Status failure;
  const Stopwatch stopwatch;
  for (size_t i = 0; i < kWritersAtATime; ++i) Write(context, i, &failure);
  while (context.in_flight() > 0) context.Wait();
  stopwatch.Print("durable puts, 64 coroutines of one thread", kKeys);
  return failure;
}

absl::Status ReadAll(firn::AsyncContext& context) {
  absl::Status failure;
  size_t begun = 0, right = 0;
  const Stopwatch stopwatch;
  while (right < kKeys && failure.ok()) {
    // As many as there is room for.
    while (begun < kKeys) {
      const size_t number = begun * 7'919 % kKeys;  // in no order
      const auto take = [&, number](const absl::StatusOr<std::string>& value) {
        if (value.ok() && *value == ValueOf(number)) {
          ++right;
        } else {
          failure = value.ok() ? absl::DataLossError("another value") : value.status();
        }
      };
      if (!context.Get(KeyOf(number), take).ok()) break;
      ++begun;
    }
    context.Wait();
  }
  while (context.in_flight() > 0) context.Wait();
  stopwatch.Print("gets from the disk, 256 in flight", kKeys);
  return failure;
}

absl::Status Tour(const std::string& path) {
  for (const auto work : {&WriteAll, &ReadAll}) {
    firn::Options options;
    options.memory_budget_bytes = firn::kMemoryBudgetBytesMin;  // little of the store stays in memory
    absl::StatusOr<std::unique_ptr<firn::DB>> db = firn::DB::Open(options, path);
    if (!db.ok()) return db.status();
    absl::StatusOr<std::unique_ptr<firn::AsyncContext>> context = firn::AsyncContext::Create(**db);
    if (!context.ok()) return context.status();
    absl::Status status = work(**context);
    context->reset();
    if (status.ok()) status = (*db)->Close();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error) / "firn-async";
  const absl::Status status = Tour(argc > 1 ? argv[1] : temporary.string());
  if (status.ok()) return EXIT_SUCCESS;
  std::fprintf(stderr, "firn-async: %s\n", status.ToString().c_str());
  return EXIT_FAILURE;
}
