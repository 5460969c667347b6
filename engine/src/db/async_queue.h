// What is behind an AsyncContext: operations on their way, the reads they need, and what they wait for.
//
// An operation is in one list at a time, which says how far it has come:
//
//   free -> feeding -> reading -> durable -> ready -> free
//
// feeding: keys of it wait for a read that is free. reading: its reads are with the disk. durable: a revision is to
// become durable. ready: its answer waits for the next Poll(). Any but the first may be skipped. Reads are apart, as
// the disk keeps a read's buffer for as long as it likes: an operation that ends early leaves its reads behind.
//
// Nothing here takes a lock but the log's flush mutex, for a moment, to be told of what became durable.
#pragma once

#include <firn/async.h>

#include <array>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/memory.h"
#include "db/operation_stats.h"
#include "db/point_read.h"
#include "db/store.h"
#include "io/async_reads.h"

namespace firn {

class AsyncScan;

class AsyncQueue final : private log::Log::DurableWaiter {
 public:
  using Callback = std::variant<std::monostate, std::function<void(AsyncValue)>, std::function<void(AsyncValues)>,
                                std::function<void(AsyncRevision)>, std::function<void(absl::Status)>,
                                std::function<void(AsyncStep)>>;
  enum class Stage { kFree, kFeeding, kReading, kDurable, kReady };
  static constexpr size_t kStages = 5;

  struct Operation {
    std::list<Operation>::iterator place;
    Stage stage = Stage::kFree;
    AsyncId id = 0;  // 0: free
    size_t index = 0;
    Callback callback;  // nothing: nobody wants the answer
    uint64_t deadline_nanos = UINT64_MAX;
    std::optional<OperationTimer> timer;

    // What it reads: index keys, one after the other, and where each ends.
    uint32_t namespace_id = 0;
    std::string keys;
    std::vector<size_t> key_ends;        // an empty key is not asked for
    size_t keys_fed = 0, keys_left = 0;  // begun; not done
    uint64_t read_revision = Store::kNewest;
    bool holds_view = false;  // at that revision
    bool reads_durable = false;
    AsyncScan* scan = nullptr;

    // The answer.
    absl::Status status;
    Revision revision = 0;  // to become durable, or durable
    std::string value;
    std::vector<absl::StatusOr<std::string>> values;

    std::string_view key(size_t number) const {
      const size_t begin = number == 0 ? 0 : key_ends[number - 1];
      return std::string_view(keys).substr(begin, key_ends[number] - begin);
    }
    void AddKey(std::string_view key);
  };

  static absl::StatusOr<std::unique_ptr<AsyncQueue>> Create(Store& store, uint32_t in_flight_max);
  ~AsyncQueue() override;

  static absl::Status NoSuchNamespace();

  // The calls (async.cc).
  // Begins an operation and has `call` bring it on its way. Only before that does `call` throw.
  template <typename Call>
  absl::StatusOr<AsyncId> Start(Callback done, uint32_t timeout_ms, const Call& call) {
    FIRN_ASSIGN_OR_RETURN(Operation* const operation, Begin(std::move(done), timeout_ms));
    const AsyncId id = operation->id;
    if (base::IfMemoryPermits([&] { call(*operation); })) return id;
    Withdraw(*operation);
    return base::OutOfMemory();
  }
  absl::StatusOr<AsyncId> Get(std::string_view key, Callback done, const AsyncReadOptions& options);
  absl::StatusOr<AsyncId> MultiGet(std::span<const std::string_view> keys, Callback done,
                                   const AsyncReadOptions& options);
  template <typename Call>
  absl::StatusOr<AsyncId> Written(Callback done, Durability durability, uint32_t timeout_ms, const Call& call);
  absl::StatusOr<AsyncId> Write(const WriteOperation& write, Callback done, Durability durability, uint32_t timeout_ms);
  absl::StatusOr<AsyncId> Apply(const Batch& batch, Callback done, Durability durability, uint32_t timeout_ms);
  absl::StatusOr<AsyncId> Sync(Callback done, uint32_t timeout_ms);

  Store& store() { return store_; }
  size_t in_flight() const { return by_index_.size() - list(Stage::kFree).size(); }
  int descriptor() { return reads_->descriptor(); }
  int timeout_ms() const;

  // How an operation goes on from a call; nothing of it throws.
  void Read(Operation& operation);
  // At operation.revision.
  void AwaitDurable(Operation& operation);
  void Answer(Operation& operation, absl::Status status);

  // Null unless it is in flight.
  Operation* Find(AsyncId id);
  bool Cancel(AsyncId id);
  // Nobody wants the answer any more.
  void Forget(AsyncId id);
  size_t Poll(uint64_t timeout_nanos);
  size_t WaitFor(uint32_t timeout_ms);

  void AddScan(AsyncScan& scan) { scans_.push_back(&scan); }
  void RemoveScan(AsyncScan& scan) { std::erase(scans_, &scan); }

  // Awaitables that wait for their turn.
  bool MustQueue() const { return first_in_line_ != nullptr || (list(Stage::kFree).empty() && !closing_); }
  void EnterLine(AwaitableBase& awaitable);
  void LeaveLine(AwaitableBase& awaitable);

 private:
  struct ReadOfKey : PointRead {
    explicit ReadOfKey(Store& store) : PointRead(store) {}
    std::list<ReadOfKey>::iterator place;
    Operation* owner = nullptr;  // null: it has ended before
    size_t number = 0;           // of the key
  };

  AsyncQueue(Store& store, std::unique_ptr<io::AsyncReads> reads, uint32_t in_flight_max);
  void NoteDurable() noexcept override { reads_->Wake(); }

  std::list<Operation>& list(Stage stage) { return stages_[static_cast<size_t>(stage)]; }
  const std::list<Operation>& list(Stage stage) const { return stages_[static_cast<size_t>(stage)]; }
  // One that has its place and its id, and nothing else; or why there can be none now.
  absl::StatusOr<Operation*> Begin(Callback callback, uint32_t timeout_ms);
  void HoldView(Operation& operation, const Snapshot* snapshot);
  void Withdraw(Operation& operation);  // frees it
  void Move(Operation& operation, Stage stage);
  void Feed();
  void GoOn(ReadOfKey& read, PointRead::Next next);
  void TakeReads();
  void TakeValue(Operation& operation, ReadOfKey& read);
  void EndReading(Operation& operation);
  void ReleaseView(Operation& operation);
  void End(Operation& operation, const absl::Status& status);
  void PassDeadlines();
  void SettleDurable();
  bool AskDurable();
  void Deliver(Operation& operation);
  size_t DeliverReady();
  bool AdmitLine(size_t& answered);

  Store& store_;
  std::unique_ptr<io::AsyncReads> reads_;
  std::array<std::list<Operation>, kStages> stages_;  // kDurable: by ascending revisions
  std::vector<Operation*> by_index_;
  uint64_t next_serial_ = 1;
  std::list<ReadOfKey> idle_reads_, disk_reads_;
  uint64_t disk_bytes_ = 0;                    // of buffers that the disk has
  uint64_t next_deadline_nanos_ = UINT64_MAX;  // none passes earlier
  uint64_t told_first_ = 0, told_last_ = 0;    // what the log was asked for
  std::vector<AsyncScan*> scans_;
  AwaitableBase* first_in_line_ = nullptr;
  AwaitableBase* last_in_line_ = nullptr;
  bool delivering_ = false, closing_ = false;
};

}  // namespace firn
