// scaling_bench: how the cost of firn's operations grows with the store. See bench/README.md.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "scaling/cases.h"
#include "scaling/measure.h"
#include "scaling/options.h"
#include "scaling/plot.h"
#include "scaling/report.h"
#include "support/child.h"
#include "support/workplace.h"

namespace firn::bench {
namespace {

int Fail(const std::string& why) {
  std::fprintf(stderr, "scaling_bench: %s\n", why.c_str());
  return 1;
}

// All cases once, then all again. What failed is said, and is in no result.
class Runs {
 public:
  Runs(const Config& config, std::string directory, JsonFile& json)
      : config_(config),
        directory_(std::move(directory)),
        json_(json),
        cases_(CasesOf(config)),
        runs_(cases_.size()),
        is_left_out_(cases_.size()) {}

  void RunAll() {
    for (int run = 1; run <= config_.runs; ++run) {
      for (size_t i = 0; i < cases_.size() && !Interrupted(); ++i) RunOne(i, run);
    }
  }
  bool has_failed() const { return has_failed_; }
  const std::vector<std::string>& left_out() const { return left_out_; }
  Results Medians() const {
    Results results;
    for (size_t i = 0; i < cases_.size(); ++i) {
      if (runs_[i].empty()) continue;
      results.push_back({cases_[i], Combined(runs_[i])});
      json_.AddMedians(results.back(), static_cast<int>(runs_[i].size()));
    }
    return results;
  }

 private:
  void RunOne(size_t i, int run) {
    const Case& measured = cases_[i];
    const std::string name = measured.name();
    if (is_left_out_[i]) return;
    if (const std::string why = WhyNoRoom(measured, directory_); !why.empty()) {
      is_left_out_[i] = true;
      left_out_.push_back(name + " " + why);
      std::fprintf(stderr, "scaling_bench: left out: %s\n", left_out_.back().c_str());
      json_.AddLeftOut(measured, why);
      return;
    }
    std::fprintf(stderr, "scaling_bench: %s, run %d ...\n", name.c_str(), run);
    const std::string store = directory_ + "/store";
    absl::StatusOr<Figures> figures = MeasureCase(measured, config_, store);
    std::error_code ignored;
    std::filesystem::remove_all(store, ignored);
    if (!figures.ok()) {
      if (!Interrupted()) Fail(name + ": " + figures.status().ToString());
      has_failed_ = true;
      return;
    }
    json_.AddRun(measured, run, *figures);
    runs_[i].push_back(*std::move(figures));
  }

  const Config& config_;
  const std::string directory_;
  JsonFile& json_;
  const std::vector<Case> cases_;
  std::vector<std::vector<Figures>> runs_;  // by case
  std::vector<bool> is_left_out_;           // by case
  std::vector<std::string> left_out_;
  bool has_failed_ = false;
};

int RunBenchmark(const Config& config) {
  if (CasesOf(config).empty()) return Fail("there is nothing to measure: every list is none");
  // Now, and not after an hour.
  JsonFile json(config.json);
  if (!json.ok()) return Fail("cannot write " + config.json);
  if (!config.svg.empty() && !std::ofstream(config.svg)) return Fail("cannot write " + config.svg);
  const FreshDirectory fresh(config.parent, "firn-scaling");
  if (fresh.path().empty()) return Fail(fresh.error());
  WarnIfBusy("scaling_bench");
  EndChildrenOnSignals();
  Runs runs(config, fresh.path(), json);
  runs.RunAll();
  if (Interrupted()) return Fail("interrupted");
  const Results results = runs.Medians();
  PrintTables(results, runs.left_out(), config);
  const std::vector<Verdict> verdicts = VerdictsOf(results);
  PrintVerdicts(verdicts);
  for (const Verdict& verdict : verdicts) json.AddVerdict(verdict);
  if (!json.ok()) return Fail("cannot write " + config.json);
  if (!config.svg.empty() && !WritePlots(config.svg, results, config)) return Fail("cannot write " + config.svg);
  return runs.has_failed() ? 1 : 0;
}

}  // namespace
}  // namespace firn::bench

int main(int argc, char** argv) {
  int exit_code = 0;
  const auto config = firn::bench::ParseOptions(argc, argv, exit_code);
  return config ? firn::bench::RunBenchmark(*config) : exit_code;
}
