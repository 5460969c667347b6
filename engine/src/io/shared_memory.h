// A mapping of a whole file. Written by stores to memory alone: the kernel keeps the pages when the process
// dies.
#pragma once

#include <memory>
#include <string>

#include "io/disk.h"
#include "io/file_descriptor.h"

namespace firn::io {

// Fills the file with `size_bytes` zeros and makes them durable, so that no later page fault has to claim
// space.
absl::Status FillNewMapping(const FileDescriptor& fd, uint64_t size_bytes, const std::string& name);

// Maps a file of exactly `size_bytes`; FailedPrecondition when it has another size. `name` is for messages.
absl::StatusOr<std::unique_ptr<SharedMemory>> MapFile(const FileDescriptor& fd, uint64_t size_bytes,
                                                      const std::string& name);

}  // namespace firn::io
