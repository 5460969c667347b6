#include "space/session.h"

#include <algorithm>

#include "space/config.h"
#include "space/watchers.h"
#include "support/device.h"
#include "support/histogram.h"

namespace firn::bench {
namespace {

constexpr uint64_t kVerifiedKeys = 1'000;
constexpr double kRestSeconds = 2, kRestSecondsMax = 60;

double SecondsSince(uint64_t start_ns) { return static_cast<double>(NowNs() - start_ns) * 1e-9; }

double Ratio(double top, double bottom) { return bottom > 0 ? top / bottom : 0; }

double Microseconds(uint64_t ns) { return static_cast<double>(ns) * 1e-3; }

}  // namespace

absl::StatusOr<Session> Session::Open(const EngineSpec& spec, const std::string& directory, uint64_t keys) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenEngine(spec, directory);
  if (!engine.ok()) return engine.status();
  return Session(*std::move(engine), directory, spec, keys);
}

Session::Session(std::unique_ptr<Engine> engine, std::string directory, const EngineSpec& spec, uint64_t keys)
    : engine_(std::move(engine)),
      directory_(std::move(directory)),
      pair_bytes_(kKeyBytes + spec.value_bytes),
      values_(spec.value_bytes),
      versions_(keys) {}

absl::Status Session::Put(uint64_t number, const PutObserver& observe, bool synced) {
  const uint32_t version = versions_[number] + 1;
  const Key key = KeyOfNumber(number);
  const std::string_view value = values_.Make(number, version);
  const uint64_t start = NowNs();
  if (absl::Status status = synced ? engine_->PutSynced(key, value) : engine_->Put(key, value); !status.ok()) {
    return status;
  }
  if (observe) observe(start, NowNs());
  if (version == 1) ++live_keys_;
  versions_[number] = version;
  return absl::OkStatus();
}

absl::StatusOr<Figures> Session::Measure(const KeyChoice& choose, const PutObserver& observe) {
  Histogram latencies;
  const uint64_t device_before = ProcessWrittenBytes(), disk_before = DiskWrittenBytes(directory_);
  SpaceWatcher space(directory_);
  const auto timed = [&](uint64_t put_start, uint64_t put_end) {
    latencies.Add(put_end - put_start);
    if (observe) observe(put_start, put_end);
  };
  const uint64_t start = NowNs();
  uint64_t puts = 0;
  for (uint64_t number = choose(0); number != kNoMore; number = choose(++puts)) {
    if (absl::Status status = Put(number, timed); !status.ok()) return status;
  }
  if (absl::Status status = engine_->Sync(); !status.ok()) return status;
  const double seconds = SecondsSince(start);
  space.Stop();
  const double rested = WaitForRest(kRestSeconds, kRestSecondsMax);

  const double user_bytes = static_cast<double>(puts * pair_bytes_), live = static_cast<double>(live_bytes());
  const double device_bytes = static_cast<double>(ProcessWrittenBytes() - device_before);
  const double after = static_cast<double>(AllocatedBytes(directory_));
  return Figures{{"puts", static_cast<double>(puts)},
                 {"user_bytes", user_bytes},
                 {"seconds", seconds},
                 {"puts_per_second", Ratio(static_cast<double>(puts), seconds)},
                 {"mib_per_second", Ratio(user_bytes / static_cast<double>(kMiB), seconds)},
                 {"device_bytes", device_bytes},
                 {"disk_bytes", static_cast<double>(DiskWrittenBytes(directory_) - disk_before)},
                 {"write_amplification", Ratio(device_bytes, user_bytes)},
                 {"live_bytes", live},
                 {"space_samples", static_cast<double>(space.samples())},
                 {"space_gap_us_max", Microseconds(space.gap_max_ns())},
                 {"space_max", Ratio(std::max(static_cast<double>(space.bytes_max()), after), live)},
                 {"space_mean", Ratio(space.bytes_mean(), live)},
                 {"space_after", Ratio(after, live)},
                 {"p50_us", Microseconds(latencies.Quantile(0.5))},
                 {"p99_us", Microseconds(latencies.Quantile(0.99))},
                 {"p999_us", Microseconds(latencies.Quantile(0.999))},
                 {"put_us_max", Microseconds(latencies.max_ns())},
                 {"rested_seconds", rested}};
}

absl::StatusOr<Figures> Session::Load() {
  return Measure([this](uint64_t i) { return i < keys() ? i : kNoMore; });
}

absl::StatusOr<double> Session::SyncedPutsPerSecond(double seconds) {
  const uint64_t start = NowNs();
  uint64_t puts = 0;
  for (; SecondsSince(start) < seconds; ++puts) {
    if (absl::Status status = Put(puts % keys(), nullptr, /*synced=*/true); !status.ok()) return status;
  }
  return Ratio(static_cast<double>(puts), SecondsSince(start));
}

absl::Status Session::VerifyAndClose(Figures* figures) {
  const uint64_t step = std::max<uint64_t>(1, keys() / kVerifiedKeys);
  std::string found;
  for (uint64_t number = 0; number < keys(); number += step) {
    const absl::Status status = engine_->Get(KeyOfNumber(number), &found);
    if (versions_[number] == 0) {
      if (!absl::IsNotFound(status)) return absl::DataLossError("a deleted key is there: " + std::to_string(number));
      continue;
    }
    if (!status.ok()) return status;
    if (found != values_.Make(number, versions_[number])) {
      return absl::DataLossError("another value than was put: key " + std::to_string(number));
    }
  }
  figures->merge(engine_->OwnFigures());
  return engine_->Close();
}

absl::Status Session::DeleteAll() {
  for (uint64_t number = 0; number < keys(); ++number) {
    if (absl::Status status = engine_->Delete(KeyOfNumber(number)); !status.ok()) return status;
    versions_[number] = 0;
  }
  live_keys_ = 0;
  return engine_->Sync();
}

}  // namespace firn::bench
