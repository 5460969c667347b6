// space_bench: issue 3's promises about space and write amplification, beside RocksDB. See bench/README.md.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "space/config.h"
#include "space/workloads.h"
#include "support/workplace.h"

namespace firn::bench {
namespace {

int Run(Config config, const std::string& parent) {
  const FreshDirectory fresh(parent, "firn-space");
  if (fresh.path().empty()) {
    std::fprintf(stderr, "space_bench: %s\n", fresh.error().c_str());
    return 1;
  }
  config.directory = fresh.path();
  WarnIfBusy("space_bench");
  int exit_code = 0;
  for (const NamedWorkload& workload : kWorkloads) {
    const auto& wanted = config.workloads;
    if (std::find(wanted.begin(), wanted.end(), workload.name) == wanted.end()) continue;
    if (const absl::Status status = workload.run(config); !status.ok()) {
      std::fprintf(stderr, "space_bench: %s: %s\n", std::string(workload.name).c_str(), status.ToString().c_str());
      exit_code = 1;
    }
  }
  return exit_code;
}

}  // namespace
}  // namespace firn::bench

int main(int argc, char** argv) {
  firn::bench::Config config;
  std::string parent = "/var/tmp";
  CLI::App app("Space and write amplification, throughput and put latency of firn beside RocksDB");
  app.add_option("--workloads", config.workloads,
                 "a load, b overwrite, c skew, d longest put, e delete everything, f relocation, g threshold sweep "
                 "(default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember(config.workloads));
  app.add_option("--engines", config.engines, "Of firn,rocksdb,rocksdb-blob (default: all); a, b, d, e")
      ->delimiter(',')
      ->check(CLI::IsMember(config.engines));
  app.add_option("--value-bytes", config.value_bytes, "Instead of each workload's own sizes; g needs multiples of 4096")
      ->delimiter(',')
      ->check(CLI::Range(uint64_t{16}, uint64_t{1} << 24));
  app.add_option("--scale", config.scale, "Live data in units of 256 MiB (default 1); memory budgets grow with it")
      ->check(CLI::Range(0.01, 1'000.0));
  app.add_option("--minutes", config.minutes, "d: how long (default 1; published: 10)")->check(CLI::Range(0.01, 600.0));
  app.add_option("--idle-seconds", config.idle_seconds, "e: how long to wait at most (default 75)")
      ->check(CLI::Range(1.0, 3'600.0));
  app.add_option("--runs", config.runs, "Runs of everything; medians are given (default 1)")->check(CLI::Range(1, 100));
  app.add_option("--dir", parent, "Where on the disk to work (default /var/tmp); emptied again afterwards");
  app.add_flag("--json", config.json, "One line of JSON for each run and each median instead of tables");
  CLI11_PARSE(app, argc, argv);
  return firn::bench::Run(config, parent);
}
