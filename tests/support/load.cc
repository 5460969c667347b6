#include "support/load.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/contents.h"

namespace firn::test {
namespace {

constexpr const char* kNames[] = {"alpha", "beta", "gamma"};
constexpr uint64_t kSharedContents = 6;  // their numbers are 0 to 5

// The namespaces as the threads of a load know them.
class Spaces {
 public:
  Spaces(DB& db, CallLog& log) : db_(db), log_(log) {
    open_.emplace(0, db.root());
    const History before = log.Read();
    for (size_t i = 1; i < before.spaces.size(); ++i) {
      const absl::StatusOr<Namespace> space = db.OpenNamespace(before.spaces[i].name);
      if (!space.ok()) {
        log.Fail(CallLog::Failure::kError, before.spaces[i].name + ": " + space.status().ToString());
        continue;
      }
      open_.emplace(i, *space);
      names_[before.spaces[i].name] = i;
    }
  }

  // The default one half of the time; now and then one that has been dropped.
  std::pair<size_t, Namespace> Pick(Rng& rng) const {
    const std::shared_lock lock(mutex_);
    auto at = open_.begin();
    if (!rng.OneIn(2)) std::advance(at, rng.Below(open_.size()));
    if (rng.OneIn(64) && dropped_) return *dropped_;
    return *at;
  }

  // Creates a namespace that is not there, drops one that is, or does nothing when another thread is at it.
  absl::Status Change(Rng& rng) {
    const std::unique_lock lock(change_mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return absl::OkStatus();
    const std::string name = kNames[rng.Below(std::size(kNames))];
    const auto found = names_.find(name);
    if (found == names_.end()) {
      const size_t index = log_.AskCreate(name);
      const absl::StatusOr<Namespace> space = db_.CreateNamespace(name);
      if (!space.ok()) return space.status();
      log_.AnswerCreate(index, space->id());
      names_[name] = index;
      const std::unique_lock changing(mutex_);
      open_.emplace(index, *space);
      return absl::OkStatus();
    }
    log_.AskDrop(found->second);
    if (const absl::Status status = db_.DropNamespace(name); !status.ok()) return status;
    log_.AnswerDrop(found->second);
    const std::unique_lock changing(mutex_);
    dropped_.emplace(*open_.find(found->second));
    open_.erase(found->second);
    names_.erase(found);
    return absl::OkStatus();
  }

 private:
  DB& db_;
  CallLog& log_;
  std::mutex change_mutex_;
  std::map<std::string, size_t> names_;  // of those that are open; under change_mutex_
  mutable std::shared_mutex mutex_;      // of what follows; taken inside change_mutex_
  std::map<size_t, Namespace> open_;
  std::optional<std::pair<size_t, Namespace>> dropped_;  // the last
};

// Then all that is asked of it gives NotFound.
bool IsDropped(const Namespace& space) { return absl::IsNotFound(space.Exists("any").status()); }

// One thread of the load.
class Worker {
 public:
  Worker(DB& db, CallLog& log, Spaces& spaces, const LoadSettings& settings, size_t thread, Rng rng)
      : db_(db), log_(log), spaces_(spaces), settings_(settings), thread_(thread), rng_(rng) {}

  void Run(uint64_t calls, const std::function<void()>& then) {
    while (log_.failure() == CallLog::Failure::kNone) {
      if (log_.CountCall() == calls) then();
      OneCall();
    }
  }

 private:
  using Kind = WriteStep::Kind;

  void OneCall();
  void Write(Kind kind);
  void WriteBatch();
  WriteStep RandomStep(Kind kind, size_t space);
  std::string RandomLabel();
  std::string SharedLabel();
  int64_t RandomExpiry();
  Condition RandomCondition(const Namespace& space, const std::string& key);
  std::string RandomKey() { return "key/" + std::to_string(rng_.Below(settings_.keys)); }
  absl::StatusOr<Revision> PutStream(Namespace& space, const std::string& key, const std::string& value,
                                     const PutOptions& options);
  void Finish(CallLog::Note* note, const WriteCall& call, const absl::StatusOr<Revision>& result);
  void Read();
  void MultiGet();
  void LookTwice();
  void MakeDurable();
  void TidyUp();
  void Expect(const absl::Status& status, const char* what);
  void ExpectLabel(std::string_view value, std::string_view where);

