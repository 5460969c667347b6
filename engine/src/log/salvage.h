// Everything in a damaged store's log that still verifies, whether or not an open would come to it. Nothing is written.
//
// Recovery asks what the log is, and refuses where it cannot tell; here the question is what is left. Every file in
// log/ is looked at by itself: its salt, without which nothing in it verifies, is had from its header, else from its
// trailer, else from the tail buffers, else by putting a single wrong bit of the header right. Which of them are part
// of the store is told by the newest list of live segments that is left, and by the adopt and retire records from there
// on. Directories come from footers, else from the units, and where a unit does not verify from the records in it, each
// of which is looked for at every byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/superblock.h"
#include "io/disk.h"
#include "log/recovery.h"

namespace firn::log {

// Bytes of which nobody can tell what was in them.
struct LostRange {
  std::string file;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::string what;
};

struct SalvagedLog {
  std::vector<RecoveredSegment> segments;  // ascending ids; two of one id where a file was copied
  std::vector<LostRange> lost;
  std::vector<SegmentId> missing_segments;   // that the store had
  std::vector<SegmentId> segments_in_doubt;  // taken, though the record that made them part of the store is lost
  std::vector<uint64_t> incomplete_batches;  // revisions
  std::vector<std::string> notes;            // what had to be had by other means, with nothing lost by it
  // No record that was lost unseen, so that even its key is unknown, had a higher revision. 0: there was none.
  uint64_t lost_revision_max = 0;
  uint64_t last_revision = 0;  // nothing seen is above it
  int64_t time_ms = 0;
  uint32_t next_namespace_id = format::kFirstUserNamespace;
  size_t files = 0;  // segment files that were there
};

// A copy of the superblock from the headers of segments: that of most of them. NotFound if none has one.
absl::StatusOr<format::Superblock> SuperblockFromSegments(io::Disk& disk);

// Memory: the directories of all segments, as an open takes; what TAIL has; and for a while a damaged stretch of one
// segment. FailedPrecondition for a store of a newer format.
absl::StatusOr<SalvagedLog> SalvageLog(io::Disk& disk, const format::Superblock& superblock);

}  // namespace firn::log
