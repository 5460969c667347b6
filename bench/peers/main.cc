// peers_bench: firn beside the engines that it would be chosen over, on this machine. See bench/README.md.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "peers/config.h"
#include "peers/limits.h"
#include "peers/memory_limit.h"
#include "peers/report.h"
#include "peers/workloads.h"
#include "support/child.h"
#include "support/workplace.h"

namespace firn::bench {
namespace {

bool Contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

int Run(Config config, const std::string& parent, const std::string& plot) {
  const FreshDirectory fresh(parent, "firn-peers");
  if (fresh.path().empty()) {
    std::fprintf(stderr, "peers_bench: %s\n", fresh.error().c_str());
    return 1;
  }
  config.directory = fresh.path();
  WarnIfBusy("peers_bench");
  EndChildrenOnSignals();
  const auto probe = RunInChild([]() -> absl::StatusOr<Figures> {
    return Figures{{"limited", LimitMemory(256 * kMiB) ? 1.0 : 0.0}};
  });
  RemoveMemoryLimits();
  if (!probe.ok() || probe->at("limited") == 0) {
    std::fprintf(stderr,
                 "peers_bench: no cgroup can be made here: each engine is told the same memory, but nothing holds "
                 "it, or the page cache, to it\n");
  }
  Results results;
  std::vector<Figures> limits;
  int exit_code = 0;
  for (int run = 1; run <= config.runs; ++run) {
    if (auto measured = RunInChild([&] { return MeasureLimits(config.directory, config.seconds); }); measured.ok()) {
      if (config.json) PrintJson("limits", "machine", run, *measured);
      limits.push_back(*std::move(measured));
    } else {
      std::fprintf(stderr, "peers_bench: the machine's limits: %s\n", measured.status().ToString().c_str());
      exit_code = 1;
    }
    for (const Group& group : Groups()) {
      if (!Contains(config.groups, group.name)) continue;
      for (const Peer& peer : Peers()) {
        if (Interrupted() || !Contains(config.engines, peer.name)) continue;
        const std::string name(peer.name);
        std::fprintf(stderr, "peers_bench: %s, %s, run %d ...\n", std::string(group.name).c_str(), name.c_str(), run);
        const std::string directory = config.directory + "/" + name;
        auto figures = RunInChild([&] { return RunGroup(group, config, peer, directory); });
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(config.directory, ignored)) {
          std::filesystem::remove_all(entry.path(), ignored);
        }
        RemoveMemoryLimits();
        if (Interrupted()) continue;
        if (!figures.ok()) {
          std::fprintf(stderr, "peers_bench: failed: %s\n", figures.status().ToString().c_str());
          exit_code = 1;
          continue;
        }
        if (config.json) PrintJson(group.name, name, run, *figures);
        results[{std::string(group.name), name}].push_back(*std::move(figures));
      }
    }
  }
  if (Interrupted()) {
    std::fprintf(stderr, "peers_bench: interrupted\n");
    return 1;
  }
  const Figures of_machine = Combined(limits);
  if (!config.json) PrintTable(results, of_machine, config.engines);
  if (!plot.empty() && !WritePlot(plot, results, config.engines)) {
    std::fprintf(stderr, "peers_bench: cannot write %s\n", plot.c_str());
    exit_code = 1;
  }
  return exit_code;
}

}  // namespace
}  // namespace firn::bench

int main(int argc, char** argv) {
  firn::bench::Config config;
  for (const firn::bench::Peer& peer : firn::bench::Peers()) config.engines.emplace_back(peer.name);
  std::string parent = "/var/tmp", plot;
  bool quick = false;
  CLI::App app("firn beside RocksDB, LevelDB, LMDB and WiredTiger: operations a second, and what the machine could do");
  CLI::Option* const groups =
      app.add_option("--groups", config.groups,
                     "Of 100B,batch,killed,1KiB,4KiB,32KiB,128KiB,synced,ycsb,disk,mixed (default: all)")
          ->delimiter(',')
          ->check(CLI::IsMember(config.groups));
  app.add_option("--engines", config.engines, "Of firn,rocksdb,rocksdb-blob,leveldb,lmdb,wiredtiger (default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember(config.engines));
  CLI::Option* const keys =
      app.add_option("--keys", config.keys, "Of 100 bytes (default 1,000,000); of larger values as many as fit")
          ->check(CLI::Range(uint64_t{1'000}, uint64_t{1} << 30));
  CLI::Option* const data = app.add_option_function<uint64_t>(
      "--data-mib", [&config](const uint64_t& mib) { config.data_bytes_max = mib * firn::bench::kMiB; },
      "All keys and values of a store at most (default 2,048)");
  data->check(CLI::Range(uint64_t{16}, uint64_t{1} << 20));
  CLI::Option* const seconds =
      app.add_option("--seconds", config.seconds, "For each figure that takes a time (default 2)")
          ->check(CLI::Range(0.05, 600.0));
  CLI::Option* const mixed =
      app.add_option("--mixed-seconds", config.mixed_seconds, "For the mixed load of each engine (default 600)")
          ->check(CLI::Range(0.05, 86'400.0));
  CLI::Option* const runs =
      app.add_option("--runs", config.runs, "Runs of everything; medians are given (default 3; published: 5)")
          ->check(CLI::Range(1, 100));
  app.add_flag("--quick", quick, "Less of everything: 100,000 keys, 96 MiB, 0.2 s for a figure, one run");
  app.add_option("--dir", parent, "Where on the disk to work (default /var/tmp); emptied again afterwards");
  app.add_option("--plot", plot, "Write an SVG of bars to this file as well");
  app.add_flag("--json", config.json, "One line of JSON for each run instead of the table");
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    if (groups->count() == 0)
      std::erase_if(config.groups, [](auto& name) { return name == "1KiB" || name == "32KiB"; });
    if (keys->count() == 0) config.keys = 100'000;
    if (data->count() == 0) config.data_bytes_max = 96 * firn::bench::kMiB;
    if (seconds->count() == 0) config.seconds = 0.2;
    if (mixed->count() == 0) config.mixed_seconds = 2;
    if (runs->count() == 0) config.runs = 1;
  }
  return firn::bench::Run(std::move(config), parent, plot);
}
