#include "peers/limits.h"

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "peers/config.h"
#include "support/timing.h"

namespace firn::bench {
namespace {

constexpr uint64_t kFileBytes = 1'024 * kMiB;
constexpr uint64_t kLargeBytes = kMiB;
constexpr uint64_t kSmallBytes = 4 * kKiB;
constexpr unsigned kDepthMax = 128;

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<char, FreeMemory>;
Memory Aligned(size_t bytes) { return Memory(static_cast<char*>(std::aligned_alloc(kSmallBytes, bytes))); }

class TestFile {
 public:
  explicit TestFile(const std::string& directory) : path_(directory + "/limits") {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_DIRECT, 0600);
  }
  ~TestFile() {
    if (fd_ >= 0) ::close(fd_);
    ::unlink(path_.c_str());
  }
  TestFile(const TestFile&) = delete;
  int fd() const { return fd_; }

 private:
  const std::string path_;
  int fd_ = -1;
};

struct Transfer {
  bool write = false;
  uint64_t offset = 0;
};

// Keeps `depth` transfers of `bytes` in flight until `next` has no more. How many were done; 0 after a failure.
template <typename Next>
uint64_t KeepInFlight(int fd, unsigned depth, uint64_t bytes, char* memory, const Next& next) {
  io_uring ring{};
  if (::io_uring_queue_init(depth, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) != 0) return 0;
  uint64_t done = 0;
  unsigned in_flight = 0;
  bool failed = false;
  const auto submit = [&](uint64_t slot) {
    Transfer transfer;
    if (!next(transfer)) return;
    io_uring_sqe* const entry = ::io_uring_get_sqe(&ring);
    char* const at = memory + slot * bytes;
    if (transfer.write) {
      ::io_uring_prep_write(entry, fd, at, static_cast<unsigned>(bytes), transfer.offset);
    } else {
      ::io_uring_prep_read(entry, fd, at, static_cast<unsigned>(bytes), transfer.offset);
    }
    ::io_uring_sqe_set_data64(entry, slot);
    ++in_flight;
  };
  for (uint64_t slot = 0; slot < depth; ++slot) submit(slot);
  while (in_flight > 0 && !failed) {
    ::io_uring_submit_and_wait(&ring, 1);
    io_uring_cqe* completions[kDepthMax];
    const unsigned count = ::io_uring_peek_batch_cqe(&ring, completions, kDepthMax);
    uint64_t slots[kDepthMax];
    for (unsigned i = 0; i < count; ++i) {
      slots[i] = ::io_uring_cqe_get_data64(completions[i]);
      failed = failed || completions[i]->res != static_cast<int>(bytes);
    }
    ::io_uring_cq_advance(&ring, count);
    in_flight -= count;
    done += count;
    for (unsigned i = 0; i < count; ++i) submit(slots[i]);
  }
  ::io_uring_queue_exit(&ring);
  return failed ? 0 : done;
}

// A second, and what the processor does for one, in microseconds.
std::pair<double, double> RandomReads(int fd, unsigned depth, double seconds, char* memory) {
  std::mt19937_64 random(depth);
  const double cpu_began = CpuSeconds();
  const auto began = SteadyClock::now();
  const uint64_t done = KeepInFlight(fd, depth, kSmallBytes, memory, [&](Transfer& transfer) {
    transfer.offset = random() % (kFileBytes / kSmallBytes) * kSmallBytes;
    return SecondsSince(began) < seconds;
  });
  const double reads = static_cast<double>(done);
  return {reads / SecondsSince(began), (CpuSeconds() - cpu_began) * 1e6 / std::max(reads, 1.0)};
}

double Sequential(int fd, bool write, char* memory) {
  const auto began = SteadyClock::now();
  uint64_t offset = 0;
  const uint64_t done = KeepInFlight(fd, 4, kLargeBytes, memory, [&](Transfer& transfer) {
    if (offset == kFileBytes) return false;
    transfer = {write, offset};
    offset += kLargeBytes;
    return true;
  });
  if (write && ::fdatasync(fd) != 0) return 0;
  return static_cast<double>(done * kLargeBytes) / SecondsSince(began);
}

double SyncedWrites(int fd, double seconds, const char* memory) {
  const auto began = SteadyClock::now();
  uint64_t done = 0;
  for (; SecondsSince(began) < seconds; ++done) {
    const auto offset = static_cast<off_t>(done * kSmallBytes % kFileBytes);
    if (::pwrite(fd, memory, kSmallBytes, offset) != static_cast<ssize_t>(kSmallBytes) || ::fdatasync(fd) != 0)
      return 0;
  }
  return static_cast<double>(done) / SecondsSince(began);
}

double MemoryCopy() {
  constexpr size_t kBytes = 256 * kMiB;
  const Memory from = Aligned(kBytes), to = Aligned(kBytes);
  std::memset(from.get(), 1, kBytes);
  std::memset(to.get(), 2, kBytes);
  const auto began = SteadyClock::now();
  constexpr int kTimes = 4;
  for (int i = 0; i < kTimes; ++i) {
    std::memcpy(to.get(), from.get(), kBytes);
    from.get()[i] = to.get()[kBytes - 1];  // so that no copy can be left out
  }
  return kTimes * static_cast<double>(kBytes) / SecondsSince(began);
}

}  // namespace

absl::StatusOr<Figures> MeasureLimits(const std::string& directory, double seconds) {
  const TestFile file(directory);
  if (file.fd() < 0 || ::fallocate(file.fd(), 0, 0, static_cast<off_t>(kFileBytes)) != 0) {
    return absl::UnavailableError("cannot make a file for direct I/O in " + directory);
  }
  const Memory memory = Aligned(std::max(kDepthMax * kSmallBytes, 4 * kLargeBytes));
  std::memset(memory.get(), 7, 4 * kLargeBytes);
  Figures figures;
  figures["sequential_write"] = Sequential(file.fd(), true, memory.get());
  figures["sequential_read"] = Sequential(file.fd(), false, memory.get());
  for (const unsigned depth : {1U, 8U, 64U, 128U}) {
    const std::string name = "read_4k_d" + std::to_string(depth);
    std::tie(figures[name], figures[name + "_cpu_us"]) = RandomReads(file.fd(), depth, seconds / 2, memory.get());
  }
  figures["synced_write_4k"] = SyncedWrites(file.fd(), seconds / 2, memory.get());
  figures["memory_copy"] = MemoryCopy();
  return figures;
}

}  // namespace firn::bench
