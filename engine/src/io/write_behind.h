// Writes that the page cache takes and the device gets in the background, so that a file written mostly in order fills
// a device with one thread and without waiting for each write.
//
// The page cache is a buffer here, not a cache: writing back begins as soon as kChunkBytes have gathered, whoever
// writes more than kWindowBytes ahead of the device waits for it, and what has been written is dropped from memory.
// What the kernel could not write is reported by the next fdatasync through a descriptor that was open before
// (Linux 4.13; before that only to the first that waits, which may be this one: hence failure()).
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>

#include "base/coding.h"
#include "base/status.h"
#include "base/sync.h"
#include "io/file_descriptor.h"

namespace firn::io {

class WriteBehind {
 public:
  static constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
  static constexpr uint64_t kWindowBytes = uint64_t{8} << 20;

  // Opens the file of `fd` once more, past O_DIRECT. Where that cannot be done: null, and errno.
  static std::shared_ptr<WriteBehind> Open(int fd);

  // All of `data`, of any alignment, survives this process when it returns.
  absl::Status Write(std::string_view file_name, uint64_t offset, base::Bytes data);
  // Drops what the device has from memory. A file that is used again would find it there, in pages larger than what is
  // written next.
  void Forget() const;
  // What was learned of the device's failures. For who syncs.
  absl::Status failure();

 private:
  struct Range {
    uint64_t begin = 0, end = 0;
    uint64_t bytes() const { return end - begin; }
  };

  explicit WriteBehind(FileDescriptor fd) : fd_(std::move(fd)) {}
  // The part that is to be written back now, empty if none is.
  Range Gather(Range written);
  // The part that has to reach the device before the caller goes on, empty if none has.
  Range Overdue();
  void Send(Range range) const;
  void Await(std::string_view file_name, Range range);

  const FileDescriptor fd_;
  base::Mutex mutex_;  // held for no I/O
  Range gathered_ ABSL_GUARDED_BY(mutex_);
  std::deque<Range> sent_ ABSL_GUARDED_BY(mutex_);
  uint64_t sent_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace firn::io
