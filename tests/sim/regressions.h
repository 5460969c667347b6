// Seeds that are run before any others.
#pragma once

#include <string>
#include <vector>

#include "sim/seed_run.h"

namespace firn::test {

// A line each: SEED [--simpler NAME,...] [--calls-max N], and what is behind a '#' is for people. Throws
// std::runtime_error, with the line's number, where there is something else, or no seed at all.
std::vector<SeedOptions> ReadRegressions(const std::string& path);

}  // namespace firn::test
