// The clients' writes.
#include <algorithm>
#include <cstdio>

#include "sim/session.h"

namespace firn::test {

std::string Client::RandomValue() {
  constexpr uint64_t kLargeOneIn = 300, kMiddlingOneIn = 12;
  const std::string mark = "v" + std::to_string(session_.lasting_.next_mark++) + ".";
  size_t size_bytes = rng_.Below(session_.settings_.value_bytes_max);
  if (rng_.OneIn(kMiddlingOneIn)) size_bytes = rng_.Between(2'000, 20'000);
  if (rng_.OneIn(kLargeOneIn)) {
    size_bytes = rng_.Between(100'000, 400'000);
    Count(Feature::kLargeValue);
  }
  std::string value = mark;
  value.resize(std::max(mark.size(), size_bytes), static_cast<char>('a' + session_.lasting_.next_mark % 26));
  return value;
}

// One of a few, so that extents are shared, and dropped while others ask for the same bytes.
std::string Client::EqualValue() {
  constexpr size_t kContents = 4, kBytesMin = 12'000, kBytesStep = 8'192;
  Count(Feature::kEqualValue);
  const size_t content = rng_.Below(kContents);
  return std::string(kBytesMin + content * kBytesStep, static_cast<char>('A' + content));
}

int64_t Client::RandomExpiry() {
  // Different for every call, so that an expiry change tells who made it.
  const auto mark = static_cast<int64_t>(session_.lasting_.next_mark++);
  constexpr int64_t kSpreadMs = 20'000, kPastMs = 3'000;
  const auto offset_ms = static_cast<int64_t>(rng_.Below(kSpreadMs)) - kPastMs;
  const int64_t base_ms = rng_.OneIn(3) ? 4'000'000'000'000 : session_.WallMs() + offset_ms;
  return base_ms / 100'000 * 100'000 + (base_ms % 100'000 + mark) % 100'000;
}

Condition Client::RandomCondition(const KeyId& key) {
  if (!rng_.OneIn(3)) return {};
  switch (rng_.Below(3)) {
    case 0:
      return Condition::Absent();
    case 1:
      return Condition::Present();
    default:
      break;
  }
  // Usually the revision that the key has, or had just now.
  for (auto call = session_.history_.writes.rbegin(); call != session_.history_.writes.rend(); ++call) {
    if (call->outcome != WriteCall::Outcome::kDone) continue;
    for (const WriteStep& step : call->steps) {
      if (step.key == key) return Condition::RevisionEquals(call->revision);
    }
  }
  const auto base = session_.history_.base.find(key);
  return Condition::RevisionEquals(base == session_.history_.base.end() ? rng_.Below(1000) : base->second.revision);
}

WriteStep Client::RandomStep(WriteStep::Kind kind) {
  WriteStep step;
  step.kind = kind;
  step.key = RandomKey();
  step.condition = RandomCondition(step.key);
  if (kind == WriteStep::Kind::kPut) {
    step.value = RandomValue();
    if (rng_.OneIn(4)) step.metadata = "m" + std::to_string(session_.lasting_.next_mark++);
    if (rng_.OneIn(6)) {
      step.value = EqualValue();
      step.metadata = "equal " + std::to_string(session_.lasting_.next_mark++);  // tells who made it
    }
    if (rng_.OneIn(20)) {
      step.metadata = "empty " + std::to_string(session_.lasting_.next_mark++);
      step.value.clear();
      Count(Feature::kEmptyValue);
    }
    if (!step.metadata.empty()) Count(Feature::kMetadata);
    if (rng_.OneIn(6)) step.expires_at_ms = RandomExpiry();
  } else if (kind == WriteStep::Kind::kSetExpiry && !rng_.OneIn(6)) {
    step.expires_at_ms = RandomExpiry();
  }
  return step;
}

// In pieces of any size.
absl::StatusOr<Revision> Client::PutStream(Namespace& space, const WriteStep& step, const PutOptions& options) {
  Count(Feature::kPutStream);
  size_t at = 0;
  const auto source = [&]() -> absl::StatusOr<std::string_view> {
    const std::string_view piece = std::string_view(step.value).substr(at, rng_.Between(1, 300'000));
    at += piece.size();
    return piece;
  };
  return space.PutStream(step.key.key, source, options);
}

void Client::Write(WriteStep::Kind kind) {
  constexpr uint64_t kStreamOneIn = 10, kLongStreamOneIn = 30;
  WriteStep step = RandomStep(kind);
  const bool streams = kind == WriteStep::Kind::kPut && rng_.OneIn(kStreamOneIn);
  // Beyond 1 MiB a stream goes to its extent piece by piece.
  if (streams && rng_.OneIn(kLongStreamOneIn)) step.value.resize((uint64_t{1} << 20) + rng_.Below(300'000), 's');
  const bool synced = !rng_.Chance(session_.settings_.buffered_share);
  PutOptions options;
  options.durability = synced ? Durability::kSynced : Durability::kBuffered;
  options.condition = step.condition;
  options.metadata = step.metadata;
  options.expires_at_ms = step.expires_at_ms;
  Namespace space = Handle(step.key.space);

  WriteCall& call = session_.history_.writes.emplace_back();
  call.steps.push_back(step);
  call.synced = synced;
  call.newest_before = session_.newest_seen_;
  static_cast<Window&>(call) = session_.Begin();
  absl::StatusOr<Revision> result = 0;
  switch (kind) {
    case WriteStep::Kind::kPut:
      Count(Feature::kPut);
      result = streams ? PutStream(space, step, options) : space.Put(step.key.key, step.value, options);
      break;
    case WriteStep::Kind::kDelete:
      Count(Feature::kDelete);
      result = space.Delete(step.key.key, options);
      break;
    case WriteStep::Kind::kSetExpiry:
      Count(Feature::kSetExpiry);
      result = space.SetExpiry(step.key.key, step.expires_at_ms, options);
      break;
  }
  FinishWrite(call, result);
}

void Client::WriteBatch() {
  WriteCall call;
  call.batch = true;
  call.synced = !rng_.Chance(session_.settings_.buffered_share);
  const uint64_t steps = rng_.Between(1, rng_.OneIn(10) ? 40 : 6);
  std::map<KeyId, WriteStep::Kind> kinds;
  for (uint64_t i = 0; i < steps; ++i) {
    const uint64_t draw = rng_.Below(8);
    WriteStep step = RandomStep(draw < 5   ? WriteStep::Kind::kPut
                                : draw < 7 ? WriteStep::Kind::kDelete
                                           : WriteStep::Kind::kSetExpiry);
    if (!rng_.OneIn(4)) step.condition = {};  // else hardly any batch would pass
    // A key may come twice, but not with an expiry change: that would belong to the other step.
    const auto [place, fresh] = kinds.emplace(step.key, step.kind);
    if (!fresh && (step.kind == WriteStep::Kind::kSetExpiry || place->second == WriteStep::Kind::kSetExpiry)) continue;
    call.steps.push_back(std::move(step));
  }
  Batch batch;
  std::set<size_t> spaces;
  for (const WriteStep& step : call.steps) {
    const uint32_t id = Handle(step.key.space).id();
    spaces.insert(step.key.space);
    PutOptions options;
    options.condition = step.condition;
    options.metadata = step.metadata;
    options.expires_at_ms = step.expires_at_ms;
    if (step.kind == WriteStep::Kind::kPut) batch.Put(step.key.key, step.value, options, id);
    if (step.kind == WriteStep::Kind::kDelete) batch.Delete(step.key.key, step.condition, id);
    if (step.kind == WriteStep::Kind::kSetExpiry) batch.SetExpiry(step.key.key, step.expires_at_ms, step.condition, id);
  }
  Count(Feature::kBatch);
  if (spaces.size() > 1) Count(Feature::kBatchOverSpaces);
  WriteCall& placed = session_.history_.writes.emplace_back(std::move(call));
  WriteOptions options;
  options.durability = placed.synced ? Durability::kSynced : Durability::kBuffered;
  placed.newest_before = session_.newest_seen_;
  static_cast<Window&>(placed) = session_.Begin();
  FinishWrite(placed, session_.db_->Apply(batch, options));
}

void Client::FinishWrite(WriteCall& call, const absl::StatusOr<Revision>& result) {
  const bool was_poisoned = session_.poisoned_;
  if (!session_.End(call)) return;
  call.replied_nanos = session_.world_.clock.MonotonicNanos();
  call.code = result.status().code();
  if (session_.lasting_.verbose) {
    std::fprintf(stderr, "    %s: %s\n", Describe(call).c_str(),
                 result.ok() ? std::to_string(*result).c_str() : result.status().ToString().c_str());
  }
  Count(call.synced ? Feature::kSynced : Feature::kBuffered);
  const bool conditional = std::any_of(call.steps.begin(), call.steps.end(), [](const WriteStep& step) {
    return step.condition.kind() != Condition::Kind::kNone;
  });
  const Session::Tolerance& tolerance = session_.tolerance_;
  switch (call.code) {
    case absl::StatusCode::kOk:
      call.outcome = WriteCall::Outcome::kDone;
      call.revision = *result;
      session_.SawRevision(call.revision);
      session_.acknowledged_max_ = std::max(session_.acknowledged_max_, call.revision);
      if (conditional) Count(Feature::kConditionHeld);
      return;
    case absl::StatusCode::kFailedPrecondition:
      if (!conditional) break;
      call.outcome = WriteCall::Outcome::kRefused;
      Count(Feature::kConditionFailed);
      return;
    case absl::StatusCode::kNotFound:
      call.outcome = WriteCall::Outcome::kRefused;
      return;
    case absl::StatusCode::kResourceExhausted:
      if (result.status().message().find("the index takes") == 0) {
        if (!tolerance.index_full) break;
        Count(Feature::kIndexFull);
      } else if (!tolerance.no_room && !tolerance.write_errors) {
        break;
      }
      call.outcome = WriteCall::Outcome::kNoRoom;
      return;
    default:
      if (!tolerance.write_errors) break;
      if (call.code == absl::StatusCode::kUnavailable && !was_poisoned) {
        session_.poisoned_ = true;
        Count(Feature::kPoisoned);
      }
      return;
  }
  throw Violation("a write failed without cause: " + result.status().ToString());
}

}  // namespace firn::test
