// A disk that is full, and a quota that is used up: what was acknowledged stays, reads, deletes and reclaim go on, and
// writes work again once there is room, without a restart.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <optional>
#include <set>
#include <string>

#include "base/sync.h"
#include "crash/full_disk.h"

namespace firn::test {
namespace {

using namespace full_disk;

TEST_CASE("fault A12: after a full disk deletes, reclaim and writes work again, without a restart", "[A12][full]") {
  for (const Limit limit : kLimits) {
    for (const Load load : kLoads) {
      InSchedule(700 + static_cast<int>(limit) * 2 + static_cast<int>(load), [&](SimWorld& world) {
        INFO("limit " << static_cast<int>(limit) << ", load " << static_cast<int>(load));
        Client client(world);
        SetLimit(world, client, limit, load);
        REQUIRE(client.Open().ok());
        const int written = Fill(client, load);
        REQUIRE(written > 20);
        RequireSound(world, client);
        CHECK(client.db().GetStats().disk_full);
        CHECK(client.events().Count(EventKind::kDiskFull) >= 1);
        CHECK(client.db().GetStats().reserve_bytes > 2 * kSmallSegmentBytes);
        // Refused at once, with what to do.
        const absl::Status refused = client.Put("one more", Value("x", kSeparatedBytes));
        CHECK(absl::IsResourceExhausted(refused));
        CHECK(refused.message().find(limit == Limit::kQuota ? "max_disk_bytes" : "is full") != std::string::npos);
        CHECK(refused.message().find("elete keys") != std::string::npos);
        CHECK(client.db().GetStats().keys == static_cast<uint64_t>(written));  // what was refused is not in the index
        // All else goes on.
        REQUIRE(client.Sync().ok());
        REQUIRE(client.Flush().ok());
        {
          const auto snapshot = client.db().GetSnapshot();
          const auto iterator = client.db().NewIterator();
          int seen = 0;
          for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) ++seen;
          CHECK(seen == written);
        }
        REQUIRE(client.SetExpiry(KeyOf(0), 4'000'000'000'000).ok());
        for (int i = 1; i < written; ++i) {
          if (i % 4 != 0) {
            const absl::Status deleted = client.Delete(KeyOf(i));
            INFO(i << " of " << written << ": " << deleted.ToString() << "\n" << client.db().GetStats().ToString());
            REQUIRE(deleted.ok());
          }
        }
        RequireSound(world, client);
        RequireWritable(client, load, 20'000, written / 4);
        CHECK(client.events().Count(EventKind::kDiskRoom) >= 1);
        CHECK((load != Load::kFreshKeys || client.db().GetStats().relocated_records > 0));
        RequireSound(world, client);
        REQUIRE(client.Close().ok());
        client.CheckRecovered(false);
        REQUIRE(client.Close().ok());
      });
    }
  }
}

TEST_CASE("fault A12: overwrites of what fits go on for ever: garbage becomes room before a put is refused",
          "[A12][full]") {
  for (const Limit limit : kLimits) {
    for (const Load load : kLoads) {
      InSchedule(710 + static_cast<int>(limit) * 2 + static_cast<int>(load), [&](SimWorld& world) {
        INFO("limit " << static_cast<int>(limit) << ", load " << static_cast<int>(load));
        Client client(world);
        SetLimit(world, client, limit, load);
        REQUIRE(client.Open().ok());
        const size_t bytes = load == Load::kSeparated ? kSeparatedBytes : kValueBytes;
        const int keys = static_cast<int>((kCapacityBytes - log::kTailFileBytes) / 3 / bytes);
        for (int i = 0; i < 12 * keys; ++i) {
          const absl::Status status = client.Put(KeyOf(i % keys), ValueFor(load, i), Durability::kBuffered);
          INFO(i << ": " << status.ToString() << "\n" << client.db().GetStats().ToString());
          REQUIRE(status.ok());
          REQUIRE(world.machine.claimed_bytes() <= kCapacityBytes);
        }
        RequireSound(world, client);
        REQUIRE(client.Close().ok());
        client.CheckRecovered(false);
        REQUIRE(client.Close().ok());
      });
    }
  }
}

TEST_CASE("a batch that waits for room decides anew what it does: a key that came meanwhile is deleted",
          "[A12][full]") {
  int overtaken = 0;
  InSchedule(715, [&](SimWorld& world) {
    Client client(world);
    SetLimit(world, client, Limit::kQuota);
    REQUIRE(client.Open().ok());
    DB& db = client.db();
    PutOptions buffered;
    buffered.durability = Durability::kBuffered;
    int end = Fill(client, Load::kFreshKeys);
    for (int round = 0, begin = 0; round < 24; ++round) {
      const std::string guest = "guest" + std::to_string(round);
      // Garbage, but no room yet.
      for (const int garbage_end = begin + 48; begin < garbage_end; ++begin) REQUIRE(db.Delete(KeyOf(begin)).ok());
      Batch batch;
      batch.Delete(guest);  // not there yet
      for (int i = 0; i < 40; ++i) batch.Put(KeyOf(end + i), ValueFor(Load::kFreshKeys, i));
      absl::StatusOr<Revision> came;
      base::Thread other("other", [&] {
        Nap(static_cast<uint64_t>(round % 3));
        came = db.Put(guest, "small", buffered);
      });
      const auto applied = db.Apply(batch, buffered);
      other.Join();
      if (applied.ok()) end += 40;
      if (!came.ok()) continue;
      const bool gone = applied.ok() && *applied > *came;
      overtaken += gone ? 1 : 0;
      INFO(guest << " came at " << *came << " and is to be " << (gone ? "gone" : "there"));
      CHECK(db.Exists(guest).value() != gone);
    }
    REQUIRE(client.Close().ok());
  });
  CHECK(overtaken >= 5);
}

TEST_CASE("fault A12: synced deletes of small records, which take more than they free, end by themselves",
          "[A12][full]") {
  for (const Limit limit : kLimits) {
    InSchedule(720 + static_cast<int>(limit), [&](SimWorld& world) {
      Client client(world);
      SetLimit(world, client, limit);
      REQUIRE(client.Open().ok());
      int written = 0;
      while (client.Put(KeyOf(written), Value("small", 400), Durability::kBuffered).ok()) ++written;
      REQUIRE(written > 500);
      for (int i = 0; i < written; ++i) {
        const absl::Status deleted = client.Delete(KeyOf(i));
        INFO(i << " of " << written << ": " << deleted.ToString() << "\n" << client.db().GetStats().ToString());
        REQUIRE(deleted.ok());
        REQUIRE(world.machine.claimed_bytes() <= kCapacityBytes);
      }
      RequireSound(world, client);
      RequireWritable(client, Load::kFreshKeys, 20'000, 50);
      REQUIRE(client.Close().ok());
    });
  }
}

TEST_CASE("an acknowledged write never fails later for want of space: what is buffered becomes durable and is sealed",
          "[seal][full]") {
  for (const Limit limit : kLimits) {
    for (const Load load : kLoads) {
      InSchedule(730 + static_cast<int>(limit) * 2 + static_cast<int>(load), [&](SimWorld& world) {
        Client client(world);
        SetLimit(world, client, limit, load);
        REQUIRE(client.Open().ok());
        const int written = Fill(client, load);
        REQUIRE(client.Flush().ok());
        size_t unsealed = 0;
        for (const SegmentReport& each : client.db().GcReport()) {
          unsealed += each.sealed ? 0 : 1;
          CHECK(each.file_bytes <= kSmallSegmentBytes);  // the footer lies in what was claimed with the segment
        }
        CHECK(unsealed == 1);
        REQUIRE(client.Close().ok());
        client.CheckRecovered(false);
        CHECK(client.events().Count(EventKind::kFooterFallback) == 0);
        CHECK(client.db().GetStats().keys >= static_cast<uint64_t>(written));
        REQUIRE(client.Close().ok());
      });
    }
  }
}

TEST_CASE("puts take nothing of the reserve, and deletes go on from it", "[reserve][full]") {
  for (const Limit limit : kLimits) {
    InSchedule(735 + static_cast<int>(limit), [&](SimWorld& world) {
      Client client(world);
      SetLimit(world, client, limit);
      REQUIRE(client.Open().ok());
      const int written = Fill(client, Load::kFreshKeys);
      auto snapshot = client.db().GetSnapshot();  // next to nothing becomes garbage
      const auto reserve_bytes = [&] { return client.db().GetStats().reserve_bytes; };
      const uint64_t whole_bytes = reserve_bytes();
      int deleted = 0, refused = 0;
      size_t retired_at_refusal = client.events().Count(EventKind::kSegmentRetired);
      while (deleted < written - 20) {
        const absl::Status status = client.Delete(KeyOf(deleted));
        INFO(deleted << " deleted: " << status.ToString() << "\n" << client.db().GetStats().ToString());
        REQUIRE(status.ok());
        ++deleted;
        if (deleted <= 4) continue;
        // There is room in the segment, but not for this; unless reclaim has made some since the last one was refused.
        const uint64_t before_bytes = reserve_bytes();
        const absl::Status put = client.Put("a", "b", Durability::kBuffered);
        const size_t retired = client.events().Count(EventKind::kSegmentRetired);
        if (before_bytes >= whole_bytes || reserve_bytes() >= whole_bytes) continue;
        if (put.ok() && retired != retired_at_refusal) continue;
        INFO(deleted << " deleted, the reserve has " << reserve_bytes() << " of " << whole_bytes);
        CHECK(absl::IsResourceExhausted(put));
        retired_at_refusal = retired;
        ++refused;
      }
      CHECK(refused >= 10);
      REQUIRE(client.Sync().ok());
      RequireSound(world, client);
      snapshot.reset();
      for (int i = deleted; i < written - 10; ++i) RequireDeleted(client, i);
      RequireWritable(client, Load::kFreshKeys, 20'000, 20);
      RequireSound(world, client);
      REQUIRE(client.Close().ok());
    });
  }
}

// Of what depends on which thread comes first, no single one is sure to show the fault that is looked for.
constexpr uint64_t kSchedules = 16;

// What segments take that reclaim has claimed: their generation is not 0.
uint64_t CopiesBytes(SimWorld& world) {
  constexpr size_t kGenerationAt = 80;
  uint64_t bytes = 0;
  for (const std::string& name : world.machine.FileNames()) {
    if (!name.starts_with("log/")) continue;
    const std::string content = world.machine.ReadFile(name);
    uint32_t generation = 0;
    if (content.size() < kGenerationAt + sizeof(generation)) continue;
    std::memcpy(&generation, content.data() + kGenerationAt, sizeof(generation));
    bytes += generation != 0 ? content.size() : 0;
  }
  return bytes;
}

// The size of the reserve that a refusal names.
uint64_t KeptBackAt(const absl::Status& refusal) {
  const std::string message(refusal.message());
  const size_t end = message.find(" of them kept back");
  const size_t begin = message.find_last_not_of("0123456789", end - 1) + 1;
  return end == std::string::npos ? 0 : std::stoull(message.substr(begin, end - begin));
}

TEST_CASE(
    "deletes that take more than they free leave reclaim its part of the reserve, and go on once it has had its turn",
    "[reserve][full]") {
  const uint64_t schedule = GENERATE(range(uint64_t{0}, kSchedules));
  for (const Limit limit : kLimits) {
    InSchedule(737 + static_cast<int>(limit) + 100 * schedule, [&](SimWorld& world) {
      Client client(world);
      SetLimit(world, client, limit);
      REQUIRE(client.Open().ok());
      const auto key = [](int i) { return Value(KeyOf(i), 3'000); };
      int written = 0;
      while (client.Put(key(written), "short", Durability::kBuffered).ok()) ++written;
      REQUIRE(written > 80);
      auto snapshot = client.db().GetSnapshot();  // next to nothing becomes garbage
      int deleted = 0;
      absl::Status status;
      while (deleted < written && (status = client.Delete(key(deleted), Durability::kBuffered)).ok()) ++deleted;
      INFO(deleted << " of " << written << ": " << status.ToString() << "\n" << client.db().GetStats().ToString());
      REQUIRE(absl::IsResourceExhausted(status));
      CHECK(deleted > 10);
      // Reclaim may be using its part by now, and the log its own for what reclaim does: the refusal tells what there
      // was.
      const uint64_t reserve_bytes = std::max(client.db().GetStats().reserve_bytes, KeptBackAt(status));
      CHECK(reserve_bytes + CopiesBytes(world) >= 9 * kSmallSegmentBytes / 4);
      snapshot.reset();
      for (int turn = 0; turn < 100 && deleted < written; ++turn) {
        while (deleted < written && client.Delete(key(deleted), Durability::kBuffered).ok()) ++deleted;
        Nap(kUpkeepMs);
      }
      CHECK(deleted == written);
      RequireSound(world, client);
      REQUIRE(client.Close().ok());
    });
  }
}

TEST_CASE("a large write that is refused does not keep small ones out", "[reserve][full]") {
  const uint64_t schedule = GENERATE(range(uint64_t{0}, kSchedules));
  InSchedule(738 + 100 * schedule, [&](SimWorld& world) {
    Client client(world);
    SetLimit(world, client, Limit::kQuota);
    REQUIRE(client.Open().ok());
    int i = 0;
    for (; i < 60; ++i) REQUIRE(client.Put(KeyOf(i), ValueFor(Load::kFreshKeys, i), Durability::kBuffered).ok());
    CHECK(absl::IsResourceExhausted(client.Put("large", Value("x", 20 * kSmallSegmentBytes))));
    for (; i < 120; ++i) {
      const absl::Status status = client.Put(KeyOf(i), ValueFor(Load::kFreshKeys, i), Durability::kBuffered);
      INFO(i << ": " << status.ToString());
      REQUIRE(status.ok());
    }
    REQUIRE(client.Close().ok());
  });
}

TEST_CASE("a snapshot that is dropped, and a quota that is raised, are room", "[full]") {
  InSchedule(740, [](SimWorld& world) {
    Client client(world);
    SetLimit(world, client, Limit::kQuota);
    REQUIRE(client.Open().ok());
    for (int i = 0; i < 150; ++i) {
      REQUIRE(client.Put(KeyOf(i), ValueFor(Load::kFreshKeys, i), Durability::kBuffered).ok());
    }
    auto snapshot = client.db().GetSnapshot();
    absl::Status status;
    for (int i = 0; status.ok(); ++i) status = client.Put(KeyOf(i % 150), ValueFor(Load::kFreshKeys, 1'000 + i));
    REQUIRE(absl::IsResourceExhausted(status));
    snapshot.reset();
    RequireWritable(client, Load::kFreshKeys, 0, 100);
    RequireSound(world, client);
    const int written = Fill(client, Load::kFreshKeys);
    REQUIRE(client.Close().ok());
    SetLimit(world, client, Limit::kQuota, Load::kFreshKeys, 2 * kCapacityBytes);
    REQUIRE(client.Open().ok());
    for (int i = 0; i < 100; ++i) {
      REQUIRE(client.Put(KeyOf(written + i), ValueFor(Load::kFreshKeys, i), Durability::kBuffered).ok());
    }
    REQUIRE(client.Close().ok());
  });
}

TEST_CASE("a store above a lowered quota opens, refuses puts, takes deletes, and comes down", "[lowered][full]") {
  const uint64_t seed = GENERATE(750, 759, 766);
  for (const Load load : kLoads) {
    for (uint64_t lower_by = 1; lower_by <= 6 * kSmallSegmentBytes; lower_by += kSmallSegmentBytes * 5 / 8) {
      InSchedule(seed, [&](SimWorld& world) {
        Client client(world);
        SetLimit(world, client, Limit::kQuota, load);
        REQUIRE(client.Open().ok());
        const int written = Fill(client, load);
        REQUIRE(client.Close().ok());
        const uint64_t quota = kCapacityBytes - lower_by;
        INFO("quota " << quota << " of " << world.machine.claimed_bytes() << ", load " << static_cast<int>(load));
        SetLimit(world, client, Limit::kQuota, load, quota);
        REQUIRE(client.Open().ok());
        client.CheckNow();
        CHECK(absl::IsResourceExhausted(client.Put("large", Value("x", 4 * kSmallSegmentBytes))));
        for (int i = 0; i < written; ++i) {
          if (i % 8 == 0) continue;
          RequireDeleted(client, i);
        }
        RequireWritable(client, load, 20'000, 5);
        // Copies may take it above once more while their victims are still there.
        for (int turn = 0; turn < 20 && world.machine.claimed_bytes() > quota; ++turn) Nap(kUpkeepMs);
        INFO(client.db().GetStats().ToString());
        CHECK(world.machine.claimed_bytes() <= quota);
        // From now on it is a limit like any other.
        const int again = Fill(client, load);
        for (int i = 0; i < again; ++i) {
          if (i % 8 != 0) RequireDeleted(client, i);
          REQUIRE(world.machine.claimed_bytes() <= quota);
        }
        client.CheckNow();
        REQUIRE(client.Close().ok());
        client.CheckRecovered(false);
        REQUIRE(client.Close().ok());
      });
    }
  }
}

TEST_CASE("streams and batches that find no room leave nothing behind", "[full]") {
  for (const Limit limit : kLimits) {
    InSchedule(760, [&](SimWorld& world) {
      Client client(world);
      SetLimit(world, client, limit, Load::kSeparated);
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("first", "value").ok());
      const uint64_t before = world.machine.claimed_bytes();
      int pieces = 0;
      const std::string piece(1 << 20, 'p');
      const auto streamed = client.db().PutStream(
          "stream", [&]() -> absl::StatusOr<std::string_view> { return ++pieces < 8 ? std::string_view(piece) : ""; });
      CHECK(absl::IsResourceExhausted(streamed.status()));
      Batch batch;
      for (int i = 0; i < 8; ++i) batch.Put("batch" + std::to_string(i), std::to_string(i) + piece);
      CHECK(absl::IsResourceExhausted(client.db().Apply(batch).status()));
      Nap(2 * kUpkeepMs);
      RequireSound(world, client);
      const Stats stats = client.db().GetStats();
      INFO(stats.ToString());
      CHECK(world.machine.claimed_bytes() <= before + stats.reserve_bytes + 2 * kSmallSegmentBytes);
      RequireWritable(client, Load::kSeparated, 0, 20);
      REQUIRE(client.Close().ok());
    });
  }
}

}  // namespace
}  // namespace firn::test
