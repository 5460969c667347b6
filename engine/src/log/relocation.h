// Relocation segments: where reclaim copies the live records of its victims, in key order, apart from the fresh log.
//
//   auto writer = log.BeginRelocation(bytes_max, generation);     // a file of its own
//   while (...) (*writer)->Append(record);                        // where the copy will be
//   (*writer)->Finish();                                          // whole and synced, but no part of the store
//   Segment* segment = *log.Adopt(*std::move(writer));            // adopt record durable: Read() finds the copies
//   ... move index entries, count segment->live_records and the rest up ...
//   log.SettleRelocation(segment->id);
//   log.Retire(victims);
//
// A crash before the adopt record is durable leaves a spare file; after it, copies and originals under equal revisions,
// of which either serves. Nothing of it was promised to anyone, so a failure while copying is a status and no poison.
#pragma once

#include <cstdint>
#include <memory>

#include "base/aligned_buffer.h"
#include "format/record.h"
#include "log/segment.h"

namespace firn::log {

class Log;

// Used by one thread at a time; gone before the log is closed. Memory: a unit, and the directory.
class RelocationWriter {
 public:
  // Not adopted: the file becomes a spare, or is removed if writing to it has failed.
  ~RelocationWriter();
  RelocationWriter(const RelocationWriter&) = delete;

  // A file that holds one record: for a record that is larger than a segment otherwise is.
  static uint64_t BytesForOne(uint64_t record_bytes, uint64_t key_bytes);

  // A copy under its own revision, marked as relocated and in no batch. Returns where it will be. ResourceExhausted if
  // it does not fit. After a failed write each call gives that failure.
  absl::StatusOr<Position> Append(const format::Record& record);
  // Whether a record of format::RecordSize `record_bytes` whose key and value pointer have `key_bytes` fits, with the
  // directory and footer.
  bool Fits(uint64_t record_bytes, uint64_t key_bytes) const;
  uint64_t bytes() const { return UnitEnd(); }  // of the file, without footer
  uint64_t records() const { return records_; }

  // Writes what is buffered and the footer, and syncs. The segment is sealed, and no part of the store yet.
  // FailedPrecondition without any record.
  absl::Status Finish();

 private:
  friend class Log;

  RelocationWriter(Log& log, std::shared_ptr<Segment> segment, uint64_t bytes_max);
  uint64_t UnitEnd() const;
  absl::Status WriteUnit();

  Log& log_;
  std::shared_ptr<Segment> segment_;  // null once adopted
  const uint64_t bytes_max_;
  base::AlignedBuffer memory_;  // of the open unit
  uint64_t unit_offset_ = kFirstUnitOffset, payload_bytes_ = 0;
  uint64_t first_revision_ = 0, last_revision_ = 0;  // in the open unit
  uint64_t directory_bytes_ = kFooterBytesMin;       // bound on the footer
  uint64_t records_ = 0;
  absl::Status status_;
};

}  // namespace firn::log
