#include "crash/client.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "base/hash.h"
#include "base/sync.h"
#include "db/open.h"
#include "support/scheduler.h"

namespace firn::test {

std::string Describe(const State& state) {
  std::string text;
  for (const auto& [key, shown] : state) text += "  " + key + " = " + shown + "\n";
  return text;
}

bool Ledger::Permits(const State& found, bool power_was_cut) const {
  size_t promised = 0;
  for (size_t i = 0; i < operations_.size(); ++i) {
    const bool done = operations_[i].outcome == Outcome::kDone && !power_was_cut;
    if (done || operations_[i].durable) promised = i + 1;
  }
  std::set<State> possible{start_}, since_durable{start_};
  if (promised == 0 && possible.contains(found)) return true;
  for (size_t i = 0; i < operations_.size(); ++i) {
    if (operations_[i].outcome == Outcome::kPowerCut) possible = since_durable;
    std::set<State> next;
    for (State state : possible) {
      if (operations_[i].outcome == Outcome::kMaybe) next.insert(state);
      for (const Change& change : operations_[i].changes) {
        if (change.shown) {
          state[change.key] = *change.shown;
        } else {
          state.erase(change.key);
        }
      }
      next.insert(std::move(state));
    }
    possible = std::move(next);
    if (operations_[i].durable) since_durable.clear();
    since_durable.insert(possible.begin(), possible.end());
    if (i + 1 >= promised && possible.contains(found)) return true;
  }
  return false;
}

std::map<std::string, std::set<std::optional<std::string>>> Ledger::EverShown() const {
  std::map<std::string, std::set<std::optional<std::string>>> shown;
  for (const auto& [key, value] : start_) shown[key].insert(value);
  for (const Operation& operation : operations_) {
    for (const Change& change : operation.changes) {
      const bool first = !shown.contains(change.key);
      std::set<std::optional<std::string>>& all = shown[change.key];
      if (first) all.insert(std::nullopt);
      all.insert(change.shown);
    }
  }
  return shown;
}

void Ledger::NoteAllDurable() {
  for (auto at = operations_.rbegin(); at != operations_.rend() && at->outcome != Outcome::kPowerCut; ++at) {
    at->durable = true;
  }
}

std::string Ledger::Describe() const {
  std::string text = "began with\n" + test::Describe(start_);
  for (size_t i = 0; i < operations_.size(); ++i) {
    static constexpr const char* kOutcomes[] = {"done", "durable", "unknown", "power cut"};
    text += std::to_string(i) + (operations_[i].durable ? " (durable) " : " ") +
            kOutcomes[static_cast<int>(operations_[i].outcome)] + ":";
    for (const Change& change : operations_[i].changes)
      text += " " + change.key + " = " + change.shown.value_or("(deleted)");
    text += "\n";
  }
  return text;
}

void Ledger::Restart(State state) {
  start_ = std::move(state);
  operations_.clear();
}

size_t EventLog::Count(EventKind kind) const {
  std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const Event& event : events_) count += event.kind == kind ? 1 : 0;
  return count;
}

std::string EventLog::Text() const {
  std::lock_guard lock(mutex_);
  std::string text;
  for (const Event& event : events_) text += event.message + "\n";
  return text;
}

std::string Value(std::string_view tag, size_t size_bytes) {
  std::string value(tag);
  while (value.size() < size_bytes) value += "." + std::string(tag);
  if (size_bytes != 0) value.resize(size_bytes);
  return value;
}

Options QuietOptions() {
  Options options;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  options.flush_interval_ms = kFlushIntervalMsMax;  // nothing becomes durable by itself
  options.value_separation_threshold_bytes = 0;     // large values fill segments; tests of separation set their own
  return options;
}

Environment SimEnvironment(SimWorld& world, uint64_t segment_bytes_min) {
  return SimEnvironment(world.machine, world.clock, world.random, segment_bytes_min);
}

