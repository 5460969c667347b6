// What is measured of one store. bench/README.md says how.
#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "scaling/cases.h"
#include "scaling/config.h"
#include "support/figures.h"

namespace firn::bench {

// Makes the store in `directory`, which is not there yet, and measures it in processes of its own. The figures, where
// cpu says what the whole process took of the processors:
//   put_ns, put_cpu_ns             a put, while the last quarter of the store is filled
//   get_ns, get_cpu_ns             a get of a random key; of small values from memory, of large ones from disk
//   get_from_disk                  the share of gets that did not find their value in the cache
//   scan_ns, scan_cpu_ns           one pair, in scans of 100 from a random key
//   open_seconds, open_ns          until the first get has returned, in all and for each key
//   open_cpu_ns, open_from_image   for each key; the share of keys that the open had from the index image
//   index_bytes, disk_bytes        for each key
//   close_seconds, rested_seconds  how long the close took, and what the engine still did after the fill
//   peak_memory_mib_max, open_peak_memory_mib_max
// Of Series::kThreads instead, for each number N of threads:
//   get_N, put_N                   operations a second of all threads together
absl::StatusOr<Figures> MeasureCase(const Case& measured, const Config& config, const std::string& directory);

}  // namespace firn::bench
