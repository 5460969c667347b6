#include "db/async_scan.h"

#include <utility>

#include "base/memory.h"

namespace firn {
namespace {

// A revision that somebody else keeps.
class FixedRevision final : public Snapshot {
 public:
  explicit FixedRevision(Revision revision) : revision_(revision) {}
  Revision revision() const override { return revision_; }

 private:
  const Revision revision_;
};

}  // namespace

AsyncScan::AsyncScan(AsyncQueue& queue, uint32_t namespace_id, const IteratorOptions& options)
    : queue_(&queue), namespace_id_(namespace_id), keys_only_(options.keys_only) {
  Store& store = queue.store();
  IteratorOptions keys = options;
  keys.keys_only = true;
  if (!store.IsUsable()) {
    keys_ = std::make_unique<Cursor>(store, namespace_id, std::move(keys));  // says so
  } else if (options.snapshot != nullptr) {
    revision_ = options.snapshot->revision();
    keys_ = std::make_unique<Cursor>(store, namespace_id, std::move(keys));
  } else {
    const Store::View view(store);  // until the cursor has its own
    const FixedRevision now(view.revision());
    keys.snapshot = &now;
    revision_ = view.revision();
    keys_ = std::make_unique<Cursor>(store, namespace_id, std::move(keys));
  }
  queue.AddScan(*this);
}

AsyncScan::~AsyncScan() {
  if (queue_ == nullptr) return;
  queue_->RemoveScan(*this);
  AsyncQueue::Operation* const step = queue_->Find(step_);
  if (step == nullptr) return;
  static_cast<void>(queue_->Cancel(step_));
  step->status = absl::Status(absl::StatusCode::kCancelled, "");  // one that is answered already too
  step->scan = nullptr;
}

void AsyncScan::Detach() {
  queue_ = nullptr;
  keys_ = nullptr;
}

absl::StatusOr<AsyncId> AsyncScan::Next(std::function<void(AsyncStep)> done, uint32_t timeout_ms) {
  if (queue_ == nullptr) return base::FailedPrecondition("the iterator's context was destroyed");
  if (queue_->Find(step_) != nullptr) return base::FailedPrecondition("the step before has not been answered");
  return queue_->Start(std::move(done), timeout_ms, [this](AsyncQueue::Operation& step) {
    step_ = step.id;
    step.scan = this;
    GoOn(step);
  });
}

void AsyncScan::GoOn(AsyncQueue::Operation& step) {
  if (!base::IfMemoryPermits([&] { TryGoOn(step); })) queue_->Answer(step, base::OutOfMemory());
}

void AsyncScan::TryGoOn(AsyncQueue::Operation& step) {
  // It has read the window, if it is not here for the first time.
  if (!step.key_ends.empty()) is_read_ = true;
  while (is_read_ && at_ < window_.size() && HasGone(window_[at_])) ++at_;
  if (at_ == window_.size()) Refill();
  if (is_read_ || window_.empty()) return queue_->Answer(step, window_.empty() ? keys_->status() : absl::OkStatus());
  step.keys.clear();
  step.key_ends.clear();
  step.namespace_id = namespace_id_;
  for (const Item& item : window_) step.AddKey(item.entry.key);
  step.read_revision = revision_;
  queue_->Read(step);
}

void AsyncScan::Refill() {
  window_.clear();
  at_ = 0;
  is_read_ = keys_only_;
  window_.reserve(kAsyncReadAhead);
  if (!std::exchange(begun_, true)) keys_->SeekToFirst();
  for (; keys_->Valid() && window_.size() < kAsyncReadAhead; keys_->Next()) {
    window_.push_back({{std::string(keys_->key()), {}, keys_->revision(), keys_->expires_at_ms()}, keys_->status()});
  }
}

// It was there when its key was found.
bool AsyncScan::HasGone(const Item& item) const {
  const int64_t expires_at_ms = item.entry.expires_at_ms;
  return absl::IsNotFound(item.status) || (expires_at_ms != 0 && expires_at_ms <= queue_->store().NowMs());
}

void AsyncScan::Take(size_t number, const absl::Status& status, std::string& value) {
  window_[number].status = status;
  window_[number].entry.value = std::move(value);
}

AsyncStep AsyncScan::Step() {
  if (window_.empty()) return std::optional<AsyncEntry>();
  Item& item = window_[at_++];
  if (!item.status.ok()) return item.status;
  return std::optional<AsyncEntry>(std::move(item.entry));
}

AsyncIterator::AsyncIterator() = default;
AsyncIterator::~AsyncIterator() = default;

absl::StatusOr<AsyncId> AsyncIterator::Next(std::function<void(AsyncStep)> done, uint32_t timeout_ms) {
  return base::OrOutOfMemory([&] { return scan_->Next(std::move(done), timeout_ms); });
}

Awaitable<AsyncStep> AsyncIterator::Next(uint32_t timeout_ms) {
  return {scan_->queue(),
          [this, timeout_ms](std::function<void(AsyncStep)> done) { return Next(std::move(done), timeout_ms); }};
}

}  // namespace firn
