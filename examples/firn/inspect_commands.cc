// stats, verify, dump.
#include <filesystem>
#include <memory>

#include "firn/command.h"
#include "firn/output.h"
#include "support/progress.h"
#include "support/text.h"

namespace firn::tools {
namespace {

struct InspectArgs {
  StoreArgs store;
  std::string file;
  bool json = false;
};

Json LatencyJson(const LatencySummary& summary) {
  return {{"count", summary.count},
          {"p50_ns", summary.p50_ns},
          {"p99_ns", summary.p99_ns},
          {"p999_ns", summary.p999_ns},
          {"max_ns", summary.max_ns}};
}

Json StatsJson(const Stats& s) {
  Json json = {{"keys", s.keys},
               {"namespaces", s.namespaces},
               {"last_revision", s.last_revision},
               {"durable_revision", s.durable_revision},
               {"disk_kind", s.disk_kind},
               {"poisoned", s.poisoned},
               {"open_seconds", s.open_seconds},
               {"open_read_bytes", s.open_read_bytes}};
  json.update({{"segments", s.segments},
               {"sealed_segments", s.sealed_segments},
               {"spare_segments", s.spare_segments},
               {"log_bytes", s.log_bytes},
               {"live_bytes", s.live_bytes},
               {"dead_bytes", s.dead_bytes},
               {"index_bytes", s.index_bytes},
               {"index_bytes_per_key", s.index_bytes_per_key},
               {"kept_versions", s.kept_versions},
               {"snapshots", s.snapshots}});
  json.update({{"user_bytes_written", s.user_bytes_written},
               {"user_bytes_read", s.user_bytes_read},
               {"device_reads", s.device_reads},
               {"device_read_bytes", s.device_read_bytes},
               {"device_writes", s.device_writes},
               {"device_written_bytes", s.device_written_bytes},
               {"device_syncs", s.device_syncs},
               {"commits", s.commits},
               {"commit_writes", s.commit_writes},
               {"commit_bytes", s.commit_bytes},
               {"group_size_p50", s.group_size_p50},
               {"group_size_max", s.group_size_max}});
  json["operations"] = {
      {"puts", LatencyJson(s.puts)},  {"deletes", LatencyJson(s.deletes)},       {"batches", LatencyJson(s.batches)},
      {"gets", LatencyJson(s.gets)},  {"multi_gets", LatencyJson(s.multi_gets)}, {"multi_get_keys", s.multi_get_keys},
      {"syncs", LatencyJson(s.syncs)}};
  return json;
}

int ShowStats(const InspectArgs& args) {
  return WithStore(args.store, Access::kRead, [&](DB& db, Namespace&) -> int {
    const Stats stats = db.GetStats();
    if (args.json) {
      PrintJson(StatsJson(stats));
    } else {
      PrintRaw(stats.ToString());
    }
    return kExitOk;
  });
}

int PrintReport(const InspectArgs& args, const VerifyReport& report) {
  if (args.json) {
    PrintJson({{"segments", report.segments},
               {"records", report.records},
               {"bytes", report.bytes},
               {"damages", report.damages}});
  } else {
    for (const std::string& damage : report.damages) PrintLine("damage: " + damage);
    PrintLine("checked " + CountText(report.records) + " records in " + CountText(report.segments) + " segments, " +
              BytesText(report.bytes) + ": " +
              (report.damages.empty() ? "all is well" : CountText(report.damages.size()) + " damaged"));
  }
  return report.damages.empty() ? kExitOk : kExitDataLoss;
}

int Verify(const InspectArgs& args) {
  StoreArgs store = args.store;
  std::vector<std::string> refusals;
  // A store too damaged to open normally is exactly what verify is asked about: look at the rest of it as
  // well.
  if (!store.salvage) {
    const absl::StatusOr<std::unique_ptr<DB>> db = OpenStore(store, Access::kRead);
    if (absl::IsDataLoss(db.status())) {
      refusals.push_back(MessageOf(db.status()));
      store.salvage = true;
    }
  }
  return WithStore(store, Access::kRead, [&](DB& db, Namespace&) -> int {
    ProgressBar bar("verify");
    absl::StatusOr<VerifyReport> report = db.Verify([&bar](uint64_t done_bytes, uint64_t total_bytes) {
      bar.Update(done_bytes, total_bytes);
      return true;
    });
    bar.Clear();
    if (!report.ok()) return Fail("verify " + args.store.path, report.status());
    report->damages.insert(report->damages.begin(), refusals.begin(), refusals.end());
    return PrintReport(args, *report);
  });
}

// log/ID.seg belongs to the directory above log, SUPERBLOCK to the one it lies in.
std::string StoreOfFile(const std::string& file) {
  const std::filesystem::path directory = std::filesystem::absolute(file).parent_path();
  const bool has_superblock = std::filesystem::exists(directory / "SUPERBLOCK");
  return (has_superblock ? directory : directory.parent_path()).string();
}

int Dump(const InspectArgs& args) {
  const std::string store = args.store.path.empty() ? StoreOfFile(args.file) : args.store.path;
  const absl::Status status = DumpFile(store, args.file, PrintLine);
  if (status.ok()) return kExitOk;
  const int exit_code = Fail("dump " + args.file, status,
                             args.store.path.empty() ? "took " + store + " for its store; --store names another" : "");
  return exit_code == kExitNotFound ? kExitFailed : exit_code;
}

}  // namespace

void AddInspectCommands(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<InspectArgs>();

  CLI::App* stats = app->add_subcommand("stats", "Print a store's figures");
  AddStoreArgs(stats, &args->store, false);
  stats->add_flag("--json", args->json, "Print one JSON object");
  stats->callback([args, exit_code] { *exit_code = ShowStats(*args); });

  CLI::App* verify = app->add_subcommand("verify", "Read and check every record of every segment");
  AddStoreArgs(verify, &args->store, false);
  verify->add_flag("--json", args->json, "Print one JSON object: segments, records, bytes, damages");
  verify->callback([args, exit_code] { *exit_code = Verify(*args); });

  CLI::App* dump = app->add_subcommand("dump", "Show a segment file, or SUPERBLOCK, in words");
  dump->add_option("FILE", args->file, "The file, usually STORE/log/ID.seg")->required();
  dump->add_option("--store", args->store.path, "The store it belongs to, when the file lies elsewhere");
  dump->footer(kExitCodesText);
  dump->callback([args, exit_code] { *exit_code = Dump(*args); });
}

}  // namespace firn::tools
