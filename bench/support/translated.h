// The statuses of RocksDB and of LevelDB, which have the same questions, as ours.
#pragma once

#include <absl/status/status.h>

namespace firn::bench {

template <typename Status>
absl::Status Translated(const Status& status) {
  if (status.ok()) return absl::OkStatus();
  if (status.IsNotFound()) return absl::NotFoundError(status.ToString());
  if (status.IsCorruption()) return absl::DataLossError(status.ToString());
  return absl::UnavailableError(status.ToString());
}

}  // namespace firn::bench
