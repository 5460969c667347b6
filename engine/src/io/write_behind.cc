#include "io/write_behind.h"

#include <fcntl.h>

#include <algorithm>
#include <string>
#include <utility>

#include "io/transfer.h"

namespace firn::io {

std::shared_ptr<WriteBehind> WriteBehind::Open(int fd) {
  // By its number: the name may stand for another file by now.
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  FileDescriptor cached(RetryInterrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); }));
  if (!cached.valid()) return nullptr;
  return std::shared_ptr<WriteBehind>(new WriteBehind(std::move(cached)));
}

absl::Status WriteBehind::Write(std::string_view file_name, uint64_t offset, base::Bytes data) {
  FIRN_RETURN_IF_ERROR(WriteWhole(fd_.get(), file_name, offset, data));
  const Range ready = Gather({offset, offset + data.size()});
  if (ready.bytes() == 0) return absl::OkStatus();
  Send(ready);
  for (Range overdue = Overdue(); overdue.bytes() != 0; overdue = Overdue()) Await(overdue);
  return absl::OkStatus();
}

void WriteBehind::Forget() const { static_cast<void>(::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED)); }

WriteBehind::Range WriteBehind::Gather(Range written) {
  base::MutexLock lock(mutex_);
  // Writers that got places beside each other may come here in any order, and leave gaps for a moment.
  const bool near = gathered_.bytes() != 0 && written.begin <= gathered_.end + kChunkBytes &&
                    written.end + kChunkBytes >= gathered_.begin;
  Range ready;
  if (near) {
    gathered_ = {std::min(gathered_.begin, written.begin), std::max(gathered_.end, written.end)};
  } else {
    ready = std::exchange(gathered_, written);
  }
  if (ready.bytes() == 0 && gathered_.bytes() >= kChunkBytes) ready = std::exchange(gathered_, Range());
  if (ready.bytes() != 0) {
    sent_.push_back(ready);
    sent_bytes_ += ready.bytes();
  }
  return ready;
}

WriteBehind::Range WriteBehind::Overdue() {
  base::MutexLock lock(mutex_);
  if (sent_bytes_ <= kWindowBytes) return {};
  const Range oldest = sent_.front();
  sent_.pop_front();
  sent_bytes_ -= oldest.bytes();
  return oldest;
}

// Neither reports: an error stays with the file for whoever syncs it, and where a file system or a filter of system
// calls knows nothing of these, the kernel writes back when it likes.
void WriteBehind::Send(Range range) const {
  static_cast<void>(::sync_file_range(fd_.get(), static_cast<off_t>(range.begin), static_cast<off_t>(range.bytes()),
                                      SYNC_FILE_RANGE_WRITE));
}

void WriteBehind::Await(Range range) const {
  const auto begin = static_cast<off_t>(range.begin), bytes = static_cast<off_t>(range.bytes());
  static_cast<void>(::sync_file_range(
      fd_.get(), begin, bytes, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  static_cast<void>(::posix_fadvise(fd_.get(), begin, bytes, POSIX_FADV_DONTNEED));
}

}  // namespace firn::io
