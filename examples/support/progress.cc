#include "support/progress.h"

#include <algorithm>
#include <cstdio>

#include "support/files.h"
#include "support/text.h"

namespace firn::tools {
namespace {

constexpr size_t kBarCells = 30;
constexpr auto kRedrawInterval = std::chrono::milliseconds(100);

}  // namespace

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), enabled_(StderrIsTerminal()), start_(Clock::now()), last_drawn_(start_) {}

void ProgressBar::Update(uint64_t done_bytes, uint64_t total_bytes) {
  if (!enabled_) return;
  const Clock::time_point now = Clock::now();
  if (visible_ && now - last_drawn_ < kRedrawInterval) return;
  last_drawn_ = now;
  visible_ = true;
  const double fraction =
      total_bytes == 0 ? 0 : std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
  const size_t filled = static_cast<size_t>(fraction * kBarCells);
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double bytes_per_second = seconds > 0 ? static_cast<double>(done_bytes) / seconds : 0;
  const std::string bar = std::string(filled, '#') + std::string(kBarCells - filled, '.');
  std::fprintf(stderr, "\r%s [%s] %3.0f %%  %s of %s, %s/s\033[K", label_.c_str(), bar.c_str(), fraction * 100,
               BytesText(done_bytes).c_str(), BytesText(total_bytes).c_str(),
               BytesText(static_cast<uint64_t>(bytes_per_second)).c_str());
  std::fflush(stderr);
}

void ProgressBar::Clear() {
  if (!visible_) return;
  visible_ = false;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

}  // namespace firn::tools