std::string Shown(std::string_view value, std::string_view metadata, int64_t expires_at_ms) {
  constexpr size_t kWholeBytes = 40;
  std::string shown(value.substr(0, kWholeBytes));
  if (value.size() > kWholeBytes) {
    shown +=
        "... " + std::to_string(value.size()) + " bytes, hash " + std::to_string(base::Hash64(base::AsBytes(value)));
  }
  if (!metadata.empty()) shown += " [" + std::string(metadata) + "]";
  if (expires_at_ms != 0) shown += " until " + std::to_string(expires_at_ms);
  return shown;
}

State LookPast(DB& db, size_t* unreadable) {
  State state;
  const std::unique_ptr<Iterator> iterator = db.NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    const std::string value(iterator->value());
    if (!iterator->status().ok()) {
      INFO(iterator->status().ToString());
      REQUIRE(unreadable != nullptr);
      ++*unreadable;
      continue;
    }
    state[std::string(iterator->key())] = Shown(value, iterator->metadata(), iterator->expires_at_ms());
  }
  INFO(iterator->status().ToString());
  REQUIRE(iterator->status().ok());
  return state;
}

State Look(DB& db) {
  const State state = LookPast(db, nullptr);
  for (const auto& [key, shown] : state) {
    std::string value;
    ValueInfo info;
    const absl::Status status = db.GetInto(key, &value, &info);
    INFO(key << ": " << status.ToString());
    REQUIRE(status.ok());
    REQUIRE(Shown(value, info.metadata, info.expires_at_ms) == shown);
  }
  return state;
}

absl::Status Client::Open(const Options& options, uint64_t segment_bytes_min) {
  db_.reset();
  crashes_at_open_ = world_.machine.crashes();
  Options heard = options;
  heard.listener = &events_;
  Environment environment = SimEnvironment(world_, segment_bytes_min);
  environment.value_hash_for_test = value_hash_;
  environment.image_keys_min_for_test = image_keys_min_;
  auto db = OpenOn(heard, std::move(environment));
  if (!db.ok()) return db.status();
  db_ = *std::move(db);
  return absl::OkStatus();
}

absl::Status Client::Note(std::vector<Ledger::Change> changes, const absl::StatusOr<Revision>& result, bool was_dead,
                          Durability durability) {
  if (result.ok()) revision_max_ = std::max(revision_max_, *result);
  if (was_dead) return result.status();
  for (const Ledger::Change& change : changes) {
    if (!result.ok()) break;
    if (change.shown) {
      now_[change.key] = *change.shown;
    } else {
      now_.erase(change.key);
    }
  }
  auto outcome = Ledger::Outcome::kMaybe;
  if (result.ok() && !Crashed()) {
    outcome = durability == Durability::kSynced ? Ledger::Outcome::kDurable : Ledger::Outcome::kDone;
  }
  // Promised to write nothing.
  if (absl::IsResourceExhausted(result.status()) || absl::IsNotFound(result.status())) return result.status();
  ledger_.Note(std::move(changes), outcome);
  return result.status();
}

absl::Status Client::Put(std::string_view key, std::string_view value, Durability durability, int64_t expires_at_ms) {
  const bool was_dead = Crashed();
  PutOptions options;
  options.durability = durability;
  options.expires_at_ms = expires_at_ms;
  return Note({{std::string(key), Shown(value, "", expires_at_ms)}}, db_->Put(key, value, options), was_dead,
              durability);
}

absl::Status Client::PutStream(std::string_view key, std::string_view value, Durability durability) {
  constexpr size_t kPieceBytes = 100'000;
  const bool was_dead = Crashed();
  PutOptions options;
  options.durability = durability;
  size_t at = 0;
  const auto source = [&]() -> absl::StatusOr<std::string_view> {
    const std::string_view piece = value.substr(at, kPieceBytes);
    at += piece.size();
    return piece;
  };
  return Note({{std::string(key), Shown(value, "", 0)}}, db_->PutStream(key, source, options), was_dead, durability);
}

absl::Status Client::Delete(std::string_view key, Durability durability) {
  const bool was_dead = Crashed();
  WriteOptions options;
  options.durability = durability;
  return Note({{std::string(key), std::nullopt}}, db_->Delete(key, options), was_dead, durability);
}

