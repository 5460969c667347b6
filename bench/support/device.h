// What the kernel says of this process, of memory, of the disk, and of the blocks below a directory.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace firn::bench {

// By this process since it was forked: /proc/self/io write_bytes, less what was thrown away in the page cache before it
// reached the disk.
uint64_t ProcessWrittenBytes();

// The most memory that this process had at a time.
uint64_t PeakResidentBytes();

// Waits until this process has written nothing for `quiet_seconds`, and has taken no more than that share of a
// processor, or until `seconds_max` have passed. How many seconds it took it to come to rest.
double WaitForRest(double quiet_seconds, double seconds_max,
                   double cpu_share_max = std::numeric_limits<double>::infinity());

// That programs could still have without swapping, of the machine's or of what the container is allowed.
uint64_t AvailableMemoryBytes();

// That ordinary users may still take of the file system that holds `path`.
uint64_t FreeDiskBytes(const std::string& path);

// To the whole disk that holds `path`, by everybody, the file system's journal included: /proc/diskstats. 0 where the
// file system is on no block device.
uint64_t DiskWrittenBytes(const std::string& path);

// st_blocks * 512 of everything below `path`.
uint64_t AllocatedBytes(const std::string& path);

}  // namespace firn::bench
