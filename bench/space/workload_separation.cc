// f: what reclaim moves when values are kept apart and when not; g: from which size keeping apart pays.
#include <cstdio>
#include <random>

#include "space/session.h"
#include "space/workloads.h"

namespace firn::bench {
namespace {

constexpr uint64_t kExperimentValues = 60, kExperimentValueBytes = 32 * kKiB, kExperimentCompactions = 15;
constexpr uint64_t kSeparateAll = 4 * kKiB;  // the smallest size of the sweep
constexpr uint64_t kSeparateNone = 0;
constexpr uint64_t kSweepRounds = 2;
constexpr double kSyncedSeconds = 2;

struct Placement {
  const char* name;
  EngineKind kind;
  std::optional<uint64_t> threshold_bytes;
  bool possible;
};

constexpr Placement kPlacements[] = {{"inline", EngineKind::kFirn, kSeparateNone, true},
                                     {"separated", EngineKind::kFirn, kSeparateAll, kValueSeparation},
                                     {"file-per-value", EngineKind::kFilePerValue, std::nullopt, true}};

// Each compaction finds about half of the values overwritten since the one before, at random, so that every segment has
// garbage and something that must move.
absl::StatusOr<Figures> CompactAgainAndAgain(const EngineSpec& spec, const std::string& directory) {
  absl::StatusOr<Session> session = Session::Open(spec, directory, kExperimentValues);
  if (!session.ok()) return session.status();
  for (uint64_t number = 0; number < session->keys(); ++number) {
    if (absl::Status status = session->Put(number); !status.ok()) return status;
  }
  std::mt19937_64 random(19);
  for (uint64_t compaction = 0; compaction < kExperimentCompactions; ++compaction) {
    for (uint64_t number = 0; number < session->keys(); ++number) {
      if (random() % 2 == 0) continue;
      if (absl::Status status = session->Put(number); !status.ok()) return status;
    }
    if (absl::Status status = session->engine().Compact(); !status.ok()) return status;
  }
  Figures figures;
  if (absl::Status status = session->VerifyAndClose(&figures); !status.ok()) return status;
  const double records = figures["firn_relocated_records"];
  if (records > 0) figures["bytes_per_record"] = figures["firn_relocated_bytes"] / records;
  return figures;
}

void PrintRatio(const std::vector<Row>& rows, bool json) {
  double inline_bytes = 0, separated_bytes = 0;
  for (const Row& row : rows) {
    (row.label == "separated" ? separated_bytes : inline_bytes) = row.figures.at("firn_relocated_bytes");
  }
  if (separated_bytes <= 0) return;
  std::printf(json ? "{\"workload\":\"f\",\"inline_to_separated\":%.1f}\n"
                   : "%.0f times fewer relocated bytes with separation\n",
              inline_bytes / separated_bytes);
}

}  // namespace

absl::Status RunRelocation(const Config& config) {
  Workload workload{"f", "60 values of 32 KiB, 15 compactions", {}, {}};
  workload.columns = {{"firn_relocated_records", "relocated records", 1, 0},
                      {"firn_relocated_bytes", "relocated bytes", 1, 0},
                      {"bytes_per_record", "bytes/record", 1, 1}};
  for (const Placement& placement : kPlacements) {
    if (placement.kind != EngineKind::kFirn || !placement.possible) continue;
    EngineSpec spec;
    spec.value_bytes = kExperimentValueBytes;
    spec.memory_budget_bytes = kMemoryBudgetBytesMin;
    spec.separation_threshold_bytes = placement.threshold_bytes;
    workload.cases.push_back({placement.name, "firn",
                              [spec](const std::string& directory) { return CompactAgainAndAgain(spec, directory); }});
  }
  const absl::StatusOr<std::vector<Row>> rows = RunWorkload(config, workload);
  if (!rows.ok()) return rows.status();
  PrintRatio(*rows, config.json);
  if (!kValueSeparation) std::fprintf(stderr, "space_bench: this firn keeps no values apart yet\n");
  return absl::OkStatus();
}

absl::Status RunThresholdSweep(const Config& config) {
  Workload workload{"g", "where values are kept: load, then overwrite every key twice in random order", {}, {}};
  workload.columns = AmplificationColumns();
  workload.columns.push_back({"load_write_amplification", "load write amp", 1, 3});
  workload.columns.push_back({"p99_us", "p99 us", 1, 1});
  workload.columns.push_back({"synced_puts_per_second", "synced puts/s", 1, 0});
  for (const uint64_t bytes :
       SizesOr(config, {4 * kKiB, 8 * kKiB, 16 * kKiB, 32 * kKiB, 64 * kKiB, 128 * kKiB, 256 * kKiB})) {
    for (const Placement& placement : kPlacements) {
      if (!placement.possible) continue;
      EngineSpec spec = SpecFor(config, placement.kind, bytes);
      spec.separation_threshold_bytes = placement.threshold_bytes;
      workload.cases.push_back({SizeText(bytes), placement.name, [&config, spec](const std::string& directory) {
                                  return LoadAndOverwrite(config, spec, directory, kSweepRounds, kSyncedSeconds);
                                }});
    }
  }
  return RunWorkload(config, workload).status();
}

}  // namespace firn::bench
