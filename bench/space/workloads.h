// What is measured. bench/README.md says how.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "space/cases.h"
#include "space/config.h"

namespace firn::bench {

absl::Status RunLoads(const Config& config);           // a
absl::Status RunOverwrites(const Config& config);      // b
absl::Status RunSkew(const Config& config);            // c
absl::Status RunLongestPut(const Config& config);      // d
absl::Status RunDeleteAll(const Config& config);       // e
absl::Status RunRelocation(const Config& config);      // f
absl::Status RunThresholdSweep(const Config& config);  // g

struct NamedWorkload {
  std::string_view name;
  absl::Status (*run)(const Config& config);
};
inline constexpr NamedWorkload kWorkloads[] = {{"a", RunLoads},         {"b", RunOverwrites}, {"c", RunSkew},
                                               {"d", RunLongestPut},    {"e", RunDeleteAll},  {"f", RunRelocation},
                                               {"g", RunThresholdSweep}};

// What the workloads share.

// The configured value sizes, or the workload's own.
std::vector<uint64_t> SizesOr(const Config& config, std::initializer_list<uint64_t> own);

EngineSpec SpecFor(const Config& config, EngineKind kind, uint64_t value_bytes);

// A case for each configured engine: `run` is given the engine's spec and the directory.
using SpecRunner = std::function<absl::StatusOr<Figures>(const EngineSpec& spec, const std::string& directory)>;
absl::Status AddCasePerEngine(const Config& config, uint64_t value_bytes, const SpecRunner& run, Workload* workload);

// Loads every key, then overwrites each `rounds` times in random order; the figures are the overwrites', and
// load_write_amplification. Then for `synced_seconds` puts that are each waited for: synced_puts_per_second. All are
// verified.
absl::StatusOr<Figures> LoadAndOverwrite(const Config& config, const EngineSpec& spec, const std::string& directory,
                                         uint64_t rounds, double synced_seconds = 0);

std::vector<Column> AmplificationColumns();
std::vector<Column> LatencyColumns();

}  // namespace firn::bench
