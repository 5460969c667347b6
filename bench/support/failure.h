// How a measurement ends that cannot go on.
#pragma once

#include <type_traits>

#include <absl/status/status.h>

namespace firn::bench {

// Ends it from whatever depth.
struct Failure {
  absl::Status status;
};
inline void Demand(const absl::Status& status) {
  if (!status.ok()) throw Failure{status};
}
// What `call` returns, a Status or StatusOr; or that of the failure.
template <typename Call>
std::invoke_result_t<Call> Caught(const Call& call) {
  try {
    return call();
  } catch (const Failure& failure) {
    return failure.status;
  }
}

}  // namespace firn::bench
