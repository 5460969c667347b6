// Makes a failed seed simpler for as long as it still fails.
#pragma once

#include <optional>
#include <string>

#include "sim/seed_run.h"

namespace firn::test {

// The command that replays `options`, simplified as they are.
std::string ReplayCommand(const SeedOptions& options);

// Tries each simplification of a seed that fails, in processes of their own, and keeps those with which it fails still.
// Nothing where the seed does not fail when it is run again.
std::optional<SeedOptions> Shrink(const SeedOptions& failed);

// Runs a seed in a process of its own, whose output is dropped. True if that fails, is ended by a signal, or hangs.
bool Fails(const SeedOptions& options);

}  // namespace firn::test
