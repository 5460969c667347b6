// What a store does while its machine fails.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "nth/life.h"

namespace firn::test {

struct NthScenario {
  std::string_view name;
  std::function<void(Life&)> prepare;  // on an open store, and nothing fails
  // The store is dropped, or killed, and opened by `run` itself.
  bool opens = false;
  bool killed_before = false;
  std::function<void(Life&)> run;
};

// For stores with segments of 64 KiB.
std::span<const NthScenario> Scenarios();

}  // namespace firn::test
