// A panel for each figure.
#pragma once

#include <string>

#include "scaling/config.h"
#include "scaling/results.h"

namespace firn::bench {

// Costs over the number of keys, with what the logarithm, to kTolerance times that, would make of the first; and
// operations a second over the number of threads. False if the file cannot be written.
bool WritePlots(const std::string& path, const Results& results, const Config& config);

}  // namespace firn::bench
