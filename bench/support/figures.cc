#include "support/figures.h"

#include <algorithm>

namespace firn::bench {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

Figures Combined(const std::vector<Figures>& runs) {
  std::map<std::string, std::vector<double>> values;
  for (const Figures& run : runs) {
    for (const auto& [name, value] : run) values[name].push_back(value);
  }
  Figures combined;
  for (const auto& [name, of_runs] : values) {
    combined[name] = name.ends_with("_max") ? *std::max_element(of_runs.begin(), of_runs.end()) : Median(of_runs);
  }
  return combined;
}

}  // namespace firn::bench
