// A directory whose batches of reads go through io_uring: all in flight at once, from the calling thread's
// own ring.
//
// A single transfer, which its caller waits for, uses pread, pwrite and fdatasync: one completion gains nothing from a
// queue of one. A linked write -> fdatasync hands the fdatasync to a kernel worker thread, one more switch than the
// calls take, and a whole time slice more where the processors are busy. bench/parts/io_bench.cc compares both on the
// disk at hand; where the switch costs less than it saves, SyncedWrite::kLinked takes the ring.
//
// Registered files and buffers are not used. A table entry of a ring would keep an unlinked segment's space
// claimed until that ring's thread comes by again, and neither gains more than the noise of a direct read.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "io/posix_disk.h"
#include "io/ring_pool.h"

namespace firn::io {

// How the io_uring disk does a write with Flush::kData.
enum class SyncedWrite {
  kCalls,   // pwrite, then fdatasync, on the calling thread
  kLinked,  // both in one submission, the second linked to the first
};

class UringDisk : public PosixDisk {
 public:
  UringDisk(OpenedDirectory directory, const RingFeatures& features, SyncedWrite synced_write);

  std::string_view kind() const override { return "io_uring"; }
  absl::StatusOr<std::unique_ptr<AsyncReads>> NewAsyncReads(size_t depth) override;

  // Threads that have a ring on this disk.
  size_t rings() { return rings_->size(); }

 protected:
  std::unique_ptr<File> MakeFile(std::string name, FileDescriptor fd, uint64_t size_bytes) override;
  void DoReadMany(std::span<ReadRequest> requests, const Ended& ended) override;

 private:
  const std::shared_ptr<RingPool> rings_;
  const SyncedWrite synced_write_;
};

}  // namespace firn::io
