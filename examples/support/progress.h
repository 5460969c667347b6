// A progress bar on the standard error, drawn only when that is a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace firn::tools {

class ProgressBar {
 public:
  // `label` says what is being done: "import", "verify".
  explicit ProgressBar(std::string label);
  ProgressBar(const ProgressBar&) = delete;
  ~ProgressBar() { Clear(); }

  // Redraws at most ten times a second.
  void Update(uint64_t done_bytes, uint64_t total_bytes);
  // Wipes the bar, so that other text can be printed; a later Update draws it again.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;

  const std::string label_;
  const bool enabled_;
  const Clock::time_point start_;
  Clock::time_point last_drawn_;
  bool visible_ = false;
};

}  // namespace firn::tools
