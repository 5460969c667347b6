#include "io/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/fork.h"
#include "io/bus_errors.h"
#include "io/transfer.h"

namespace firn::io {
namespace {

class MappedFile : public SharedMemory {
 public:
  MappedFile() : fork_generation_(base::ForkGeneration()) {}
  ~MappedFile() override {
    // A child never had the mapping: by now something of its own may live at that address.
    if (bytes_.empty() || base::ForkGeneration() != fork_generation_) return;
    guard_.reset();
    ::munmap(bytes_.data(), bytes_.size());
  }

  // Takes over the mapping.
  void Own(base::MutableBytes bytes) {
    bytes_ = bytes;
    locked_ = ::mlock(bytes.data(), bytes.size()) == 0;
    guard_ = BusErrorGuard::Watch(bytes);
  }

  base::MutableBytes bytes() override { return bytes_; }
  bool locked() const override { return locked_; }
  bool detached() const override { return guard_->tripped(); }

 private:
  base::MutableBytes bytes_;
  std::unique_ptr<BusErrorGuard> guard_;
  const uint64_t fork_generation_;
  bool locked_ = false;
};

// Every block has space, so that a store to memory cannot fail for want of it.
absl::Status ClaimSpace(const FileDescriptor& fd, uint64_t size_bytes, const std::string& name) {
  const auto length = static_cast<off_t>(size_bytes);
  if (RetryInterrupted([&] { return ::fallocate(fd.get(), 0, 0, length); }) == 0) return absl::OkStatus();
  if (errno == EOPNOTSUPP) return absl::OkStatus();  // the zeros of a new file claim it as well
  return base::ErrnoStatus(errno, "allocate " + std::to_string(size_bytes) + " bytes for " + name);
}

// Reads the pages in now: an unreadable block is a status here, and would detach the mapping later.
absl::Status Prefault(base::MutableBytes bytes, const std::string& name) {
  const int result = RetryInterrupted([&] { return ::madvise(bytes.data(), bytes.size(), MADV_POPULATE_READ); });
  if (result == 0 || errno == EINVAL) return absl::OkStatus();  // EINVAL: before Linux 5.14, MAP_POPULATE did its best
  if (errno == EFAULT || errno == EHWPOISON) return base::DataLoss("map " + name + ": it cannot be read");
  return base::ErrnoStatus(errno, "map " + name);
}

}  // namespace

absl::Status FillNewMapping(const FileDescriptor& fd, uint64_t size_bytes, const std::string& name) {
  FIRN_RETURN_IF_ERROR(ClaimSpace(fd, size_bytes, name));
  // A page fault into an extent that was never written would have to convert it.
  const base::AlignedBuffer zeros(std::min<uint64_t>(size_bytes, uint64_t{1} << 20));
  std::memset(zeros.data(), 0, zeros.size());
  for (uint64_t at = 0; at < size_bytes;) {
    const size_t piece_bytes = std::min<uint64_t>(zeros.size(), size_bytes - at);
    FIRN_RETURN_IF_ERROR(WriteWhole(fd.get(), name, at, zeros.bytes().first(piece_bytes)));
    at += piece_bytes;
  }
  if (::fsync(fd.get()) != 0) return base::ErrnoStatus(errno, "fsync " + name);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SharedMemory>> MapFile(const FileDescriptor& fd, uint64_t size_bytes,
                                                      const std::string& name) {
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return base::ErrnoStatus(errno, "stat " + name);
  if (static_cast<uint64_t>(status.st_size) != size_bytes) {
    return base::FailedPrecondition("map " + name + ": it has " + std::to_string(status.st_size) + " bytes, not " +
                                    std::to_string(size_bytes));
  }
  FIRN_RETURN_IF_ERROR(ClaimSpace(fd, size_bytes, name));
  auto memory = std::make_unique<MappedFile>();
  void* address = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  if (address == MAP_FAILED) return base::ErrnoStatus(errno, "map " + name);
  const base::MutableBytes bytes(static_cast<std::byte*>(address), size_bytes);
  memory->Own(bytes);
  if (::madvise(address, size_bytes, MADV_DONTFORK) != 0) return base::ErrnoStatus(errno, "map " + name);
  FIRN_RETURN_IF_ERROR(Prefault(bytes, name));
  return memory;
}

}  // namespace firn::io
