#include "peers/session.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "peers/memory_limit.h"
#include "support/device.h"

namespace firn::bench {

StepMaker Gets(uint64_t keys) {
  return [keys](int) -> Step {
    return [keys](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
      const auto value = client.Get(KeyOfNumber(random() % keys));
      if (!value.ok()) return value.status();
      Touch(*value);
      return uint64_t{1};
    };
  };
}

StepMaker MultiGets(uint64_t keys) {
  return [keys](int) -> Step {
    return [keys](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
      std::array<Key, 32> names;
      std::array<std::string_view, 32> views;
      for (size_t i = 0; i < names.size(); ++i) views[i] = names[i] = KeyOfNumber(random() % keys);
      const auto bytes = client.MultiGet(views);
      if (!bytes.ok()) return bytes.status();
      return uint64_t{views.size()};
    };
  };
}

StepMaker Scans(uint64_t keys, uint64_t count) {
  return [keys, count](int) -> Step {
    return [keys, count](Client& client, std::mt19937_64& random) -> absl::StatusOr<uint64_t> {
      const auto scanned = client.Scan(KeyOfNumber(random() % keys), count);
      if (!scanned.ok()) return scanned.status();
      return std::max<uint64_t>(scanned->pairs, 1);
    };
  };
}

StepMaker SyncedPuts(uint64_t value_bytes) {
  return [value_bytes](int thread) -> Step {
    auto values = std::make_shared<ValueMaker>(value_bytes);
    auto next = std::make_shared<uint64_t>(static_cast<uint64_t>(thread) << 32);
    return [values, next](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
      const uint64_t number = (*next)++;
      Demand(client.PutSynced(KeyOfNumber(number), values->Make(number, 1)));
      return uint64_t{1};
    };
  };
}

StepMaker GetsInFlight(uint64_t keys, size_t in_flight) {
  return [keys, in_flight](int) -> Step {
    return [keys, in_flight](Client& client, std::mt19937_64& random) {
      return client.GetsInFlight(in_flight, [&] { return KeyOfNumber(random() % keys); });
    };
  };
}

StepMaker SyncedPutsInFlight(uint64_t value_bytes, size_t in_flight) {
  return [value_bytes, in_flight](int) -> Step {
    struct Mine {
      explicit Mine(uint64_t bytes) : values(bytes) {}
      ValueMaker values;
      uint64_t next = uint64_t{1} << 48;
      Key key{};
    };
    const auto mine = std::make_shared<Mine>(value_bytes);
    return [mine, in_flight](Client& client, std::mt19937_64&) {
      return client.SyncedPutsInFlight(in_flight, [&]() -> Pair {
        mine->key = KeyOfNumber(mine->next);
        return {mine->key, mine->values.Make(mine->next++, 1)};
      });
    };
  };
}

void Session::Open() {
  auto engine = peer_.open(spec_);
  Demand(engine.status());
  engine_ = *std::move(engine);
}

void Session::Close() {
  Demand(engine_->Close());
  engine_.reset();
}

void Session::MeasureFor(double seconds, const std::string& name, int threads, const StepMaker& make) {
  RunSteps({.name = name, .threads = threads, .seconds = seconds}, make);
}

void Session::MeasureAll(const std::string& name, int threads, const StepMaker& make,
                         const std::function<absl::Status()>& finish) {
  RunSteps({.name = name, .threads = threads, .finish = finish}, make);
}

void Session::Fill(const std::string& name, uint64_t keys, int threads, bool sync) {
  std::atomic<uint64_t> next{0};
  const auto written = ProcessWrittenBytes();
  MeasureAll(
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
      sync ? std::function<absl::Status()>([this] { return engine_->Sync(); }) : nullptr);
  figures_[name + "_device_bytes"] = static_cast<double>(ProcessWrittenBytes() - written);
}

void Session::Warm(uint64_t keys) {
  const std::unique_ptr<Client> client = engine_->NewClient();
  auto scanned = client->Scan({}, keys);
  Demand(scanned.status());
  if (scanned->pairs != keys) {
    throw Failure{absl::DataLossError("a scan has " + std::to_string(scanned->pairs) + " keys")};
  }
  for (uint64_t number = 0; number < keys; ++number) {
    const auto value = client->Get(KeyOfNumber(number));
    Demand(value.status());
    if (number % 101 == 0 && *value != values_.Make(number, 1)) throw Failure{absl::DataLossError("a wrong value")};
  }
}

void Session::FullScan(const std::string& name, uint64_t keys) {
  bool done = false;
  MeasureAll(name, 1, [&](int) -> Step {
    return [&](Client& client, std::mt19937_64&) -> absl::StatusOr<uint64_t> {
      if (std::exchange(done, true)) return uint64_t{0};
      const auto scanned = client.Scan({}, keys);
      if (!scanned.ok()) return scanned.status();
      return scanned->pairs;
    };
  });
}

void Session::MeasureOpen(const std::string& name, uint64_t keys) {
  const auto began = SteadyClock::now();
  Open();
  Demand(engine_->NewClient()->Get(KeyOfNumber(0)).status());
  figures_[name] = static_cast<double>(keys) / SecondsSince(began);
}

Figures Session::Finish() {
  Close();
  figures_["peak_memory_mib_max"] = static_cast<double>(PeakMemoryBytes()) / kMiB;
  return std::move(figures_);
}

void Session::RunSteps(const Phase& phase, const StepMaker& make) {
  const Took took = RunPhase(phase, [&](int thread) -> Turn {
    struct Mine {
      std::shared_ptr<Client> client;
      std::mt19937_64 random;
      Step step;
    };
    const auto mine = std::make_shared<Mine>(
        Mine{engine_->NewClient(), std::mt19937_64(static_cast<uint64_t>(thread) + 1), make(thread)});
    return [mine] {
      const absl::StatusOr<uint64_t> count = mine->step(*mine->client, mine->random);
      Demand(count.status());
      return *count;
    };
  });
  figures_[phase.name] = took.per_second();
  figures_[phase.name + "_cpu_us"] = took.cpu_ns_each() / 1e3;
}

}  // namespace firn::bench
