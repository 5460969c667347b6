// Stores listed tree entries in a namespace, in batches that are each committed whole.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include <absl/status/status.h>
#include <firn/db.h>

#include "support/tree_walk.h"

namespace firn::tools {

inline constexpr uint64_t kImportBatchBytesDefault = uint64_t{4} << 20;

struct ImportOptions {
  uint64_t batch_bytes = kImportBatchBytesDefault;  // 1..kBatchBytesMax; a larger file is committed by itself
  Durability durability = Durability::kSynced;
};

struct ImportCounts {
  uint64_t files = 0, directories = 0, symlinks = 0;
  uint64_t bytes = 0;  // of file contents
  uint64_t commits = 0;
};

struct ImportCallbacks {
  // An entry that was left out: unreadable, vanished, too large.
  std::function<void(size_t index, const absl::Status& why)> on_left_out;
  // An entry that changed while it was read, again and again; the last reading was stored.
  std::function<void(size_t index)> on_changed;
  // Entries up to, not including, `end_index` are committed as durably as was asked, or were left out.
  std::function<void(size_t end_index, uint64_t bytes)> on_committed;
};

// Fails only when the store does. Every callback must be set.
absl::StatusOr<ImportCounts> ImportEntries(DB& db, const Namespace& space, std::span<const TreeEntry> entries,
                                           const ImportOptions& options, const ImportCallbacks& callbacks);

}  // namespace firn::tools
