// One key-value engine under test, as thin as can be. Writes are buffered: they survive the death of the process, and
// only Sync() makes them survive the machine's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <firn/options.h>

#include "support/figures.h"

namespace firn::bench {

class Engine {
 public:
  virtual ~Engine() = default;
  virtual absl::Status Put(std::string_view key, std::string_view value) = 0;
  // Returns when the put is durable.
  virtual absl::Status PutSynced(std::string_view key, std::string_view value) {
    const absl::Status status = Put(key, value);
    return status.ok() ? Sync() : status;
  }
  virtual absl::Status Get(std::string_view key, std::string* value) = 0;
  virtual absl::Status Delete(std::string_view key) = 0;
  virtual absl::Status Sync() = 0;
  // Gives back what garbage there is, now.
  virtual absl::Status Compact() = 0;
  virtual absl::Status Close() = 0;
  // What the engine itself says; names begin with the engine's.
  virtual Figures OwnFigures() const = 0;
};

enum class EngineKind { kFirn, kRocksDb, kRocksDbBlob, kFilePerValue };

struct EngineSpec {
  EngineKind kind = EngineKind::kFirn;
  uint64_t memory_budget_bytes = 0;
  uint64_t value_bytes = 0;  // of all values that will be put
  // firn only: values from this size are kept apart from the log; 0: never. Without it firn's default.
  std::optional<uint64_t> separation_threshold_bytes;
};

// Whether this firn can keep values apart. Turns true by itself once Options has the field.
template <typename O>
concept HasValueSeparation = requires(O options) {
  options.value_separation_threshold_bytes;
};
inline constexpr bool kValueSeparation = HasValueSeparation<Options>;

// `path` does not exist yet; its parent does.
absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const EngineSpec& spec, const std::string& path);

absl::StatusOr<std::unique_ptr<Engine>> OpenFirn(const EngineSpec& spec, const std::string& path);
absl::StatusOr<std::unique_ptr<Engine>> OpenRocksDb(const EngineSpec& spec, const std::string& path);
absl::StatusOr<std::unique_ptr<Engine>> OpenFilePerValue(const EngineSpec& spec, const std::string& path);

}  // namespace firn::bench
