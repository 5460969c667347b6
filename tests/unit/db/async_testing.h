// What the tests of asynchronous operations share.
#pragma once

#include <firn/async.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "unit/db/testing.h"

namespace firn::testing {

inline constexpr absl::StatusCode kCancelled = absl::StatusCode::kCancelled;
inline constexpr absl::StatusCode kDeadline = absl::StatusCode::kDeadlineExceeded;

// More than the tail buffers hold, so that most reads go to the disk.
inline constexpr size_t kKeys = 1'000;
inline std::string NumberedValue(size_t i, size_t bytes = 3'000) { return std::to_string(i) + std::string(bytes, 'v'); }

template <typename Store>
void Fill(Store& store, size_t keys = kKeys, size_t value_bytes = 3'000) {
  for (size_t i = 0; i < keys; ++i) Must(store->Put(NumberedKey(i), NumberedValue(i, value_bytes), Buffered()));
}

inline std::unique_ptr<AsyncContext> ContextOf(DB& db, uint32_t in_flight_max = 256) {
  return Must(AsyncContext::Create(db, {.in_flight_max = in_flight_max}));
}

// Where an answer goes, and how often.
template <typename Answer>
struct Slot {
  std::optional<Answer> answer;
  int times = 0;
  auto Taker() {
    return [this](Answer given) {
      answer.emplace(std::move(given));
      ++times;
    };
  }
};

inline void WaitForAll(AsyncContext& context) {
  while (context.in_flight() > 0) context.Wait();
}

inline AsyncPutOptions AsyncBuffered() {
  AsyncPutOptions options;
  options.durability = Durability::kBuffered;
  return options;
}

// The ways of reading: from a ring, by system calls, and of the simulated disk.
inline const Options kRing{}, kCalls{.use_io_uring = false};

}  // namespace firn::testing
