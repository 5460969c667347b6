// One life of a store: from an open to a crash or a close, with the clients that use it and the history they leave.
#pragma once

#include <firn/async.h>
#include <firn/db.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/report.h"
#include "support/crash_points.h"
#include "support/history.h"
#include "support/model.h"
#include "support/rng.h"

namespace firn::test {

// What a seed decided for its whole run.
struct Settings {
  size_t clients = 2;
  size_t keys = 60;
  size_t value_bytes_max = 200;
  double switch_probability = 0.25;
  uint64_t nanos_per_step = 0;
  uint64_t latency_nanos_max = 0;
  uint32_t flush_interval_ms = 1'000;
  uint64_t segment_bytes_min = 64 * 1024;
  double buffered_share = 0.5;
  bool clock_jumps_back = false;
  uint64_t value_separation_threshold_bytes = 0;
  uint32_t value_alignment_bytes = 4 * 1024;
  bool can_punch = true;  // holes, in the disk's files
  double max_space_amplification = 1.5;
  uint64_t ceiling_floor_segments = 0;
  uint64_t max_disk_bytes = 0;
  uint64_t index_bytes_max = 0;  // 0: more than any seed needs
  bool links = false;            // a copy shares the store's files at times
  uint64_t cache_bytes_max = 0;  // of the value cache; 0: none, so that every read meets the disk
  uint64_t image_keys_min = 0;   // of a store that gets an index image; 0: none does
  double async_share = 0;        // of the clients' calls: some in flight together
};

class Session {
 public:
  // Faults that this life must live with.
  struct Tolerance {
    bool write_errors = false;  // writes may fail, and the store may be poisoned
    bool read_errors = false;
    bool no_room = false;     // ResourceExhausted
    bool index_full = false;  // the same, of keys that are new
  };

  // What outlasts a life.
  struct Lasting {
    SeedReport report;
    uint64_t next_mark = 0;   // makes every value and expiry of a seed different from all others
    int64_t wall_ms_max = 0;  // the latest time the wall clock has shown
    bool verbose = false;
  };

  Session(SimWorld& world, const Settings& settings, History& history, Lasting& lasting)
      : world_(world),
        settings_(settings),
        history_(history),
        lasting_(lasting),
        crashes_before_(world.machine.crashes()) {}

  void Attach(DB* db);
  void set_tolerance(const Tolerance& tolerance) { tolerance_ = tolerance; }
  const Tolerance& tolerance() const { return tolerance_; }

  bool crashed() const { return world_.machine.crashes() != crashes_before_; }
  uint64_t calls() const { return calls_; }
  void set_calls_max(uint64_t calls) { calls_max_ = calls; }
  bool over() const { return crashed() || calls_ >= calls_max_; }

  Tick NextTick() { return ++tick_; }
  Window Begin();
  // Ends the window of a call that has returned. False when the process had died before: nobody heard the answer.
  bool End(Window& window);
  int64_t WallMs();
  void SawRevision(Revision revision) { newest_seen_ = std::max(newest_seen_, revision); }
  Revision acknowledged_max() const { return acknowledged_max_; }
  uint64_t compacts() const { return compacts_; }
  void NoteDurable(Revision revision, const std::string& why) { history_.durable.push_back({revision, why}); }

 private:
  friend class Client;

  SimWorld& world_;
  const Settings& settings_;
  History& history_;
  Lasting& lasting_;
  const uint64_t crashes_before_;

  DB* db_ = nullptr;
  std::map<size_t, Namespace> handles_;
  std::set<std::string> busy_names_;  // being created or dropped, or nobody knows whether that worked
  Tolerance tolerance_;
  Tick tick_ = 0;
  Revision acknowledged_max_ = 0;
  Revision newest_seen_ = 0;  // in any answer
  uint64_t calls_ = 0;
  uint64_t compacts_ = 0;
  uint64_t calls_max_ = UINT64_MAX;
  bool poisoned_ = false;
};

// Makes calls of all kinds, one after the other, until the session is over.
class Client {
 public:
  Client(Session& session, Rng rng) : session_(session), rng_(rng), async_rng_(Rng(rng).Fork()) {}
  void Run();
  void OneCall();

 private:
  struct Held {
    std::shared_ptr<const Snapshot> snapshot;
    Revision revision;
  };

  // writing.cc
  void Write(WriteStep::Kind kind);
  void WriteBatch();
  WriteStep RandomStep(WriteStep::Kind kind);
  Condition RandomCondition(const KeyId& key);
  std::string RandomValue();
  std::string EqualValue();
  absl::StatusOr<Revision> PutStream(Namespace& space, const WriteStep& step, const PutOptions& options);
  int64_t RandomExpiry();
  void FinishWrite(WriteCall& call, const absl::StatusOr<Revision>& result);

  // reading.cc
  void Get();
  void GetInfo();
  void GetRange();
  void GetStream();
  void MultiGet();
  void Exists();
  void Scan();
  void ScanTurn(Iterator& iterator, ScanCall& scan, bool keys_only);
  void TakeSnapshot();
  void DropSnapshot();
  // Decides what a read's status means; false when it says nothing about the key.
  bool Judge(const absl::Status& status, ReadCall& read, Seen& seen);
  const Held* MaybeSnapshot();
  static ReadOptions AsOf(const Held* held);  // the newest state without one
  void Record(ReadCall read, const Held* held);

  // async.cc
  struct Flight;
  void AsyncCalls();
  void MakeAsyncCalls();
  void RunFlights(std::deque<Flight>& flights);
  void BeginFlight(Flight& flight);
  absl::StatusOr<AsyncId> BeginWrite(Flight& flight, uint32_t timeout_ms);
  absl::StatusOr<AsyncId> BeginRead(Flight& flight, uint32_t timeout_ms);
  absl::StatusOr<AsyncId> BeginSync(Flight& flight, uint32_t timeout_ms);
  void JudgeFlights(std::deque<Flight>& flights);
  void JudgeFlight(Flight& flight);
  void WalkAsync();

  // administration.cc
  void CreateSpace();
  void DropSpace();
  void ListSpaces();
  void OpenSpace();
  void Sync(bool seal);
  void Compact();
  void ReportGarbage();
  void LookAround();
  void Scrub();
  void Sleep();
  void JumpClock();

  Namespace Handle(size_t space);
  size_t RandomSpace();
  KeyId RandomKey();
  std::string RandomKeyText();
  std::string RandomName();
  std::optional<size_t> LiveSpace(const std::string& name) const;
  void Count(Feature feature) { session_.lasting_.report.Count(feature); }

  Session& session_;
  Rng rng_;
  Rng async_rng_;
  std::vector<Held> held_;
  std::unique_ptr<AsyncContext> context_;
};

}  // namespace firn::test
