// stats, verify, dump.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <system_error>
#include <vector>

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
  bool space = false;
  uint64_t bytes_per_second = 0;
  std::string cursor;
};

Json LatencyJson(const LatencySummary& summary) {
  return {{"count", summary.count},
          {"p50_ns", summary.p50_ns},
          {"p99_ns", summary.p99_ns},
          {"p999_ns", summary.p999_ns},
          {"max_ns", summary.max_ns}};
}

// What all files together take, in parts that add up to it but for what changes meanwhile.
struct SpacePart {
  const char* name;  // in JSON
  const char* in_words;
  uint64_t bytes;
};

std::vector<SpacePart> SpaceParts(const Stats& s) {
  const auto rest = [](uint64_t whole, std::initializer_list<uint64_t> parts) {
    for (const uint64_t part : parts) whole -= std::min(whole, part);
    return whole;
  };
  return {
      {"log_live_bytes", "log: live records", s.live_bytes},
      {"log_dead_bytes", "log: dead records", rest(s.dead_bytes, {s.padding_bytes, s.footer_bytes, s.unwritten_bytes})},
      {"log_padding_bytes", "log: padding, headers", s.padding_bytes},
      {"log_footer_bytes", "log: footers", s.footer_bytes},
      {"log_unwritten_bytes", "log: not yet written", s.unwritten_bytes},
      {"log_spare_bytes", "log: spare", s.spare_bytes},
      {"value_live_bytes", "values: live", s.value_live_bytes},
      {"value_slack_bytes", "values: slack", s.value_slack_bytes},
      {"value_waiting_bytes", "values: to be freed", s.value_waiting_bytes},
      {"value_ahead_bytes", "values: ahead, headers",
       rest(s.value_files_bytes, {s.value_live_bytes, s.value_slack_bytes, s.value_waiting_bytes})},
      {"tail_bytes", "TAIL", s.tail_bytes},
      {"superblock_bytes", "SUPERBLOCK", s.superblock_bytes},
      {"reserve_bytes", "RESERVE", s.reserve_bytes},
      {"image_bytes", "IMAGE", s.image_bytes}};
}

Json SpaceJson(const Stats& s) {
  Json parts;
  for (const SpacePart& part : SpaceParts(s)) parts[part.name] = part.bytes;
  return {{"disk_bytes", s.disk_bytes},
          {"disk_parts", parts},
          {"live_user_bytes", s.live_user_bytes},
          {"space_amplification", s.space_amplification},
          {"space_ceiling_bytes", s.space_ceiling_bytes},
          {"spare_bytes", s.spare_bytes},
          {"pinned_bytes", s.pinned_bytes},
          {"pinned_over_ceiling", s.pinned_over_ceiling},
          {"quota_bytes", s.quota_bytes},
          {"quota_used_bytes", s.quota_used_bytes},
          {"reserve_bytes", s.reserve_bytes},
          {"free_bytes", s.free_bytes},
          {"disk_full", s.disk_full},
          {"write_amplification", s.write_amplification},
          {"relocated_records", s.relocated_records},
          {"relocated_bytes", s.relocated_bytes},
          {"read_ahead_bytes", s.read_ahead_bytes},
          {"reclaimed_bytes", s.reclaimed_bytes},
          {"reclaim_debt", s.reclaim_debt},
          {"throttled_ns", s.throttled_ns}};
}

