// compact, gc-report.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>

#include "firn/command.h"
#include "firn/output.h"
#include "support/files.h"
#include "support/progress.h"
#include "support/text.h"

namespace firn::tools {
namespace {

struct SpaceArgs {
  StoreArgs store;
  bool json = false;
};

// Set by the first Ctrl-C; the second one ends the process.
std::atomic<bool> interrupted{false};

void StopAtInterrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
}

int Compact(const SpaceArgs& args) {
  // As it lies there closed: an open store holds what it needs to go on writing.
  const uint64_t bytes_before = BlockBytesBelow(args.store.path);
  Stats after;
  const int exit_code = WithStore(args.store, Access::kWrite, [&](DB& db, Namespace&) -> int {
    StopAtInterrupt();
    ProgressBar bar("compact");
    const absl::Status status = db.Compact([&bar](uint64_t done_bytes, uint64_t total_bytes) {
      bar.Update(done_bytes, total_bytes);
      return !interrupted;
    });
    bar.Clear();
    after = db.GetStats();
    return status.ok() ? static_cast<int>(kExitOk) : Fail("compact " + args.store.path, status);
  });
  if (exit_code != kExitOk) return exit_code;
  const uint64_t disk_bytes = BlockBytesBelow(args.store.path);
  if (args.json) {
    PrintJson({{"disk_bytes_before", bytes_before},
               {"disk_bytes", disk_bytes},
               {"live_user_bytes", after.live_user_bytes},
               {"relocated_bytes", after.relocated_bytes},
               {"relocated_records", after.relocated_records}});
  } else {
    PrintLine(BytesText(bytes_before) + " before, " + BytesText(disk_bytes) + " now, for " +
              BytesText(after.live_user_bytes) + " of live keys and values; " + BytesText(after.relocated_bytes) +
              " moved");
  }
  return kExitOk;
}

std::string Temperature(const SegmentReport& segment) {
  if (segment.live_records == 0 && segment.sealed) return "dead";
  if (segment.generation == 0) return "fresh";
  return "moved " + CountText(segment.generation) + (segment.generation == 1 ? " time" : " times");
}

Json SegmentJson(const SegmentReport& segment) {
  return {{"segment", segment.segment},       {"file_bytes", segment.file_bytes},
          {"live_bytes", segment.live_bytes}, {"live_records", segment.live_records},
          {"tombstones", segment.tombstones}, {"live_fraction", segment.live_fraction},
          {"generation", segment.generation}, {"age_revisions", segment.age_revisions},
          {"sealed", segment.sealed}};
}

int GcReport(const SpaceArgs& args) {
  return WithStore(args.store, Access::kRead, [&](DB& db, Namespace&) -> int {
    const std::vector<SegmentReport> segments = db.GcReport();
    if (args.json) {
      Json all = Json::array();
      for (const SegmentReport& segment : segments) all.push_back(SegmentJson(segment));
      const Stats stats = db.GetStats();
      PrintJson({{"segments", all},
                 {"values",
                  {{"files", stats.value_files},
                   {"file_bytes", stats.value_files_bytes},
                   {"live_bytes", stats.value_live_bytes},
                   {"extents", stats.value_extents},
                   {"waiting_bytes", stats.value_waiting_bytes}}}});
      return kExitOk;
    }
    char line[200];
    std::snprintf(line, sizeof(line), "%10s %12s %12s %6s %10s %10s %14s  %s", "segment", "bytes", "live", "live%",
                  "records", "deletes", "age, writes", "temperature");
    PrintLine(line);
    for (const SegmentReport& segment : segments) {
      std::snprintf(
          line, sizeof(line), "%10u %12s %12s %5.1f%% %10s %10s %14s  %s", segment.segment,
          BytesText(segment.file_bytes).c_str(), BytesText(segment.live_bytes).c_str(), 100 * segment.live_fraction,
          CountText(segment.live_records).c_str(), CountText(segment.tombstones).c_str(),
          segment.sealed ? CountText(segment.age_revisions).c_str() : "being written", Temperature(segment).c_str());
      PrintLine(line);
    }
    const Stats stats = db.GetStats();
    PrintLine(CountText(stats.value_files) + " value files: " + BytesText(stats.value_files_bytes) + ", " +
              BytesText(stats.value_live_bytes) + " live in " + CountText(stats.value_extents) +
              " extents, which are not moved but freed one by one; " + BytesText(stats.value_waiting_bytes) +
              " waiting for that");
    return kExitOk;
  });
}

}  // namespace

void AddSpaceCommands(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<SpaceArgs>();

  CLI::App* compact = app->add_subcommand("compact", "Move what lives together and give all dead space back");
  AddStoreArgs(compact, &args->store, false);
  compact->add_flag("--json", args->json, "Print one JSON object");
  compact->callback([args, exit_code] { *exit_code = Compact(*args); });

  CLI::App* report = app->add_subcommand("gc-report", "Show each segment: size, live part, age, temperature");
  AddStoreArgs(report, &args->store, false);
  report->add_flag("--json", args->json, "Print one JSON object");
  report->callback([args, exit_code] { *exit_code = GcReport(*args); });
}

}  // namespace firn::tools
