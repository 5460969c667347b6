// The command line.
#pragma once

#include <optional>

#include "scaling/config.h"

namespace firn::bench {

// Nothing where the program is to end with `exit_code`: after --help, or an error that was said on standard error.
std::optional<Config> ParseOptions(int argc, char** argv, int& exit_code);

}  // namespace firn::bench
