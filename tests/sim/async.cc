// The clients' calls that do not wait: some of each kind in flight together, in any order of their answers.
#include <algorithm>
#include <utility>

#include "sim/session.h"

namespace firn::test {

// One call, and what came of it.
struct Client::Flight {
  WriteCall* write = nullptr;
  std::optional<ReadCall> read;
  const Held* held = nullptr;
  std::optional<Window> sync;
  Revision sync_covers = 0;

  AsyncId id = 0;
  int answers = 0;
  bool judged = false;
  absl::Status status;
  Revision revision = 0;
  std::vector<absl::StatusOr<std::string>> values;

  template <typename Answer>
  void Take(const Answer& answer) {
    ++answers;
    if constexpr (std::is_same_v<Answer, absl::Status>) {
      status = answer;
    } else {
      status = answer.status();
    }
  }
};

void Client::AsyncCalls() {
  std::swap(rng_, async_rng_);  // what the other calls draw stays what it is
  MakeAsyncCalls();
  std::swap(rng_, async_rng_);
}

void Client::MakeAsyncCalls() {
  if (context_ == nullptr) {
    auto context = AsyncContext::Create(*session_.db_, {.in_flight_max = 6});
    if (session_.crashed()) return;
    if (!context.ok()) throw Violation("no asynchronous context: " + context.status().ToString());
    context_ = *std::move(context);
  }
  if (rng_.OneIn(6)) return WalkAsync();
  std::deque<Flight> flights;
  try {
    RunFlights(flights);
  } catch (const Violation&) {
    context_ = nullptr;  // what is in flight is answered while the flights are there
    throw;
  }
  for (const Flight& flight : flights) {
    if (flight.answers != 1) throw Violation("an operation was answered " + std::to_string(flight.answers) + " times");
  }
}

void Client::RunFlights(std::deque<Flight>& flights) {
  const uint64_t count = rng_.Between(1, 8);
  for (uint64_t i = 0; i < count; ++i) {
    BeginFlight(flights.emplace_back());
    if (rng_.OneIn(3)) context_->Poll();
    JudgeFlights(flights);
    if (rng_.OneIn(8)) context_->Cancel(flights[rng_.Below(flights.size())].id);
  }
  if (rng_.OneIn(10)) context_ = nullptr;
  while (context_ != nullptr && context_->in_flight() > 0) {
    context_->Wait();
    JudgeFlights(flights);
  }
  JudgeFlights(flights);
}

void Client::BeginFlight(Flight& flight) {
  const uint64_t draw = rng_.Below(10);
  const uint32_t timeout_ms = rng_.OneIn(8) ? static_cast<uint32_t>(rng_.Between(1, 20)) : 0;
  while (true) {
    const absl::StatusOr<AsyncId> id = draw < 5   ? BeginWrite(flight, timeout_ms)
                                       : draw < 9 ? BeginRead(flight, timeout_ms)
                                                  : BeginSync(flight, timeout_ms);
    if (id.ok()) {
      flight.id = *id;
      return;
    }
    if (!absl::IsResourceExhausted(id.status())) throw Violation("a call did not begin: " + id.status().ToString());
    context_->Wait();
  }
}

absl::StatusOr<AsyncId> Client::BeginWrite(Flight& flight, uint32_t timeout_ms) {
  const auto done = [&flight](const AsyncRevision& revision) {
    flight.Take(revision);
    if (revision.ok()) flight.revision = *revision;
  };
  if (flight.write == nullptr) {
    const uint64_t draw = rng_.Below(8);
    const auto kind = draw < 5   ? WriteStep::Kind::kPut
                      : draw < 7 ? WriteStep::Kind::kDelete
                                 : WriteStep::Kind::kSetExpiry;
    flight.write = &session_.history_.writes.emplace_back();
    flight.write->steps.push_back(RandomStep(kind));
    flight.write->synced = !rng_.Chance(session_.settings_.buffered_share);
    Count(Feature::kAsyncWrite);
  }
  WriteCall& call = *flight.write;
  const WriteStep& step = call.steps[0];
  AsyncPutOptions options;
  options.durability = call.synced ? Durability::kSynced : Durability::kBuffered;
  options.condition = step.condition;
  options.metadata = step.metadata;
  options.expires_at_ms = step.expires_at_ms;
  options.namespace_id = Handle(step.key.space).id();
  options.timeout_ms = timeout_ms;
  AsyncWriteOptions change;
  static_cast<WriteOptions&>(change) = options;
  static_cast<AsyncCall&>(change) = options;
  call.newest_before = session_.newest_seen_;
  static_cast<Window&>(call) = session_.Begin();
  switch (step.kind) {
    case WriteStep::Kind::kPut:
      return context_->Put(step.key.key, step.value, done, options);
    case WriteStep::Kind::kDelete:
      return context_->Delete(step.key.key, done, change);
    case WriteStep::Kind::kSetExpiry:
      break;
  }
  return context_->SetExpiry(step.key.key, step.expires_at_ms, done, change);
}

absl::StatusOr<AsyncId> Client::BeginRead(Flight& flight, uint32_t timeout_ms) {
  if (!flight.read) {
    Count(Feature::kAsyncRead);
    flight.held = MaybeSnapshot();
    flight.read.emplace();
    flight.read->keys = {RandomKey()};
    flight.read->durable = rng_.OneIn(4);
    const uint64_t more = rng_.OneIn(2) ? rng_.Below(5) : 0;
    for (uint64_t i = 0; i < more; ++i) flight.read->keys.push_back({flight.read->keys[0].space, RandomKeyText()});
  }
  ReadCall& read = *flight.read;
  AsyncReadOptions options;
  static_cast<ReadOptions&>(options) = AsOf(flight.held);
  options.read_durable = read.durable;
  options.namespace_id = Handle(read.keys[0].space).id();
  options.timeout_ms = timeout_ms;
  static_cast<Window&>(read) = session_.Begin();
  if (read.keys.size() == 1) {
    return context_->Get(
        read.keys[0].key,
        [&flight](AsyncValue value) {
          flight.Take(value);
          flight.values.push_back(std::move(value));
        },
        options);
  }
  std::vector<std::string_view> keys;
  for (const KeyId& key : read.keys) keys.push_back(key.key);
  return context_->MultiGet(
      keys,
      [&flight](AsyncValues values) {
        flight.Take(values);
        if (values.ok()) flight.values = *std::move(values);
      },
      options);
}

absl::StatusOr<AsyncId> Client::BeginSync(Flight& flight, uint32_t timeout_ms) {
  Count(Feature::kSync);
  flight.sync_covers = session_.acknowledged_max_;
  flight.sync = session_.Begin();
  return context_->Sync([&flight](const absl::Status& status) { flight.Take(status); }, timeout_ms);
}

void Client::JudgeFlights(std::deque<Flight>& flights) {
  for (Flight& flight : flights) {
    if (flight.answers == 0 || std::exchange(flight.judged, true)) continue;
    JudgeFlight(flight);
  }
}

void Client::JudgeFlight(Flight& flight) {
  const bool given_up = absl::IsCancelled(flight.status) || absl::IsDeadlineExceeded(flight.status);
  if (given_up) Count(Feature::kAsyncGivenUp);
  if (flight.write != nullptr) {
    // Whether it was done is in doubt.
    if (given_up) {
      session_.End(*flight.write);
    } else {
      FinishWrite(*flight.write, flight.status.ok() ? AsyncRevision(flight.revision) : AsyncRevision(flight.status));
    }
  } else if (flight.sync) {
    if (!session_.End(*flight.sync) || given_up) return;
    if (flight.status.ok()) return session_.NoteDurable(flight.sync_covers, "an asynchronous sync");
    if (!session_.tolerance_.write_errors) throw Violation("a sync failed without cause: " + flight.status.ToString());
  } else {
    ReadCall& read = *flight.read;
    if (!session_.End(read) || given_up) return;
    if (read.keys.size() != flight.values.size()) flight.values.assign(read.keys.size(), flight.status);
    std::vector<KeyId> known;
    for (size_t i = 0; i < read.keys.size(); ++i) {
      Seen seen;
      if (!Judge(flight.values[i].status(), read, seen)) continue;
      if (flight.values[i].ok()) seen.value = *std::move(flight.values[i]);
      read.seen.push_back(std::move(seen));
      known.push_back(read.keys[i]);
    }
    read.space_gone = std::none_of(read.seen.begin(), read.seen.end(), [](const Seen& seen) { return seen.present; });
    read.keys = std::move(known);
    if (!read.keys.empty()) Record(std::move(read), flight.held);
  }
}

void Client::WalkAsync() {
  Count(Feature::kAsyncScan);
  const Held* held = MaybeSnapshot();
  IteratorOptions options;
  if (held != nullptr) options.snapshot = held->snapshot.get();
  ScanCall scan;
  scan.space = RandomSpace();
  if (rng_.OneIn(2)) scan.lower = *(options.lower = RandomKeyText());
  if (held != nullptr) scan.snapshot = held->revision;
  static_cast<Window&>(scan) = session_.Begin();
  const auto iterator = context_->NewIterator(options, Handle(scan.space).id());
  if (!session_.End(scan)) return;
  bool gone = false;
  for (uint64_t turn = rng_.Between(1, 60); turn > 0; --turn) {
    std::optional<AsyncStep> answer;
    const auto id = iterator->Next([&answer](AsyncStep step) { answer.emplace(std::move(step)); });
    if (!id.ok()) throw Violation("a step did not begin: " + id.status().ToString());
    while (!answer) context_->Wait();
    if (session_.crashed()) return;
    gone = absl::IsNotFound(answer->status());
    if (gone) break;
    if (!answer->ok()) {
      if (session_.tolerance_.read_errors) return;
      throw Violation("an asynchronous step failed without cause: " + answer->status().ToString());
    }
    ScanStep& step = scan.steps.emplace_back();
    step.kind = scan.steps.size() == 1 ? ScanStep::Kind::kSeekToFirst : ScanStep::Kind::kNext;
    if (!**answer) break;
    AsyncEntry& entry = ***answer;
    step.valid = step.seen.present = true;
    step.key = entry.key;
    step.seen.value = std::move(entry.value);
    step.seen.revision = entry.revision;
    step.seen.expires_at_ms = entry.expires_at_ms;
  }
  scan.ended = session_.NextTick();
  session_.WallMs();
  scan.ended_wall_ms_max = session_.lasting_.wall_ms_max;
  if (gone && session_.history_.spaces[scan.space].drop_invoked == kNever) {
    throw Violation("an asynchronous iterator says NotFound though nobody dropped its namespace");
  }
  if (!gone) session_.history_.scans.push_back(std::move(scan));
}

}  // namespace firn::test
