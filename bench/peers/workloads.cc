#include "peers/workloads.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "peers/memory_limit.h"
#include "support/data.h"
#include "support/device.h"

namespace firn::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
double SecondsSince(SteadyClock::time_point began) {
  return std::chrono::duration<double>(SteadyClock::now() - began).count();
}
double CpuSeconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Ends the run of a group, from whatever depth.
struct Failure {
  absl::Status status;
};
void Demand(const absl::Status& status) {
  if (!status.ok()) throw Failure{status};
}

template <typename Call>
std::invoke_result_t<Call> Caught(const Call& call) {
  try {
    return call();
  } catch (const Failure& failure) {
    return failure.status;
  }
}

// What one thread of a phase does: one or more operations at a time, of which it says how many.
using Step = std::function<absl::StatusOr<uint64_t>(Client& client, std::mt19937_64& random)>;
using StepMaker = std::function<Step(int thread)>;

// A store under test, and the phases that are measured of it.
class Session {
 public:
  Session(const Config& config, const Peer& peer, PeerSpec spec, uint64_t value_bytes)
      : config_(config), peer_(peer), spec_(std::move(spec)), value_bytes_(value_bytes), values_(value_bytes) {}

  absl::Status Open() {
    auto engine = peer_.open(spec_);
    if (!engine.ok()) return engine.status();
    engine_ = *std::move(engine);
    return absl::OkStatus();
  }
  absl::Status Close() {
    Demand(engine_->Close());
    engine_.reset();
    return absl::OkStatus();
  }
  PeerEngine& engine() { return *engine_; }
  Figures& figures() { return figures_; }
  const Config& config() const { return config_; }

  // The operations a second that so many threads do together, each for the configured time; and NAME_cpu_us, what the
  // whole process took of the processors for one.
  absl::Status Measure(const std::string& name, int threads, const StepMaker& make) {
    return Run(name, threads, make,
               [seconds = config_.seconds](SteadyClock::time_point began) { return SecondsSince(began) < seconds; });
  }
  // The same until every step has said 0; `finish` is in the time.
  absl::Status MeasureAll(const std::string& name, int threads, const StepMaker& make,
                          const std::function<absl::Status()>& finish = nullptr) {
    return Run(
        name, threads, make, [](SteadyClock::time_point) { return true; }, finish);
  }

  // Puts keys 0 to `keys`, which are in random order, once each.
  absl::Status Fill(const std::string& name, uint64_t keys, int threads, bool sync) {
    std::atomic<uint64_t> next{0};
    const auto written = ProcessWrittenBytes();
    Demand(MeasureAll(
        name, threads,
        [&](int) -> Step {
          auto values = std::make_shared<ValueMaker>(value_bytes_);
          return [&next, values, keys](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
            const uint64_t number = next.fetch_add(1);
            if (number >= keys) return uint64_t{0};
            Demand(client.Put(KeyOfNumber(number), values->Make(number, 1)));
            return uint64_t{1};
          };
        },
        sync ? std::function<absl::Status()>([this] { return engine_->Sync(); }) : nullptr));
    figures_[name + "_device_bytes"] = static_cast<double>(ProcessWrittenBytes() - written);
    return absl::OkStatus();
  }

  // Reads everything once, so that caches hold what they can, and a sample of it is compared.
  absl::Status Warm(uint64_t keys) {
    const std::unique_ptr<Client> client = engine_->NewClient();
    auto scanned = client->Scan({}, keys);
    if (!scanned.ok()) return scanned.status();
    if (scanned->pairs != keys) return absl::DataLossError("a scan has " + std::to_string(scanned->pairs) + " keys");
    for (uint64_t number = 0; number < keys; ++number) {
      const auto value = client->Get(KeyOfNumber(number));
      if (!value.ok()) return value.status();
      if (number % 101 == 0 && *value != values_.Make(number, 1)) return absl::DataLossError("a wrong value");
    }
    return absl::OkStatus();
  }

