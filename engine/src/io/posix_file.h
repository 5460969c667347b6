// A file over pread, pwrite and fdatasync.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/sync.h"
#include "io/disk.h"
#include "io/file_descriptor.h"
#include "io/write_behind.h"

namespace firn::io {

class PosixFile : public File {
 public:
  PosixFile(std::string name, Counters& counters, FileDescriptor fd, uint64_t size_bytes);

  uint64_t size_bytes() const override { return size_bytes_.load(std::memory_order_acquire); }
  absl::StatusOr<uint64_t> Links() override;
  absl::StatusOr<uint64_t> AllocatedBytes() override;

  int fd() const { return fd_.get(); }

 protected:
  absl::Status DoRead(uint64_t offset, base::MutableBytes out) override;
  absl::Status DoWrite(uint64_t offset, base::Bytes data, Flush flush) override;
  absl::Status DoSync() override;
  absl::Status DoAllocate(uint64_t size_bytes, uint64_t from_bytes) override;
  absl::Status DoTruncate(uint64_t size_bytes) override;
  absl::Status DoPunchHole(uint64_t offset, uint64_t size_bytes) override;

  // FailedPrecondition in a forked child: the file is its parent's.
  absl::Status CheckProcess() const;
  void GrewTo(uint64_t size_bytes);

 private:
  absl::Status FillWithZeros(uint64_t from_bytes, uint64_t size_bytes);
  absl::Status DoWriteBehind(uint64_t offset, base::Bytes data);
  std::shared_ptr<WriteBehind> Behind();

  const FileDescriptor fd_;
  const uint64_t fork_generation_;
  // As this process knows it: what another one appends is seen by those who open the file afterwards.
  std::atomic<uint64_t> size_bytes_;

  base::Mutex behind_mutex_;
  std::shared_ptr<WriteBehind> behind_ ABSL_GUARDED_BY(behind_mutex_);  // from a write behind to the next sync
  bool behind_refused_ ABSL_GUARDED_BY(behind_mutex_) = false;          // for good
};

}  // namespace firn::io
