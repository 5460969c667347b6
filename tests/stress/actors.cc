#include "stress/actors.h"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

namespace firn::test {
namespace {

constexpr size_t kWriters = 3, kReaders = 3;
constexpr uint64_t kKeysOfWriter = 150, kPairs = 40, kBriefKeys = 60, kKeysOfSpace = 20;
constexpr size_t kSmallBytesMax = 1'500, kLargeBytesMin = 16'000, kLargeBytesMax = 120'000;
constexpr size_t kStreamBytesMin = (size_t{1} << 20) + 1, kStreamBytesMax = size_t{3} << 19;

std::string KeyOf(uint64_t writer, uint64_t number) {
  return "key/" + std::to_string(number) + "/" + std::to_string(writer);
}
std::string PairKey(uint64_t pair, bool second) { return (second ? "pair-b/" : "pair-a/") + std::to_string(pair); }
std::string BriefKey(uint64_t number) { return "brief/" + std::to_string(number); }

std::string RandomKey(Rng& rng) { return KeyOf(rng.Below(kWriters), rng.Below(kKeysOfWriter)); }

size_t RandomSize(World& world, Rng& rng) {
  constexpr uint64_t kLargeOneIn = 40;
  if (!rng.OneIn(kLargeOneIn)) return rng.Below(kSmallBytesMax);
  world.Count(Deed::kLargePut);
  return rng.Between(kLargeBytesMin, kLargeBytesMax);
}

PutOptions RandomDurability(Rng& rng) {
  constexpr uint64_t kSyncedOneIn = 20;
  PutOptions options;
  options.durability = rng.OneIn(kSyncedOneIn) ? Durability::kSynced : Durability::kBuffered;
  return options;
}

// Owns its keys: nobody else writes them.
class Writer {
 public:
  Writer(World& world, Rng rng, uint64_t writer) : world_(world), rng_(rng), writer_(writer) {}

  void Run() {
    while (!world_.stopped()) {
      world_.CountCall();
      const uint64_t draw = rng_.Below(100);
      if (draw < 60) {
        Put();
      } else if (draw < 75) {
        Delete();
      } else if (draw < 97) {
        PutPair();
      } else {
        PutStream();
      }
    }
    for (const auto& [key, number] : last_) world_.Settle(key, number);
  }

 private:
  static constexpr uint64_t kStreamOneIn = 8;

  void Put() {
    const std::string key = KeyOf(writer_, rng_.Below(kKeysOfWriter));
    const uint64_t number = ++number_;
    world_.Count(Deed::kPut);
    Note(key, number, world_.db().Put(key, MakeValue(key, number, RandomSize(world_, rng_)), RandomDurability(rng_)));
  }