  StepMaker Gets(uint64_t keys) const {
    return [keys](int) -> Step {
      return [keys](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
        const auto value = client.Get(KeyOfNumber(random() % keys));
        if (!value.ok()) return value.status();
        Touch(*value);
        return uint64_t{1};
      };
    };
  }
  StepMaker MultiGets(uint64_t keys) const {
    return [keys](int) -> Step {
      return [keys](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
        std::array<std::string, 32> names;
        std::array<std::string_view, 32> views;
        for (size_t i = 0; i < names.size(); ++i) views[i] = names[i] = KeyOfNumber(random() % keys);
        const auto bytes = client.MultiGet(views);
        if (!bytes.ok()) return bytes.status();
        return uint64_t{views.size()};
      };
    };
  }
  static StepMaker Scans(uint64_t keys, uint64_t count) {
    return [keys, count](int) -> Step {
      return [keys, count](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
        const auto scanned = client.Scan(KeyOfNumber(random() % keys), count);
        if (!scanned.ok()) return scanned.status();
        return std::max<uint64_t>(scanned->pairs, 1);
      };
    };
  }
  absl::Status FullScan(const std::string& name, uint64_t keys) {
    bool done = false;
    return MeasureAll(name, 1, [&](int) -> Step {
      return [&](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
        if (std::exchange(done, true)) return uint64_t{0};
        const auto scanned = client.Scan({}, keys);
        if (!scanned.ok()) return scanned.status();
        return scanned->pairs;
      };
    });
  }
  StepMaker SyncedPuts() const {
    return [this](int thread) -> Step {
      auto values = std::make_shared<ValueMaker>(value_bytes_);
      auto next = std::make_shared<uint64_t>(static_cast<uint64_t>(thread) << 32);
      return [values, next](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
        const uint64_t number = (*next)++;
        Demand(client.PutSynced(KeyOfNumber(number), values->Make(number, 1)));
        return uint64_t{1};
      };
    };
  }

