// One engine in one directory, the keys and values that were put into it, and measured phases of puts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "space/engine.h"
#include "support/data.h"

namespace firn::bench {

// The number of the key of the i-th put, below the session's number of keys; kNoMore ends the phase.
using KeyChoice = std::function<uint64_t(uint64_t i)>;
inline constexpr uint64_t kNoMore = ~uint64_t{0};

// Told when the engine was at work on one put.
using PutObserver = std::function<void(uint64_t start_ns, uint64_t end_ns)>;

class Session {
 public:
  static absl::StatusOr<Session> Open(const EngineSpec& spec, const std::string& directory, uint64_t keys);

  Engine& engine() { return *engine_; }
  const std::string& directory() const { return directory_; }
  uint64_t keys() const { return versions_.size(); }
  uint64_t live_bytes() const { return live_keys_ * pair_bytes_; }

  absl::Status Put(uint64_t number, const PutObserver& observe = nullptr, bool synced = false);
  // Puts, then Sync, then waits for the engine to rest. The figures:
  //   puts, user_bytes, seconds          throughput; Sync is in the time, the rest is not
  //   device_bytes, disk_bytes           by this process and by everybody, until it rested
  //   write_amplification                device_bytes / user_bytes
  //   space_max, space_mean, space_after bytes allocated / live key and value bytes: sampled, and at rest
  //   space_samples, space_gap_us_max    how densely
  //   p50_us, p99_us, p999_us, put_us_max, rested_seconds
  absl::StatusOr<Figures> Measure(const KeyChoice& choose, const PutObserver& observe = nullptr);
  // Every key once, in random order.
  absl::StatusOr<Figures> Load();

  // By one thread that waits for each to be durable, over keys in order.
  absl::StatusOr<double> SyncedPutsPerSecond(double seconds);

  // Reads a sample of the keys and compares; then closes. Adds the engine's own figures.
  absl::Status VerifyAndClose(Figures* figures);
  // All keys; their versions are forgotten.
  absl::Status DeleteAll();

 private:
  Session(std::unique_ptr<Engine> engine, std::string directory, const EngineSpec& spec, uint64_t keys);

  std::unique_ptr<Engine> engine_;
  std::string directory_;
  uint64_t pair_bytes_;
  ValueMaker values_;
  std::vector<uint32_t> versions_;  // by key; 0: absent
  uint64_t live_keys_ = 0;
};

}  // namespace firn::bench
