// The table of a comparison, its lines of JSON, and its plots.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/figures.h"

namespace firn::bench {

// What all runs found, by group and engine.
using Results = std::map<std::pair<std::string, std::string>, std::vector<Figures>>;

void PrintJson(std::string_view group, std::string_view engine, int run, const Figures& figures);
void PrintTable(const Results& results, const Figures& limits, const std::vector<std::string>& engines);
// One file of bars, each line relative to the best engine in it. False if it cannot be written.
bool WritePlot(const std::string& path, const Results& results, const std::vector<std::string>& engines);

}  // namespace firn::bench
