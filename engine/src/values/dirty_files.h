// Files with writes that are not known to be durable, and the one who makes them so.
//
// Mark() counts up, Sync() waits until the count it saw is durable. Whoever syncs takes the list of files, and thereby
// clears their marks, before the first fdatasync: a write that ends meanwhile marks its file again and belongs to the
// next sync. Clearing afterwards would count it as durable although the fdatasync may have come before it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "base/sync.h"
#include "io/disk.h"

namespace firn::values {

class DirtyFiles {
 public:
  // To be called after a write to `file` has returned and before anybody may rely on it. Keeps the file open.
  void Mark(std::shared_ptr<io::File> file);
  // A write whose file could not be marked: no Sync() succeeds any more.
  void Fail(const absl::Status& why);
  // Everything marked before the call is durable when it returns OK. The first failure is final.
  absl::Status Sync();

 private:
  base::Mutex mutex_;  // not held across I/O
  base::CondVar synced_;
  std::vector<std::shared_ptr<io::File>> files_ ABSL_GUARDED_BY(mutex_);
  bool syncing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);

  // Both only grow, under mutex_, and durable_ stays below marks_ for ever once a sync has failed: equal means that all
  // is durable. marks_ is loaded first, so it holds at least what the caller knows of.
  std::atomic<uint64_t> marks_{0}, durable_{0};
};

}  // namespace firn::values
