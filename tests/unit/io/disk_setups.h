// The ways to open a disk that must all keep the same contract.
#pragma once

#include <catch2/catch.hpp>

#include <unistd.h>

#include <cstring>
#include <memory>
#include <ostream>
#include <string>

#include "base/aligned_buffer.h"
#include "io/open_disk.h"
#include "io/ring.h"
#include "support/temp_dir.h"

namespace firn::testing {

struct DiskSetup {
  const char* name;
  const char* parent;  // "" for the test directory
  io::DiskOptions options;
  io::SyncedWrite synced_write = io::SyncedWrite::kCalls;
};

inline std::ostream& operator<<(std::ostream& out, const DiskSetup& setup) { return out << setup.name; }

inline const DiskSetup kPreadDisk{"pread", "", {.use_io_uring = false}};
inline const DiskSetup kBufferedDisk{"pread, page cache", "", {.use_io_uring = false, .use_direct_io = false}};
inline const DiskSetup kUringDisk{"io_uring", "", {}};
inline const DiskSetup kLinkedDisk{"io_uring, linked writes", "", {}, io::SyncedWrite::kLinked};
inline const DiskSetup kTmpfsDisk{"io_uring on tmpfs", "/dev/shm", {}, io::SyncedWrite::kLinked};

inline std::unique_ptr<io::Disk> OpenFor(const DiskSetup& setup, const std::string& path) {
  auto disk = io::OpenDisk(path, setup.options, setup.synced_write);
  FIRN_CHECK(disk.ok());
  return *std::move(disk);
}

// A container may have no /dev/shm: the setup is then one more on the test directory.
inline std::string ParentOf(const DiskSetup& setup) { return ::access(setup.parent, W_OK) == 0 ? setup.parent : ""; }

// Some containers forbid io_uring: the engine goes on without, and tests of the ring itself have nothing to test.
inline bool RingsWork() {
  const bool work = io::Ring::Probe().ok();
  if (!work) WARN("skipped: io_uring is forbidden here");
  return work;
}

// A directory and the disk on it.
struct TestDisk {
  explicit TestDisk(const DiskSetup& setup) : directory(ParentOf(setup)), disk(OpenFor(setup, directory.path())) {}
  io::Disk* operator->() { return disk.get(); }

  const TempDir directory;
  std::unique_ptr<io::Disk> disk;
};

inline base::AlignedBuffer Filled(size_t size_bytes, int byte) {
  base::AlignedBuffer buffer(size_bytes);
  std::memset(buffer.data(), byte, buffer.size());
  return buffer;
}

// Every byte depends on its place, so that a block in the wrong place shows.
inline base::AlignedBuffer Pattern(size_t size_bytes, uint64_t seed) {
  base::AlignedBuffer buffer(size_bytes);
  for (size_t i = 0; i + 8 <= buffer.size(); i += 8) {
    base::StoreLe<uint64_t>(buffer.data() + i, (seed + i) * 0x9E3779B97F4A7C15u);
  }
  return buffer;
}

inline bool Same(base::Bytes a, base::Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// "" for OK; for REQUIRE and for children.
inline std::string Text(const absl::Status& status) { return status.ok() ? "" : std::string(status.message()); }

}  // namespace firn::testing
