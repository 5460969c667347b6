#include "space/workloads.h"

#include "space/session.h"

namespace firn::bench {

std::vector<uint64_t> SizesOr(const Config& config, std::initializer_list<uint64_t> own) {
  return config.value_bytes.empty() ? std::vector<uint64_t>(own) : config.value_bytes;
}

EngineSpec SpecFor(const Config& config, EngineKind kind, uint64_t value_bytes) {
  EngineSpec spec;
  spec.kind = kind;
  spec.value_bytes = value_bytes;
  spec.memory_budget_bytes = config.MemoryBudgetFor(config.KeysFor(value_bytes));
  return spec;
}

absl::Status AddCasePerEngine(const Config& config, uint64_t value_bytes, const SpecRunner& run, Workload* workload) {
  for (const std::string& name : config.engines) {
    const absl::StatusOr<EngineKind> kind = EngineOfName(name);
    if (!kind.ok()) return kind.status();
    const EngineSpec spec = SpecFor(config, *kind, value_bytes);
    workload->cases.push_back(
        {SizeText(value_bytes), name, [run, spec](const std::string& directory) { return run(spec, directory); }});
  }
  return absl::OkStatus();
}

absl::StatusOr<Figures> LoadAndOverwrite(const Config& config, const EngineSpec& spec, const std::string& directory,
                                         uint64_t rounds, double synced_seconds) {
  absl::StatusOr<Session> session = Session::Open(spec, directory, config.KeysFor(spec.value_bytes));
  if (!session.ok()) return session.status();
  const absl::StatusOr<Figures> load = session->Load();
  if (!load.ok()) return load.status();
  const Figures loaded = session->engine().OwnFigures();
  const std::vector<uint32_t> order = ShuffledNumbers(session->keys(), rounds, 11);
  absl::StatusOr<Figures> figures = session->Measure([&](uint64_t i) { return i < order.size() ? order[i] : kNoMore; });
  if (!figures.ok()) return figures.status();
  (*figures)["load_write_amplification"] = load->at("write_amplification");
  if (const auto segments = loaded.find("firn_segments"); segments != loaded.end()) {
    (*figures)["loaded_segments"] = segments->second;
    (*figures)["loaded_value_files"] = loaded.at("firn_value_files");
  }
  if (synced_seconds > 0) {
    const absl::StatusOr<double> rate = session->SyncedPutsPerSecond(synced_seconds);
    if (!rate.ok()) return rate.status();
    (*figures)["synced_puts_per_second"] = *rate;
  }
  if (absl::Status status = session->VerifyAndClose(&*figures); !status.ok()) return status;
  return figures;
}

std::vector<Column> AmplificationColumns() {
  return {{"device_bytes", "device MiB", 1.0 / static_cast<double>(kMiB), 0},
          {"disk_bytes", "disk MiB", 1.0 / static_cast<double>(kMiB), 0},
          {"write_amplification", "write amp", 1, 3},
          {"space_max", "space max", 1, 3},
          {"space_mean", "mean", 1, 3},
          {"space_after", "at rest", 1, 3},
          {"puts_per_second", "puts/s", 1, 0},
          {"mib_per_second", "MiB/s", 1, 0}};
}

std::vector<Column> LatencyColumns() {
  return {{"p50_us", "p50 us", 1, 1},
          {"p99_us", "p99 us", 1, 1},
          {"p999_us", "p99.9 us", 1, 0},
          {"put_us_max", "max us", 1, 0}};
}

}  // namespace firn::bench
