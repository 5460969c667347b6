// Operations that do not wait: one thread keeps hundreds of them in flight.
//
//   absl::StatusOr<std::unique_ptr<firn::AsyncContext>> context = firn::AsyncContext::Create(*db);
//   if (!context.ok()) return context.status();
//   (*context)->Get("answer", [](absl::StatusOr<std::string> value) { Use(value); }).status();
//   while ((*context)->in_flight() > 0) (*context)->Wait();
//
// and in a coroutine of any type: `absl::StatusOr<std::string> value = co_await context->Get("answer");`
//
// Answers. A call begins an operation. Its callback gets the answer exactly once, from Poll(), Wait() or the context's
// destructor, never from inside the call; what answers mean is said in firn/db.h. Only where the call itself fails is
// there none, and nothing was begun: ResourceExhausted (in_flight_max operations are in flight, or there is no memory
// for one more), FailedPrecondition (the store is closed or a parent's, or the context is being destroyed).
//
// Reads look into the index and into memory in the call; what has to come from the disk is in flight when Poll() or
// Wait() was called next, and is what was there at some moment between the call and the answer. They hold up neither
// writers nor reclaim.
//
// Writes take effect in the call, in the order of the calls; after it everybody may see them. Only that they become
// durable is waited for: all that a thread wrote before it polls shares one flush. What else a write may have to wait
// for it waits for in the call: for room, for reclaim to keep pace, and for the bytes of a value that is separated.
//
// Cancelled and DeadlineExceeded mean that nobody waits any longer. A read has no other effect. A write is not undone:
// it may become durable, and will unless a crash comes first.
//
// A context, its iterators and what awaits it belong to one thread, which creates, uses and destroys them. A thread may
// have several, and use the store besides. All of them go before the DB is closed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <firn/awaitable.h>
#include <firn/db.h>

namespace firn {

struct AsyncOptions {
  // Operations that have begun and are not answered, and reads that the disk has; kAsyncInFlightMin to
  // kAsyncInFlightMax. Each read has a buffer, of the size of what it reads, which no memory budget counts; beyond
  // 16 MiB in buffers further reads wait for their turn.
  uint32_t in_flight_max = 256;
};

// Of one operation.
struct AsyncCall {
  uint32_t namespace_id = Batch::kDefaultNamespaceId;  // Namespace::id(); not used by Apply and Sync
  // Answered with DeadlineExceeded by a Poll() that comes so much later; 0: however long it takes.
  uint32_t timeout_ms = 0;
};
struct AsyncReadOptions : ReadOptions, AsyncCall {};
struct AsyncWriteOptions : WriteOptions, AsyncCall {};
struct AsyncPutOptions : PutOptions, AsyncCall {};

using AsyncValue = absl::StatusOr<std::string>;
using AsyncValues = absl::StatusOr<std::vector<absl::StatusOr<std::string>>>;
using AsyncRevision = absl::StatusOr<Revision>;

// What an iterator comes to. Its metadata is for Get to ask for.
struct AsyncEntry {
  std::string key, value;
  Revision revision = 0;
  int64_t expires_at_ms = 0;  // 0: never
};
using AsyncStep = absl::StatusOr<std::optional<AsyncEntry>>;  // nothing: the end

class AsyncQueue;
class AsyncScan;

// Walks upwards over the keys of its options, at one revision, and reads up to kAsyncReadAhead values at a time. An
// entry whose value cannot be read is answered with that status, and the next step goes past it.
class AsyncIterator {
 public:
  ~AsyncIterator();
  AsyncIterator(const AsyncIterator&) = delete;

  // One step at a time: FailedPrecondition while another has not been answered, or when the context has gone. A step
  // that was cancelled was not made.
  absl::StatusOr<AsyncId> Next(std::function<void(AsyncStep)> done, uint32_t timeout_ms = 0);
  Awaitable<AsyncStep> Next(uint32_t timeout_ms = 0);

 private:
  friend class AsyncContext;
  AsyncIterator();
  std::unique_ptr<AsyncScan> scan_;
};

class AsyncContext {
 public:
  static constexpr uint32_t kNoTimeout = UINT32_MAX;

