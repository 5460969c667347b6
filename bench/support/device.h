// What the kernel says of this process, of the disk, and of the blocks below a directory.
#pragma once

#include <cstdint>
#include <string>

namespace firn::bench {

// By this process since it was forked: /proc/self/io write_bytes, less what was thrown away in the page cache before it
// reached the disk.
uint64_t ProcessWrittenBytes();

// To the whole disk that holds `path`, by everybody, the file system's journal included: /proc/diskstats. 0 where the
// file system is on no block device.
uint64_t DiskWrittenBytes(const std::string& path);

// st_blocks * 512 of everything below `path`.
uint64_t AllocatedBytes(const std::string& path);

}  // namespace firn::bench
