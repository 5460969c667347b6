#include "scaling/report.h"

#include <cstdio>
#include <span>
#include <utility>

#include <nlohmann/json.hpp>

#include "support/json_line.h"
#include "support/table.h"

namespace firn::bench {
namespace {

struct Column {
  const char* figure;
  const char* title;
  int decimals = 0;
  double factor = 1;  // shown is the figure times this
};

constexpr Column kColumns[] = {{"put_ns", "put ns"},
                               {"get_ns", "get ns"},
                               {"scan_ns", "scan ns a pair"},
                               {"open_ns", "open ns a key"},
                               {"open_seconds", "open s", 2},
                               {"index_bytes", "index B a key", 1},
                               {"disk_bytes", "disk B a key"},
                               {"get_from_disk", "gets from disk %", 2, 100},
                               {"open_from_image", "opened by image %", 0, 100}};
constexpr Column kCpuColumns[] = {{"put_cpu_ns", "put ns"},
                                  {"get_cpu_ns", "get ns"},
                                  {"scan_cpu_ns", "scan ns a pair"},
                                  {"open_cpu_ns", "open ns a key"}};

void PrintSizes(const std::vector<const Result*>& sizes, std::span<const Column> columns) {
  Rows rows(1, {"keys"});
  for (const Column& column : columns) rows[0].push_back(column.title);
  for (const Result* size : sizes) {
    rows.push_back({size->measured.size});
    for (const Column& column : columns) {
      rows.back().push_back(Decimals(size->figures.at(column.figure) * column.factor, column.decimals));
    }
  }
  PrintAligned(rows);
}

void PrintThreads(const Result& result, const std::vector<int>& threads) {
  Rows rows = {{"threads", "gets a second", "times the first", "puts a second", "times the first"}};
  for (const int number : threads) {
    rows.push_back({std::to_string(number)});
    for (const std::string operation : {"get_", "put_"}) {
      const double rate = result.figures.at(operation + std::to_string(number));
      rows.back().push_back(Short(rate));
      rows.back().push_back(Decimals(rate / result.figures.at(operation + std::to_string(threads[0])), 2));
    }
  }
  PrintAligned(rows);
}

nlohmann::ordered_json LabelsOf(const Case& measured) {
  constexpr const char* kNames[] = {"small_values", "large_values", "threads"};
  return {{"series", kNames[static_cast<int>(measured.series)]},
          {"keys", measured.keys},
          {"value_bytes", measured.value_bytes},
          {"memory_budget_bytes", measured.memory_budget_bytes}};
}

}  // namespace

JsonFile::JsonFile(const std::string& path) : wanted_(!path.empty()) {
  if (wanted_) file_.open(path);
}

void JsonFile::Add(const std::string& line) {
  if (wanted_) file_ << line << std::endl;
}

void JsonFile::AddRun(const Case& measured, int run, const Figures& figures) {
  nlohmann::ordered_json labels = LabelsOf(measured);
  labels["run"] = run;
  Add(JsonLine(std::move(labels), figures));
}

void JsonFile::AddMedians(const Result& result, int runs) {
  nlohmann::ordered_json labels = LabelsOf(result.measured);
  labels["runs"] = runs;
  Add(JsonLine(std::move(labels), result.figures));
}

void JsonFile::AddLeftOut(const Case& measured, const std::string& why) {
  nlohmann::ordered_json labels = LabelsOf(measured);
  labels["left_out"] = why;
  Add(labels.dump());
}

void JsonFile::AddVerdict(const Verdict& verdict) {
  for (const Growth& growth : verdict.growths) {
    nlohmann::ordered_json labels = LabelsOf(verdict.largest->measured);
    labels["smallest_keys"] = verdict.smallest->measured.keys;
    labels["figure"] = growth.cost.figure;
    labels["growth"] = growth.growth;
    labels["logarithm_growth"] = verdict.logarithm_growth;
    labels["faster_than_logarithm"] = growth.is_faster;
    Add(labels.dump());
  }
}

void PrintTables(const Results& results, const std::vector<std::string>& left_out, const Config& config) {
  for (const Series series : {Series::kSmallValues, Series::kLargeValues, Series::kThreads}) {
    const std::vector<const Result*> sizes = InSeries(results, series);
    if (sizes.empty()) continue;
    const std::string title(TitleOf(series));
    if (series == Series::kThreads) {
      std::printf("\n%s keys, %s\n", sizes[0]->measured.size.c_str(), title.c_str());
      PrintThreads(*sizes[0], config.threads);
      continue;
    }
    std::printf("\n%s\n", title.c_str());
    PrintSizes(sizes, kColumns);
    std::printf("\nprocessor time of the whole process\n");
    PrintSizes(sizes, kCpuColumns);
  }
  if (!left_out.empty()) std::printf("\nLeft out:\n");
  for (const std::string& each : left_out) std::printf("%s\n", each.c_str());
}

void PrintVerdicts(const std::vector<Verdict>& verdicts) {
  if (verdicts.empty()) std::printf("\nNo verdict: there are no two sizes to compare.\n");
  for (const Verdict& verdict : verdicts) {
    const Case &smallest = verdict.smallest->measured, &largest = verdict.largest->measured;
    std::printf("\n%s: from %s to %s the logarithm grows to %.2f times, and costs may grow to %.2f times\n",
                std::string(TitleOf(smallest.series)).c_str(), smallest.size.c_str(), largest.size.c_str(),
                verdict.logarithm_growth, verdict.logarithm_growth * kTolerance);
    Rows rows;
    for (const Growth& growth : verdict.growths) {
      rows.push_back({std::string(growth.cost.title), Decimals(growth.growth, 2) + " times",
                      growth.is_faster ? "grows faster than the logarithm" : "within that"});
    }
    PrintAligned(rows);
  }
}

}  // namespace firn::bench
