// What OpenDisk does, in two steps, so that tests and benchmarks can choose a disk themselves.
#pragma once

#include <memory>
#include <string_view>

#include "io/disk.h"
#include "io/posix_disk.h"
#include "io/uring_disk.h"

namespace firn::io {

// Opens, or makes, the directory and finds out whether its file system takes direct I/O.
absl::StatusOr<OpenedDirectory> OpenDirectory(std::string_view path, const DiskOptions& options);

absl::StatusOr<std::unique_ptr<Disk>> OpenDisk(std::string_view path, const DiskOptions& options,
                                               SyncedWrite synced_write);

}  // namespace firn::io
