// a: loading; b: overwriting; c: overwriting with and without skew.
#include <random>

#include "space/session.h"
#include "space/workloads.h"

namespace firn::bench {
namespace {

constexpr uint64_t kRounds = 5;
constexpr double kZipfExponent = 0.99;

absl::StatusOr<Figures> LoadOnce(const Config& config, const EngineSpec& spec, const std::string& directory) {
  absl::StatusOr<Session> session = Session::Open(spec, directory, config.KeysFor(spec.value_bytes));
  if (!session.ok()) return session.status();
  absl::StatusOr<Figures> figures = session->Load();
  if (!figures.ok()) return figures.status();
  // While it grows there is little live data to compare with: what counts is what it has come to.
  (*figures)["space_max"] = figures->at("space_after");
  figures->erase("space_mean");
  if (absl::Status status = session->VerifyAndClose(&*figures); !status.ok()) return status;
  return figures;
}

// As many overwrites as kRounds of all keys, by draws.
absl::StatusOr<Figures> OverwriteDrawn(const Config& config, const EngineSpec& spec, const std::string& directory,
                                       bool skewed) {
  absl::StatusOr<Session> session = Session::Open(spec, directory, config.KeysFor(spec.value_bytes));
  if (!session.ok()) return session.status();
  if (absl::Status status = session->Load().status(); !status.ok()) return status;
  const uint64_t keys = session->keys();
  std::mt19937_64 random(13);
  const Zipf zipf(keys, kZipfExponent);
  absl::StatusOr<Figures> figures = session->Measure([&](uint64_t i) {
    if (i == kRounds * keys) return kNoMore;
    return skewed ? zipf(random) : random() % keys;
  });
  if (!figures.ok()) return figures.status();
  if (absl::Status status = session->VerifyAndClose(&*figures); !status.ok()) return status;
  return figures;
}

// For each size: how many times the puts of the best other engine.
void PrintLeads(const std::vector<Row>& rows) {
  for (const Row& firn : rows) {
    if (firn.engine != "firn") continue;
    const Row* best = nullptr;
    const auto rate = [](const Row& row) { return row.figures.at("puts_per_second"); };
    for (const Row& row : rows) {
      const bool other = row.label == firn.label && row.engine != firn.engine;
      if (other && (best == nullptr || rate(row) > rate(*best))) best = &row;
    }
    if (best == nullptr) continue;
    std::printf("%s: firn takes %.2f times the puts per second of %s, the best of the others\n", firn.label.c_str(),
                rate(firn) / rate(*best), best->engine.c_str());
  }
}

template <typename T>
void Append(const std::vector<T>& from, std::vector<T>* to) {
  to->insert(to->end(), from.begin(), from.end());
}

}  // namespace

absl::Status RunLoads(const Config& config) {
  Workload workload{"a", "load in random order, 16-byte keys; space at rest", {}, AmplificationColumns()};
  Append(LatencyColumns(), &workload.columns);
  std::erase_if(workload.columns,
                [](const Column& column) { return column.figure == "space_mean" || column.figure == "space_max"; });
  for (const uint64_t bytes : SizesOr(config, {100, 4 * kKiB, 32 * kKiB, 128 * kKiB})) {
    const auto run = [&config](const EngineSpec& spec, const std::string& path) {
      return LoadOnce(config, spec, path);
    };
    if (absl::Status status = AddCasePerEngine(config, bytes, run, &workload); !status.ok()) return status;
  }
  return RunWorkload(config, workload).status();
}

absl::Status RunOverwrites(const Config& config) {
  Workload workload{"b", "overwrite every key five times in random order", {}, AmplificationColumns()};
  Append(LatencyColumns(), &workload.columns);
  workload.columns.push_back({"loaded_segments", "segments loaded", 1, 0});
  workload.columns.push_back({"loaded_value_files", "value files", 1, 0});
  for (const uint64_t bytes : SizesOr(config, {4 * kKiB, 32 * kKiB, 128 * kKiB})) {
    const auto run = [&config](const EngineSpec& spec, const std::string& path) {
      return LoadAndOverwrite(config, spec, path, kRounds);
    };
    if (absl::Status status = AddCasePerEngine(config, bytes, run, &workload); !status.ok()) return status;
  }
  const absl::StatusOr<std::vector<Row>> rows = RunWorkload(config, workload);
  if (rows.ok() && !config.json) PrintLeads(*rows);
  return rows.status();
}

absl::Status RunSkew(const Config& config) {
  Workload workload{"c", "as many overwrites as five times all keys, drawn uniformly and by zipf 0.99", {}, {}};
  workload.columns = AmplificationColumns();
  for (const uint64_t bytes : SizesOr(config, {4 * kKiB})) {
    const EngineSpec spec = SpecFor(config, EngineKind::kFirn, bytes);
    for (const bool skewed : {false, true}) {
      workload.cases.push_back({SizeText(bytes) + (skewed ? " zipf" : " uniform"), "firn",
                                [&config, spec, skewed](const std::string& directory) {
                                  return OverwriteDrawn(config, spec, directory, skewed);
                                }});
    }
  }
  return RunWorkload(config, workload).status();
}

}  // namespace firn::bench
