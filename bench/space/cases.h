// Cases are run in turn, each in a process of its own, several times, and become the rows of a table.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "space/config.h"
#include "space/engine.h"

namespace firn::bench {

struct Case {
  std::string label;   // "4 KiB"
  std::string engine;  // "rocksdb-blob"
  // Runs in a forked child, so that what /proc/self/io counts is this case's alone. `directory` does not exist yet;
  // what is there afterwards is removed.
  std::function<absl::StatusOr<Figures>(const std::string& directory)> run;
};

struct Row {
  std::string label, engine;
  Figures figures;  // medians over the runs; names ending in "_max": maxima
};

struct Column {
  std::string figure;  // its name in Figures
  std::string title;
  double factor = 1;  // shown is the figure times this
  int decimals = 2;
};

struct Workload {
  std::string name;   // "b"
  std::string title;  // one line above the table
  std::vector<Case> cases;
  std::vector<Column> columns;
};

// Runs all cases once, then all again, as often as asked; prints the table, or one line of JSON for each run and one
// for each row. A case that fails is reported, left out of the table, and makes the result an error once all have run.
absl::StatusOr<std::vector<Row>> RunWorkload(const Config& config, const Workload& workload);

// The engine's name as --engines has it.
absl::StatusOr<EngineKind> EngineOfName(const std::string& name);

// "100 B", "4 KiB".
std::string SizeText(uint64_t bytes);

}  // namespace firn::bench
