// What one run found, as a line for programs.
#pragma once

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "support/figures.h"

namespace firn::bench {

// One object: `labels`, in their order, and then the figures.
inline std::string JsonLine(nlohmann::ordered_json labels, const Figures& figures) {
  for (const auto& [name, value] : figures) labels[name] = value;
  return labels.dump();
}

}  // namespace firn::bench
