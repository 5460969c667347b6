// Running out of memory: where std::bad_alloc becomes a status.
//
// Inside the engine an allocation that fails throws, and owners clean up behind it. It is caught in three kinds of
// places, and nowhere else:
//   - where a call of the public API begins (db/db.cc, db/cursor.cc): the call returns OutOfMemory();
//   - at the top of each turn of a background thread: what was not done is tried again, or the log is poisoned;
//   - past a point of no return, such as a revision that was drawn. From there on nothing allocates that could not do
//     without: memory is had before, or what is lost is of no consequence (IfMemoryPermits).
//
// Abseil's hash tables are broken by an allocation that throws while they grow; the engine uses the standard ones.
#pragma once

#include <new>
#include <type_traits>
#include <utility>

#include "base/status.h"

namespace firn::base {

// ResourceExhausted, "out of memory: ...". Allocates nothing: where even this message was never made it is empty.
absl::Status OutOfMemory();
bool IsOutOfMemory(const absl::Status& status);

// What `call` returns, a Status or StatusOr; or OutOfMemory().
template <typename Call>
std::invoke_result_t<Call> OrOutOfMemory(Call&& call) {
  try {
    return std::forward<Call>(call)();
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  }
}

// For what may stay undone. False if memory ran out half-way.
template <typename Call>
bool IfMemoryPermits(Call&& call) noexcept {
  try {
    std::forward<Call>(call)();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace firn::base
