#include "enumerate/history.h"

#include <firn/async.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>

#include "base/hash.h"
#include "support/scheduler.h"
#include "support/sim_environment.h"

namespace firn::test {
namespace {

constexpr uint64_t kSegmentBytes = 64 * 1024;
constexpr size_t kLargeBytes = 12'000;    // three blocks of a value file
constexpr size_t kMiddlingBytes = 3'000;  // in the log; a segment holds twenty
constexpr uint64_t kUpkeepTurnsMs = 600;  // longer than two turns of the upkeep thread
constexpr int64_t kAnHourMs = 3'600'000;

void Require(const absl::Status& status, const std::string& what) {
  if (!status.ok()) throw std::runtime_error(what + ": " + status.ToString());
}

std::string ValueOf(const std::string& tag, size_t size_bytes) {
  std::string value = tag;
  while (value.size() < size_bytes) value += "." + tag;
  value.resize(size_bytes);
  return value;
}

std::string Short(std::string_view value, std::string_view metadata) {
  return std::string(value.substr(0, 12)) + "... " + std::to_string(value.size()) + " bytes, hash " +
         std::to_string(base::Hash64(base::AsBytes(value))) + " [" + std::string(metadata) + "]";
}

class Player {
 public:
  explicit Player(const HistoryPlan& plan) : plan_(plan), machine_(kSeed), random_(kSeed) {}

  History Play() {
    states_.emplace_back();
    Open();
    Prologue();
    machine_.set_watch([this](DiskMoment disk) { Note(std::move(disk)); });
    std::vector<size_t> step_begins;
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      step_begins.push_back(moments_.size());
      Do(plan_.steps[i], std::to_string(i));
    }
    machine_.set_watch({});
    Require(db_->Close(), "close");
    db_.reset();
    return {std::move(states_), std::move(moments_), std::move(step_begins)};
  }

 private:
  static constexpr uint64_t kSeed = 4;
  using Change = std::function<void(State&)>;

  void Note(DiskMoment disk) {
    moments_.push_back(
        {std::move(disk), acknowledged_, durable_, states_.size() - 1, revision_max_, clock_.WallTimeMs()});
  }

  void Open() {
    auto db = OpenEnumerated(machine_, clock_, random_, nullptr);
    Require(db.status(), "open");
    db_ = *std::move(db);
  }

  // A call that changes the state as `change` does.
  void Write(Durability durability, const Change& change, const std::function<absl::StatusOr<Revision>()>& call) {
    State next = states_.back();
    change(next);
    states_.push_back(std::move(next));
    const absl::StatusOr<Revision> revision = call();
    Require(revision.status(), "a write");
    revision_max_ = std::max(revision_max_, *revision);
    acknowledged_ = states_.size() - 1;
    if (durability == Durability::kSynced) durable_ = acknowledged_;
    machine_.NoteMoment();
  }

  void Put(const std::string& key, const std::string& value, Durability durability, int64_t expires_at_ms = 0) {
    PutOptions options;
    options.durability = durability;
    options.expires_at_ms = expires_at_ms;
    Write(
        durability,
        [&](State& state) {
          state["/" + key] = {Short(value, ""), expires_at_ms};
        },
        [&] { return db_->Put(key, value, options); });
  }

  void PutInFlight(const std::string& part, Durability durability) {
    auto context = AsyncContext::Create(*db_);
    Require(context.status(), "an asynchronous context");
    AsyncPutOptions options;
    options.durability = durability;
    for (const size_t bytes : {size_t{90}, kLargeBytes, size_t{110}}) {
      const std::string key = "flying" + part + "/" + std::to_string(bytes), value = ValueOf(key, bytes);
      State next = states_.back();
      next["/" + key] = {Short(value, ""), 0};
      states_.push_back(std::move(next));
      const auto done = [this, durability, number = states_.size() - 1](const AsyncRevision& revision) {
        Require(revision.status(), "a write in flight");
        revision_max_ = std::max(revision_max_, *revision);
        acknowledged_ = number;
        if (durability == Durability::kSynced) durable_ = number;
        machine_.NoteMoment();
      };
      Require((*context)->Put(key, value, done, options).status(), "to begin a write");
    }
    while ((*context)->in_flight() > 0) (*context)->Wait();
  }

  void Delete(const std::string& key, Durability durability) {
    WriteOptions options;
    options.durability = durability;
    Write(
        durability, [&](State& state) { state.erase("/" + key); }, [&] { return db_->Delete(key, options); });
  }

  void NoteAllDurable(const absl::Status& status, const std::string& what) {
    Require(status, what);
    durable_ = acknowledged_;
    machine_.NoteMoment();
  }

