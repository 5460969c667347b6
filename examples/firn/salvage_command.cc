// salvage.
#include <algorithm>
#include <memory>
#include <string>

#include <firn/salvage.h>

#include "firn/command.h"
#include "firn/output.h"
#include "support/progress.h"
#include "support/text.h"

namespace firn::tools {
namespace {

struct SalvageArgs {
  std::string source, destination;
  bool older_versions = false;
  bool json = false;
};

const char* NameOf(SalvageReport::Outcome outcome) {
  switch (outcome) {
    case SalvageReport::Outcome::kWhole:
      return "whole";
    case SalvageReport::Outcome::kPartly:
      return "partly";
    case SalvageReport::Outcome::kNothing:
      return "nothing";
  }
  return "";
}

const char* NameOf(LostKey::Instead instead) {
  switch (instead) {
    case LostKey::Instead::kNothing:
      return "nothing";
    case LostKey::Instead::kOlderVersion:
      return "an older version";
    case LostKey::Instead::kWithoutMetadata:
      return "its value, without metadata";
  }
  return "";
}

Json ReportJson(const SalvageReport& report) {
  Json lost = Json::array(), keys = Json::array(), renamed = Json::array();
  for (const Damage& range : report.lost) {
    lost.push_back({{"file", range.file}, {"offset", range.offset}, {"bytes", range.bytes}, {"what", range.what}});
  }
  for (const LostKey& lost_key : report.lost_keys) {
    Json key = {{"namespace", lost_key.namespace_name}};
    SetBytes(&key, "key", lost_key.key, /*hex=*/false);
    key.update({{"revision", lost_key.revision}, {"instead", NameOf(lost_key.instead)}, {"why", lost_key.why}});
    keys.push_back(std::move(key));
  }
  for (const RenamedNamespace& each : report.renamed_namespaces) {
    renamed.push_back({{"id", each.id}, {"name", each.name}});
  }
  return {{"outcome", NameOf(report.outcome)},
          {"superblock_from", report.superblock_from},
          {"segments", report.segments},
          {"namespaces", report.namespaces},
          {"keys", report.keys},
          {"values", report.values},
          {"bytes", report.bytes},
          {"lost", lost},
          {"lost_bytes", report.lost_bytes},
          {"missing_segments", report.missing_segments},
          {"lost_keys", keys},
          {"lost_keys_in_all", report.lost_keys_in_all},
          {"incomplete_batches", report.incomplete_batches},
          {"renamed_namespaces", renamed},
          {"segments_in_doubt", report.segments_in_doubt},
          {"keys_possibly_stale", report.keys_possibly_stale},
          {"notes", report.notes}};
}

void PrintReport(const SalvageReport& report) {
  for (const std::string& note : report.notes) PrintLine("note: " + Printable(note));
  for (const uint32_t id : report.missing_segments) PrintLine("lost: segment " + std::to_string(id) + " is missing");
  for (const Damage& range : report.lost) {
    PrintLine("lost: " + Printable(range.file) + ", " + CountText(range.bytes) + " bytes at offset " +
              std::to_string(range.offset) + ": " + Printable(range.what));
  }
  for (const LostKey& lost : report.lost_keys) {
    PrintLine("lost: key " + Shown(lost.key, /*hex=*/false) +
              (lost.namespace_name.empty() ? "" : " in namespace " + lost.namespace_name) + " at revision " +
              std::to_string(lost.revision) + ": " + Printable(lost.why) +
              (lost.instead == LostKey::Instead::kNothing ? "" : std::string("; it has ") + NameOf(lost.instead)));
  }
  if (report.lost_keys_in_all > report.lost_keys.size()) {
    PrintLine("lost: " + CountText(report.lost_keys_in_all - report.lost_keys.size()) + " more keys");
  }
  for (const Revision revision : report.incomplete_batches) {
    PrintLine("lost: a part of the batch at revision " + std::to_string(revision));
  }
  for (const RenamedNamespace& each : report.renamed_namespaces) {
    PrintLine("lost: the name of namespace " + std::to_string(each.id) + ", which is " + each.name + " now");
  }
  for (const uint32_t id : report.segments_in_doubt) {
    PrintLine("in doubt: segment " + std::to_string(id) + " was taken, though nothing left says that it counts");
  }
  if (report.keys_possibly_stale > 0) {
    PrintLine("in doubt: " + CountText(report.keys_possibly_stale) +
              " keys are older than the newest lost record; some may have been deleted or changed by it");
  }
  PrintLine(std::string(NameOf(report.outcome)) + ": " + CountText(report.keys) + " keys, " + CountText(report.values) +
            " of them with separated values, in " + CountText(report.namespaces + 1) + " namespaces, " +
            BytesText(report.bytes) + ", from " + CountText(report.segments) + " segments; " +
            CountText(report.lost_keys_in_all) + " keys known to be lost, " + BytesText(report.lost_bytes) +
            " of the log not legible");
}

int RunSalvage(const SalvageArgs& args) {
  ProgressBar bar("salvage");
  const absl::StatusOr<SalvageReport> report =
      Salvage(args.source, args.destination,
              {.older_versions = args.older_versions, .progress = [&bar](uint64_t done_bytes, uint64_t total_bytes) {
                 bar.Update(done_bytes, total_bytes);
                 return true;
               }});
  bar.Clear();
  if (!report.ok()) {
    return Fail("salvage " + args.source, report.status(),
                absl::IsUnavailable(report.status()) ? "close the other process, then try again" : "");
  }
  if (args.json) {
    PrintJson(ReportJson(*report));
  } else {
    PrintReport(*report);
  }
  switch (report->outcome) {
    case SalvageReport::Outcome::kWhole:
      return kExitOk;
    case SalvageReport::Outcome::kPartly:
      return kExitPartial;
    case SalvageReport::Outcome::kNothing:
      return kExitDataLoss;
  }
  return kExitFailed;
}

}  // namespace

void AddSalvageCommand(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<SalvageArgs>();
  CLI::App* salvage = app->add_subcommand("salvage", "Make a new store of all that is left of a damaged one");
  salvage->add_option("SOURCE", args->source, "The damaged store's directory, which is only read")
      ->required()
      ->check(CheckNotEmpty);
  salvage->add_option("DESTINATION", args->destination, "The new store's directory")->required()->check(CheckNotEmpty);
  salvage->add_flag("--older-versions", args->older_versions,
                    "Where a key's newest version is known to be lost, take the newest older one that is left");
  salvage->add_flag("--json", args->json, "Print the report as one JSON object");
  salvage->footer(std::string("Exit codes: 0 nothing is lost, 5 something is, 3 nothing is left.\n") + kExitCodesText);
  salvage->callback([args, exit_code] { *exit_code = RunSalvage(*args); });
}

}  // namespace firn::tools
