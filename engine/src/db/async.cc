// The public face of asynchronous operations, and what each kind of them does in its call.
#include <firn/async.h>

#include <utility>

#include "base/memory.h"
#include "db/async_queue.h"
#include "db/async_scan.h"

namespace firn {

using base::OrOutOfMemory;

absl::StatusOr<AsyncId> AsyncQueue::Get(std::string_view key, Callback done, const AsyncReadOptions& options) {
  return Start(std::move(done), options.timeout_ms, [&](Operation& operation) {
    operation.timer.emplace(store_.gets_, store_.raw_clock_);
    if (absl::Status valid = Store::CheckReadKey(key); !valid.ok()) return Answer(operation, std::move(valid));
    if (!store_.IsAlive(options.namespace_id)) return Answer(operation, NoSuchNamespace());
    operation.namespace_id = options.namespace_id;
    operation.reads_durable = options.read_durable;
    operation.AddKey(key);
    if (options.snapshot != nullptr) HoldView(operation, options.snapshot);
    Read(operation);
  });
}

absl::StatusOr<AsyncId> AsyncQueue::MultiGet(std::span<const std::string_view> keys, Callback done,
                                             const AsyncReadOptions& options) {
  return Start(std::move(done), options.timeout_ms, [&](Operation& operation) {
    operation.timer.emplace(store_.multi_gets_, store_.raw_clock_);
    store_.multi_get_keys_.Add(keys.size());
    if (keys.size() > kMultiGetKeysMax) {
      return Answer(operation, base::InvalidArgument("MultiGet of " + std::to_string(keys.size()) + " keys; at most " +
                                                     std::to_string(kMultiGetKeysMax) + " at once"));
    }
    if (!store_.IsAlive(options.namespace_id)) return Answer(operation, NoSuchNamespace());
    operation.namespace_id = options.namespace_id;
    operation.reads_durable = options.read_durable;
    operation.values.assign(keys.size(), Store::KeyNotFound());
    for (size_t i = 0; i < keys.size(); ++i) {
      if (absl::Status valid = Store::CheckReadKey(keys[i]); valid.ok()) {
        operation.AddKey(keys[i]);
      } else {
        operation.values[i] = std::move(valid);
        operation.key_ends.push_back(operation.keys.size());
      }
    }
    HoldView(operation, options.snapshot);
    operation.revision = operation.read_revision;
    Read(operation);
  });
}

// `call` is the blocking one, as a buffered write: of a synced one that is all but the waiting.
template <typename Call>
absl::StatusOr<AsyncId> AsyncQueue::Written(Callback done, Durability durability, uint32_t timeout_ms,
                                            const Call& call) {
  return Start(std::move(done), timeout_ms, [&](Operation& operation) {
    const absl::StatusOr<Revision> revision = OrOutOfMemory(call);
    if (!revision.ok()) return Answer(operation, revision.status());
    operation.revision = *revision;
    if (durability == Durability::kSynced) return AwaitDurable(operation);
    Answer(operation, absl::OkStatus());
  });
}

absl::StatusOr<AsyncId> AsyncQueue::Write(const WriteOperation& write, Callback done, Durability durability,
                                          uint32_t timeout_ms) {
  return Written(std::move(done), durability, timeout_ms, [&] { return store_.Write(write, Durability::kBuffered); });
}

absl::StatusOr<AsyncId> AsyncQueue::Apply(const Batch& batch, Callback done, Durability durability,
                                          uint32_t timeout_ms) {
  return Written(std::move(done), durability, timeout_ms, [&] { return store_.Apply(batch, Durability::kBuffered); });
}

absl::StatusOr<AsyncId> AsyncQueue::Sync(Callback done, uint32_t timeout_ms) {
  return Start(std::move(done), timeout_ms, [&](Operation& operation) {
    operation.timer.emplace(store_.syncs_, store_.raw_clock_);
    if (absl::Status writable = store_.CheckWritable(); !writable.ok()) return Answer(operation, std::move(writable));
    operation.revision = store_.log_->LastReserved();
    AwaitDurable(operation);
  });
}

absl::StatusOr<std::unique_ptr<AsyncContext>> AsyncContext::Create(DB& db, const AsyncOptions& options) {
  if (options.in_flight_max < kAsyncInFlightMin || options.in_flight_max > kAsyncInFlightMax) {
    return base::InvalidArgument("in_flight_max is " + std::to_string(options.in_flight_max) + "; it is " +
                                 std::to_string(kAsyncInFlightMin) + " to " + std::to_string(kAsyncInFlightMax));
  }
  return OrOutOfMemory([&]() -> absl::StatusOr<std::unique_ptr<AsyncContext>> {
    Store& store = *db.store_;
    FIRN_RETURN_IF_ERROR(store.CheckUsable());
    FIRN_ASSIGN_OR_RETURN(std::unique_ptr<AsyncQueue> queue, AsyncQueue::Create(store, options.in_flight_max));
    return std::unique_ptr<AsyncContext>(new AsyncContext(std::move(queue)));
  });
}

AsyncContext::AsyncContext(std::unique_ptr<AsyncQueue> queue) : queue_(std::move(queue)) {}

AsyncContext::~AsyncContext() {
  if (queue_->store().BelongsToParent()) static_cast<void>(queue_.release());
}

absl::StatusOr<AsyncId> AsyncContext::Get(std::string_view key, std::function<void(AsyncValue)> done,
                                          const AsyncReadOptions& options) {
  return OrOutOfMemory([&] { return queue_->Get(key, std::move(done), options); });
}

absl::StatusOr<AsyncId> AsyncContext::MultiGet(std::span<const std::string_view> keys,
                                               std::function<void(AsyncValues)> done, const AsyncReadOptions& options) {
  return OrOutOfMemory([&] { return queue_->MultiGet(keys, std::move(done), options); });
}

absl::StatusOr<AsyncId> AsyncContext::Put(std::string_view key, std::string_view value,
                                          std::function<void(AsyncRevision)> done, const AsyncPutOptions& options) {
  const WriteOperation write{.kind = Batch::Operation::Kind::kPut,
                             .namespace_id = options.namespace_id,
                             .key = key,
                             .value = value,
                             .metadata = options.metadata,
                             .expires_at_ms = options.expires_at_ms,
                             .condition = options.condition};
  return OrOutOfMemory([&] { return queue_->Write(write, std::move(done), options.durability, options.timeout_ms); });
}

absl::StatusOr<AsyncId> AsyncContext::Delete(std::string_view key, std::function<void(AsyncRevision)> done,
                                             const AsyncWriteOptions& options) {
  const WriteOperation write{.kind = Batch::Operation::Kind::kDelete,
                             .namespace_id = options.namespace_id,
                             .key = key,
                             .condition = options.condition};
  return OrOutOfMemory([&] { return queue_->Write(write, std::move(done), options.durability, options.timeout_ms); });
}

absl::StatusOr<AsyncId> AsyncContext::SetExpiry(std::string_view key, int64_t expires_at_ms,
                                                std::function<void(AsyncRevision)> done,
                                                const AsyncWriteOptions& options) {
  const WriteOperation write{.kind = Batch::Operation::Kind::kSetExpiry,
                             .namespace_id = options.namespace_id,
                             .key = key,
                             .expires_at_ms = expires_at_ms,
                             .condition = options.condition};
  return OrOutOfMemory([&] { return queue_->Write(write, std::move(done), options.durability, options.timeout_ms); });
}

absl::StatusOr<AsyncId> AsyncContext::Apply(const Batch& batch, std::function<void(AsyncRevision)> done,
                                            const AsyncWriteOptions& options) {
  return OrOutOfMemory([&] { return queue_->Apply(batch, std::move(done), options.durability, options.timeout_ms); });
}

absl::StatusOr<AsyncId> AsyncContext::Sync(std::function<void(absl::Status)> done, uint32_t timeout_ms) {
  return OrOutOfMemory([&] { return queue_->Sync(std::move(done), timeout_ms); });
}

std::unique_ptr<AsyncIterator> AsyncContext::NewIterator(const IteratorOptions& options, uint32_t namespace_id) {
  std::unique_ptr<AsyncIterator> iterator;
  base::IfMemoryPermits([&] {
    std::unique_ptr<AsyncIterator> made(new AsyncIterator);
    made->scan_ = std::make_unique<AsyncScan>(*queue_, namespace_id, options);
    iterator = std::move(made);
  });
  return iterator;
}

Awaitable<AsyncValue> AsyncContext::Get(std::string_view key, const AsyncReadOptions& options) {
  return {queue_.get(),
          [this, key, &options](std::function<void(AsyncValue)> done) { return Get(key, std::move(done), options); }};
}

Awaitable<AsyncValues> AsyncContext::MultiGet(std::span<const std::string_view> keys, const AsyncReadOptions& options) {
  return {queue_.get(), [this, keys, &options](std::function<void(AsyncValues)> done) {
            return MultiGet(keys, std::move(done), options);
          }};
}

Awaitable<AsyncRevision> AsyncContext::Put(std::string_view key, std::string_view value,
                                           const AsyncPutOptions& options) {
  return {queue_.get(), [this, key, value, &options](std::function<void(AsyncRevision)> done) {
            return Put(key, value, std::move(done), options);
          }};
}

Awaitable<AsyncRevision> AsyncContext::Delete(std::string_view key, const AsyncWriteOptions& options) {
  return {queue_.get(), [this, key, &options](std::function<void(AsyncRevision)> done) {
            return Delete(key, std::move(done), options);
          }};
}

Awaitable<AsyncRevision> AsyncContext::SetExpiry(std::string_view key, int64_t expires_at_ms,
                                                 const AsyncWriteOptions& options) {
  return {queue_.get(), [this, key, expires_at_ms, &options](std::function<void(AsyncRevision)> done) {
            return SetExpiry(key, expires_at_ms, std::move(done), options);
          }};
}

Awaitable<AsyncRevision> AsyncContext::Apply(const Batch& batch, const AsyncWriteOptions& options) {
  return {queue_.get(), [this, &batch, &options](std::function<void(AsyncRevision)> done) {
            return Apply(batch, std::move(done), options);
          }};
}

Awaitable<absl::Status> AsyncContext::Sync(uint32_t timeout_ms) {
  return {queue_.get(),
          [this, timeout_ms](std::function<void(absl::Status)> done) { return Sync(std::move(done), timeout_ms); }};
}

bool AsyncContext::Cancel(AsyncId id) { return queue_->Cancel(id); }
size_t AsyncContext::Poll() { return queue_->Poll(0); }
size_t AsyncContext::Wait(uint32_t timeout_ms) { return queue_->WaitFor(timeout_ms); }
int AsyncContext::descriptor() const { return queue_->descriptor(); }
int AsyncContext::timeout_ms() const { return queue_->timeout_ms(); }
size_t AsyncContext::in_flight() const { return queue_->in_flight(); }

AwaitableBase::~AwaitableBase() {
  if (state_ == State::kInLine) queue_->LeaveLine(*this);
  if (state_ == State::kInFlight) queue_->Forget(id_);
}

bool AwaitableBase::Suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  if (queue_ != nullptr && queue_->MustQueue()) {
    queue_->EnterLine(*this);
    return true;
  }
  const absl::StatusOr<AsyncId> id = Begin();
  if (!id.ok()) {
    Fail(id.status());
    return false;
  }
  id_ = *id;
  state_ = State::kInFlight;
  return true;
}

void AwaitableBase::Resume() {
  state_ = State::kIdle;
  coroutine_.resume();
}

}  // namespace firn
