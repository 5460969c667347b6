#include "io/file_lock.h"

#include <pthread.h>
#include <sys/file.h>

#include <list>
#include <mutex>
#include <utility>

#include "base/check.h"

namespace firn::io {
namespace {

// All locks of the process. The mutex is held across fork(), so the child finds the list whole; a std::mutex
// because the thread that locked it is the one that unlocks it on both sides.
class LockTable {
 public:
  using Place = std::list<FileDescriptor>::iterator;

  static LockTable& OfProcess() {
    static LockTable& table = *new LockTable;  // outlives every lock and every fork
    return table;
  }

  Place Add(FileDescriptor fd) {
    const std::lock_guard lock(mutex_);
    return descriptors_.insert(descriptors_.end(), std::move(fd));
  }

  void Release(Place place) {
    const std::lock_guard lock(mutex_);
    // Explicitly, for copies of the descriptor in children that no handler of ours saw. A forked child has
    // none left.
    if (place->valid()) ::flock(place->get(), LOCK_UN);
    descriptors_.erase(place);
  }

 private:
  LockTable() { FIRN_CHECK(pthread_atfork(BeforeFork, InParent, InChild) == 0); }

  static void BeforeFork() { OfProcess().mutex_.lock(); }
  static void InParent() { OfProcess().mutex_.unlock(); }
  static void InChild() {
    for (FileDescriptor& fd : OfProcess().descriptors_) fd = FileDescriptor();
    OfProcess().mutex_.unlock();
  }

  std::mutex mutex_;
  std::list<FileDescriptor> descriptors_;
};

// Made while the program starts: a child of a fork that came while another thread made it would wait for it for good.
[[maybe_unused]] const LockTable& table_made_early = LockTable::OfProcess();

class FlockLock : public FileLock {
 public:
  explicit FlockLock(FileDescriptor fd) : place_(LockTable::OfProcess().Add(std::move(fd))) {}
  ~FlockLock() override { LockTable::OfProcess().Release(place_); }

 private:
  const LockTable::Place place_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> LockFile(FileDescriptor fd, bool exclusive, const std::string& path) {
  // In the table before it is locked: a child forked in between would otherwise keep the lock.
  const int number = fd.get();
  auto lock = std::make_unique<FlockLock>(std::move(fd));
  if (RetryInterrupted([&] { return ::flock(number, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB); }) == 0) {
    return lock;
  }
  if (errno != EWOULDBLOCK) return base::ErrnoStatus(errno, "lock " + path);
  return base::Unavailable("lock " + path + ": held by another process, or by another open store of this one");
}

}  // namespace firn::io
