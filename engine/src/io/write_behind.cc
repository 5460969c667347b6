#include "io/write_behind.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/memory.h"
#include "io/transfer.h"

namespace firn::io {

std::shared_ptr<WriteBehind> WriteBehind::Open(int fd) {
  // By its number: the name may stand for another file by now. The thread's own table of descriptors may be another one
  // than its process's.
  const std::string path = "/proc/thread-self/fd/" + std::to_string(fd);
  FileDescriptor cached(RetryInterrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); }));
  if (!cached.valid()) return nullptr;
  struct stat direct, again;
  if (::fstat(fd, &direct) != 0 || ::fstat(cached.get(), &again) != 0) return nullptr;
  if (direct.st_dev != again.st_dev || direct.st_ino != again.st_ino) {
    errno = ENOENT;
    return nullptr;
  }
  return std::shared_ptr<WriteBehind>(new WriteBehind(std::move(cached)));
}

absl::Status WriteBehind::Write(std::string_view file_name, uint64_t offset, base::Bytes data) {
  // In pieces, or a large value would be in memory whole, and keep the file locked meanwhile.
  for (uint64_t at = 0; at < data.size(); at += kChunkBytes) {
    const base::Bytes piece = data.subspan(at, std::min<uint64_t>(kChunkBytes, data.size() - at));
    FIRN_RETURN_IF_ERROR(WriteWhole(fd_.get(), file_name, offset + at, piece));
    const Range ready = Gather({offset + at, offset + at + piece.size()});
    if (ready.bytes() == 0) continue;
    Send(ready);
    for (Range overdue = Overdue(); overdue.bytes() != 0; overdue = Overdue()) Await(file_name, overdue);
  }
  return absl::OkStatus();
}

absl::Status WriteBehind::failure() {
  base::MutexLock lock(mutex_);
  return failure_;
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
  // What there is no memory to note is not waited for.
  if (ready.bytes() != 0 && base::IfMemoryPermits([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { sent_.push_back(ready); })) {
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

// Where a file system or a filter of system calls knows nothing of this, the kernel writes back when it likes.
void WriteBehind::Send(Range range) const {
  static_cast<void>(::sync_file_range(fd_.get(), static_cast<off_t>(range.begin), static_cast<off_t>(range.bytes()),
                                      SYNC_FILE_RANGE_WRITE));
}

void WriteBehind::Await(std::string_view file_name, Range range) {
  const auto begin = static_cast<off_t>(range.begin), bytes = static_cast<off_t>(range.bytes());
  constexpr unsigned kWriteAndWait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const int error = ::sync_file_range(fd_.get(), begin, bytes, kWriteAndWait) == 0 ? 0 : errno;
  if (error == EIO || error == ENOSPC || error == EDQUOT) {
    base::MutexLock lock(mutex_);
    failure_ = base::ErrnoStatus(error, "write back " + std::string(file_name) + " at " + std::to_string(range.begin));
  }
  static_cast<void>(::posix_fadvise(fd_.get(), begin, bytes, POSIX_FADV_DONTNEED));
}

}  // namespace firn::io