  void MakeSpace(const std::string& name) {
    std::optional<Namespace> space;
    Write(
        Durability::kSynced, [&](State& state) { state[name + "/"] = {}; },
        [&]() -> absl::StatusOr<Revision> {
          const absl::StatusOr<Namespace> made = db_->CreateNamespace(name);
          if (!made.ok()) return made.status();
          space = *made;
          return revision_max_;
        });
    for (const char* key : {"a", "b"}) {
      const std::string value = ValueOf(name + key, 100);
      Write(
          Durability::kSynced,
          [&](State& state) {
            state[name + "/" + key] = {Short(value, ""), 0};
          },
          [&] { return space->Put(key, value); });
    }
  }

  // Sealed segments with garbage in them, and for each step something of its own to work on.
  void Prologue() {
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      const std::string part = std::to_string(i);
      MakeSpace("dropped" + part);
      MakeSpace("batched" + part);
      for (const char* key : {"old", "deleted", "expiring", "moved", "batched"}) {
        Put(key + part, ValueOf(key + part, 200), Durability::kBuffered);
      }
      Put("freed" + part, ValueOf("freed" + part, kLargeBytes), Durability::kBuffered);
      Put("kept" + part, ValueOf("kept" + part, kLargeBytes), Durability::kBuffered);
      for (int turn = 0; turn < 6; ++turn)
        Put("filler", ValueOf("filler" + std::to_string(turn), kMiddlingBytes), Durability::kBuffered);
      NoteAllDurable(db_->Flush(), "flush");
    }
  }

  void Do(Step step, const std::string& part) {
    const Durability durability = plan_.durability;
    switch (step) {
      case Step::kPut:
        return Put("new" + part, ValueOf("new", 150), durability);
      case Step::kOverwrite:
        return Put("old" + part, ValueOf("newer", 250), durability);
      case Step::kLargePut:
        return Put("large" + part, ValueOf("large" + part, kLargeBytes), durability);
      case Step::kDelete:
        return Delete("deleted" + part, durability);
      case Step::kBatch:
        return ApplyBatch("batched" + part, durability);
      case Step::kExpire:
        return Expire("expiring" + part, durability);
      case Step::kDrop:
        return Drop("dropped" + part);
      case Step::kSeal:
        return NoteAllDurable(db_->Flush(), "flush");
      case Step::kRotate:
        for (int i = 0; i < 22; ++i)
          Put("turn" + part, ValueOf("turn" + std::to_string(i), kMiddlingBytes), durability);
        return;
      case Step::kClose:
        NoteAllDurable(db_->Close(), "close");
        db_.reset();
        Open();
        return machine_.NoteMoment();
      case Step::kRecover:
        machine_.Crash({CrashKind::kKill, Survival::kEverything});
        db_.reset();
        Open();
        return Resume(CrashKind::kKill);
      case Step::kRelocate:
        Put("moved" + part, ValueOf("moved", 300), durability);
        Require(db_->Compact(), "compact");
        return;
      case Step::kFree:
        return Free("freed" + part, durability, /*nothing_else_flushes=*/part == "0");
      case Step::kSecondCrash:
        return CrashTwice();
      case Step::kInFlight:
        return PutInFlight(part, durability);
      case Step::kCount:
        break;
    }
    throw std::runtime_error("no such step");
  }

  void Free(const std::string& key, Durability durability, bool nothing_else_flushes) {
    Nap(kUpkeepTurnsMs);  // retiring dead segments makes all durable that was written before
    Delete(key, durability);
    Nap(kUpkeepTurnsMs);  // what is not durable yet must not be freed now
    if (nothing_else_flushes && durability == Durability::kBuffered && db_->DurableRevision() >= revision_max_) {
      throw std::runtime_error(
          "a delete became durable by itself: whether its extent is freed too early goes untested");
    }
    NoteAllDurable(db_->Sync(), "sync");
    for (int turn = 0; turn < 20 && db_->GetStats().value_waiting_bytes > 0; ++turn) Nap(kUpkeepTurnsMs);
    if (db_->GetStats().value_waiting_bytes > 0) throw std::runtime_error("a dropped extent was not freed");
  }

  void ApplyBatch(const std::string& name, Durability durability) {
    const absl::StatusOr<Namespace> space = db_->OpenNamespace(name);
    Require(space.status(), "open namespace");
    const std::string large = ValueOf("in batch " + name, kLargeBytes), small = ValueOf("small", 80);
    Batch batch;
    batch.Put(name, large);
    batch.Delete("a", {}, space->id());
    batch.Put("c", small, {}, space->id());
    WriteOptions options;
    options.durability = durability;
    Write(
        durability,
        [&](State& state) {
          state["/" + name] = {Short(large, ""), 0};
          state.erase(name + "/a");
          state[name + "/c"] = {Short(small, ""), 0};
        },
        [&] { return db_->Apply(batch, options); });
  }

  // One entry gets a time that does not come, another one that does.
  void Expire(const std::string& key, Durability durability) {
    WriteOptions options;
    options.durability = durability;
    const int64_t late_ms = clock_.WallTimeMs() + kAnHourMs;
    Write(
        durability, [&](State& state) { state["/" + key].expires_at_ms = late_ms; },
        [&] { return db_->SetExpiry(key, late_ms, options); });
    Put("brief" + key, ValueOf("brief", 90), durability, clock_.WallTimeMs() + static_cast<int64_t>(kUpkeepTurnsMs));
    Nap(2 * kUpkeepTurnsMs);
  }

