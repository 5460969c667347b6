#include "space/cases.h"

#include <cstdio>
#include <filesystem>

#include "support/child.h"
#include "support/json_line.h"
#include "support/table.h"

namespace firn::bench {
namespace {

void PrintJson(const Workload& workload, const Case& row, const std::string& run_key, int run, const Figures& figures) {
  const std::string line =
      JsonLine({{"workload", workload.name}, {"case", row.label}, {"engine", row.engine}, {run_key, run}}, figures);
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

std::string CellText(const Figures& figures, const Column& column) {
  const auto figure = figures.find(column.figure);
  if (figure == figures.end()) return "-";
  return Decimals(figure->second * column.factor, column.decimals);
}

void PrintTable(const Workload& workload, const std::vector<Row>& rows) {
  Rows lines(1, {"", "engine"});
  for (const Column& column : workload.columns) lines[0].push_back(column.title);
  for (const Row& row : rows) {
    lines.push_back({row.label, row.engine});
    for (const Column& column : workload.columns) lines.back().push_back(CellText(row.figures, column));
  }
  std::printf("\n%s: %s\n", workload.name.c_str(), workload.title.c_str());
  PrintAligned(lines, 2);
}

}  // namespace

absl::StatusOr<std::vector<Row>> RunWorkload(const Config& config, const Workload& workload) {
  std::vector<std::vector<Figures>> figures_of_case(workload.cases.size());
  absl::Status failure;
  for (int run = 1; run <= config.runs; ++run) {
    for (size_t i = 0; i < workload.cases.size(); ++i) {
      const Case& row = workload.cases[i];
      std::fprintf(stderr, "space_bench: %s, %s, %s, run %d ...\n", workload.name.c_str(), row.label.c_str(),
                   row.engine.c_str(), run);
      const std::string directory = config.directory + "/" + workload.name + "-" + row.engine;
      absl::StatusOr<Figures> figures = RunInChild([&] { return row.run(directory); });
      std::error_code ignored;
      std::filesystem::remove_all(directory, ignored);
      if (!figures.ok()) {
        std::fprintf(stderr, "space_bench: failed: %s\n", figures.status().ToString().c_str());
        failure.Update(figures.status());
        continue;
      }
      if (config.json) PrintJson(workload, row, "run", run, *figures);
      figures_of_case[i].push_back(*std::move(figures));
    }
  }
  std::vector<Row> rows;
  for (size_t i = 0; i < workload.cases.size(); ++i) {
    if (figures_of_case[i].empty()) continue;
    const Case& row = workload.cases[i];
    rows.push_back({row.label, row.engine, Combined(figures_of_case[i])});
    if (config.json) PrintJson(workload, row, "runs", static_cast<int>(figures_of_case[i].size()), rows.back().figures);
  }
  if (!config.json) PrintTable(workload, rows);
  if (!failure.ok()) return failure;
  return rows;
}

absl::StatusOr<EngineKind> EngineOfName(const std::string& name) {
  if (name == "firn") return EngineKind::kFirn;
  if (name == "rocksdb") return EngineKind::kRocksDb;
  if (name == "rocksdb-blob") return EngineKind::kRocksDbBlob;
  return absl::InvalidArgumentError("no engine is called " + name);
}

std::string SizeText(uint64_t bytes) {
  return bytes % kKiB == 0 ? std::to_string(bytes / kKiB) + " KiB" : std::to_string(bytes) + " B";
}

}  // namespace firn::bench
