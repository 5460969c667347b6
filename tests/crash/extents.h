// What the crash tests of separated values share: contents that get extents, and what has to hold of all extents.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "crash/at_each.h"

namespace firn::test {

inline constexpr size_t kSeparatedBytes = 12'000;  // little enough of its three blocks is lost
inline constexpr uint64_t kUpkeepTurnsMs = 600;

inline Options SeparatingOptions() {
  Options options = QuietOptions();
  options.value_separation_threshold_bytes = 4 * 1024;
  return options;
}

// Opens the store again, with separation.
inline void OpenSeparating(Client& client) {
  REQUIRE(client.Close().ok());
  REQUIRE(client.Open(SeparatingOptions()).ok());
}

inline std::string Extent(std::string_view tag) { return Value(tag, kSeparatedBytes); }

// The same for all contents.
inline base::Hash128Value CollidingHash(base::Bytes, uint64_t) { return {1, 2}; }

// Every extent that a key names is whole, compacting changes nothing, and no byte of a value file is without a purpose:
// now, when all that was dropped has been given back, and after another opening.
inline void RequireNothingLost(SimWorld&, Client& client) {
  const auto check = [&] {
    const auto verified = client.db().Verify();
    REQUIRE(verified.ok());
    INFO((verified->damages.empty() ? "" : verified->damages.front().ToString()));
    REQUIRE(verified->damages.empty());
    const std::string wrong = CheckReferences(client.db());
    INFO(wrong);
    REQUIRE(wrong.empty());
    REQUIRE(UnexplainedValueBytes(client.db()) == 0);
  };
  check();
  REQUIRE(client.db().Compact().ok());
  for (int turn = 0; turn < 20 && client.db().GetStats().value_waiting_bytes > 0; ++turn) Nap(kUpkeepTurnsMs);
  REQUIRE(client.db().GetStats().value_waiting_bytes == 0);
  check();
  const State before = Look(client.db());
  REQUIRE(client.Close().ok());
  REQUIRE(client.Open(SeparatingOptions()).ok());
  REQUIRE(Look(client.db()) == before);
  check();
}

}  // namespace firn::test