  void Drop(const std::string& name) {
    Write(
        Durability::kSynced,
        [&](State& state) {
          std::erase_if(state, [&name](const auto& entry) { return entry.first.starts_with(name + "/"); });
        },
        [&]() -> absl::StatusOr<Revision> {
          const absl::Status status = db_->DropNamespace(name);
          if (!status.ok()) return status;
          return revision_max_;
        });
  }

  void CrashTwice() {
    constexpr uint64_t kOperationOfRecovery = 6;
    machine_.Crash({CrashKind::kPowerCut, Survival::kSectors});
    db_.reset();
    acknowledged_ = durable_;  // no later kill owes more
    machine_.CrashAfter(kOperationOfRecovery, {CrashKind::kPowerCut, Survival::kSectors});
    auto db = OpenEnumerated(machine_, clock_, random_, nullptr);
    if (db.ok()) throw std::runtime_error("the recovery ended before its own crash");
    machine_.ClearFaults();
    Open();
    Resume(CrashKind::kPowerCut);
  }

  // After a crash in the history: what was found is what it goes on from, and is durable.
  void Resume(CrashKind kind) {
    View view = ViewOf(*db_);
    const size_t from = kind == CrashKind::kKill ? acknowledged_ : durable_;
    bool permitted = false;
    for (size_t i = from; i < states_.size(); ++i) permitted |= LooksLike(view.state, states_[i], clock_.WallTimeMs());
    if (!permitted) throw std::runtime_error("a recovery of the history itself found what was never there");
    states_.push_back(std::move(view.state));
    acknowledged_ = durable_ = states_.size() - 1;
    machine_.NoteMoment();
  }

  const HistoryPlan plan_;
  SimMachine machine_;
  SimClock clock_;
  Rng random_;
  std::unique_ptr<DB> db_;
  std::vector<State> states_;
  std::vector<CrashMoment> moments_;
  size_t acknowledged_ = 0, durable_ = 0;
  Revision revision_max_ = 0;
};

void AddSpace(const Namespace& space, const std::string& prefix, View& view) {
  const std::unique_ptr<Iterator> iterator = space.NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    const std::string_view value = iterator->value();
    Require(iterator->status(), "the value of " + std::string(iterator->key()));
    view.state[prefix + std::string(iterator->key())] = {Short(value, iterator->metadata()), iterator->expires_at_ms()};
    view.revision_max = std::max(view.revision_max, iterator->revision());
  }
  Require(iterator->status(), "a scan");
}

}  // namespace

const std::array<const char*, kSteps> kStepNames = {"put",     "overwrite", "large-put", "delete",       "batch",
                                                    "expire",  "drop",      "seal",      "rotate",       "close",
                                                    "recover", "relocate",  "free",      "second-crash", "in-flight"};

std::string NameOf(const HistoryPlan& plan) {
  std::string name;
  for (const Step step : plan.steps) name += std::string(kStepNames[static_cast<size_t>(step)]) + ",";
  return name + (plan.durability == Durability::kSynced ? "synced" : "buffered");
}

absl::StatusOr<std::unique_ptr<DB>> OpenEnumerated(SimMachine& machine, SimClock& clock, Rng& random,
                                                   EventListener* listener) {
  Options options;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  options.flush_interval_ms = kFlushIntervalMsMax;  // nothing becomes durable by itself
  options.value_separation_threshold_bytes = 4 * 1024;
  options.listener = listener;
  return OpenOn(options, SimEnvironment(machine, clock, random, kSegmentBytes));
}

View ViewOf(DB& db) {
  View view;
  AddSpace(db.root(), "/", view);
  for (const std::string& name : db.ListNamespaces()) {
    const absl::StatusOr<Namespace> space = db.OpenNamespace(name);
    Require(space.status(), "open namespace " + name);
    view.state[name + "/"] = {};
    AddSpace(*space, name + "/", view);
  }
  return view;
}

bool LooksLike(const State& a, const State& b, int64_t wall_ms) {
  const auto gone = [wall_ms](const Shown& shown) {
    return shown.expires_at_ms != 0 && shown.expires_at_ms <= wall_ms;
  };
  auto in_a = a.begin(), in_b = b.begin();
  while (true) {
    while (in_a != a.end() && gone(in_a->second)) ++in_a;
    while (in_b != b.end() && gone(in_b->second)) ++in_b;
    if (in_a == a.end() || in_b == b.end()) return in_a == a.end() && in_b == b.end();
    if (*in_a != *in_b) return false;
    ++in_a;
    ++in_b;
  }
}

History Play(const HistoryPlan& plan) {
  SimScheduler scheduler({.seed = 4, .switch_probability = 0.1});
  History history;
  scheduler.Run([&] { history = Player(plan).Play(); });
  return history;
}

}  // namespace firn::test
