#include "powercut/volatile_disk.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "support/rng.h"

namespace firn::test {

VolatileDisk::VolatileDisk(uint64_t bytes, std::function<void(const CutReport&)> on_cut)
    : bytes_(bytes), on_cut_(std::move(on_cut)), current_(MapZeros()), durable_(MapZeros()) {}

VolatileDisk::~VolatileDisk() {
  ::munmap(current_, bytes_);
  ::munmap(durable_, bytes_);
}

// Takes memory only where something is written.
std::byte* VolatileDisk::MapZeros() const {
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  FIRN_CHECK(memory != MAP_FAILED);
  return static_cast<std::byte*>(memory);
}

int VolatileDisk::Read(uint64_t offset, std::span<std::byte> out) {
  const std::lock_guard lock(mutex_);
  if (!on_) return EIO;
  if (offset > bytes_ || out.size() > bytes_ - offset) return ENOSPC;
  std::memcpy(out.data(), current_ + offset, out.size());
  return 0;
}

// Whether this request is the one that the power goes with.
bool VolatileDisk::CountsDown(bool is_flush) {
  if (!armed_) return false;
  if (requests_left_ > 0) {
    --requests_left_;
    return false;
  }
  return is_flush || !rule_.at_flush;
}

int VolatileDisk::Write(uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  if (!on_) return EIO;
  if (offset > bytes_ || data.size() > bytes_ - offset) return ENOSPC;
  ++counts_.writes;
  std::memcpy(current_ + offset, data.data(), data.size());
  cache_.push_back({offset, {data.begin(), data.end()}});
  if (!CountsDown(false)) return 0;
  CutLocked(rule_);
  return EIO;
}

int VolatileDisk::Flush() {
  const std::lock_guard lock(mutex_);
  if (!on_) return EIO;
  ++counts_.flushes;
  if (CountsDown(true)) {
    CutLocked(rule_);
    return EIO;
  }
  if (ignores_flushes_) return 0;
  for (const Unflushed& write : cache_) std::memcpy(durable_ + write.offset, write.data.data(), write.data.size());
  cache_.clear();
  return 0;
}

void VolatileDisk::CutAfter(uint64_t requests, const CutRule& rule) {
  const std::lock_guard lock(mutex_);
  armed_ = true;
  requests_left_ = requests;
  rule_ = rule;
}

void VolatileDisk::Cut(const CutRule& rule) {
  const std::lock_guard lock(mutex_);
  if (on_) CutLocked(rule);
}

// What survives goes to the medium in the order in which it was written; as each write's fate is its own, a later one
// may be there without an earlier one.
void VolatileDisk::CutLocked(const CutRule& rule) {
  Rng rng(rule.seed);
  CutReport report;
  for (const Unflushed& write : cache_) {
    if (rng.Below(100) < rule.lost_percent) {
      ++report.lost;
      continue;
    }
    const bool torn = rng.Below(100) < rule.torn_percent;
    ++(torn ? report.torn : report.kept);
    const uint64_t grain_bytes = rng.OneIn(2) ? kSectorBytes : kBlockBytes;
    for (size_t at = 0; at < write.data.size();) {
      const uint64_t piece_end = ((write.offset + at) / grain_bytes + 1) * grain_bytes;
      const size_t bytes = std::min<uint64_t>(piece_end - write.offset - at, write.data.size() - at);
      if (!torn || rng.OneIn(2)) std::memcpy(durable_ + write.offset + at, write.data.data() + at, bytes);
      at += bytes;
    }
  }
  for (const Unflushed& write : cache_) {
    std::memcpy(current_ + write.offset, durable_ + write.offset, write.data.size());
  }
  cache_.clear();
  on_ = armed_ = false;
  on_cut_(report);
}

void VolatileDisk::PowerOn() {
  const std::lock_guard lock(mutex_);
  on_ = true;
}

void VolatileDisk::set_ignores_flushes(bool ignores) {
  const std::lock_guard lock(mutex_);
  ignores_flushes_ = ignores;
}

VolatileDisk::Counts VolatileDisk::counts() {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.unflushed = cache_.size();
  return counts;
}

}  // namespace firn::test
