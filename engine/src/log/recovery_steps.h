// The steps of one recovery. recovery.cc finds where the log ends, recovery_load.cc then loads what lives; Run() calls
// them in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "log/recovery.h"
#include "log/segment_scan.h"
#include "log/tail.h"

namespace firn::log {

class Recovery {
 public:
  Recovery(io::Disk& disk, const format::Superblock& superblock, const RecoveryOptions& options)
      : disk_(disk), superblock_(superblock), options_(options) {}

  absl::StatusOr<RecoveredLog> Run(bool fresh);

 private:
  using SegmentPtr = std::shared_ptr<Segment>;

  // A unit beyond the end of the log.
  struct Witness {
    SegmentPtr segment;
    uint64_t offset;
    uint64_t first_revision;
  };

  absl::Status OpenFiles();
  absl::Status LoadTail();
  absl::Status PutAsideTail();
  absl::Status FindNewest(bool fresh);
  absl::Status WalkNewest(uint64_t at, uint64_t previous);
  absl::Status TakeTailUnit(const TailUnit& unit);
  absl::Status MakeDurable();
  SegmentPtr NextInTail() const;
  absl::StatusOr<std::optional<Witness>> FindWitness();
  absl::Status CheckBeyondEnd();
  absl::Status CheckCloseMark();
  void GoOnIn(const SegmentPtr& segment);
  void AdoptInDoubt();
  size_t SalvageStretch(Segment& segment, uint64_t from, uint64_t to);
  absl::Status ScanSealed(Segment& segment, uint64_t end);
  format::FooterReader DirectoryOfScanned(Segment& segment);
  struct Job {
    SegmentPtr segment;
    uint32_t end = 0;
    const format::ImageSegment* covered = nullptr;  // by the image
    absl::StatusOr<std::optional<format::FooterReader>> directory = std::nullopt;
  };
  void AskImage(std::vector<Job>& jobs);
  absl::StatusOr<std::optional<format::FooterReader>> LoadSegment(const Job& job);
  absl::Status FindLive(std::vector<Job>& jobs);
  absl::Status LoadLive();
  absl::Status CheckCounters() const;
  void TakeSpares();

  // A read that failed for another reason than the medium says nothing of what lies there: neither that the log ends
  // nor that something is damaged, and salvage must not take it for lost.
  bool Stops(const absl::Status& read_error) const {
    return !read_error.ok() && !(options_.salvage && absl::IsDataLoss(read_error));
  }
  absl::Status CheckUnreadable();
  absl::Status Damage(std::string_view place, std::string_view what);
  absl::Status Loss(const std::string& file, uint64_t offset, const std::string& what);
  static std::string At(const Segment& segment, uint64_t offset) {
    return segment.file->name() + " at offset " + std::to_string(offset);
  }
  void Say(EventKind kind, std::string message) const { options_.on_event(kind, std::move(message)); }
  void Saw(uint64_t revision) { result_.last_revision = std::max(result_.last_revision, revision); }

  io::Disk& disk_;
  const format::Superblock& superblock_;
  const RecoveryOptions& options_;
  RecoveredLog result_;

  std::vector<SegmentPtr> candidates_;  // files whose header verifies, ascending ids
  std::vector<SpareFile> no_segments_;  // files whose first block is zeros: never used
  std::vector<SpareFile> unreadable_;   // files whose header is damaged
  base::AlignedBuffer tail_copy_;
  std::vector<TailUnit> tail_units_;
  TailUnits tail_by_place_;
  std::optional<CloseMark> close_mark_;

  SegmentPtr newest_;
  std::optional<format::FooterReader> newest_footer_;
  uint64_t walked_revision_ = 0;  // the last one taken
  std::set<SegmentId> walked_;    // unsealed segments whose units were taken one by one
  Position vouched_;              // the highest watermark of a unit taken
  bool torn_ = false;
  bool missing_ = false;
};

}  // namespace firn::log