  void PutStream() {
    if (!rng_.OneIn(kStreamOneIn)) return;
    const std::string key = KeyOf(writer_, rng_.Below(kKeysOfWriter));
    const uint64_t number = ++number_;
    const std::string value = MakeValue(key, number, rng_.Between(kStreamBytesMin, kStreamBytesMax));
    size_t at = 0;
    const auto source = [&]() -> absl::StatusOr<std::string_view> {
      const std::string_view piece = std::string_view(value).substr(at, rng_.Between(1, 300'000));
      at += piece.size();
      return piece;
    };
    world_.Count(Deed::kStream);
    Note(key, number, world_.db().PutStream(key, source, RandomDurability(rng_)));
  }

  void Delete() {
    const std::string key = KeyOf(writer_, rng_.Below(kKeysOfWriter));
    world_.Count(Deed::kDelete);
    const absl::StatusOr<Revision> revision = world_.db().Delete(key, RandomDurability(rng_));
    RequireOk(revision.status(), "delete " + key);
    last_[key] = std::nullopt;
  }

  // Pairs belong to writers too, so that numbers only grow.
  void PutPair() {
    const uint64_t pair = rng_.Below(kPairs) * kWriters + writer_;
    const std::string a = PairKey(pair, false), b = PairKey(pair, true);
    const uint64_t number = ++number_;
    const bool deletes = rng_.OneIn(8);
    Batch batch;
    if (deletes) {
      batch.Delete(a);
      batch.Delete(b);
    } else {
      batch.Put(a, MakeValue(a, number, RandomSize(world_, rng_)));
      batch.Put(b, MakeValue(b, number, RandomSize(world_, rng_)));
    }
    world_.Count(Deed::kBatch);
    RequireOk(world_.db().Apply(batch, RandomDurability(rng_)).status(), "a batch of " + a + " and " + b);
    last_[a] = last_[b] = deletes ? std::nullopt : std::optional(number);
  }

  void Note(const std::string& key, uint64_t number, const absl::StatusOr<Revision>& revision) {
    RequireOk(revision.status(), "put " + key);
    Require(*revision > revision_, "a writer's revisions go back at " + key);
    revision_ = *revision;
    last_[key] = number;
  }

  World& world_;
  Rng rng_;
  const uint64_t writer_;
  uint64_t number_ = 0;
  Revision revision_ = 0;
  std::map<std::string, std::optional<uint64_t>> last_;
};

class Reader {
 public:
  Reader(World& world, Rng rng) : world_(world), rng_(rng) {}

  void Run() {
    while (!world_.stopped()) {
      world_.CountCall();
      const uint64_t draw = rng_.Below(100);
      if (draw < 60) {
        Get(RandomKey(rng_));
      } else if (draw < 70) {
        Get(PairKey(rng_.Below(kPairs * kWriters), rng_.OneIn(2)));
      } else if (draw < 85) {
        LookAtPair();
      } else if (draw < 92) {
        MultiGet();
      } else if (draw < 96) {
        Brief();
      } else {
        Range();
      }
    }
  }

 private:
  struct Seen {
    Revision revision = 0;
    uint64_t number = 0;
  };

  void Get(const std::string& key) {
    ReadOptions options;
    options.read_durable = rng_.OneIn(200);
    std::string value;
    ValueInfo info;
    const absl::Status status = world_.db().GetInto(key, &value, &info, options);
    world_.Count(Deed::kGet);
    if (absl::IsNotFound(status)) return;
    RequireOk(status, "get " + key);
    world_.Count(Deed::kFound);
    Note(key, info.revision, NumberOf(key, value));
    if (!options.read_durable) return;
    world_.Count(Deed::kDurableRead);
    Require(info.revision <= world_.db().DurableRevision(), "a durable read of " + key + " saw what is not durable");
  }

  void Note(const std::string& key, Revision revision, uint64_t number) {
    Seen& seen = seen_[key];
    Require(revision >= seen.revision && number >= seen.number, "what a reader sees of " + key + " goes back");
    Require((revision == seen.revision) == (number == seen.number), key + " has two values at one revision");
    seen = {revision, number};
  }

  void LookAtPair() {
    const uint64_t pair = rng_.Below(kPairs * kWriters);
    const std::string a = PairKey(pair, false), b = PairKey(pair, true);
    const std::vector<std::string_view> keys{a, b};
    const auto values = world_.db().MultiGet(keys);
    Require(values.size() == keys.size(), "a multi-get gave too few results");
    world_.Count(Deed::kPair);
    if (absl::IsNotFound(values[0].status()) && absl::IsNotFound(values[1].status())) return;
    RequireOk(values[0].status(), "half a batch is there: " + a);
    RequireOk(values[1].status(), "half a batch is there: " + b);
    Require(NumberOf(a, *values[0]) == NumberOf(b, *values[1]), a + " and " + b + " show different batches");
  }

  void MultiGet() {
    std::vector<std::string> keys;
    for (int i = 0; i < 16; ++i) keys.push_back(RandomKey(rng_));
    const auto values = world_.db().MultiGet(std::vector<std::string_view>(keys.begin(), keys.end()));
    world_.Count(Deed::kMultiGet);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (absl::IsNotFound(values[i].status())) continue;
      RequireOk(values[i].status(), "multi-get of " + keys[i]);
      const uint64_t number = NumberOf(keys[i], *values[i]);
      Seen& seen = seen_[keys[i]];
      Require(number >= seen.number, "what a multi-get sees of " + keys[i] + " goes back");
    }
  }

  void Brief() {
    const std::string key = BriefKey(rng_.Below(kBriefKeys));
    const int64_t before_ms = world_.NowMs();
    std::string value;
    ValueInfo info;
    const absl::Status status = world_.db().GetInto(key, &value, &info);
    world_.Count(Deed::kGet);
    if (absl::IsNotFound(status)) return world_.Count(Deed::kExpired);
    RequireOk(status, "get " + key);
    NumberOf(key, value);
    Require(info.expires_at_ms > before_ms, key + " is shown after its time");
  }

  void Range() {
    const std::string key = RandomKey(rng_);
    const auto snapshot = world_.db().GetSnapshot();
    ReadOptions options;
    options.snapshot = snapshot.get();
    const auto whole = world_.db().Get(key, options);
    world_.Count(Deed::kRange);
    if (absl::IsNotFound(whole.status())) return;
    RequireOk(whole.status(), "get " + key);
    const uint64_t offset = rng_.Below(whole->size()), length = rng_.Between(1, 100'000);
    const auto part = world_.db().GetRange(key, offset, length, options);
    RequireOk(part.status(), "a range of " + key);
    Require(*part == whole->substr(offset, length), "a range of " + key + " is not part of its value");
    std::string streamed;
    const auto sink = [&streamed](std::string_view piece) {
      streamed += piece;
      return absl::OkStatus();
    };
    RequireOk(world_.db().GetStream(key, sink, options), "a stream of " + key);
    Require(streamed == *whole, "a stream of " + key + " is not its value");
  }

  World& world_;
  Rng rng_;
  std::map<std::string, Seen> seen_;
};

// Key -> revision and number, of all keys with this prefix.
using Picture = std::map<std::string, std::pair<Revision, uint64_t>>;

Picture Scan(World& world, const Namespace& space, const std::string& prefix, const Snapshot* snapshot, bool backward) {
  IteratorOptions options;
  options.prefix = prefix;
  options.snapshot = snapshot;
  const std::unique_ptr<Iterator> iterator = space.NewIterator(std::move(options));
  Picture picture;
  std::string last;
  for (backward ? iterator->SeekToLast() : iterator->SeekToFirst(); iterator->Valid();
       backward ? iterator->Prev() : iterator->Next()) {
    const std::string key(iterator->key());
    const std::string_view value = iterator->value();
    RequireOk(iterator->status(), "a scan's value of " + key);
    Require(last.empty() || (backward ? key < last : key > last), "a scan is out of order at " + key);
    picture[key] = {iterator->revision(), NumberOf(key, value)};
    last = key;
    world.Count(Deed::kScanStep);
  }
  RequireOk(iterator->status(), "a scan of " + prefix);
  return picture;
}

void RequireSame(const Picture& a, const Picture& b, const std::string& what) {
  if (a == b) return;
  for (const auto& [key, shown] : a) {
    const auto other = b.find(key);
    Require(other != b.end() && other->second == shown, what + ": " + key);
  }
  throw Broken(what + ": there are " + std::to_string(b.size()) + " keys instead of " + std::to_string(a.size()));
}

// A scan without a snapshot sees one revision too: batches are whole in it.
void RunScanner(World& world, Rng rng) {
  while (!world.stopped()) {
    world.CountCall();
    const Picture pairs = Scan(world, world.db().root(), "pair-", nullptr, rng.OneIn(2));
    for (uint64_t pair = 0; pair < kPairs * kWriters; ++pair) {
      const auto a = pairs.find(PairKey(pair, false)), b = pairs.find(PairKey(pair, true));
      Require((a == pairs.end()) == (b == pairs.end()), "a scan shows half of pair " + std::to_string(pair));
      if (a != pairs.end()) Require(a->second == b->second, "a scan tears pair " + std::to_string(pair));
    }
    Scan(world, world.db().root(), "key/" + std::to_string(rng.Below(kKeysOfWriter)), nullptr, rng.OneIn(2));
  }
}

void RunSnapshots(World& world, Rng rng) {
  while (!world.stopped()) {
    const auto snapshot = world.db().GetSnapshot();
    world.Count(Deed::kSnapshot);
    const std::string prefix = rng.OneIn(2) ? "pair-" : "key/" + std::to_string(rng.Between(1, 9));
    const Picture first = Scan(world, world.db().root(), prefix, snapshot.get(), false);
    for (uint64_t look = rng.Between(1, 4); look > 0 && !world.stopped(); --look) {
      world.CountCall();
      RequireSame(first, Scan(world, world.db().root(), prefix, snapshot.get(), rng.OneIn(2)),
                  "a snapshot does not repeat");
      ReadOptions options;
      options.snapshot = snapshot.get();
      for (const auto& [key, shown] : first) {
        if (!rng.OneIn(8)) continue;
        std::string value;
        ValueInfo info;
        RequireOk(world.db().GetInto(key, &value, &info, options), "get in a snapshot: " + key);
        world.Count(Deed::kSnapshotRead);
        Require(shown == std::pair(info.revision, NumberOf(key, value)), "a snapshot's get differs: " + key);
        Require(info.revision <= snapshot->revision(), "a snapshot shows what came later: " + key);
      }
    }
  }
}

void RunBriefWriter(World& world, Rng rng) {
  constexpr int64_t kLifeMsMax = 400;
  for (uint64_t number = 1; !world.stopped(); ++number) {
    world.CountCall();
    const std::string key = BriefKey(rng.Below(kBriefKeys));
    const int64_t expires_at_ms = world.NowMs() + static_cast<int64_t>(rng.Between(1, kLifeMsMax));
    PutOptions options = RandomDurability(rng);
    if (rng.OneIn(4)) {
      world.Count(Deed::kExpiry);
      const absl::Status status = world.db().SetExpiry(key, expires_at_ms, options).status();
      if (!absl::IsNotFound(status)) RequireOk(status, "set the expiry of " + key);
      continue;
    }
    options.expires_at_ms = expires_at_ms;
    world.Count(Deed::kPut);
    RequireOk(world.db().Put(key, MakeValue(key, number, RandomSize(world, rng)), options).status(), "put " + key);
  }
}

// Reclaim, sealing, flushes and checks, one after the other, without a pause.
void RunMaintainer(World& world, Rng rng) {
  Revision durable = 0;
  while (!world.stopped()) {
    world.CountCall();
    const Revision now = world.db().DurableRevision();
    Require(now >= durable, "the durable revision goes back");
    durable = now;
    const uint64_t draw = rng.Below(100);
    if (draw < 30) {
      world.Count(Deed::kCompact);
      RequireOk(world.db().Compact(), "compact");
    } else if (draw < 55) {
      world.Count(Deed::kFlush);
      RequireOk(world.db().Flush(), "flush");
    } else if (draw < 90) {
      world.Count(Deed::kSync);
      const Revision before = world.db().GetStats().last_revision;
      RequireOk(world.db().Sync(), "sync");
      Require(world.db().DurableRevision() >= before, "Sync left something that is not durable");
    } else if (draw < 95) {
      world.Count(Deed::kVerify);
      const auto report = world.db().Verify();
      RequireOk(report.status(), "verify");
      Require(report->damages.empty(), report->damages.empty() ? "" : report->damages.front().ToString());
    } else {
      world.Count(Deed::kScrub);
      const auto report = world.db().Scrub();
      RequireOk(report.status(), "scrub");
      Require(report->damages.empty(), report->damages.empty() ? "" : report->damages.front().ToString());
    }
    world.db().GcReport();
  }
}

// Makes and drops namespaces.
void RunSpaces(World& world, Rng rng) {
  constexpr size_t kLivingMax = 3;
  std::vector<std::shared_ptr<Space>> living;
  for (uint64_t number = 0; !world.stopped(); ++number) {
    world.CountCall();
    const std::string name = "space-" + std::to_string(number);
    const absl::StatusOr<Namespace> handle = world.db().CreateNamespace(name);
    RequireOk(handle.status(), "create " + name);
    world.Count(Deed::kSpaceMade);
    living.push_back(std::shared_ptr<Space>(new Space{name, *handle}));
    world.AddSpace(living.back());
    // It is filled a little before it may go.
    const uint64_t until = world.calls() + rng.Below(2'000);
    while (world.calls() < until && !world.stopped()) {
      Namespace space = *handle;
      const std::string key = name + "/" + std::to_string(rng.Below(kKeysOfSpace));
      RequireOk(space.Put(key, MakeValue(key, 1, RandomSize(world, rng)), RandomDurability(rng)).status(),
                "put " + key);
      world.CountCall();
    }
    if (living.size() <= kLivingMax) continue;
    const auto victim = living.begin() + static_cast<std::ptrdiff_t>(rng.Below(living.size()));
    RequireOk(world.db().DropNamespace((*victim)->name), "drop " + (*victim)->name);
    (*victim)->dropped.store(true);
    world.Count(Deed::kSpaceDropped);
    living.erase(victim);
    world.ForgetOldSpaces();
  }
}

// Uses namespaces that may be dropped at any moment, and those that have been.
void RunSpaceUser(World& world, Rng rng) {
  while (!world.stopped()) {
    const std::vector<std::shared_ptr<Space>> spaces = world.Spaces();
    if (spaces.empty()) {
      std::this_thread::yield();
      continue;
    }
    world.CountCall();
    Space& space = *spaces[rng.Below(spaces.size())];
    const bool dropped = space.dropped.load();  // before the call begins
    Namespace handle = space.handle;
    const std::string key = space.name + "/" + std::to_string(rng.Below(kKeysOfSpace));
    absl::Status status;
    switch (rng.Below(4)) {
      case 0:
        status = handle.Put(key, MakeValue(key, 1, RandomSize(world, rng)), RandomDurability(rng)).status();
        break;
      case 1: {
        const absl::StatusOr<std::string> value = handle.Get(key);
        status = value.status();
        if (value.ok()) NumberOf(key, *value);
        if (absl::IsNotFound(status) && !dropped) status = absl::OkStatus();
        break;
      }
      case 2:
        status = handle.Exists(key).status();
        break;
      default: {
        const std::unique_ptr<Iterator> iterator = handle.NewIterator();
        for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
          const std::string_view value = iterator->value();
          if (!iterator->status().ok()) break;
          NumberOf(iterator->key(), value);
          Require(iterator->key().starts_with(space.name + "/"), "a namespace shows another one's key");
          Require(!dropped, "an iterator shows what was dropped");
        }
        status = iterator->status();
        break;
      }
    }
    if (dropped) {
      world.Count(Deed::kDroppedAsked);
      Require(absl::IsNotFound(status), "a dropped namespace answers " + status.ToString());
    } else {
      Require(status.ok() || absl::IsNotFound(status), "in a namespace: " + status.ToString());
    }
  }
}

}  // namespace

std::vector<Actor> AllActors() {
  std::vector<Actor> actors;
  for (uint64_t i = 0; i < kWriters; ++i) {
    actors.push_back({"writer", [i](World& world, Rng rng) { Writer(world, rng, i).Run(); }});
  }
  for (uint64_t i = 0; i < kReaders; ++i) {
    actors.push_back({"reader", [](World& world, Rng rng) { Reader(world, rng).Run(); }});
  }
  actors.push_back({"scanner", RunScanner});
  actors.push_back({"snapshots", RunSnapshots});
  actors.push_back({"brief writer", RunBriefWriter});
  actors.push_back({"maintainer", RunMaintainer});
  actors.push_back({"spaces", RunSpaces});
  actors.push_back({"space user", RunSpaceUser});
  return actors;
}

void CheckSettled(World& world) {
  for (const auto& [key, number] : world.Settled()) {
    const absl::StatusOr<std::string> value = world.db().Get(key);
    if (!number) {
      Require(absl::IsNotFound(value.status()), key + " was deleted last, and is there");
      continue;
    }
    RequireOk(value.status(), "what was written last: " + key);
    Require(NumberOf(key, *value) == *number, key + " does not show what was written last");
  }
}

}  // namespace firn::test
