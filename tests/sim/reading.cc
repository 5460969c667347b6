// The clients' reads.
#include <algorithm>
#include <optional>

#include "sim/session.h"

namespace firn::test {
namespace {

// The smallest text above all that begin with `prefix`; empty when there is none.
std::string EndOfPrefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

}  // namespace

const Client::Held* Client::MaybeSnapshot() {
  if (held_.empty() || !rng_.OneIn(2)) return nullptr;
  Count(Feature::kSnapshotRead);
  return &held_[rng_.Below(held_.size())];
}

ReadOptions Client::AsOf(const Held* held) {
  ReadOptions options;
  if (held != nullptr) options.snapshot = held->snapshot.get();
  return options;
}

bool Client::Judge(const absl::Status& status, ReadCall& read, Seen& seen) {
  if (status.ok() || absl::IsNotFound(status)) {
    seen.present = status.ok();
    if (!status.ok()) read.space_gone = true;
    Count(seen.present ? Feature::kFound : Feature::kAbsent);
    return true;
  }
  if (!session_.tolerance_.read_errors) throw Violation("a read failed without cause: " + status.ToString());
  return false;
}

void Client::Record(ReadCall read, const Held* held) {
  if (held != nullptr) read.snapshot = held->revision;
  session_.history_.reads.push_back(std::move(read));
}

void Client::Get() {
  Count(Feature::kGet);
  const Held* held = MaybeSnapshot();
  ReadOptions options = AsOf(held);
  ReadCall read;
  read.keys = {RandomKey()};
  const Namespace space = Handle(read.keys[0].space);
  static_cast<Window&>(read) = session_.Begin();
  absl::StatusOr<std::string> value = space.Get(read.keys[0].key, options);
  if (!session_.End(read)) return;
  Seen seen;
  if (!Judge(value.status(), read, seen)) return;
  if (value.ok()) seen.value = *std::move(value);
  read.seen = {std::move(seen)};
  Record(std::move(read), held);
}

void Client::GetInfo() {
  Count(Feature::kGetInfo);
  const Held* held = MaybeSnapshot();
  ReadOptions options = AsOf(held);
  options.read_durable = rng_.OneIn(3);
  ReadCall read;
  read.durable = options.read_durable;
  read.keys = {RandomKey()};
  const Namespace space = Handle(read.keys[0].space);
  std::string value;
  ValueInfo info;
  static_cast<Window&>(read) = session_.Begin();
  const absl::Status status = space.GetInto(read.keys[0].key, &value, &info, options);
  if (!session_.End(read)) return;
  Seen seen;
  if (!Judge(status, read, seen)) return;
  if (seen.present) {
    session_.SawRevision(info.revision);
    if (info.value_bytes != value.size()) throw Violation("value_bytes is not the size of the value");
    if (read.durable) {
      Count(Feature::kReadDurable);
      session_.NoteDurable(info.revision, "a durable read");
    }
    seen.value = std::move(value);
    seen.metadata = info.metadata;
    seen.revision = info.revision;
    seen.expires_at_ms = info.expires_at_ms;
  }
  read.seen = {std::move(seen)};
  Record(std::move(read), held);
}

// A part is judged by the whole that the same snapshot shows.
void Client::GetRange() {
  Count(Feature::kGetRange);
  const Held* held = MaybeSnapshot();
  const std::shared_ptr<const Snapshot> snapshot = held != nullptr ? held->snapshot : session_.db_->GetSnapshot();
  ReadOptions options;
  options.snapshot = snapshot.get();
  const KeyId key = RandomKey();
  const Namespace space = Handle(key.space);
  std::string whole;
  ValueInfo info;
  Window window = session_.Begin();
  const absl::Status status = space.GetInto(key.key, &whole, &info, options);
  const uint64_t offset = rng_.Below(whole.size() + 2), length = rng_.Below(rng_.OneIn(2) ? 200 : 70'000);
  const absl::StatusOr<std::string> part = space.GetRange(key.key, offset, length, options);
  if (!session_.End(window)) return;
  // In between its time, or its namespace's, may have come.
  if (absl::IsNotFound(status) || absl::IsNotFound(part.status())) return;
  if (status.ok() && offset > whole.size() && part.status().code() == absl::StatusCode::kOutOfRange) return;
  if (!status.ok() || !part.ok()) {
    if (session_.tolerance_.read_errors) return;
    throw Violation("a range could not be read: " + status.ToString() + ", " + part.status().ToString());
  }
  if (offset > whole.size() || *part != whole.substr(offset, length)) {
    throw Violation("a range of " + Describe(key) + " is not part of its value");
  }
}

void Client::GetStream() {
  Count(Feature::kGetStream);
  const Held* held = MaybeSnapshot();
  ReadOptions options = AsOf(held);
  ReadCall read;
  read.keys = {RandomKey()};
  const Namespace space = Handle(read.keys[0].space);
  std::string value;
  const auto sink = [&value](std::string_view piece) {
    value += piece;
    return absl::OkStatus();
  };
  static_cast<Window&>(read) = session_.Begin();
  const absl::Status status = space.GetStream(read.keys[0].key, sink, options);
  if (!session_.End(read)) return;
  // The time of a key, or of its namespace, may come between two pieces.
  if (absl::IsNotFound(status) && !value.empty()) return;
  Seen seen;
  if (!Judge(status, read, seen)) return;
  if (status.ok()) seen.value = std::move(value);
  read.seen = {std::move(seen)};
  Record(std::move(read), held);
}

void Client::MultiGet() {
  Count(Feature::kMultiGet);
  const Held* held = MaybeSnapshot();
  ReadOptions options = AsOf(held);
  ReadCall read;
  const size_t space_index = RandomSpace();
  const uint64_t count = rng_.Between(2, 12);
  for (uint64_t i = 0; i < count; ++i) read.keys.push_back({space_index, RandomKeyText()});
  std::vector<std::string_view> keys;
  for (const KeyId& key : read.keys) keys.push_back(key.key);
  const Namespace space = Handle(space_index);
  static_cast<Window&>(read) = session_.Begin();
  std::vector<absl::StatusOr<std::string>> values = space.MultiGet(keys, options);
  if (!session_.End(read)) return;
  if (values.size() != keys.size()) throw Violation("MultiGet gave another number of answers than keys");
  std::vector<KeyId> known;
  for (size_t i = 0; i < values.size(); ++i) {
    Seen seen;
    if (!Judge(values[i].status(), read, seen)) continue;
    if (values[i].ok()) seen.value = *std::move(values[i]);
    read.seen.push_back(std::move(seen));
    known.push_back(read.keys[i]);
  }
  // All absent may mean that the namespace is gone; one that is found says it is not.
  read.space_gone = std::none_of(read.seen.begin(), read.seen.end(), [](const Seen& seen) { return seen.present; });
  read.keys = std::move(known);
  if (!read.keys.empty()) Record(std::move(read), held);
}

void Client::Exists() {
  Count(Feature::kExists);
  const Held* held = MaybeSnapshot();
  ReadOptions options = AsOf(held);
  ReadCall read;
  read.keys = {RandomKey()};
  const Namespace space = Handle(read.keys[0].space);
  static_cast<Window&>(read) = session_.Begin();
  const absl::StatusOr<bool> exists = space.Exists(read.keys[0].key, options);
  if (!session_.End(read)) return;
  Seen seen;
  if (!Judge(exists.status(), read, seen)) return;
  seen.present = exists.ok() && *exists;
  read.seen = {std::move(seen)};
  Record(std::move(read), held);
}

void Client::Scan() {
  Count(Feature::kIterator);
  const Held* held = MaybeSnapshot();
  if (held != nullptr) Count(Feature::kSnapshotScan);
  IteratorOptions options;
  if (held != nullptr) options.snapshot = held->snapshot.get();
  options.keys_only = rng_.OneIn(4);
  if (options.keys_only) Count(Feature::kIteratorKeysOnly);
  ScanCall scan;
  scan.space = RandomSpace();
  if (rng_.OneIn(3)) {
    options.prefix = rng_.OneIn(2) ? "a/" : "\xff";
    scan.lower = options.prefix;
    scan.upper = EndOfPrefix(options.prefix);
    Count(Feature::kIteratorPrefix);
  }
  if (rng_.OneIn(3)) {
    options.lower = RandomKeyText();
    scan.lower = std::max(scan.lower, *options.lower);
    Count(Feature::kIteratorBounds);
  }
  if (rng_.OneIn(3)) {
    options.upper = RandomKeyText();
    scan.upper = scan.upper.empty() ? *options.upper : std::min(scan.upper, *options.upper);
  }
  if (held != nullptr) scan.snapshot = held->revision;
  const bool keys_only = options.keys_only;
  const Namespace space = Handle(scan.space);
  static_cast<Window&>(scan) = session_.Begin();
  const std::unique_ptr<Iterator> iterator = space.NewIterator(std::move(options));
  if (!session_.End(scan)) return;
  const uint64_t turns = rng_.Between(1, rng_.OneIn(4) ? 60 : 12);
  for (uint64_t turn = 0; turn < turns; ++turn) {
    ScanTurn(*iterator, scan, keys_only);
    // What was seen of a process that died meanwhile, nobody has seen.
    if (session_.crashed()) return;
    const absl::Status status = iterator->status();
    if (absl::IsNotFound(status)) break;  // the namespace was dropped; the model checks that
    if (!status.ok() && !session_.tolerance_.read_errors) {
      throw Violation("an iterator failed without cause: " + status.ToString());
    }
    if (!status.ok() && !iterator->Valid()) return;
  }
  const bool gone = absl::IsNotFound(iterator->status());
  scan.ended = session_.NextTick();
  session_.WallMs();
  scan.ended_wall_ms_max = session_.lasting_.wall_ms_max;
  if (gone && session_.history_.spaces[scan.space].drop_invoked == kNever) {
    throw Violation("an iterator says NotFound though nobody dropped its namespace");
  }
  if (!gone) session_.history_.scans.push_back(std::move(scan));
}

void Client::ScanTurn(Iterator& iterator, ScanCall& scan, bool keys_only) {
  using Kind = ScanStep::Kind;
  ScanStep step;
  const bool go_on = !scan.steps.empty() && iterator.Valid() && !rng_.OneIn(8);
  if (go_on) {
    const bool back_before = scan.steps.back().kind == Kind::kPrev || scan.steps.back().kind == Kind::kSeekToLast;
    step.kind = rng_.OneIn(6) != back_before ? Kind::kPrev : Kind::kNext;
  } else {
    static constexpr Kind kSeeks[] = {Kind::kSeekToFirst, Kind::kSeekToLast, Kind::kSeek, Kind::kSeekForPrev};
    step.kind = kSeeks[rng_.Below(4)];
    step.target = RandomKeyText();
  }
  Count(Feature::kIteratorStep);
  switch (step.kind) {
    case Kind::kSeekToFirst:
      iterator.SeekToFirst();
      break;
    case Kind::kSeekToLast:
      iterator.SeekToLast();
      break;
    case Kind::kSeek:
      iterator.Seek(step.target);
      break;
    case Kind::kSeekForPrev:
      iterator.SeekForPrev(step.target);
      break;
    case Kind::kNext:
      iterator.Next();
      break;
    case Kind::kPrev:
      Count(Feature::kIteratorBackward);
      iterator.Prev();
      break;
  }
  step.valid = iterator.Valid();
  if (step.valid) {
    step.key = iterator.key();
    step.seen.present = true;
    step.seen.revision = iterator.revision();
    step.seen.expires_at_ms = iterator.expires_at_ms();
    if (!keys_only) {
      std::string value(iterator.value());
      std::string metadata(iterator.metadata());
      if (iterator.status().ok()) {
        step.seen.value = std::move(value);
        step.seen.metadata = std::move(metadata);
      }
    }
  }
  if (iterator.status().ok() || step.valid) scan.steps.push_back(std::move(step));
}

void Client::TakeSnapshot() {
  constexpr size_t kHeldMax = 3;
  if (held_.size() >= kHeldMax) return DropSnapshot();
  Count(Feature::kSnapshot);
  SnapshotCall call;
  static_cast<Window&>(call) = session_.Begin();
  std::shared_ptr<const Snapshot> snapshot = session_.db_->GetSnapshot();
  if (!session_.End(call)) return;
  call.revision = snapshot->revision();
  session_.SawRevision(call.revision);
  session_.history_.snapshots.push_back(call);
  held_.push_back({std::move(snapshot), call.revision});
}

void Client::DropSnapshot() {
  if (held_.empty()) return;
  held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(rng_.Below(held_.size())));
}

}  // namespace firn::test