absl::Status Client::SetExpiry(std::string_view key, int64_t expires_at_ms, Durability durability) {
  const bool was_dead = Crashed();
  std::string shown = now_[std::string(key)];
  if (const size_t at = shown.find(" until "); at != std::string::npos) shown.resize(at);
  WriteOptions options;
  options.durability = durability;
  return Note({{std::string(key), shown + Shown("", "", expires_at_ms)}}, db_->SetExpiry(key, expires_at_ms, options),
              was_dead, durability);
}

absl::Status Client::Apply(const std::vector<std::pair<std::string, std::string>>& changes, Durability durability) {
  const bool was_dead = Crashed();
  Batch batch;
  std::vector<Ledger::Change> noted;
  for (const auto& [key, value] : changes) {
    if (value.empty()) {
      batch.Delete(key);
      noted.push_back({key, std::nullopt});
    } else {
      batch.Put(key, value);
      noted.push_back({key, Shown(value, "", 0)});
    }
  }
  WriteOptions options;
  options.durability = durability;
  return Note(std::move(noted), db_->Apply(batch, options), was_dead, durability);
}

void Client::FillSegment(std::string_view tag, Durability durability) {
  constexpr int kLargeValuesPerSegment = 6;
  for (int i = 0; i < kLargeValuesPerSegment; ++i) {
    Put("filler", Value(std::string(tag) + "-" + std::to_string(i), kLargeValueBytes), durability).IgnoreError();
  }
}

absl::Status Client::Sync() {
  const bool was_dead = Crashed();
  absl::Status status = db_->Sync();
  if (!was_dead && !Crashed() && status.ok()) ledger_.NoteAllDurable();
  return status;
}

absl::Status Client::Flush() {
  const bool was_dead = Crashed();
  absl::Status status = db_->Flush();
  if (!was_dead && !Crashed() && status.ok()) ledger_.NoteAllDurable();
  return status;
}

absl::Status Client::Close() {
  const bool was_dead = Crashed();
  absl::Status status = db_->Close();
  if (!was_dead && !Crashed() && status.ok()) ledger_.NoteAllDurable();
  db_.reset();
  return status;
}

void Client::Crash(const test::Crash& crash) {
  world_.machine.Crash(crash);
  if (crash.kind == CrashKind::kPowerCut) ledger_.NotePowerCut();
  db_.reset();
}

void Client::CheckRecovered(bool power_was_cut) {
  events_.Clear();
  const absl::Status status = Open();
  INFO(status.ToString() << "\n" << events_.Text());
  REQUIRE(status.ok());
  REQUIRE(events_.Count(EventKind::kDamageFound) == 0);
  State found = Look(*db_);
  INFO("found\n" << Describe(found) << "after a ledger that " << ledger_.Describe());
  REQUIRE(ledger_.Permits(found, power_was_cut));
  ledger_.Restart(found);
  now_ = found;
  // No revision is handed out twice.
  const Revision before = revision_max_;
  const absl::Status probe = Put("revision", "probe");
  if (absl::IsResourceExhausted(probe) && db_->GetStats().disk_full) return;
  REQUIRE(probe.ok());
  REQUIRE(revision_max_ > before);
}

void Client::CheckNow() {
  const State found = Look(*db_);
  INFO("found\n" << Describe(found) << "instead of\n" << Describe(now_));
  REQUIRE(found == now_);
}

void InSchedule(uint64_t seed, const std::function<void(SimWorld&)>& body, double switch_probability,
                uint64_t steps_max) {
  SimWorld world(seed);
  const auto give_up = [seed](const std::string& report) {
    std::fprintf(stderr, "stuck with seed %llu: %s\n", static_cast<unsigned long long>(seed), report.c_str());
    std::_Exit(1);
  };
  SimScheduler scheduler(
      {.seed = seed, .switch_probability = switch_probability, .steps_max = steps_max, .on_stuck = give_up});
  try {
    scheduler.Run([&] { body(world); });
  } catch (...) {
    std::fprintf(stderr, "failed with seed %llu\n", static_cast<unsigned long long>(seed));
    throw;
  }
}

}  // namespace firn::test
