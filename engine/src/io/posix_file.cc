#include "io/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/fork.h"
#include "base/memory.h"
#include "io/transfer.h"

namespace firn::io {

PosixFile::PosixFile(std::string name, Counters& counters, FileDescriptor fd, uint64_t size_bytes)
    : File(std::move(name), counters),
      fd_(std::move(fd)),
      fork_generation_(base::ForkGeneration()),
      size_bytes_(size_bytes) {}

absl::Status PosixFile::CheckProcess() const {
  if (__builtin_expect(base::ForkGeneration() == fork_generation_, 1)) return absl::OkStatus();
  return base::FailedPrecondition(name() + " was opened by this process's parent before fork()");
}

absl::StatusOr<uint64_t> PosixFile::Links() {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  struct stat status;
  if (::fstat(fd(), &status) != 0) return base::ErrnoStatus(errno, "stat " + name());
  return static_cast<uint64_t>(status.st_nlink);
}

absl::StatusOr<uint64_t> PosixFile::AllocatedBytes() {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  constexpr uint64_t kStatBlockBytes = 512;  // whatever the file system's own block is
  struct stat status;
  if (::fstat(fd(), &status) != 0) return base::ErrnoStatus(errno, "stat " + name());
  return static_cast<uint64_t>(status.st_blocks) * kStatBlockBytes;
}

absl::Status PosixFile::DoRead(uint64_t offset, base::MutableBytes out) {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  return ReadWhole(fd(), name(), offset, out);
}

absl::Status PosixFile::DoWrite(uint64_t offset, base::Bytes data, Flush flush) {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  if (flush == Flush::kBehind) return DoWriteBehind(offset, data);
  FIRN_RETURN_IF_ERROR(WriteWhole(fd(), name(), offset, data));
  GrewTo(offset + data.size());
  return flush == Flush::kData ? PosixFile::DoSync() : absl::OkStatus();
}

absl::Status PosixFile::DoWriteBehind(uint64_t offset, base::Bytes data) {
  if (const std::shared_ptr<WriteBehind> behind = Behind()) {
    FIRN_RETURN_IF_ERROR(behind->Write(name(), offset, data));
    GrewTo(offset + data.size());
    return absl::OkStatus();
  }
  if (reinterpret_cast<uintptr_t>(data.data()) % kAlignmentBytes == 0) return DoWrite(offset, data, Flush::kNone);
  const base::AlignedBuffer copy(std::min<uint64_t>(data.size(), WriteBehind::kChunkBytes));
  for (uint64_t at = 0; at < data.size(); at += copy.size()) {
    const base::MutableBytes piece = copy.bytes().first(std::min<uint64_t>(copy.size(), data.size() - at));
    std::memcpy(piece.data(), data.data() + at, piece.size());
    FIRN_RETURN_IF_ERROR(DoWrite(offset + at, piece, Flush::kNone));
  }
  return absl::OkStatus();
}

// Null where the file cannot be opened once more.
std::shared_ptr<WriteBehind> PosixFile::Behind() {
  base::MutexLock lock(behind_mutex_);
  if (behind_ != nullptr || behind_refused_) return behind_;
  const bool had_memory =
      base::IfMemoryPermits([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { behind_ = WriteBehind::Open(fd()); });
  const bool for_now = !had_memory || errno == EMFILE || errno == ENFILE || errno == ENOMEM;
  behind_refused_ = behind_ == nullptr && !for_now;
  return behind_;
}

absl::Status PosixFile::DoSync() {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  std::shared_ptr<WriteBehind> last;
  {
    base::MutexLock lock(behind_mutex_);
    last.swap(behind_);
  }
  FIRN_RETURN_IF_ERROR(SyncData(fd(), name()));
  if (last == nullptr) return absl::OkStatus();
  last->Forget();
  return last->failure();
}

absl::Status PosixFile::DoAllocate(uint64_t size_bytes, uint64_t from_bytes) {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  const uint64_t old_bytes = this->size_bytes();
  const auto begin = static_cast<off_t>(from_bytes);
  const auto length = static_cast<off_t>(size_bytes);
  // Space first and size last: a plain fallocate() that runs out of space half-way leaves a longer file.
  int error =
      RetryInterrupted([&] { return ::fallocate(fd(), FALLOC_FL_KEEP_SIZE, begin, length - begin); }) == 0 ? 0 : errno;
  if (error == EOPNOTSUPP) return FillWithZeros(old_bytes, size_bytes);
  if (error == 0 && size_bytes > old_bytes) {
    error = RetryInterrupted([&] { return ::ftruncate(fd(), length); }) == 0 ? 0 : errno;
  }
  if (error == 0) {
    GrewTo(size_bytes);
    return absl::OkStatus();
  }
  // Gives back what was claimed beyond the end.
  static_cast<void>(RetryInterrupted([&] { return ::ftruncate(fd(), static_cast<off_t>(old_bytes)); }));
  return base::ErrnoStatus(error, "allocate " + std::to_string(size_bytes) + " bytes for " + name());
}

absl::Status PosixFile::FillWithZeros(uint64_t from_bytes, uint64_t size_bytes) {
  if (size_bytes <= from_bytes) return absl::OkStatus();
  if (from_bytes % kAlignmentBytes != 0 || size_bytes % kAlignmentBytes != 0) {
    return base::Unimplemented("allocate " + name() + ": the file system has no fallocate, and " +
                               std::to_string(from_bytes) + " to " + std::to_string(size_bytes) +
                               " bytes is not in whole blocks");
  }
  const base::AlignedBuffer zeros(std::min<uint64_t>(size_bytes - from_bytes, uint64_t{1} << 20));
  std::memset(zeros.data(), 0, zeros.size());
  for (uint64_t at = from_bytes; at < size_bytes;) {
    const size_t piece_bytes = std::min<uint64_t>(zeros.size(), size_bytes - at);
    if (absl::Status status = WriteWhole(fd(), name(), at, zeros.bytes().first(piece_bytes)); !status.ok()) {
      static_cast<void>(RetryInterrupted([&] { return ::ftruncate(fd(), static_cast<off_t>(from_bytes)); }));
      return status;
    }
    at += piece_bytes;
  }
  GrewTo(size_bytes);
  return absl::OkStatus();
}

absl::Status PosixFile::DoTruncate(uint64_t size_bytes) {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  if (RetryInterrupted([&] { return ::ftruncate(fd(), static_cast<off_t>(size_bytes)); }) != 0) {
    return base::ErrnoStatus(errno, "truncate " + name() + " to " + std::to_string(size_bytes));
  }
  size_bytes_.store(size_bytes, std::memory_order_release);
  return absl::OkStatus();
}

absl::Status PosixFile::DoPunchHole(uint64_t offset, uint64_t size_bytes) {
  FIRN_RETURN_IF_ERROR(CheckProcess());
  const auto begin = static_cast<off_t>(offset);
  const auto length = static_cast<off_t>(size_bytes);
  const int result =
      RetryInterrupted([&] { return ::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, length); });
  if (result == 0) return absl::OkStatus();
  return base::ErrnoStatus(
      errno, "punch " + name() + " at " + std::to_string(offset) + ", " + std::to_string(size_bytes) + " bytes");
}

void PosixFile::GrewTo(uint64_t size_bytes) {
  uint64_t known_bytes = size_bytes_.load(std::memory_order_relaxed);
  while (known_bytes < size_bytes && !size_bytes_.compare_exchange_weak(known_bytes, size_bytes)) {
  }
}

}  // namespace firn::io
