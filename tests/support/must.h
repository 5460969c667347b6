// What must succeed, or the test ends.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <catch2/catch.hpp>
#include <utility>

namespace firn::test {

template <typename T>
T Must(absl::StatusOr<T> result) {
  INFO(result.status());
  REQUIRE(result.ok());
  return *std::move(result);
}

inline void Must(const absl::Status& status) {
  INFO(status);
  REQUIRE(status.ok());
}

}  // namespace firn::test
