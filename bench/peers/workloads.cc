#include "peers/workloads.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "peers/memory_limit.h"
#include "peers/session.h"
#include "support/device.h"
#include "support/histogram.h"

namespace firn::bench {
namespace {

// Of one thread's asynchronous operations.
constexpr size_t kInFlight = 64;

// Memory for everything twice, as caches of all kinds want it; and the limit on the process has room for what an engine
// does beside.
PeerSpec InMemory(const std::string& directory, uint64_t data_bytes, bool synced = false) {
  const uint64_t memory_bytes = 2 * data_bytes + 128 * kMiB;
  // Puts that wait for the disk fill little of it.
  if (!synced) WarmMemory(memory_bytes + data_bytes);
  LimitMemory(2 * memory_bytes + 256 * kMiB);
  return {.path = directory, .memory_bytes = memory_bytes, .data_bytes = data_bytes, .synced = synced};
}

Figures Small(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = 100;
  const uint64_t keys = config.KeysFor(kValueBytes);
  Session session(config, peer, InMemory(directory, keys * (kKeyBytes + kValueBytes)), kValueBytes);
  session.Open();
  session.Fill("fill", keys, 1, false);
  Demand(session.engine().Sync());
  session.Warm(keys);
  for (const int threads : {1, 2, 8}) session.Measure("get_" + std::to_string(threads), threads, Gets(keys));
  session.Measure("miss", 1, [&](int) -> Step {
    return [keys](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
      const auto value = client.Get(KeyOfNumber(keys + random() % keys));
      if (!absl::IsNotFound(value.status())) return absl::DataLossError("a key that was never put is there");
      return uint64_t{1};
    };
  });
  session.Measure("multi_get", 1, MultiGets(keys));
  session.Measure("scan_100", 1, Scans(keys, 100));
  session.FullScan("full_scan", keys);
  session.Close();
  session.MeasureOpen("open", keys);
  uint64_t deleted = 0;
  session.MeasureAll("delete", 1, [&](int) -> Step {
    return [&](Client& deleter, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
      if (deleted == keys / 4) return uint64_t{0};
      Demand(deleter.Delete(KeyOfNumber(deleted++)));
      return uint64_t{1};
    };
  });
  return session.Finish();
}

Figures Batches(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = 100, kBatch = 100;
  const uint64_t keys = config.KeysFor(kValueBytes) / kBatch * kBatch;
  Session session(config, peer, InMemory(directory, keys * (kKeyBytes + kValueBytes)), kValueBytes);
  session.Open();
  ValueMaker maker(kValueBytes);
  uint64_t next = 0;
  session.MeasureAll("fill", 1, [&](int) -> Step {
    return [&](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
      if (next == keys) return uint64_t{0};
      std::vector<std::string> bytes;
      std::vector<Pair> pairs;
      bytes.reserve(2 * kBatch);
      for (uint64_t i = 0; i < kBatch; ++i, ++next) {
        bytes.emplace_back(KeyOfNumber(next));
        bytes.emplace_back(maker.Make(next, 1));
        pairs.emplace_back(bytes[2 * i], bytes[2 * i + 1]);
      }
      Demand(client.PutBatch(pairs));
      return kBatch;
    };
  });
  session.Warm(keys);
  return session.Finish();
}

// The process that fills the store is killed; another opens it.
Figures Killed(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = 100;
  const uint64_t keys = config.KeysFor(kValueBytes);
  Session session(config, peer, InMemory(directory, keys * (kKeyBytes + kValueBytes)), kValueBytes);
  const pid_t child = ::fork();
  if (child < 0) throw Failure{absl::ErrnoToStatus(errno, "fork")};
  if (child == 0) {
    const absl::Status status = Caught([&]() -> absl::Status {
      session.Open();
      session.Fill("fill", keys, 1, /*sync=*/true);
      return absl::OkStatus();
    });
    ::kill(::getpid(), status.ok() ? SIGKILL : SIGABRT);
  }
  int how = 0;
  while (::waitpid(child, &how, 0) < 0 && errno == EINTR) {
  }
  if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL) throw Failure{absl::UnavailableError("the store was not filled")};
  session.MeasureOpen("open", keys);
  session.Warm(keys);
  return session.Finish();
}

// Of values that many engines keep apart. All syncs are in the time.
template <uint64_t kValueBytes>
Figures Large(const Config& config, const Peer& peer, const std::string& directory) {
  const uint64_t keys = config.KeysFor(kValueBytes);
  Session session(config, peer, InMemory(directory, keys * (kKeyBytes + kValueBytes)), kValueBytes);
  session.Open();
  session.Fill("fill", keys, 1, true);
  session.Warm(keys);
  session.Measure("get_1", 1, Gets(keys));
  session.Measure("scan_100", 1, Scans(keys, 100));
  const std::vector<uint32_t> order = ShuffledNumbers(keys, 5, 3);
  ValueMaker maker(kValueBytes);
  size_t next = 0;
  const uint64_t written = ProcessWrittenBytes();
  session.MeasureAll(
      "overwrite", 1,
      [&](int) -> Step {
        return [&](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
          if (next == order.size()) return uint64_t{0};
          Demand(client.Put(KeyOfNumber(order[next]), maker.Make(order[next], 2 + next)));
          ++next;
          return uint64_t{1};
        };
      },
      [&] { return session.engine().Sync(); });
  session.figures()["overwrite_device_bytes"] = static_cast<double>(ProcessWrittenBytes() - written);
  return session.Finish();
}

Figures Synced(const Config& config, const Peer& peer, const std::string& directory) {
  Figures all;
  for (const uint64_t value_bytes : {uint64_t{100}, 4 * kKiB}) {
    const std::string path = directory + "-" + std::to_string(value_bytes);
    Session session(config, peer, InMemory(path, 1'024 * kMiB, /*synced=*/true), value_bytes);
    session.Open();
    for (const int threads : {1, 8, 64}) {
      if (value_bytes != 100 && threads != 64) continue;
      const std::string name = "put_" + std::to_string(threads) + (value_bytes == 100 ? "" : "_4k");
      session.Measure(name, threads, SyncedPuts(value_bytes));
    }
    if (value_bytes == 100 && session.engine().asynchronous()) {
      session.Measure("put_in_flight", 1, SyncedPutsInFlight(value_bytes, kInFlight));
    }
    const Figures figures = session.Finish();
    all.insert(figures.begin(), figures.end());
  }
  return all;
}

// The core workloads of YCSB: B. Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010. Zipf 0.99,
// values of 1 KiB, eight threads.
Figures Ycsb(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = kKiB;
  constexpr int kThreads = 8;
  const uint64_t keys = config.KeysFor(2 * kValueBytes);  // inserts come on top
  Session session(config, peer, InMemory(directory, 2 * keys * (kKeyBytes + kValueBytes)), kValueBytes);
  session.Open();
  session.Fill("load", keys, kThreads, false);
  session.Warm(keys);
  const Zipf zipf(keys, 0.99);
  std::atomic<uint64_t> inserted{keys};
  struct Mix {
    const char* name;
    double read, update, insert, scan, read_modify_write;
    bool latest;
  };
  constexpr Mix kMixes[] = {{"a", 0.5, 0.5, 0, 0, 0, false},   {"b", 0.95, 0.05, 0, 0, 0, false},
                            {"c", 1, 0, 0, 0, 0, false},       {"d", 0.95, 0, 0.05, 0, 0, true},
                            {"e", 0, 0, 0.05, 0.95, 0, false}, {"f", 0.5, 0, 0, 0, 0.5, false}};
  for (const Mix& mix : kMixes) {
    session.Measure(mix.name, kThreads, [&](int thread) -> Step {
      auto values = std::make_shared<ValueMaker>(kValueBytes);
      auto version = std::make_shared<uint64_t>(static_cast<uint64_t>(thread) << 40);
      return [&, values, version](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
        const double drawn = std::uniform_real_distribution<double>(0, 1)(random);
        const uint64_t rank = zipf(random), newest = inserted.load();
        const Key key = KeyOfNumber(mix.latest ? newest - 1 - std::min(rank, newest - 1) : rank);
        const auto get = [&]() -> absl::Status {
          const auto value = client.Get(key);
          // The newest may be in another thread's hands still.
          return mix.latest && absl::IsNotFound(value.status()) ? absl::OkStatus() : value.status();
        };
        double below = mix.read;
        if (drawn < below) {
          Demand(get());
        } else if (drawn < (below += mix.update)) {
          Demand(client.Put(key, values->Make(rank, ++*version)));
        } else if (drawn < (below += mix.insert)) {
          const uint64_t number = inserted.fetch_add(1);
          Demand(client.Put(KeyOfNumber(number), values->Make(number, 1)));
        } else if (drawn < (below += mix.scan)) {
          const auto scanned = client.Scan(key, 1 + random() % 100);
          if (!scanned.ok()) return scanned.status();
        } else {
          Demand(get());
          Demand(client.Put(key, values->Make(rank, ++*version)));
        }
        return uint64_t{1};
      };
    });
  }
  return session.Finish();
}

// Twenty times as much data as memory for values; what firn's index in memory needs is on top, for every engine.
PeerSpec OnDiskSpec(const std::string& directory, uint64_t keys, uint64_t value_bytes) {
  constexpr uint64_t kIndexBytesPerKey = 96;
  const uint64_t data_bytes = keys * (kKeyBytes + value_bytes);
  const uint64_t memory_bytes = data_bytes / 20 + keys * kIndexBytesPerKey + 16 * kMiB;
  WarmMemory(memory_bytes + 64 * kMiB);
  LimitMemory(memory_bytes + 64 * kMiB);
  return {.path = directory, .memory_bytes = memory_bytes, .data_bytes = data_bytes};
}

Figures OnDisk(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = 4 * kKiB;
  const uint64_t keys = config.KeysFor(kValueBytes);
  Session session(config, peer, OnDiskSpec(directory, keys, kValueBytes), kValueBytes);
  session.Open();
  session.Fill("fill", keys, 1, true);
  session.Close();
  session.Open();
  session.Measure("warm", 8, Gets(keys));
  session.Measure("get_1", 1, Gets(keys));
  session.Measure("get_8", 8, Gets(keys));
  if (session.engine().asynchronous()) session.Measure("get_in_flight", 1, GetsInFlight(keys, kInFlight));
  session.Measure("multi_get", 1, MultiGets(keys));
  session.FullScan("full_scan", keys);
  return session.Finish();
}

// For a long time: four threads get, put and scan values of 1 KiB, memory for a twentieth of them. What each operation
// took, in microseconds.
Figures Mixed(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = kKiB;
  constexpr int kThreads = 4;
  const uint64_t keys = config.KeysFor(kValueBytes);
  Session session(config, peer, OnDiskSpec(directory, keys, kValueBytes), kValueBytes);
  session.Open();
  session.Fill("load", keys, 1, true);
  const Zipf zipf(keys, 0.99);
  enum Kind { kGet, kPut, kScan, kKinds };
  constexpr const char* kNames[kKinds] = {"get", "put", "scan"};
  std::mutex mutex;
  std::vector<Histogram> all(kKinds);
  session.MeasureFor(config.mixed_seconds, "mixed", kThreads, [&](int thread) -> Step {
    struct Mine {
      explicit Mine(int number) : values(kValueBytes), version(static_cast<uint64_t>(number + 1) << 40) {}
      ValueMaker values;
      uint64_t version;
      std::vector<Histogram> latencies = std::vector<Histogram>(kKinds);
    };
    // What it measured goes to the rest when the thread's step does.
    const std::shared_ptr<Mine> mine(new Mine(thread), [&](Mine* done) {
      const std::lock_guard lock(mutex);
      for (size_t kind = 0; kind < kKinds; ++kind) all[kind].Add(done->latencies[kind]);
      delete done;
    });
    return [&, mine](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
      const uint64_t drawn = random() % 100, rank = zipf(random);
      const Key key = KeyOfNumber(rank);
      const Kind kind = drawn < 48 ? kGet : drawn < 96 ? kPut : kScan;
      const std::string_view value = kind == kPut ? mine->values.Make(rank, ++mine->version) : std::string_view();
      const auto began = SteadyClock::now();
      if (kind == kGet) {
        Demand(client.Get(key).status());
      } else if (kind == kPut) {
        Demand(client.Put(key, value));
      } else {
        Demand(client.Scan(key, 20).status());
      }
      const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(SteadyClock::now() - began);
      mine->latencies[kind].Add(static_cast<uint64_t>(took.count()));
      return uint64_t{1};
    };
  });
  for (size_t kind = 0; kind < kKinds; ++kind) {
    const std::string name = kNames[kind];
    for (const auto& [quantile, text] : {std::pair(0.5, "_p50_us"), {0.99, "_p99_us"}, {0.999, "_p999_us"}}) {
      session.figures()[name + text] = static_cast<double>(all[kind].Quantile(quantile)) / 1e3;
    }
    session.figures()[name + "_us_max"] = static_cast<double>(all[kind].max_ns()) / 1e3;
  }
  return session.Finish();
}

constexpr Group kGroups[] = {
    {"100B", "values of 100 bytes in memory, buffered", &Small},
    {"batch", "the same, written in batches of 100", &Batches},
    {"killed", "the same, opened after the process was killed", &Killed},
    {"1KiB", "values of 1 KiB in memory, buffered, the final sync timed", &Large<kKiB>},
    {"4KiB", "of 4 KiB", &Large<4 * kKiB>},
    {"32KiB", "of 32 KiB", &Large<32 * kKiB>},
    {"128KiB", "of 128 KiB", &Large<128 * kKiB>},
    {"synced", "puts that are durable when they return", &Synced},
    {"ycsb", "YCSB, 1 KiB, zipf 0.99, 8 threads, buffered", &Ycsb},
    {"disk", "values of 4 KiB, memory for a twentieth of them", &OnDisk},
    {"mixed", "gets, puts and scans at once for long, memory for a twentieth of the data", &Mixed},
};

constexpr Line kLines[] = {
    {"100B", "fill", "fill, random order", ""},
    {"batch", "fill", "fill, batches of 100", ""},
    {"100B", "get_1", "get, 1 thread", ""},
    {"100B", "get_2", "get, 2 threads", ""},
    {"100B", "get_8", "get, 8 threads", ""},
    {"100B", "miss", "get of an absent key", ""},
    {"100B", "multi_get", "multi-get of 32, keys", ""},
    {"100B", "scan_100", "scan of 100, pairs", ""},
    {"100B", "full_scan", "full scan, pairs", ""},
    {"100B", "open", "open after close, keys", ""},
    {"killed", "open", "open after a kill, keys", ""},
    {"100B", "delete", "delete", ""},
    {"1KiB", "fill", "fill 1 KiB", "sequential_write", 1'024},
    {"1KiB", "get_1", "get 1 KiB", ""},
    {"1KiB", "scan_100", "scan of 100, 1 KiB", ""},
    {"1KiB", "overwrite", "overwrite five times, 1 KiB", "sequential_write", 1'024},
    {"4KiB", "fill", "fill 4 KiB", "sequential_write", 4'096},
    {"4KiB", "get_1", "get 4 KiB", ""},
    {"4KiB", "scan_100", "scan of 100, 4 KiB", ""},
    {"4KiB", "overwrite", "overwrite five times, 4 KiB", "sequential_write", 4'096},
    {"32KiB", "fill", "fill 32 KiB", "sequential_write", 32'768},
    {"32KiB", "get_1", "get 32 KiB", ""},
    {"32KiB", "overwrite", "overwrite five times, 32 KiB", "sequential_write", 32'768},
    {"128KiB", "fill", "fill 128 KiB", "sequential_write", 131'072},
    {"128KiB", "get_1", "get 128 KiB", ""},
    {"128KiB", "overwrite", "overwrite five times, 128 KiB", "sequential_write", 131'072},
    {"synced", "put_1", "synced put, 1 thread", "synced_write_4k", 1},
    {"synced", "put_8", "synced put, 8 threads", ""},
    {"synced", "put_64", "synced put, 64 threads", ""},
    {"synced", "put_in_flight", "the same, 1 thread, 64 in flight", "", 1, false, "put_64"},
    {"synced", "put_64_4k", "synced put 4 KiB, 64 threads", ""},
    {"ycsb", "load", "YCSB load", ""},
    {"ycsb", "a", "YCSB A: 50 % updates", ""},
    {"ycsb", "b", "YCSB B: 5 % updates", ""},
    {"ycsb", "c", "YCSB C: gets", ""},
    {"ycsb", "d", "YCSB D: gets of the latest", ""},
    {"ycsb", "e", "YCSB E: short scans", ""},
    {"ycsb", "f", "YCSB F: read-modify-write", ""},
    {"disk", "get_1", "get from disk, 1 thread", "read_4k_d1", 1},
    {"disk", "get_8", "get from disk, 8 threads", "read_4k_d8", 1},
    {"disk", "get_in_flight", "the same, 1 thread, 64 in flight", "read_4k_d64", 1, false, "get_8"},
    {"disk", "multi_get", "multi-get of 32 from disk, keys", "read_4k_d64", 1},
    {"disk", "full_scan", "full scan from disk, pairs", "sequential_read", 4'096},
    {"mixed", "mixed", "mixed load", ""},
    {"mixed", "get_p50_us", "its gets, us: median", "", 1, true},
    {"mixed", "get_p999_us", "p99.9", "", 1, true},
    {"mixed", "get_us_max", "maximum", "", 1, true},
    {"mixed", "put_p50_us", "its puts, us: median", "", 1, true},
    {"mixed", "put_p999_us", "p99.9", "", 1, true},
    {"mixed", "put_us_max", "maximum", "", 1, true},
};

}  // namespace

std::span<const Group> Groups() { return kGroups; }

absl::StatusOr<Figures> RunGroup(const Group& group, const Config& config, const Peer& peer,
                                 const std::string& directory) {
  return Caught([&]() -> absl::StatusOr<Figures> { return group.run(config, peer, directory); });
}

std::span<const Line> Lines() { return kLines; }

}  // namespace firn::bench
