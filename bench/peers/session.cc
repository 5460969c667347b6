#include "peers/session.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <mutex>
#include <thread>
#include <vector>

#include "peers/memory_limit.h"
#include "support/device.h"

namespace firn::bench {
namespace {

double CpuSeconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

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
      std::array<std::string, 32> names;
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
  Run(name, threads, make, [seconds](SteadyClock::time_point began) { return SecondsSince(began) < seconds; });
}

void Session::MeasureAll(const std::string& name, int threads, const StepMaker& make,
                         const std::function<absl::Status()>& finish) {
  Run(
      name, threads, make, [](SteadyClock::time_point) { return true; }, finish);
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

void Session::Run(const std::string& name, int threads, const StepMaker& make,
                  const std::function<bool(SteadyClock::time_point)>& goes_on,
                  const std::function<absl::Status()>& finish) {
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
  if (!failure.ok()) throw Failure{absl::Status(failure.code(), name + ": " + std::string(failure.message()))};
  const double seconds = SecondsSince(began), count = static_cast<double>(std::max<uint64_t>(operations, 1));
  figures_[name] = count / seconds;
  figures_[name + "_cpu_us"] = (CpuSeconds() - cpu_before) * 1e6 / count;
}

}  // namespace firn::bench
