// What one run found.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace firn::bench {

// Numbers by name. Names ending in "_max" are combined by maximum over several runs, others by median.
using Figures = std::map<std::string, double>;

// Of several runs: medians, and maxima of names that end in "_max".
Figures Combined(const std::vector<Figures>& runs);

}  // namespace firn::bench
