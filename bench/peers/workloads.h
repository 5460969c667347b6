// What each engine is asked to do, and what of it is measured. bench/README.md says how.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "peers/config.h"
#include "peers/engine.h"
#include "support/figures.h"

namespace firn::bench {

// One store of one engine, from its making to its end, in a process of its own.
struct Group {
  std::string_view name;
  std::string_view title;
  Figures (*run)(const Config& config, const Peer& peer, const std::string& directory);  // throws Failure
};
std::span<const Group> Groups();
// What it found, in the calling process.
absl::StatusOr<Figures> RunGroup(const Group& group, const Config& config, const Peer& peer,
                                 const std::string& directory);

// A line of the table.
struct Line {
  std::string_view group;
  std::string_view figure;  // in what the group's run found
  std::string_view title;
  std::string_view limit;   // the figure of the machine's that bounds it; "": none
  double limit_factor = 1;  // the line's unit in the limit's
  bool less_is_better = false;
  std::string_view peers_figure = {};  // what peers are compared by, where they have no such thing
};
std::span<const Line> Lines();

}  // namespace firn::bench
