// Calls of the engine while its machine fails, and how values are printed.
#pragma once

#include <exception>
#include <optional>
#include <string>

#include "nth/life.h"
#include "support/uncounted.h"

namespace firn::test {

inline std::string Short(const std::optional<std::string>& value) {
  if (!value) return "absent";
  return "\"" + value->substr(0, 20) + "\" (" + std::to_string(value->size()) + " bytes)";
}

// Runs a call of the engine's, whose allocations count, and demands that it does not throw.
template <typename Call>
auto Engine(const std::string& what, const Call& call) {
  try {
    const Counted counted;
    return call();
  } catch (const std::exception& e) {
    const Uncounted uncounted;
    Fail(what + " threw " + e.what());
  }
}

}  // namespace firn::test
