// A function in a process of its own.
#pragma once

#include <functional>

#include <absl/status/statusor.h>

#include "support/figures.h"

namespace firn::bench {

// Forks, runs `function` in the child, and hands its figures over. The caller must have no other threads.
absl::StatusOr<Figures> RunInChild(const std::function<absl::StatusOr<Figures>()>& function);

// From here on SIGINT, SIGTERM and SIGHUP end children and not this process, which is to tidy up and to end by itself.
void EndChildrenOnSignals();
// Such a signal has come.
bool Interrupted();

}  // namespace firn::bench
