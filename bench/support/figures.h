// What one run found.
#pragma once

#include <map>
#include <string>

namespace firn::bench {

// Numbers by name. Names ending in "_max" are combined by maximum over several runs, others by median.
using Figures = std::map<std::string, double>;

}  // namespace firn::bench
