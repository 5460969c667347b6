// Reads the victims of the next round of reclaim while the present one copies, on a thread of its own: the device is
// busy meanwhile, and the next round begins with what it needs in memory.
//
// Used by one thread at a time. What is read is of sealed segments, which do not change; whether a segment is still
// part of the store is the user's to know. Their files are kept open only while they are read.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/coding.h"
#include "base/sync.h"
#include "io/disk.h"
#include "log/segment.h"

namespace firn {

class ReadAhead {
 public:
  // Of memory, from the first Begin() to Drop().
  static constexpr uint64_t kBytesMax = uint64_t{16} << 20;

  explicit ReadAhead(io::Disk& disk) : disk_(disk) {}
  ~ReadAhead() { Stop(); }
  ReadAhead(const ReadAhead&) = delete;

  // Before anything else, once.
  void Start();
  // Forgets what was read and begins to read the units of these, as many as there is memory for.
  void Begin(std::vector<std::shared_ptr<log::Segment>> segments);

  // Each waits until reading has ended.

  // What was read.
  std::vector<log::SegmentId> segments();
  // What the file of this segment holds from `offset` on. Empty if it was not read; else valid until the next Begin()
  // or Drop().
  base::Bytes Find(log::SegmentId segment, uint64_t offset, uint64_t size_bytes);
  void Drop();
  // Ends the thread.
  void Stop();

 private:
  struct Part {
    log::SegmentId segment = 0;
    uint64_t at = 0, size_bytes = 0;  // in buffer_
    std::shared_ptr<log::Segment> unread;
  };
  void Run();
  void Read();
  void AwaitRead();

  io::Disk& disk_;
  base::AlignedBuffer buffer_;  // these two are the thread's while reading_
  std::vector<Part> parts_;
  base::Mutex mutex_;
  base::CondVar changed_;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  base::Thread thread_;
};

}  // namespace firn
