// A disk with a volatile write cache, in memory. A write is in the cache when it is answered, a flush makes durable
// what was answered before it, and a power cut decides for every write that no flush has covered whether it is lost,
// kept or torn between sectors. From the cut until the power is back every request fails with EIO.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

namespace firn::test {

class VolatileDisk {
 public:
  static constexpr uint64_t kSectorBytes = 512, kBlockBytes = 4'096;

  struct CutRule {
    uint64_t seed = 0;
    uint32_t lost_percent = 50;  // of the unflushed writes
    uint32_t torn_percent = 50;  // of those that are not lost: each piece by a coin
    bool at_flush = false;       // of a cut to come: with the next flush from then on, when most is at stake
  };
  struct CutReport {
    uint64_t lost = 0, torn = 0, kept = 0;  // writes
  };
  struct Counts {
    uint64_t writes = 0, flushes = 0;
    uint64_t unflushed = 0;  // writes in the cache now
  };

  // `on_cut` hears of a cut before anybody gets an error from it.
  VolatileDisk(uint64_t bytes, std::function<void(const CutReport&)> on_cut);
  ~VolatileDisk();
  VolatileDisk(const VolatileDisk&) = delete;

  // Thread-safe. 0, or an errno. Offsets beyond the end give ENOSPC.
  int Read(uint64_t offset, std::span<std::byte> out);
  int Write(uint64_t offset, std::span<const std::byte> data);
  int Flush();

  // In the middle of the request, write or flush, that comes after `requests` further ones: it is not answered with
  // success any more, and what it would have written may be there or not.
  void CutAfter(uint64_t requests, const CutRule& rule);
  // Now, unless the power is off already.
  void Cut(const CutRule& rule);
  void PowerOn();
  // A disk that lies: flushes succeed and do nothing.
  void set_ignores_flushes(bool ignores);
  Counts counts();
  uint64_t bytes() const { return bytes_; }

 private:
  struct Unflushed {
    uint64_t offset;
    std::vector<std::byte> data;
  };

  std::byte* MapZeros() const;
  void CutLocked(const CutRule& rule);
  bool CountsDown(bool is_flush);

  const uint64_t bytes_;
  const std::function<void(const CutReport&)> on_cut_;
  std::mutex mutex_;  // of everything below
  std::byte* current_;
  std::byte* durable_;
  std::vector<Unflushed> cache_;  // in the order in which they were written
  Counts counts_;
  bool on_ = true, ignores_flushes_ = false, armed_ = false;
  uint64_t requests_left_ = 0;
  CutRule rule_;
};

}  // namespace firn::test
