// Finding out, from a store's files alone, what the log is: which segments live, where the log ends, and what is
// damaged.
//
// The newest segment's live-ids record names the others and where each ends. Sealed segments are taken from their
// footers; what is unsealed is walked unit by unit, from disk and from the tail buffers a killed process left behind.
// The walk ends at the first unit that is missing. Units beyond it tell by their watermark whether what is missing had
// been acknowledged (damage: refused unless salvaging) or not (a torn tail: dropped).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <firn/events.h>
#include <firn/inspect.h>

#include "format/footer.h"
#include "format/index_image.h"
#include "format/superblock.h"
#include "io/disk.h"
#include "log/segment.h"

namespace firn::log {

// A file that is no live segment and may become a new one.
struct SpareFile {
  std::string name;
  uint64_t incarnation = 0;
  uint64_t size_bytes = 0;
};

struct RecoveredSegment {
  std::shared_ptr<Segment> segment;               // unsealed ones carry the footer that sealing will write
  std::optional<format::FooterReader> directory;  // none: the index image speaks for it
};

struct RecoveredLog {
  std::vector<RecoveredSegment> segments;  // ascending ids
  std::vector<Position> cuts;              // where unsealed segments end
  std::vector<SpareFile> spares;
  std::unique_ptr<io::SharedMemory> tail;  // null when read-only
  uint64_t last_revision = 0;              // nothing ever seen is above it
  SegmentId last_segment = format::kNoSegment;
  uint32_t next_namespace_id = format::kFirstUserNamespace;
  int64_t time_ms = 0;
  bool clean = true;          // closed in order: nothing had to be scanned
  bool closed = false;        // the mark of a clean close is of this state: every segment has been sealed
  bool image_agrees = false;  // the image that was given, if one was, is of this log

  std::vector<Damage> damages;  // when salvaging; without those that a check of the segments finds again
};

struct RecoveryOptions {
  bool read_only = false;
  bool salvage = false;
  std::function<void(EventKind, std::string)> on_event;
  // Whether a unit that only the tail buffers have can be believed: its records' values are there. Null: it can.
  std::function<absl::StatusOr<bool>(base::Bytes payload)> believe_tail_unit;
  // Footers of the segments it speaks for are not read, where it agrees with what is found. Null: there is none.
  const format::ImageHead* image = nullptr;
};

// `fresh`: the store is being made, so that having no segment is right.
absl::StatusOr<RecoveredLog> RecoverLog(io::Disk& disk, const format::Superblock& superblock, bool fresh,
                                        const RecoveryOptions& options);

}  // namespace firn::log
