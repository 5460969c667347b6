// The demonstration: import, kill, reopen, prove, finish, scan, update under a condition, delete.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/status.h>

namespace firn::tools {

struct DemoConfig {
  std::vector<std::string> directories;
  std::string store_path;  // does not exist yet
  int kill_at_percent = 40;
};

// Prints what it does and a table at the end. OK only if every check held; a check that failed is DataLoss.
absl::Status RunDemo(const DemoConfig& config);

}  // namespace firn::tools
