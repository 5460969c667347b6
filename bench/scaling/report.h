// Tables and the verdict for people, lines of JSON for programs.
#pragma once

#include <fstream>
#include <string>

#include "scaling/config.h"
#include "scaling/results.h"

namespace firn::bench {

// One line for each run and each case's medians, for what there is no room for, and for each growth. A line is there
// as soon as it was added, so an interruption loses none.
class JsonFile {
 public:
  explicit JsonFile(const std::string& path);  // "": writes nothing
  bool ok() const { return !wanted_ || file_.good(); }

  void AddRun(const Case& measured, int run, const Figures& figures);
  void AddMedians(const Result& result, int runs);
  void AddLeftOut(const Case& measured, const std::string& why);
  void AddVerdict(const Verdict& verdict);

 private:
  void Add(const std::string& line);

  const bool wanted_;
  std::ofstream file_;
};

// `left_out`: what there is no room for, one sentence each.
void PrintTables(const Results& results, const std::vector<std::string>& left_out, const Config& config);
void PrintVerdicts(const std::vector<Verdict>& verdicts);

}  // namespace firn::bench