Json StatsJson(const Stats& s) {
  Json json = {{"keys", s.keys},
               {"namespaces", s.namespaces},
               {"last_revision", s.last_revision},
               {"durable_revision", s.durable_revision},
               {"disk_kind", s.disk_kind},
               {"poisoned", s.poisoned},
               {"open_seconds", s.open_seconds},
               {"open_read_bytes", s.open_read_bytes},
               {"open_image_records", s.open_image_records}};
  json.update({{"segments", s.segments},
               {"sealed_segments", s.sealed_segments},
               {"spare_segments", s.spare_segments},
               {"log_bytes", s.log_bytes},
               {"live_bytes", s.live_bytes},
               {"dead_bytes", s.dead_bytes},
               {"index_bytes", s.index_bytes},
               {"index_bytes_per_key", s.index_bytes_per_key},
               {"cache_capacity_bytes", s.cache_capacity_bytes},
               {"cache_bytes", s.cache_bytes},
               {"cache_values", s.cache_values},
               {"cache_hits", s.cache_hits},
               {"cache_misses", s.cache_misses},
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
  json.update(SpaceJson(s));
  json["operations"] = {
      {"puts", LatencyJson(s.puts)},  {"deletes", LatencyJson(s.deletes)},       {"batches", LatencyJson(s.batches)},
      {"gets", LatencyJson(s.gets)},  {"multi_gets", LatencyJson(s.multi_gets)}, {"multi_get_keys", s.multi_get_keys},
      {"syncs", LatencyJson(s.syncs)}};
  return json;
}

void PrintSpace(const Stats& s) {
  const auto line = [](const std::string& name, const std::string& value) {
    PrintLine(name + std::string(28 - name.size(), ' ') + value);
  };
  line("on disk", BytesText(s.disk_bytes));
  for (const SpacePart& part : SpaceParts(s)) line(std::string("  ") + part.in_words, BytesText(part.bytes));
  line("of it pinned by snapshots",
       BytesText(s.pinned_bytes) + (s.pinned_over_ceiling ? ", more than the ceiling allows" : ""));
  line("live keys and values", BytesText(s.live_user_bytes));
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", s.space_amplification);
  line("space amplification", text);
  line("ceiling", BytesText(s.space_ceiling_bytes));
  line("quota", s.quota_bytes == 0 ? "none" : BytesText(s.quota_bytes));
  line("  used", BytesText(s.quota_used_bytes));
  line("free for writes", BytesText(s.free_bytes));
}

int ShowStats(const InspectArgs& args) {
  return WithStore(args.store, Access::kRead, [&](DB& db, Namespace&) -> int {
    const Stats stats = db.GetStats();
    if (args.json) {
      PrintJson(args.space ? SpaceJson(stats) : StatsJson(stats));
    } else if (args.space) {
      PrintSpace(stats);
    } else {
      PrintRaw(stats.ToString());
    }
    return kExitOk;
  });
}

Json DamageJson(const Damage& damage) {
  Json keys = Json::array();
  for (const AffectedKey& affected : damage.keys) {
    Json key = {{"namespace", affected.namespace_name}};
    SetBytes(&key, "key", affected.key, /*hex=*/false);
    keys.push_back(std::move(key));
  }
  return {{"file", damage.file}, {"offset", damage.offset},          {"bytes", damage.bytes}, {"what", damage.what},
          {"keys", keys},        {"keys_in_all", damage.keys_in_all}};
}

void PrintDamage(const Damage& damage) {
  PrintLine("damage: " + Printable(damage.ToString()));
  for (const AffectedKey& affected : damage.keys) {
    PrintLine("  key " + Shown(affected.key, /*hex=*/false) +
              (affected.namespace_name.empty() ? "" : " in namespace " + affected.namespace_name));
  }
  if (damage.keys_in_all > damage.keys.size()) {
    PrintLine("  and " + CountText(damage.keys_in_all - damage.keys.size()) + " more keys");
  }
}

// `refusal`: why the store could not be opened, or only by salvaging, if the report does not say so; else empty.
int PrintReport(const InspectArgs& args, const std::string& refusal, const VerifyReport& report) {
  const size_t damaged = report.damages.size() + (refusal.empty() ? 0 : 1);
  const bool stopped = !report.cursor.empty();
  if (args.json) {
    std::vector<std::string> sentences;
    Json details = Json::array();
    if (!refusal.empty()) {
      sentences.push_back(refusal);
      details.push_back(DamageJson({.file = {}, .what = refusal, .keys = {}}));
    }
    for (const Damage& damage : report.damages) {
      sentences.push_back(damage.ToString());
      details.push_back(DamageJson(damage));
    }
    Json json = {{"segments", report.segments}, {"records", report.records}, {"values", report.values},
                 {"bytes", report.bytes},       {"damages", sentences},      {"details", details}};
    if (stopped) json["cursor"] = report.cursor;
    PrintJson(json);
  } else {
    if (!refusal.empty()) PrintLine("damage: " + Printable(refusal));
    for (const Damage& damage : report.damages) PrintDamage(damage);
    PrintLine("checked " + CountText(report.records) + " records in " + CountText(report.segments) + " segments, " +
              CountText(report.values) + " separated values, " + BytesText(report.bytes) + ": " +
              (damaged == 0 ? "all is well" : CountText(damaged) + " damaged"));
    if (stopped) PrintLine("stopped; go on with --from " + report.cursor);
  }
  if (damaged != 0) return kExitDataLoss;
  return stopped ? kExitFailed : kExitOk;
}

volatile std::sig_atomic_t interrupted = 0;

// A check that takes hours is stopped by Ctrl-C, and says where it was.
class InterruptWatch {
 public:
  InterruptWatch() : before_(std::signal(SIGINT, [](int) { interrupted = 1; })) {}
  ~InterruptWatch() { static_cast<void>(std::signal(SIGINT, before_)); }
  InterruptWatch(const InterruptWatch&) = delete;

 private:
  void (*const before_)(int);
};

int Verify(const InspectArgs& args) {
  StoreArgs store = args.store;
  std::string refusal;
  absl::StatusOr<std::unique_ptr<DB>> opened = OpenStore(store, Access::kRead);
  // A store too damaged to open normally is exactly what verify is asked about: look at the rest of it as
  // well.
  if (absl::IsDataLoss(opened.status()) && !store.salvage) {
    refusal = MessageOf(opened.status());
    store.salvage = true;
    opened = OpenStore(store, Access::kRead);
  }
  if (absl::IsDataLoss(opened.status())) {
    Note("nothing could be checked; 'firn salvage " + store.path + " NEW' makes a new store of all that is left");
    return PrintReport(args, MessageOf(opened.status()), {});
  }
  return WithStore(std::move(opened), store, Access::kRead, [&](DB& db, Namespace&) -> int {
    ProgressBar bar("verify");
    const InterruptWatch watch;
    const absl::StatusOr<VerifyReport> report =
        db.Scrub({.bytes_per_second = args.bytes_per_second,
                  .from = args.cursor,
                  .progress = [&bar](uint64_t done_bytes, uint64_t total_bytes) {
                    bar.Update(done_bytes, total_bytes);
                    return interrupted == 0;
                  }});
    bar.Clear();
    if (!report.ok()) return Fail("verify " + args.store.path, report.status());
    return PrintReport(args, report->damages.empty() ? refusal : "", *report);
  });
}

// log/ID.seg belongs to the directory above log, a file beside SUPERBLOCK to the directory of both.
std::string StoreOfFile(const std::string& file) {
  std::error_code error;  // what cannot be looked at is for the dump to report
  const std::filesystem::path directory = std::filesystem::absolute(file, error).parent_path();
  const bool has_superblock = std::filesystem::exists(directory / "SUPERBLOCK", error);
  return (has_superblock ? directory : directory.parent_path()).string();
}

int Dump(const InspectArgs& args) {
  std::error_code error;
  // Opening a pipe would wait for a writer.
  if (std::filesystem::exists(args.file, error) && !std::filesystem::is_regular_file(args.file, error)) {
    return FailUsage("dump " + args.file + ": not a regular file");
  }
  const std::string store = args.store.path.empty() ? StoreOfFile(args.file) : args.store.path;
  const absl::Status status = DumpFile(store, args.file, PrintLine);
  if (status.ok()) return kExitOk;
  const bool guess_matters =
      args.store.path.empty() && !absl::IsInvalidArgument(status) && std::filesystem::exists(args.file, error);
  return Fail("dump " + args.file, status,
              guess_matters ? "took " + store + " for its store; --store names another" : "");
}

}  // namespace

void AddInspectCommands(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<InspectArgs>();

  CLI::App* stats = app->add_subcommand("stats", "Print a store's figures");
  AddStoreArgs(stats, &args->store, false);
  stats->add_flag("--space", args->space, "Only where the space goes");
  stats->add_flag("--json", args->json, "Print one JSON object");
  stats->callback([args, exit_code] { *exit_code = ShowStats(*args); });

  CLI::App* verify = app->add_subcommand(
      "verify", "Read and check every live byte: records, footers, headers, separated values, superblock");
  AddStoreArgs(verify, &args->store, false);
  verify->add_option("--rate", args->bytes_per_second, "Read this much a second, such as 64MiB (default: no limit)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 50));
  verify->add_option("--from", args->cursor, "Go on where a check that was stopped by Ctrl-C said it was");
  verify->add_flag("--json", args->json, "Print one JSON object: counts, damages as sentences and in detail");
  verify->callback([args, exit_code] { *exit_code = Verify(*args); });

  CLI::App* dump = app->add_subcommand("dump", "Show a segment file, or SUPERBLOCK, in words");
  dump->add_option("FILE", args->file, "The file, usually STORE/log/ID.seg")->required()->check(CheckNotEmpty);
  dump->add_option("--store", args->store.path, "The store a segment belongs to, when it lies elsewhere")
      ->check(CheckNotEmpty);
  dump->footer(kExitCodesText);
  dump->callback([args, exit_code] { *exit_code = Dump(*args); });
}

}  // namespace firn::tools
