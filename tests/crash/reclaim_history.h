// A store with a history for reclaim to work on, and the value that must never show again.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "crash/at_each.h"

namespace firn::test {

inline constexpr uint64_t kUpkeepMs = 600;  // longer than two turns of the upkeep thread
inline constexpr size_t kValueBytes = 3'000;
inline constexpr int64_t kNeverMs = 4'000'000'000'000;
inline const std::string kBanned = "must not come back";

inline std::string KeyOf(int i) { return "key" + std::to_string(10 + i); }

// Values that are banned show up nowhere, under whatever key.
inline void RequireNoneBack(DB& db) {
  for (const auto& [key, shown] : Look(db)) {
    INFO(key << " = " << shown);
    REQUIRE(shown.find(kBanned) == std::string::npos);
  }
}

// A segment of sixteen values.
inline void PutMany(Client& client, const std::string& tag, int step = 1,
                    Durability durability = Durability::kBuffered) {
  for (int i = 0; i < 16; i += step) client.Put(KeyOf(i), Value(tag, kValueBytes), durability).IgnoreError();
}

// Two generations of relocated records below fresh ones, with overwrites, deletes and expiry changes across all of
// them.
inline void MakeHistory(SimWorld&, Client& client) {
  REQUIRE(client.Put("deleted", kBanned).ok());
  PutMany(client, "first");
  REQUIRE(client.Flush().ok());
  PutMany(client, "second", 2);
  REQUIRE(client.SetExpiry(KeyOf(1), kNeverMs).ok());
  REQUIRE(client.SetExpiry(KeyOf(3), kNeverMs).ok());
  REQUIRE(client.db().Compact().ok());
  REQUIRE(client.Delete("deleted").ok());
  REQUIRE(client.Delete(KeyOf(5)).ok());
  REQUIRE(client.SetExpiry(KeyOf(7), kNeverMs + 1).ok());
  PutMany(client, "third", 3);
  REQUIRE(client.Flush().ok());
}

}  // namespace firn::test
