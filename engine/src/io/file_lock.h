// flock() on a file of the store. The lock belongs to an open file description of its own, so a second open
// of the same store in the same process is refused like any other. A child of fork() gives its copy up at
// once, so that the death of the parent releases the lock.
#pragma once

#include <memory>
#include <string>

#include "io/disk.h"
#include "io/file_descriptor.h"

namespace firn::io {

// Takes `fd`. Unavailable when the lock is held elsewhere; `path` is for the message.
absl::StatusOr<std::unique_ptr<FileLock>> LockFile(FileDescriptor fd, bool exclusive, const std::string& path);

}  // namespace firn::io
