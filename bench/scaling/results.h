// What was found, and whether it grew faster than the logarithm of the size.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scaling/cases.h"
#include "support/figures.h"

namespace firn::bench {

// A store and the medians of its runs.
struct Result {
  Case measured;
  Figures figures;
};
using Results = std::vector<Result>;

// A cost of one operation, of one pair or of one key.
struct Cost {
  std::string_view figure;  // in what a case's run found
  std::string_view title;
};
// Those that are held against the logarithm.
std::span<const Cost> Costs();

// Costs may grow by so much more than the logarithm: what is looked at lies in slower memory in a larger store.
inline constexpr double kTolerance = 1.5;

// log(keys) / log(keys_before).
double LogarithmGrowth(const Case& smallest, const Case& measured);

// From the smallest store of a series to the largest.
struct Growth {
  Cost cost;
  double growth = 0;  // the cost at the largest over that at the smallest
  bool is_faster = false;
};
struct Verdict {
  const Result* smallest = nullptr;
  const Result* largest = nullptr;
  double logarithm_growth = 0;
  std::vector<Growth> growths;
};
// Of each series of which there is more than one size.
std::vector<Verdict> VerdictsOf(const Results& results);

// Of one series, the smaller first.
std::vector<const Result*> InSeries(const Results& results, Series series);

}  // namespace firn::bench
