// One client of a store on a simulated machine, which keeps a ledger of what it asked for and what it was told, and
// holds the store to it after every crash.
#pragma once

#include <firn/db.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "db/open.h"
#include "support/crash_points.h"
#include "support/scheduler.h"
#include "support/sim_environment.h"

namespace firn::test {

// What a store shows: for each key its value, with metadata and expiry, in short. Long values appear by size and hash.
using State = std::map<std::string, std::string>;

std::string Describe(const State& state);

// The state after each operation of a history, in order.
class Ledger {
 public:
  struct Change {
    std::string key;
    std::optional<std::string> shown;  // none: deleted
  };
  enum class Outcome {
    kDone,
    kDurable,  // and everything before it is durable too
    kMaybe,    // nobody knows whether it happened
    kPowerCut,
  };
  void Note(std::vector<Change> changes, Outcome outcome) {
    operations_.push_back({std::move(changes), outcome, outcome == Outcome::kDurable});
  }
  // The power was cut here, and more was asked for afterwards: what was not durable may be missing below it.
  void NotePowerCut() { operations_.push_back({{}, Outcome::kPowerCut}); }
  // Since the last power cut: what that one took is gone for good.
  void NoteAllDurable();

  // Whether a store may show `found`: what some prefix of the history leaves, at least up to what was promised.
  bool Permits(const State& found, bool power_was_cut) const;
  // What each key has shown at some time: also nothing at all.
  std::map<std::string, std::set<std::optional<std::string>>> EverShown() const;
  std::string Describe() const;
  // The history starts again from `state`.
  void Restart(State state);
  const State& start() const { return start_; }

 private:
  struct Operation {
    std::vector<Change> changes;
    Outcome outcome;
    bool durable = false;
  };
  State start_;
  std::vector<Operation> operations_;
};

class EventLog final : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
  }
  size_t Count(EventKind kind) const;
  std::string Text() const;
  void Clear() {
    std::lock_guard lock(mutex_);
    events_.clear();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

// Segments as small as they get: a handful of large values fills one.
inline constexpr uint64_t kSmallSegmentBytes = 64 * 1024;
// Six of these fill a small segment.
inline constexpr size_t kLargeValueBytes = 9'000;

// A value that says what it is and has the size wanted.
std::string Value(std::string_view tag, size_t size_bytes = 0);

Options QuietOptions();
Environment SimEnvironment(SimWorld& world, uint64_t segment_bytes_min = kSmallSegmentBytes);

// Everything in the default namespace. Fails the test when something cannot be read.
State Look(DB& db);
// The same, but values that cannot be read are left out and counted.
State LookPast(DB& db, size_t* unreadable);

// Sequential. After the machine has crashed its calls change nothing in the ledger.
class Client {
 public:
  explicit Client(SimWorld& world) : world_(world) {}

  absl::Status Open() { return Open(usual_); }
  absl::Status Open(const Options& options, uint64_t segment_bytes_min = kSmallSegmentBytes);
  // What Open() and CheckRecovered() open with from now on.
  void set_usual_options(const Options& options) { usual_ = options; }
  // From the next Open() on.
  void set_value_hash(base::Hash128Value (*hash)(base::Bytes, uint64_t)) { value_hash_ = hash; }
  // Of a store that gets an index image.
  void set_image_keys_min(uint64_t keys) { image_keys_min_ = keys; }
  DB& db() { return *db_; }
  bool is_open() const { return db_ != nullptr; }
  EventLog& events() { return events_; }

  absl::Status Put(std::string_view key, std::string_view value, Durability durability = Durability::kSynced,
                   int64_t expires_at_ms = 0);
  absl::Status PutStream(std::string_view key, std::string_view value, Durability durability = Durability::kSynced);
  absl::Status Delete(std::string_view key, Durability durability = Durability::kSynced);
  absl::Status SetExpiry(std::string_view key, int64_t expires_at_ms, Durability durability = Durability::kSynced);
  // Puts each key with its value; an empty value deletes.
  absl::Status Apply(const std::vector<std::pair<std::string, std::string>>& changes,
                     Durability durability = Durability::kSynced);
  // Six large values that nobody needs: what follows is in the next segment.
  void FillSegment(std::string_view tag, Durability durability = Durability::kSynced);
  absl::Status Sync();
  absl::Status Flush();
  absl::Status Close();
  // Lets go of the store in whatever state it is; nothing is promised by that.
  void Drop() { db_.reset(); }

  // The machine crashes under the open store.
  void Crash(const test::Crash& crash);

  // Opens what is left and holds it to the ledger; revisions go on above all that were handed out. The store is open
  // afterwards, and the ledger starts again from what it shows. On a full disk, where no write can tell, revisions go
  // unchecked.
  void CheckRecovered(bool power_was_cut);
  // What is open now shows exactly the newest state asked for.
  void CheckNow();

  Ledger& ledger() { return ledger_; }
  Revision revision_max() const { return revision_max_; }

 private:
  bool Crashed() const { return world_.machine.crashes() != crashes_at_open_; }
  absl::Status Note(std::vector<Ledger::Change> changes, const absl::StatusOr<Revision>& result, bool was_dead,
                    Durability durability);

  SimWorld& world_;
  base::Hash128Value (*value_hash_)(base::Bytes, uint64_t) = nullptr;
  uint64_t image_keys_min_ = 0;
  Options usual_ = QuietOptions();
  EventLog events_;
  std::unique_ptr<DB> db_;
  Ledger ledger_;
  State now_;  // the newest state asked for
  Revision revision_max_ = 0;
  uint64_t crashes_at_open_ = 0;
};

std::string Shown(std::string_view value, std::string_view metadata, int64_t expires_at_ms);

// Runs `body` as the scheduled main thread of a world of its own; a deadlock, or a run that seems never to end, fails
// the test with the seed.
void InSchedule(uint64_t seed, const std::function<void(SimWorld&)>& body, double switch_probability = 0.25,
                uint64_t steps_max = 5'000'000);

}  // namespace firn::test
