// The walk behind an AsyncIterator: a few keys from the index at a time, and their values read together.
#pragma once

#include <string>
#include <vector>

#include "db/async_queue.h"
#include "db/cursor.h"

namespace firn {

class AsyncScan {
 public:
  AsyncScan(AsyncQueue& queue, uint32_t namespace_id, const IteratorOptions& options);
  ~AsyncScan();
  AsyncScan(const AsyncScan&) = delete;

  absl::StatusOr<AsyncId> Next(std::function<void(AsyncStep)> done, uint32_t timeout_ms);
  AsyncQueue* queue() { return queue_; }
  // The queue goes.
  void Detach();

  // For the queue. What was read for an item of the window; all of them were; what the step comes to.
  void Take(size_t number, const absl::Status& status, std::string& value);
  void GoOn(AsyncQueue::Operation& step);
  AsyncStep Step();

 private:
  struct Item {
    AsyncEntry entry;
    absl::Status status;
  };

  void TryGoOn(AsyncQueue::Operation& step);
  void Refill();
  bool HasGone(const Item& item) const;

  AsyncQueue* queue_;  // null: it has gone
  const uint32_t namespace_id_;
  const bool keys_only_;
  uint64_t revision_ = 0;
  std::unique_ptr<Cursor> keys_;  // stands on the key after the window
  bool begun_ = false;
  std::vector<Item> window_;
  size_t at_ = 0;        // the next one
  bool is_read_ = true;  // the window's values are there
  AsyncId step_ = 0;
};

}  // namespace firn