  DB& db_;
  CallLog& log_;
  Spaces& spaces_;
  const LoadSettings& settings_;
  const size_t thread_;
  Rng rng_;
};

void Worker::OneCall() {
  if (rng_.OneIn(settings_.compact_one_in)) return TidyUp();
  const uint64_t draw = rng_.Below(settings_.asks_for_durability ? 1'000 : 965);
  if (draw < 480) return Write(Kind::kPut);
  if (draw < 600) return Write(Kind::kDelete);
  if (draw < 660) return Write(Kind::kSetExpiry);
  if (draw < 780) return WriteBatch();
  if (draw < 900) return Read();
  if (draw < 940) return MultiGet();
  if (draw < 965) return LookTwice();
  if (draw < 990) return MakeDurable();
  Expect(spaces_.Change(rng_), "changing namespaces");
}

void Worker::Expect(const absl::Status& status, const char* what) {
  if (!status.ok()) log_.Fail(CallLog::Failure::kError, std::string(what) + ": " + status.ToString());
}

void Worker::ExpectLabel(std::string_view value, std::string_view where) {
  const std::string label = LabelOf(value);
  if (IsLabel(label)) return;
  log_.Fail(CallLog::Failure::kViolation, std::string(where) + " shows " + label);
}

std::string Worker::RandomLabel() {
  constexpr uint64_t kSmallBytes = 600, kMiddlingBytes = 12'000, kLargeBytes = 200'000;
  constexpr uint64_t kStreamedBytes = (uint64_t{1} << 20) + 1;
  const uint64_t number = kSharedContents + log_.NextMark();
  if (rng_.OneIn(settings_.streamed_one_in)) return ContentLabel(number, kStreamedBytes + rng_.Below(300'000));
  if (rng_.OneIn(settings_.large_one_in)) return ContentLabel(number, rng_.Between(kMiddlingBytes, kLargeBytes));
  return ContentLabel(number, rng_.Below(rng_.OneIn(settings_.middling_one_in) ? kMiddlingBytes : kSmallBytes));
}

// Nothing, or one of a few contents, so that extents are shared and dropped while others ask for the same bytes.
std::string Worker::SharedLabel() {
  const uint64_t content = rng_.Below(kSharedContents);
  return rng_.OneIn(8) ? "" : ContentLabel(content, 9'000 + content * 8'192);
}

// Each is another millisecond, so that an expiry tells which call set it.
int64_t Worker::RandomExpiry() {
  constexpr int64_t kFarMs = 4'000'000'000'000, kSlots = 100'000, kSoonMs = 3'000;
  const auto slot = static_cast<int64_t>(log_.NextMark() % kSlots);
  if (rng_.OneIn(2)) return kFarMs + slot;
  return log_.WallMs() - kSoonMs / 10 + slot % kSoonMs;
}

Condition Worker::RandomCondition(const Namespace& space, const std::string& key) {
  if (!rng_.OneIn(6)) return {};
  if (rng_.OneIn(3)) return Condition::Absent();
  if (rng_.OneIn(2)) return Condition::Present();
  std::string value;
  ValueInfo info;
  if (!space.GetInto(key, &value, &info).ok()) return Condition::Absent();
  return Condition::RevisionEquals(info.revision);
}

WriteStep Worker::RandomStep(Kind kind, size_t space) {
  WriteStep step;
  step.kind = kind;
  step.key = {space, RandomKey()};
  if (kind == Kind::kPut) {
    const bool shared = rng_.OneIn(10);
    step.value = shared ? SharedLabel() : RandomLabel();
    // Tells who put what others put too.
    if (shared || rng_.OneIn(4)) step.metadata = "by " + std::to_string(log_.NextMark());
    if (rng_.OneIn(6)) step.expires_at_ms = RandomExpiry();
  } else if (kind == Kind::kSetExpiry && !rng_.OneIn(6)) {
    step.expires_at_ms = RandomExpiry();
  }
  return step;
}

absl::StatusOr<Revision> Worker::PutStream(Namespace& space, const std::string& key, const std::string& value,
                                           const PutOptions& options) {
  size_t at = 0;
  const auto source = [&]() -> absl::StatusOr<std::string_view> {
    const std::string_view piece = std::string_view(value).substr(at, rng_.Between(1, 300'000));
    at += piece.size();
    return piece;
  };
  return space.PutStream(key, source, options);
}

void Worker::Write(Kind kind) {
  auto [index, space] = spaces_.Pick(rng_);
  WriteCall call;
  call.synced = rng_.Chance(settings_.synced_share);
  WriteStep& step = call.steps.emplace_back(RandomStep(kind, index));
  step.condition = RandomCondition(space, step.key.key);
  PutOptions options;
  options.durability = call.synced ? Durability::kSynced : Durability::kBuffered;
  options.condition = step.condition;
  options.metadata = step.metadata;
  options.expires_at_ms = step.expires_at_ms;
  const std::string value = ContentOf(step.value);
  CallLog::Note* const note = log_.Ask(thread_, call);
  absl::StatusOr<Revision> result = 0;
  if (kind == Kind::kPut) {
    const bool streams = value.size() > (uint64_t{1} << 20) || rng_.OneIn(20);
    result = streams ? PutStream(space, step.key.key, value, options) : space.Put(step.key.key, value, options);
  } else if (kind == Kind::kDelete) {
    result = space.Delete(step.key.key, options);
  } else {
    result = space.SetExpiry(step.key.key, step.expires_at_ms, options);
  }
  Finish(note, call, result);
}

void Worker::WriteBatch() {
  WriteCall call;
  call.batch = true;
  call.synced = rng_.Chance(settings_.synced_share);
  const uint64_t steps = rng_.Between(1, rng_.OneIn(10) ? 40 : 6);
  Batch batch;
  std::set<KeyId> keys;
  for (uint64_t i = 0; i < steps; ++i) {
    const auto [index, space] = spaces_.Pick(rng_);
    const uint64_t draw = rng_.Below(8);
    WriteStep step = RandomStep(draw < 5 ? Kind::kPut : draw < 7 ? Kind::kDelete : Kind::kSetExpiry, index);
    if (!keys.insert(step.key).second) continue;
    if (rng_.OneIn(4)) step.condition = RandomCondition(space, step.key.key);
    PutOptions options;
    options.condition = step.condition;
    options.metadata = step.metadata;
    options.expires_at_ms = step.expires_at_ms;
    if (step.kind == Kind::kPut) batch.Put(step.key.key, ContentOf(step.value), options, space.id());
    if (step.kind == Kind::kDelete) batch.Delete(step.key.key, step.condition, space.id());
    if (step.kind == Kind::kSetExpiry) {
      batch.SetExpiry(step.key.key, step.expires_at_ms, step.condition, space.id());
    }
    call.steps.push_back(std::move(step));
  }
  WriteOptions options;
  options.durability = call.synced ? Durability::kSynced : Durability::kBuffered;
  CallLog::Note* const note = log_.Ask(thread_, call);
  Finish(note, call, db_.Apply(batch, options));
}

// A call that failed for no reason it was given stays in doubt.
void Worker::Finish(CallLog::Note* note, const WriteCall& call, const absl::StatusOr<Revision>& result) {
  if (result.ok()) return log_.Answer(note, WriteCall::Outcome::kDone, absl::StatusCode::kOk, *result);
  const absl::StatusCode code = result.status().code();
  const bool conditional = std::any_of(call.steps.begin(), call.steps.end(), [](const WriteStep& step) {
    return step.condition.kind() != Condition::Kind::kNone;
  });
  if ((code == absl::StatusCode::kFailedPrecondition && conditional) || code == absl::StatusCode::kNotFound) {
    return log_.Answer(note, WriteCall::Outcome::kRefused, code, 0);
  }
  Expect(result.status(), "a write");
}

void Worker::Read() {
  const auto [index, space] = spaces_.Pick(rng_);
  const std::string key = RandomKey();
  ReadOptions options;
  options.read_durable = rng_.OneIn(8);
  std::string value;
  absl::Status status;
  const uint64_t draw = rng_.Below(4);
  if (draw == 0) {
    const auto sink = [&value](std::string_view piece) {
      value += piece;
      return absl::OkStatus();
    };
    status = space.GetStream(key, sink, options);
  } else if (draw == 1) {
    const std::shared_ptr<const Snapshot> snapshot = db_.GetSnapshot();
    options.snapshot = snapshot.get();
    status = space.GetInto(key, &value, nullptr, options);
    const uint64_t offset = rng_.Below(value.size() + 1), bytes = rng_.Below(70'000);
    const absl::StatusOr<std::string> part = space.GetRange(key, offset, bytes, options);
    if (status.ok() && part.ok() && *part != value.substr(offset, bytes)) {
      log_.Fail(CallLog::Failure::kViolation, "a range of " + key + " is no part of its value");
    }
  } else {
    ValueInfo info;
    status = space.GetInto(key, &value, &info, options);
    if (status.ok()) {
      log_.SawRevision(info.revision);
      if (options.read_durable) log_.NoteDurable(CallLog::DurableBy::kDurableRead, info.revision);
    }
  }
  if (absl::IsNotFound(status)) return;
  Expect(status, "a read");
  if (status.ok()) ExpectLabel(value, key);
}

void Worker::MultiGet() {
  const auto [index, space] = spaces_.Pick(rng_);
  std::vector<std::string> keys(rng_.Between(2, 12));
  for (std::string& key : keys) key = RandomKey();
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  const std::vector<absl::StatusOr<std::string>> values = space.MultiGet(views);
  for (size_t i = 0; i < values.size(); ++i) {
    if (absl::IsNotFound(values[i].status())) continue;
    Expect(values[i].status(), "MultiGet");
    if (values[i].ok()) ExpectLabel(*values[i], keys[i]);
  }
}

// A walk over a snapshot, and another one back, or reads of single keys, that must show the same.
void Worker::LookTwice() {
  constexpr int kStepsMax = 60;
  const auto [index, space] = spaces_.Pick(rng_);
  const std::shared_ptr<const Snapshot> snapshot = db_.GetSnapshot();
  log_.SawRevision(snapshot->revision());
  IteratorOptions options;
  options.snapshot = snapshot.get();
  const std::unique_ptr<Iterator> iterator = space.NewIterator(std::move(options));
  std::vector<std::pair<std::string, std::string>> seen;
  iterator->Seek(RandomKey());
  for (int step = 0; step < kStepsMax && iterator->Valid(); ++step, iterator->Next()) {
    // What expires may be gone at the second look.
    if (iterator->expires_at_ms() == 0) {
      seen.emplace_back(iterator->key(), LabelOf(iterator->value()));
      if (iterator->status().ok()) ExpectLabel(iterator->value(), seen.back().first);
    }
    if (!iterator->status().ok()) break;
  }
  if (absl::IsNotFound(iterator->status()) && IsDropped(space)) return;
  if (!iterator->status().ok()) return Expect(iterator->status(), "an iterator");
  ReadOptions as_of;
  as_of.snapshot = snapshot.get();
  for (size_t i = seen.size(); i-- > 0;) {
    absl::StatusOr<std::string> value;
    if (i % 4 == 0) {
      iterator->SeekForPrev(seen[i].first);
      if (iterator->Valid() && iterator->key() == seen[i].first) value = std::string(iterator->value());
      if (absl::IsNotFound(iterator->status()) && IsDropped(space)) return;
      if (!iterator->status().ok()) return Expect(iterator->status(), "an iterator");
    } else {
      value = space.Get(seen[i].first, as_of);
      if (absl::IsNotFound(value.status()) && IsDropped(space)) return;
      if (!value.ok() && !absl::IsNotFound(value.status())) return Expect(value.status(), "a read of a snapshot");
    }
    if (!value.ok() || LabelOf(*value) != seen[i].second) {
      return log_.Fail(CallLog::Failure::kViolation, "a snapshot showed " + seen[i].first + " = " + seen[i].second +
                                                         " and then " +
                                                         (value.ok() ? LabelOf(*value) : value.status().ToString()));
    }
  }
}

void Worker::MakeDurable() {
  if (rng_.OneIn(4)) {
    const Revision durable = db_.DurableRevision();
    log_.SawRevision(durable);
    return log_.NoteDurable(CallLog::DurableBy::kDurableRevision, durable);
  }
  const bool seals = rng_.OneIn(3);
  const Revision before = log_.acknowledged_max();
  const absl::Status status = seals ? db_.Flush() : db_.Sync();
  if (!status.ok()) return Expect(status, seals ? "Flush" : "Sync");
  log_.NoteDurable(seals ? CallLog::DurableBy::kFlush : CallLog::DurableBy::kSync, before);
}

void Worker::TidyUp() {
  if (rng_.OneIn(3)) {
    const absl::StatusOr<VerifyReport> verified = db_.Verify();
    Expect(verified.status(), "Verify");
    // Damage may be what a cut disk answered.
    if (verified.ok() && !verified->damages.empty()) {
      log_.Fail(CallLog::Failure::kError, "Verify: " + verified->damages.front().ToString());
    }
    return;
  }
  const bool cancels = rng_.OneIn(4);
  uint64_t turns_left = cancels ? rng_.Below(3) : UINT64_MAX;
  const absl::Status status = db_.Compact([&turns_left](uint64_t, uint64_t) { return turns_left-- > 0; });
  if (!(cancels && absl::IsCancelled(status))) Expect(status, "Compact");
}

}  // namespace

Options LoadOptions() {
  Options options;
  options.memory_budget_bytes = uint64_t{64} << 20;
  options.max_space_amplification = 1.3;
  options.value_separation_threshold_bytes = 8 << 10;
  options.flush_interval_ms = 200;
  return options;
}

void RunLoad(DB& db, CallLog& log, const LoadSettings& settings, Rng rng, uint64_t calls,
             const std::function<void()>& then) {
  Spaces spaces(db, log);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < settings.threads; ++i) {
    threads.emplace_back([&, i, fork = rng.Fork()] { Worker(db, log, spaces, settings, i, fork).Run(calls, then); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace firn::test
