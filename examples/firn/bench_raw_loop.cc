#include "firn/bench_raw_loop.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <unistd.h>

namespace firn::tools {
namespace {

constexpr size_t kBlockBytes = 4096;
constexpr size_t kFillBytes = size_t{1} << 20;
constexpr uint64_t kFileBytes = uint64_t{64} << 20;

struct FreeDeleter {
  void operator()(char* memory) const { std::free(memory); }
};

std::unique_ptr<char, FreeDeleter> AlignedMemory(size_t bytes) {
  std::unique_ptr<char, FreeDeleter> memory(static_cast<char*>(std::aligned_alloc(kBlockBytes, bytes)));
  if (memory) std::memset(memory.get(), 'r', bytes);
  return memory;
}

absl::Status WriteAt(int fd, const char* from, size_t bytes, uint64_t offset, const std::string& path) {
  while (true) {
    const ssize_t count = pwrite(fd, from, bytes, static_cast<off_t>(offset));
    if (count == static_cast<ssize_t>(bytes)) return absl::OkStatus();
    if (count >= 0) return absl::ResourceExhaustedError("short write to " + path);
    if (errno != EINTR) return absl::ErrnoToStatus(errno, "write " + path);
  }
}

}  // namespace

absl::StatusOr<RawLoop> RawLoop::Create(const std::string& path) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;
  Descriptor file(open(path.c_str(), kFlags | O_DIRECT, 0666));
  const bool direct = file.valid();
  if (!direct && errno == EINVAL) file = Descriptor(open(path.c_str(), kFlags, 0666));
  if (!file.valid()) return absl::ErrnoToStatus(errno, "create " + path);
  if (const int error = posix_fallocate(file.get(), 0, static_cast<off_t>(kFileBytes)); error != 0) {
    return absl::ErrnoToStatus(error, "preallocate " + path);
  }
  const auto memory = AlignedMemory(kFillBytes);
  if (!memory) return absl::ResourceExhaustedError("no memory for the raw loop");
  for (uint64_t offset = 0; offset < kFileBytes; offset += kFillBytes) {
    if (absl::Status status = WriteAt(file.get(), memory.get(), kFillBytes, offset, path); !status.ok()) return status;
  }
  if (fsync(file.get()) != 0) return absl::ErrnoToStatus(errno, "flush " + path);
  return RawLoop(path, std::move(file), direct);
}

absl::StatusOr<Rate> RawLoop::Run(double seconds) {
  const auto memory = AlignedMemory(kBlockBytes);
  if (!memory) return absl::ResourceExhaustedError("no memory for the raw loop");
  Rate rate;
  const double start = SecondsNow();
  while (SecondsNow() - start < seconds) {
    if (absl::Status status = WriteAt(file_.get(), memory.get(), kBlockBytes, offset_, path_); !status.ok())
      return status;
    if (fdatasync(file_.get()) != 0) return absl::ErrnoToStatus(errno, "flush " + path_);
    offset_ = (offset_ + kBlockBytes) % kFileBytes;
    ++rate.operations;
  }
  rate.seconds = SecondsNow() - start;
  return rate;
}

}  // namespace firn::tools
