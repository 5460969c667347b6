#include "db/async_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/memory.h"
#include "db/async_scan.h"

namespace firn {
namespace {

constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kNanosPerMs = 1'000'000;
// Of the buffers of reads that the disk has; one read may be larger.
constexpr uint64_t kDiskBytesMax = uint64_t{16} << 20;
// An operation keeps memory up to this for the next one.
constexpr size_t kKeptBytesMax = 4'096;

// Where there is no memory for the words the code says it.
absl::Status Told(absl::StatusCode code, std::string_view message) noexcept {
  absl::Status status(code, "");
  base::IfMemoryPermits([&] { status = base::MakeStatus(code, message); });
  return status;
}

}  // namespace

absl::Status AsyncQueue::NoSuchNamespace() { return Told(absl::StatusCode::kNotFound, "no such namespace"); }

void AsyncQueue::Operation::AddKey(std::string_view key) {
  keys += IndexKey(namespace_id, key).view();
  key_ends.push_back(keys.size());
}

absl::StatusOr<std::unique_ptr<AsyncQueue>> AsyncQueue::Create(Store& store, uint32_t in_flight_max) {
  FIRN_ASSIGN_OR_RETURN(std::unique_ptr<io::AsyncReads> reads, store.disk_->NewAsyncReads(in_flight_max));
  std::unique_ptr<AsyncQueue> queue(new AsyncQueue(store, std::move(reads), in_flight_max));
  store.log_->AddWaiter(*queue);
  return queue;
}

AsyncQueue::AsyncQueue(Store& store, std::unique_ptr<io::AsyncReads> reads, uint32_t in_flight_max)
    : store_(store), reads_(std::move(reads)) {
  for (uint32_t i = 0; i < in_flight_max; ++i) {
    Operation& operation = list(Stage::kFree).emplace_back();
    operation.place = std::prev(list(Stage::kFree).end());
    operation.index = i;
    by_index_.push_back(&operation);
    idle_reads_.emplace_back(store);
    idle_reads_.back().place = std::prev(idle_reads_.end());
  }
}

AsyncQueue::~AsyncQueue() {
  closing_ = true;
  for (const Stage stage : {Stage::kFeeding, Stage::kReading, Stage::kDurable}) {
    while (!list(stage).empty())
      End(list(stage).front(), Told(absl::StatusCode::kCancelled, "the context was destroyed"));
  }
  while (!list(Stage::kReady).empty()) Deliver(list(Stage::kReady).front());
  while (AwaitableBase* const waiting = first_in_line_) {
    LeaveLine(*waiting);
    waiting->Fail(Told(absl::StatusCode::kCancelled, "the context was destroyed"));
    waiting->Resume();
  }
  for (AsyncScan* const scan : scans_) scan->Detach();
  // The kernel writes into buffers until it has finished.
  while (reads_->in_flight() > 0) {
    reads_->Wait(io::AsyncReads::kForever);
    while (reads_->Take() != nullptr) {
    }
  }
  store_.log_->RemoveWaiter(*this);
}

void AsyncQueue::Move(Operation& operation, Stage stage) {
  std::list<Operation>& to = list(stage);
  to.splice(to.end(), list(operation.stage), operation.place);
  operation.stage = stage;
}

absl::StatusOr<AsyncQueue::Operation*> AsyncQueue::Begin(Callback callback, uint32_t timeout_ms) {
  FIRN_RETURN_IF_ERROR(store_.CheckUsable());
  if (closing_) return base::FailedPrecondition("the context is being destroyed");
  if (list(Stage::kFree).empty()) {
    return base::ResourceExhausted(std::to_string(by_index_.size()) +
                                   " operations are in flight, which is in_flight_max");
  }
  Operation& operation = list(Stage::kFree).front();
  operation.id = next_serial_++ * kAsyncInFlightMax + operation.index;
  operation.callback = std::move(callback);
  if (timeout_ms != 0) {
    operation.deadline_nanos = store_.raw_clock_.MonotonicNanos() + timeout_ms * kNanosPerMs;
    next_deadline_nanos_ = std::min(next_deadline_nanos_, operation.deadline_nanos);
  }
  return &operation;
}

// Reads at the snapshot, or at one revision.
void AsyncQueue::HoldView(Operation& operation, const Snapshot* snapshot) {
  if (snapshot == nullptr) {
    operation.read_revision = store_.AcquireView();
  } else {
    store_.ShareView(snapshot->revision());
    operation.read_revision = snapshot->revision();
  }
  operation.holds_view = true;
}

void AsyncQueue::Withdraw(Operation& operation) {
  ReleaseView(operation);
  operation.id = 0;
  operation.callback = {};
  operation.deadline_nanos = kNever;
  operation.timer.reset();
  operation.keys.clear();
  if (operation.keys.capacity() > kKeptBytesMax) operation.keys = std::string();
  operation.key_ends.clear();
  if (operation.key_ends.capacity() > kKeptBytesMax) operation.key_ends = {};
  operation.keys_fed = operation.keys_left = 0;
  operation.read_revision = Store::kNewest;
  operation.reads_durable = false;
  operation.scan = nullptr;
  operation.status = absl::OkStatus();
  operation.value = std::string();
  operation.values = {};
  Move(operation, Stage::kFree);
}

void AsyncQueue::Answer(Operation& operation, absl::Status status) {
  operation.status = std::move(status);
  Move(operation, Stage::kReady);
}

void AsyncQueue::Read(Operation& operation) {
  operation.keys_fed = 0;
  operation.keys_left = operation.key_ends.size();
  Move(operation, Stage::kFeeding);
  if (operation.keys_left == 0) return EndReading(operation);
  Feed();
}

void AsyncQueue::Feed() {
  while (!list(Stage::kFeeding).empty() && !idle_reads_.empty() && disk_bytes_ < kDiskBytesMax) {
    Operation& operation = list(Stage::kFeeding).front();
    const size_t number = operation.keys_fed++;
    if (operation.keys_fed == operation.key_ends.size()) Move(operation, Stage::kReading);
    if (operation.key(number).empty()) {
      if (--operation.keys_left == 0) EndReading(operation);
      continue;
    }
    ReadOfKey& read = idle_reads_.front();
    read.owner = &operation;
    read.number = number;
    const Store::Caching caching = operation.scan != nullptr ? Store::Caching::kPassBy : Store::Caching::kFill;
    GoOn(read, read.Start(operation.key(number), operation.read_revision, caching));
  }
}

// Of one that is among the idle ones.
void AsyncQueue::GoOn(ReadOfKey& read, PointRead::Next next) {
  if (next == PointRead::Next::kDisk) {
    disk_reads_.splice(disk_reads_.end(), idle_reads_, read.place);
    disk_bytes_ += read.out.size();
    reads_->Queue(read);
    return;
  }
  Operation& operation = *read.owner;
  TakeValue(operation, read);
  read.Drop();
  idle_reads_.splice(idle_reads_.begin(), idle_reads_, read.place);
  if (--operation.keys_left == 0) EndReading(operation);
}

void AsyncQueue::TakeReads() {
  while (io::ReadRequest* const request = reads_->Take()) {
    auto& read = static_cast<ReadOfKey&>(*request);
    disk_bytes_ -= read.out.size();
    idle_reads_.splice(idle_reads_.begin(), disk_reads_, read.place);
    if (read.owner == nullptr) {
      read.Drop();
    } else {
      GoOn(read, read.Finish());
    }
  }
  Feed();
}

void AsyncQueue::TakeValue(Operation& operation, ReadOfKey& read) {
  if (read.found().ok()) store_.user_bytes_read_.Add(read.value().size());
  if (operation.scan != nullptr) {
    operation.scan->Take(read.number, read.found(), read.value());
  } else if (!operation.values.empty()) {
    if (read.found().ok()) {
      operation.values[read.number] = std::move(read.value());
    } else {
      operation.values[read.number] = read.found();
    }
  } else {
    operation.status = read.found();
    operation.revision = read.revision();
    operation.value = std::move(read.value());
  }
}

void AsyncQueue::EndReading(Operation& operation) {
  ReleaseView(operation);
  operation.timer.reset();
  if (operation.scan != nullptr) return operation.scan->GoOn(operation);
  // Keys that went with their namespace are no state at any revision.
  if (!operation.values.empty() && !store_.IsAlive(operation.namespace_id)) operation.status = NoSuchNamespace();
  const bool found_out = operation.status.ok() || absl::IsNotFound(operation.status);
  if (operation.reads_durable && found_out && !store_.options_.read_only) return AwaitDurable(operation);
  Move(operation, Stage::kReady);
}

void AsyncQueue::ReleaseView(Operation& operation) {
  if (std::exchange(operation.holds_view, false)) store_.ReleaseView(operation.read_revision);
}

void AsyncQueue::AwaitDurable(Operation& operation) {
  if (operation.revision <= store_.log_->durable_revision()) return Move(operation, Stage::kReady);
  std::list<Operation>& waiting = list(Stage::kDurable);
  auto place = waiting.end();
  while (place != waiting.begin() && std::prev(place)->revision > operation.revision) --place;
  waiting.splice(place, list(operation.stage), operation.place);
  operation.stage = Stage::kDurable;
}

// Answers those whose revision is durable, or never will be, and has the log tell of the next.
void AsyncQueue::SettleDurable() {
  std::list<Operation>& waiting = list(Stage::kDurable);
  do {
    const absl::Status health = store_.log_->health();
    const uint64_t durable = store_.log_->durable_revision();
    while (!waiting.empty()) {
      Operation& operation = waiting.front();
      if (operation.revision > durable) {
        if (health.ok()) break;
        operation.status = health;
      }
      operation.timer.reset();
      Move(operation, Stage::kReady);
    }
  } while (!waiting.empty() && !AskDurable());
}

// False where the first revision that is waited for is durable by now.
bool AsyncQueue::AskDurable() {
  const uint64_t first = list(Stage::kDurable).front().revision, last = list(Stage::kDurable).back().revision;
  if (first == told_first_ && last <= told_last_) return true;
  if (!store_.log_->AwaitDurable(*this, first, last)) return false;
  told_first_ = first;
  told_last_ = last;
  return true;
}

AsyncQueue::Operation* AsyncQueue::Find(AsyncId id) {
  const size_t index = id % kAsyncInFlightMax;
  if (id == 0 || index >= by_index_.size() || by_index_[index]->id != id) return nullptr;
  return by_index_[index];
}

bool AsyncQueue::Cancel(AsyncId id) {
  Operation* const operation = Find(id);
  if (operation == nullptr || operation->stage == Stage::kReady) return false;
  End(*operation, Told(absl::StatusCode::kCancelled, "the operation was cancelled"));
  return true;
}

void AsyncQueue::Forget(AsyncId id) {
  if (Operation* const operation = Find(id)) operation->callback = {};
  static_cast<void>(Cancel(id));
}

// Before it is done.
void AsyncQueue::End(Operation& operation, const absl::Status& status) {
  if (operation.keys_left > 0) {
    for (ReadOfKey& read : disk_reads_) {
      if (read.owner == &operation) read.owner = nullptr;
    }
  }
  ReleaseView(operation);
  operation.timer.reset();
  Answer(operation, status);
}

void AsyncQueue::PassDeadlines() {
  if (next_deadline_nanos_ == kNever) return;
  const uint64_t now = store_.raw_clock_.MonotonicNanos();
  if (now < next_deadline_nanos_) return;
  next_deadline_nanos_ = kNever;
  for (Operation* const operation : by_index_) {
    if (operation->id == 0 || operation->stage == Stage::kReady) continue;
    if (operation->deadline_nanos <= now) {
      End(*operation, Told(absl::StatusCode::kDeadlineExceeded, "the operation took longer than its timeout_ms"));
    } else {
      next_deadline_nanos_ = std::min(next_deadline_nanos_, operation->deadline_nanos);
    }
  }
}

int AsyncQueue::timeout_ms() const {
  if (next_deadline_nanos_ == kNever) return -1;
  const uint64_t now = store_.raw_clock_.MonotonicNanos();
  const uint64_t left_nanos = next_deadline_nanos_ - std::min(now, next_deadline_nanos_);
  constexpr uint64_t kMost = std::numeric_limits<int>::max();
  return static_cast<int>(std::min((left_nanos + kNanosPerMs - 1) / kNanosPerMs, kMost));
}

size_t AsyncQueue::Poll(uint64_t timeout_nanos) {
  if (delivering_ || store_.BelongsToParent()) return 0;  // the ring is the parent's as well
  for (;;) {
    SettleDurable();  // asks for what was written since the last time
    reads_->Wait(list(Stage::kReady).empty() ? timeout_nanos : 0);
    TakeReads();
    PassDeadlines();
    SettleDurable();
    size_t answered = DeliverReady();
    const bool admitted = AdmitLine(answered);
    // What was begun meanwhile is handed over, and what is ready answered, before anybody waits.
    if (answered > 0 || (!admitted && reads_->queued() == 0)) return answered;
    timeout_nanos = 0;
  }
}

size_t AsyncQueue::WaitFor(uint32_t timeout_ms) {
  const bool for_ever = timeout_ms == AsyncContext::kNoTimeout;
  const uint64_t end = for_ever ? kNever : store_.raw_clock_.MonotonicNanos() + timeout_ms * kNanosPerMs;
  for (;;) {
    const uint64_t until = std::min(end, next_deadline_nanos_);
    const uint64_t now = until == kNever ? 0 : store_.raw_clock_.MonotonicNanos();
    const size_t answered = Poll(in_flight() == 0 || until <= now ? 0 : until == kNever ? kNever : until - now);
    if (answered > 0 || in_flight() == 0 || delivering_ || store_.BelongsToParent()) return answered;
    if (!for_ever && store_.raw_clock_.MonotonicNanos() >= end) return 0;
  }
}

// What becomes ready meanwhile is for the next time.
size_t AsyncQueue::DeliverReady() {
  size_t answered = 0;
  delivering_ = true;
  for (size_t left = list(Stage::kReady).size(); left > 0; --left) {
    Operation& operation = list(Stage::kReady).front();
    answered += std::holds_alternative<std::monostate>(operation.callback) ? 0 : 1;
    Deliver(operation);
  }
  delivering_ = false;
  return answered;
}

// The operation's place is free when the callback runs.
void AsyncQueue::Deliver(Operation& operation) {
  const Callback callback = std::move(operation.callback);
  const absl::Status status = std::move(operation.status);
  if (const auto* value = std::get_if<std::function<void(AsyncValue)>>(&callback)) {
    AsyncValue answer = status.ok() ? AsyncValue(std::move(operation.value)) : AsyncValue(status);
    Withdraw(operation);
    (*value)(std::move(answer));
  } else if (const auto* values = std::get_if<std::function<void(AsyncValues)>>(&callback)) {
    AsyncValues answer = status.ok() ? AsyncValues(std::move(operation.values)) : AsyncValues(status);
    Withdraw(operation);
    (*values)(std::move(answer));
  } else if (const auto* revision = std::get_if<std::function<void(AsyncRevision)>>(&callback)) {
    AsyncRevision answer = status.ok() ? AsyncRevision(operation.revision) : AsyncRevision(status);
    Withdraw(operation);
    (*revision)(std::move(answer));
  } else if (const auto* done = std::get_if<std::function<void(absl::Status)>>(&callback)) {
    Withdraw(operation);
    (*done)(status);
  } else if (const auto* step = std::get_if<std::function<void(AsyncStep)>>(&callback)) {
    AsyncStep answer = status.ok() ? operation.scan->Step() : AsyncStep(status);
    Withdraw(operation);
    (*step)(std::move(answer));
  } else {
    Withdraw(operation);
  }
}

void AsyncQueue::EnterLine(AwaitableBase& awaitable) {
  awaitable.previous_ = last_in_line_;
  awaitable.next_ = nullptr;
  (last_in_line_ == nullptr ? first_in_line_ : last_in_line_->next_) = &awaitable;
  last_in_line_ = &awaitable;
  awaitable.state_ = AwaitableBase::State::kInLine;
}

void AsyncQueue::LeaveLine(AwaitableBase& awaitable) {
  (awaitable.previous_ == nullptr ? first_in_line_ : awaitable.previous_->next_) = awaitable.next_;
  (awaitable.next_ == nullptr ? last_in_line_ : awaitable.next_->previous_) = awaitable.previous_;
  awaitable.state_ = AwaitableBase::State::kIdle;
}

// True if one has begun. Those that failed at once are answered.
bool AsyncQueue::AdmitLine(size_t& answered) {
  bool admitted = false;
  delivering_ = true;
  while (first_in_line_ != nullptr && !list(Stage::kFree).empty()) {
    AwaitableBase& awaitable = *first_in_line_;
    LeaveLine(awaitable);
    const absl::StatusOr<AsyncId> id = awaitable.Begin();
    if (id.ok()) {
      awaitable.id_ = *id;
      awaitable.state_ = AwaitableBase::State::kInFlight;
      admitted = true;
      continue;
    }
    awaitable.Fail(id.status());
    awaitable.Resume();
    ++answered;
  }
  delivering_ = false;
  return admitted;
}

}  // namespace firn