 private:
  absl::Status Run(const std::string& name, int threads, const StepMaker& make,
                   const std::function<bool(SteadyClock::time_point)>& goes_on,
                   const std::function<absl::Status()>& finish = nullptr) {
    std::atomic<uint64_t> operations{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    absl::Status failure;
    double cpu_before = 0;
    SteadyClock::time_point began;
    // Once all have what they work with.
    std::barrier start(threads, [&]() noexcept {
      cpu_before = CpuSeconds();
      began = SteadyClock::now();
    });
    const auto work = [&](int thread) {
      const std::unique_ptr<Client> client = engine_->NewClient();
      std::mt19937_64 random(static_cast<uint64_t>(thread) + 1);
      const Step step = make(thread);
      start.arrive_and_wait();
      uint64_t mine = 0;
      for (uint64_t turn = 0; !failed && (turn % 16 != 0 || goes_on(began)); ++turn) {
        const auto count = Caught([&] { return step(*client, random); });
        if (!count.ok()) {
          const std::lock_guard lock(mutex);
          failure.Update(count.status());
          failed = true;
        }
        if (!count.ok() || *count == 0) break;
        mine += *count;
      }
      operations += mine;
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(work, i);
    work(0);
    for (std::thread& thread : others) thread.join();
    if (failure.ok() && finish) failure = finish();
    if (!failure.ok()) return absl::Status(failure.code(), name + ": " + std::string(failure.message()));
    const double seconds = SecondsSince(began), count = static_cast<double>(std::max<uint64_t>(operations, 1));
    figures_[name] = count / seconds;
    figures_[name + "_cpu_us"] = (CpuSeconds() - cpu_before) * 1e6 / count;
    return absl::OkStatus();
  }

  const Config& config_;
  const Peer& peer_;
  const PeerSpec spec_;
  const uint64_t value_bytes_;
  ValueMaker values_;
  std::unique_ptr<PeerEngine> engine_;
  Figures figures_;
};

// Memory for everything twice, as caches of all kinds want it; and the limit on the process has room for what an engine
// does beside.
PeerSpec SpecFor(const std::string& directory, uint64_t data_bytes, uint64_t memory_bytes, bool synced = false) {
  LimitMemory(2 * memory_bytes + 256 * kMiB);
  return {.path = directory, .memory_bytes = memory_bytes, .data_bytes = data_bytes, .synced = synced};
}
PeerSpec InMemory(const std::string& directory, uint64_t data_bytes, bool synced = false) {
  return SpecFor(directory, data_bytes, 2 * data_bytes + 128 * kMiB, synced);
}

absl::StatusOr<Figures> Finished(Session& session) {
  Demand(session.Close());
  session.figures()["peak_memory_mib_max"] = static_cast<double>(PeakMemoryBytes()) / kMiB;
  return std::move(session.figures());
}

absl::StatusOr<Figures> Small(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = 100;
  const uint64_t keys = config.KeysFor(kValueBytes);
  Session session(config, peer, InMemory(directory, keys * (kKeyBytes + kValueBytes)), kValueBytes);
  Demand(session.Open());
  Demand(session.Fill("fill", keys, 1, false));
  Demand(session.engine().Sync());
  Demand(session.Warm(keys));
  for (const int threads : {1, 2, 8}) {
    Demand(session.Measure("get_" + std::to_string(threads), threads, session.Gets(keys)));
  }
  Demand(session.Measure("miss", 1, [&](int) -> Step {
    return [keys](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
      const auto value = client.Get(KeyOfNumber(keys + random() % keys));
      if (!absl::IsNotFound(value.status())) return absl::DataLossError("a key that was never put is there");
      return uint64_t{1};
    };
  }));
  Demand(session.Measure("multi_get", 1, session.MultiGets(keys)));
  Demand(session.Measure("scan_100", 1, Session::Scans(keys, 100)));
  Demand(session.FullScan("full_scan", keys));
  Demand(session.Close());
  const auto began = SteadyClock::now();
  Demand(session.Open());
  Demand(session.engine().NewClient()->Get(KeyOfNumber(0)).status());
  session.figures()["open"] = static_cast<double>(keys) / SecondsSince(began);
  uint64_t deleted = 0;
  Demand(session.MeasureAll("delete", 1, [&](int) -> Step {
    return [&](Client& deleter, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
      if (deleted == keys / 4) return uint64_t{0};
      Demand(deleter.Delete(KeyOfNumber(deleted++)));
      return uint64_t{1};
    };
  }));
  return Finished(session);
}

absl::StatusOr<Figures> Batches(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = 100, kBatch = 100;
  const uint64_t keys = config.KeysFor(kValueBytes) / kBatch * kBatch;
  Session session(config, peer, InMemory(directory, keys * (kKeyBytes + kValueBytes)), kValueBytes);
  Demand(session.Open());
  ValueMaker maker(kValueBytes);
  uint64_t next = 0;
  Demand(session.MeasureAll("fill", 1, [&](int) -> Step {
    return [&](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
      if (next == keys) return uint64_t{0};
      std::vector<std::string> bytes;
      std::vector<Pair> pairs;
      bytes.reserve(2 * kBatch);
      for (uint64_t i = 0; i < kBatch; ++i, ++next) {
        bytes.push_back(KeyOfNumber(next));
        bytes.emplace_back(maker.Make(next, 1));
        pairs.emplace_back(bytes[2 * i], bytes[2 * i + 1]);
      }
      Demand(client.PutBatch(pairs));
      return kBatch;
    };
  }));
  Demand(session.Warm(keys));
  return Finished(session);
}

// Of values that many engines keep apart. All syncs are in the time.
absl::StatusOr<Figures> Large(const Config& config, const Peer& peer, const std::string& directory,
                              uint64_t value_bytes) {
  const uint64_t keys = config.KeysFor(value_bytes);
  Session session(config, peer, InMemory(directory, keys * (kKeyBytes + value_bytes)), value_bytes);
  Demand(session.Open());
  Demand(session.Fill("fill", keys, 1, true));
  Demand(session.Warm(keys));
  Demand(session.Measure("get_1", 1, session.Gets(keys)));
  Demand(session.Measure("scan_100", 1, Session::Scans(keys, 100)));
  const std::vector<uint32_t> order = ShuffledNumbers(keys, 5, 3);
  ValueMaker maker(value_bytes);
  size_t next = 0;
  const uint64_t written = ProcessWrittenBytes();
  Demand(session.MeasureAll(
      "overwrite", 1,
      [&](int) -> Step {
        return [&](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
          if (next == order.size()) return uint64_t{0};
          Demand(client.Put(KeyOfNumber(order[next]), maker.Make(order[next], 2 + next)));
          ++next;
          return uint64_t{1};
        };
      },
      [&] { return session.engine().Sync(); }));
  session.figures()["overwrite_device_bytes"] = static_cast<double>(ProcessWrittenBytes() - written);
  return Finished(session);
}
absl::StatusOr<Figures> Large4K(const Config& config, const Peer& peer, const std::string& directory) {
  return Large(config, peer, directory, 4 * kKiB);
}
absl::StatusOr<Figures> Large128K(const Config& config, const Peer& peer, const std::string& directory) {
  return Large(config, peer, directory, 128 * kKiB);
}

absl::StatusOr<Figures> Synced(const Config& config, const Peer& peer, const std::string& directory) {
  Figures all;
  for (const uint64_t value_bytes : {uint64_t{100}, 4 * kKiB}) {
    const std::string path = directory + "-" + std::to_string(value_bytes);
    Session session(config, peer, InMemory(path, 1'024 * kMiB, /*synced=*/true), value_bytes);
    Demand(session.Open());
    for (const int threads : {1, 8, 64}) {
      if (value_bytes != 100 && threads != 64) continue;
      const std::string name = "put_" + std::to_string(threads) + (value_bytes == 100 ? "" : "_4k");
      Demand(session.Measure(name, threads, session.SyncedPuts()));
    }
    auto figures = Finished(session);
    if (!figures.ok()) return figures.status();
    all.insert(figures->begin(), figures->end());
  }
  return all;
}

// The core workloads of YCSB: B. Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010. Zipf 0.99,
// values of 1 KiB, eight threads.
absl::StatusOr<Figures> Ycsb(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = kKiB;
  constexpr int kThreads = 8;
  const uint64_t keys = config.KeysFor(2 * kValueBytes);  // inserts come on top
  Session session(config, peer, InMemory(directory, 2 * keys * (kKeyBytes + kValueBytes)), kValueBytes);
  Demand(session.Open());
  Demand(session.Fill("load", keys, kThreads, false));
  Demand(session.Warm(keys));
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
    Demand(session.Measure(mix.name, kThreads, [&](int thread) -> Step {
      auto values = std::make_shared<ValueMaker>(kValueBytes);
      auto version = std::make_shared<uint64_t>(static_cast<uint64_t>(thread) << 40);
      return [&, values, version](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
        const double drawn = std::uniform_real_distribution<double>(0, 1)(random);
        const uint64_t rank = zipf(random), newest = inserted.load();
        const std::string key = KeyOfNumber(mix.latest ? newest - 1 - std::min(rank, newest - 1) : rank);
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
    }));
  }
  return Finished(session);
}

// Twenty times as much data as memory for values; what firn's index in memory needs is on top, for every engine.
absl::StatusOr<Figures> OnDisk(const Config& config, const Peer& peer, const std::string& directory) {
  constexpr uint64_t kValueBytes = 4 * kKiB, kIndexBytesPerKey = 96;
  const uint64_t keys = config.KeysFor(kValueBytes), data_bytes = keys * (kKeyBytes + kValueBytes);
  const uint64_t memory_bytes = data_bytes / 20 + keys * kIndexBytesPerKey + 16 * kMiB;
  LimitMemory(memory_bytes + 64 * kMiB);
  const PeerSpec spec{.path = directory, .memory_bytes = memory_bytes, .data_bytes = data_bytes};
  Session session(config, peer, spec, kValueBytes);
  Demand(session.Open());
  Demand(session.Fill("fill", keys, 1, true));
  Demand(session.Close());
  Demand(session.Open());
  Demand(session.Measure("warm", 8, session.Gets(keys)));
  Demand(session.Measure("get_1", 1, session.Gets(keys)));
  Demand(session.Measure("get_8", 8, session.Gets(keys)));
  Demand(session.Measure("multi_get", 1, session.MultiGets(keys)));
  Demand(session.FullScan("full_scan", keys));
  return Finished(session);
}

constexpr Group kGroups[] = {
    {"100B", "values of 100 bytes in memory, buffered", &Small},
    {"batch", "the same, written in batches of 100", &Batches},
    {"4KiB", "values of 4 KiB in memory, buffered, the final sync timed", &Large4K},
    {"128KiB", "values of 128 KiB in memory, buffered, the final sync timed", &Large128K},
    {"synced", "puts that are durable when they return", &Synced},
    {"ycsb", "YCSB, 1 KiB, zipf 0.99, 8 threads, buffered", &Ycsb},
    {"disk", "values of 4 KiB, memory for a twentieth of them", &OnDisk},
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
    {"100B", "delete", "delete", ""},
    {"4KiB", "fill", "fill 4 KiB", "sequential_write", 4'096},
    {"4KiB", "get_1", "get 4 KiB", ""},
    {"4KiB", "scan_100", "scan of 100, 4 KiB", ""},
    {"4KiB", "overwrite", "overwrite five times, 4 KiB", "sequential_write", 4'096},
    {"128KiB", "fill", "fill 128 KiB", "sequential_write", 131'072},
    {"128KiB", "get_1", "get 128 KiB", ""},
    {"128KiB", "overwrite", "overwrite five times, 128 KiB", "sequential_write", 131'072},
    {"synced", "put_1", "synced put, 1 thread", "synced_write_4k", 1},
    {"synced", "put_8", "synced put, 8 threads", ""},
    {"synced", "put_64", "synced put, 64 threads", ""},
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
    {"disk", "multi_get", "multi-get of 32 from disk, keys", "read_4k_d64", 1},
    {"disk", "full_scan", "full scan from disk, pairs", "sequential_read", 4'096},
};

}  // namespace

std::span<const Group> Groups() { return kGroups; }

absl::StatusOr<Figures> RunGroup(const Group& group, const Config& config, const Peer& peer,
                                 const std::string& directory) {
  return Caught([&] { return group.run(config, peer, directory); });
}

std::span<const Line> Lines() { return kLines; }

}  // namespace firn::bench
