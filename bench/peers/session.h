// A store under test, and the phases that are measured of it.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "peers/config.h"
#include "peers/engine.h"
#include "support/data.h"
#include "support/failure.h"
#include "support/figures.h"
#include "support/phase.h"
#include "support/timing.h"

namespace firn::bench {

// What one thread of a phase does: one or more operations at a time, of which it says how many.
using Step = std::function<absl::StatusOr<uint64_t>(Client& client, std::mt19937_64& random)>;
using StepMaker = std::function<Step(int thread)>;

StepMaker Gets(uint64_t keys);
StepMaker MultiGets(uint64_t keys);
StepMaker Scans(uint64_t keys, uint64_t count);
StepMaker SyncedPuts(uint64_t value_bytes);
// Of an engine that is asynchronous, by one thread.
StepMaker GetsInFlight(uint64_t keys, size_t in_flight);
StepMaker SyncedPutsInFlight(uint64_t value_bytes, size_t in_flight);

class Session {
 public:
  Session(const Config& config, const Peer& peer, PeerSpec spec, uint64_t value_bytes)
      : config_(config), peer_(peer), spec_(std::move(spec)), value_bytes_(value_bytes), values_(value_bytes) {}

  void Open();
  void Close();
  PeerEngine& engine() { return *engine_; }
  Figures& figures() { return figures_; }
  const Config& config() const { return config_; }

  // The operations a second that so many threads do together, each for the configured time; and NAME_cpu_us, what the
  // whole process took of the processors for one.
  void Measure(const std::string& name, int threads, const StepMaker& make) {
    MeasureFor(config_.seconds, name, threads, make);
  }
  void MeasureFor(double seconds, const std::string& name, int threads, const StepMaker& make);
  // The same until every step has said 0; `finish` is in the time.
  void MeasureAll(const std::string& name, int threads, const StepMaker& make,
                  const std::function<absl::Status()>& finish = nullptr);

  // Puts keys 0 to `keys`, which are in random order, once each.
  void Fill(const std::string& name, uint64_t keys, int threads, bool sync);
  // Reads everything once, so that caches hold what they can, and a sample of it is compared.
  void Warm(uint64_t keys);
  void FullScan(const std::string& name, uint64_t keys);
  // Opens, and gets one key: keys a second.
  void MeasureOpen(const std::string& name, uint64_t keys);
  // Closes; all that was found.
  Figures Finish();

 private:
  void RunSteps(const Phase& phase, const StepMaker& make);

  const Config& config_;
  const Peer& peer_;
  const PeerSpec spec_;
  const uint64_t value_bytes_;
  ValueMaker values_;
  std::unique_ptr<PeerEngine> engine_;
  Figures figures_;
};

}  // namespace firn::bench
