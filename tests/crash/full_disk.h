// What the crash tests on a full disk share: stores that are filled up to a limit, and what has to hold of them.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "crash/at_each.h"
#include "log/tail.h"
#include "support/must.h"

namespace firn::test::full_disk {

inline constexpr uint64_t kUpkeepMs = 600;  // longer than two turns of the upkeep thread
inline constexpr size_t kValueBytes = 3'000;
inline constexpr size_t kSeparatedBytes = 20'000;
// The tail buffers, and what is left for all else.
inline constexpr uint64_t kCapacityBytes = log::kTailFileBytes + 20 * kSmallSegmentBytes;

enum class Limit { kDisk, kQuota };
enum class Load { kFreshKeys, kSeparated };

inline constexpr Limit kLimits[] = {Limit::kDisk, Limit::kQuota};
inline constexpr Load kLoads[] = {Load::kFreshKeys, Load::kSeparated};

inline Options OptionsFor(Load load) {
  Options options = QuietOptions();
  if (load == Load::kSeparated) options.value_separation_threshold_bytes = 4 * 1024;
  return options;
}

inline void SetLimit(SimWorld& world, Client& client, Limit limit, Load load = Load::kFreshKeys,
                     uint64_t bytes = kCapacityBytes) {
  Options options = OptionsFor(load);
  if (limit == Limit::kDisk) world.machine.set_capacity_bytes(bytes);
  if (limit == Limit::kQuota) options.max_disk_bytes = bytes;
  client.set_usual_options(options);
}

inline std::string KeyOf(int i) { return "key" + std::to_string(10'000 + i); }

inline std::string ValueFor(Load load, int i) {
  return Value("v" + std::to_string(i), load == Load::kSeparated ? kSeparatedBytes : kValueBytes);
}

// Puts new keys until several in a row were refused; returns how many there are.
inline int Fill(Client& client, Load load, Durability durability = Durability::kBuffered) {
  int written = 0;
  for (int refused = 0; refused < 3;) {
    const absl::Status status = client.Put(KeyOf(written), ValueFor(load, written), durability);
    if (!status.ok() && !absl::IsResourceExhausted(status)) FAIL(status.ToString());
    refused = status.ok() ? 0 : refused + 1;
    written += status.ok() ? 1 : 0;
    if (written > 10'000) FAIL("there is no end of room");
  }
  return written;
}

inline void RequireSound(SimWorld& world, Client& client) {
  const Stats stats = client.db().GetStats();
  INFO(stats.ToString() << client.events().Text());
  REQUIRE_FALSE(stats.poisoned);
  REQUIRE(world.machine.claimed_bytes() <= kCapacityBytes);
  client.CheckNow();
  REQUIRE(CheckReferences(client.db()).empty());
}

// Deletes may run ahead of reclaim, for a moment.
inline void RequireDeleted(Client& client, int i) {
  absl::Status status = client.Delete(KeyOf(i));
  for (int turn = 0; turn < 20 && absl::IsResourceExhausted(status); ++turn) {
    Nap(kUpkeepMs);
    status = client.Delete(KeyOf(i));
  }
  if (!status.ok()) FAIL(i << ": " << status.ToString() << "\n" << client.db().GetStats().ToString());
}

inline void RequireCompacted(Client& client) {
  absl::Status status = client.db().Compact();
  // Where a power cut has undone the last removals there is less room than there was, until upkeep has had its turns.
  for (int turn = 0; turn < 20 && absl::IsResourceExhausted(status); ++turn) {
    Nap(kUpkeepMs);
    status = client.db().Compact();
  }
  if (!status.ok()) FAIL(status.ToString() << "\n" << client.db().GetStats().ToString());
}

// Writes are taken again at the latest when upkeep has had its turn.
inline void RequireWritable(Client& client, Load load, int from, int count) {
  for (int i = from; i < from + count; ++i) {
    absl::Status status;
    for (int turn = 0; turn < 20; ++turn) {
      status = client.Put(KeyOf(i), ValueFor(load, i), Durability::kBuffered);
      if (status.ok()) break;
      Nap(kUpkeepMs);
    }
    if (!status.ok()) FAIL(status.ToString() << "\n" << client.db().GetStats().ToString());
  }
}

// A full store, with garbage in most segments.
inline void MakeFull(Client& client, Load load) {
  const int written = Fill(client, load);
  for (int i = 0; i < written; i += 9) Must(client.Delete(KeyOf(i), Durability::kBuffered));
  REQUIRE(client.Sync().ok());
}

}  // namespace firn::test::full_disk
