// One pass over every live byte of a store that is in use: what Verify() and Scrub() do.
//
// It goes in steps of at most kStepBytes. Each step enters an epoch, looks for its segment, or for its key, anew, reads
// and checks, and leaves the epoch; pauses and the caller's callback come in between. So nothing waits for it: a
// segment that was retired since the last step is no longer found, a key that was changed has another revision, and as
// neither ids nor revisions are used again, what is found is what it was.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include <firn/inspect.h>

#include "base/aligned_buffer.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/sync.h"
#include "index/tree.h"
#include "log/segment.h"
#include "values/value_store.h"

namespace firn {

class Store;

// Memory: a few steps' buffers, four bytes for each separated value, and the report.
class Scrubber {
 public:
  // `tell`: each damage is an event.
  Scrubber(Store& store, const ScrubOptions& options, bool tell);

  absl::StatusOr<VerifyReport> Run();

 private:
  // A step reads about this much, or a commit unit or footer that is larger.
  static constexpr uint64_t kStepBytes = uint64_t{1} << 20;

  struct Part {
    log::SegmentId id;
    uint32_t end;  // of its units, when the pass began
  };
  // Damaged records, and damaged values: the index tells whose they are.
  struct LogPlace {
    log::SegmentId segment;
    uint64_t begin, end;
    size_t damage;  // its place in the report
  };
  struct ValuePlace {
    std::string file;
    uint64_t offset;
    bool operator<(const ValuePlace& other) const {
      return std::tie(file, offset) < std::tie(other.file, other.offset);
    }
  };

  absl::Status ParseCursor();
  void CheckTail();
  absl::Status CheckImage();
  absl::Status CheckSegments();
  // Returns where the next step begins, or kDone.
  absl::StatusOr<uint64_t> CheckSegment(const Part& part, uint64_t at);
  absl::StatusOr<uint64_t> CheckUnits(const log::Segment& segment, uint64_t at, uint64_t end);
  absl::Status CheckHeader(const log::Segment& segment);
  void CheckFooter(const log::Segment& segment);
  absl::Status CheckValues();
  absl::Status CheckValue(const std::string& index_key);
  absl::StatusOr<bool> CheckPiece(const std::string& index_key, const index::Entry& entry, uint64_t at, uint64_t length,
                                  base::Hasher128& hasher);
  absl::Status CheckValueFile(io::File& file);
  void NameKeys();

  size_t Found(Damage damage);
  // Accounts for what a step has read, hears the callback, and waits for as long as the pace asks. False: cancelled.
  bool GoOn(uint64_t bytes);
  bool Ask() const;

  static constexpr uint64_t kDone = UINT64_MAX;

  Store& store_;
  const ScrubOptions& options_;
  const bool tell_;
  const uint64_t step_bytes_;
  VerifyReport report_;
  bool cancelled_ = false;

  log::SegmentId first_segment_ = 0;  // of this pass
  bool only_values_ = false;
  std::string first_key_;  // of the index
  uint64_t done_bytes_ = 0, total_bytes_ = 0;
  uint64_t due_nanos_ = 0;  // when the next step may begin
  base::Mutex mutex_;
  base::CondVar never_;

  base::AlignedBuffer buffer_;
  std::unordered_set<values::Slot> seen_values_;
  std::set<std::string> seen_files_;
  std::vector<LogPlace> log_places_;
  std::map<ValuePlace, size_t> value_places_;
};

}  // namespace firn