  // InvalidArgument for options out of range; ResourceExhausted without memory or descriptors.
  static absl::StatusOr<std::unique_ptr<AsyncContext>> Create(DB& db, const AsyncOptions& options = {});
  // Operations in flight are answered with Cancelled, those that have ended with what came of them; calls made
  // meanwhile fail. Returns when the disk has let go of every buffer. Not to be called by a callback of its own.
  ~AsyncContext();
  AsyncContext(const AsyncContext&) = delete;

  // Keys, values, metadata and batches are used during the call only. A snapshot may go after it.
  absl::StatusOr<AsyncId> Get(std::string_view key, std::function<void(AsyncValue)> done,
                              const AsyncReadOptions& options = {});
  // All keys at one revision; a status for all of them where the call as a whole cannot be answered.
  absl::StatusOr<AsyncId> MultiGet(std::span<const std::string_view> keys, std::function<void(AsyncValues)> done,
                                   const AsyncReadOptions& options = {});
  absl::StatusOr<AsyncId> Put(std::string_view key, std::string_view value, std::function<void(AsyncRevision)> done,
                              const AsyncPutOptions& options = {});
  absl::StatusOr<AsyncId> Delete(std::string_view key, std::function<void(AsyncRevision)> done,
                                 const AsyncWriteOptions& options = {});
  absl::StatusOr<AsyncId> SetExpiry(std::string_view key, int64_t expires_at_ms,
                                    std::function<void(AsyncRevision)> done, const AsyncWriteOptions& options = {});
  absl::StatusOr<AsyncId> Apply(const Batch& batch, std::function<void(AsyncRevision)> done,
                                const AsyncWriteOptions& options = {});
  // Everything written before the call is durable.
  absl::StatusOr<AsyncId> Sync(std::function<void(absl::Status)> done, uint32_t timeout_ms = 0);
  // A failure shows in its first step. Null only where there is no memory for it. `namespace_id` as in AsyncCall.
  std::unique_ptr<AsyncIterator> NewIterator(const IteratorOptions& options = {},
                                             uint32_t namespace_id = Batch::kDefaultNamespaceId);

  // The same to be awaited. The operation begins when it is; where in_flight_max are in flight it waits for its turn,
  // and its deadline runs from then on. Arguments live until the answer, as they do in a co_await expression. A
  // coroutine that is destroyed while it waits is not answered.
  Awaitable<AsyncValue> Get(std::string_view key, const AsyncReadOptions& options = {});
  Awaitable<AsyncValues> MultiGet(std::span<const std::string_view> keys, const AsyncReadOptions& options = {});
  Awaitable<AsyncRevision> Put(std::string_view key, std::string_view value, const AsyncPutOptions& options = {});
  Awaitable<AsyncRevision> Delete(std::string_view key, const AsyncWriteOptions& options = {});
  Awaitable<AsyncRevision> SetExpiry(std::string_view key, int64_t expires_at_ms,
                                     const AsyncWriteOptions& options = {});
  Awaitable<AsyncRevision> Apply(const Batch& batch, const AsyncWriteOptions& options = {});
  Awaitable<absl::Status> Sync(uint32_t timeout_ms = 0);

  // The operation is answered with Cancelled by the next Poll(). False if it has ended: it is, or was, answered with
  // what came of it. Of a read that the disk has already, buffer and place in the queue are free when the disk is done.
  bool Cancel(AsyncId id);

  // Hands over what was begun, and answers what has ended by now; returns how many callbacks it ran. What callbacks
  // begin is for the next Poll(). Does nothing inside a callback.
  size_t Poll();
  // As Poll(), but waits for the first answer, for `timeout_ms` at most. With nothing in flight it does not wait.
  size_t Wait(uint32_t timeout_ms = kNoTimeout);

  // For epoll, or another ring: readable when there may be something for Poll() to answer, provided that the last
  // Poll() returned 0 and nothing was begun since. -1: there is none (a simulated disk).
  int descriptor() const;
  // How long to wait for that at most: when a deadline passes, in milliseconds rounded up; -1: there is none.
  int timeout_ms() const;

  // Operations that are not answered.
  size_t in_flight() const;

 private:
  friend class AwaitableBase;
  explicit AsyncContext(std::unique_ptr<AsyncQueue> queue);
  std::unique_ptr<AsyncQueue> queue_;
};

}  // namespace firn
