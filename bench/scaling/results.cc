#include "scaling/results.h"

#include <cmath>
#include <utility>

namespace firn::bench {

std::span<const Cost> Costs() {
  static constexpr Cost kCosts[] = {{"put_ns", "put, ns"},
                                    {"get_ns", "get, ns"},
                                    {"scan_ns", "scan of 100, ns a pair"},
                                    {"open_ns", "open, ns a key"},
                                    {"index_bytes", "index, bytes a key"}};
  return kCosts;
}

double LogarithmGrowth(const Case& smallest, const Case& measured) {
  return std::log(static_cast<double>(measured.keys)) / std::log(static_cast<double>(smallest.keys));
}

std::vector<Verdict> VerdictsOf(const Results& results) {
  std::vector<Verdict> verdicts;
  for (const Series series : {Series::kSmallValues, Series::kLargeValues}) {
    const std::vector<const Result*> sizes = InSeries(results, series);
    if (sizes.size() < 2) continue;
    Verdict verdict{.smallest = sizes.front(), .largest = sizes.back()};
    verdict.logarithm_growth = LogarithmGrowth(verdict.smallest->measured, verdict.largest->measured);
    for (const Cost& cost : Costs()) {
      const std::string figure(cost.figure);
      const double growth = verdict.largest->figures.at(figure) / verdict.smallest->figures.at(figure);
      verdict.growths.push_back({cost, growth, growth > verdict.logarithm_growth * kTolerance});
    }
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

std::vector<const Result*> InSeries(const Results& results, Series series) {
  std::vector<const Result*> sizes;
  for (const Result& result : results) {
    if (result.measured.series == series) sizes.push_back(&result);
  }
  return sizes;
}

}  // namespace firn::bench
