#include "values/dirty_files.h"

#include <algorithm>
#include <utility>

#include "base/memory.h"

namespace firn::values {

void DirtyFiles::Mark(std::shared_ptr<io::File> file) {
  base::MutexLock lock(mutex_);
  if (std::find(files_.rbegin(), files_.rend(), file) == files_.rend()) files_.push_back(std::move(file));
  marks_.fetch_add(1, std::memory_order_release);
}

void DirtyFiles::Fail(const absl::Status& why) {
  base::MutexLock lock(mutex_);
  if (failure_.ok()) failure_ = why;
  marks_.fetch_add(1, std::memory_order_release);
}

absl::Status DirtyFiles::Sync() {
  const uint64_t wanted = marks_.load(std::memory_order_acquire);
  if (durable_.load(std::memory_order_acquire) >= wanted) return absl::OkStatus();
  for (;;) {
    std::vector<std::shared_ptr<io::File>> files;
    uint64_t covered = 0;
    {
      base::MutexLock lock(mutex_);
      while (syncing_ && failure_.ok() && durable_.load(std::memory_order_relaxed) < wanted) synced_.Wait(mutex_);
      if (!failure_.ok()) return failure_;
      if (durable_.load(std::memory_order_relaxed) >= wanted) return absl::OkStatus();
      syncing_ = true;
      files.swap(files_);
      covered = marks_.load(std::memory_order_relaxed);
    }
    base::SchedulePoint();
    absl::Status status = base::OrOutOfMemory([&]() -> absl::Status {
      for (const auto& file : files) FIRN_RETURN_IF_ERROR(file->Sync());
      return absl::OkStatus();
    });
    base::MutexLock lock(mutex_);
    syncing_ = false;
    if (status.ok()) {
      durable_.store(covered, std::memory_order_release);
    } else {
      failure_ = std::move(status);
    }
    synced_.NotifyAll();
  }
}

}  // namespace firn::values
