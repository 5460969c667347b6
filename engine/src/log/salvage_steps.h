// The steps of one salvage. salvage_find.cc looks at each file by itself, salvage.cc then chooses and takes; Run()
// calls them in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "format/footer.h"
#include "log/salvage.h"
#include "log/tail.h"

namespace firn::log {

// The id that a file's name says; 0 if it says none.
SegmentId IdOfSegmentFile(const std::string& name);
// With their folder, sorted; none if there is no folder.
absl::StatusOr<std::vector<std::string>> SegmentFilesIn(io::Disk& disk);

// What a segment says of the store's segments.
struct Says {
  bool has_live_ids = false;
  format::LiveIds live_ids;
  std::vector<SegmentId> retired;
  std::vector<Position> adopted;
  int64_t first_time_ms = 0;
};

struct Candidate {
  std::shared_ptr<Segment> segment;
  std::optional<format::FooterReader> footer;
  Says says;
  bool has_units = false;
  bool header_verifies = false;
};

class LogSalvage {
 public:
  LogSalvage(io::Disk& disk, const format::Superblock& superblock) : disk_(disk), superblock_(superblock) {}
  absl::StatusOr<SalvagedLog> Run();

 private:
  absl::Status LoadTail();
  absl::Status OpenFile(const std::string& name);
  std::optional<format::Salt> FindSalt(io::File& file, base::Bytes header,
                                       const std::optional<format::TrailerIdentity>& trailer);
  void TakeTailUnits(Segment& segment);
  void AddFilelessSegments();
  static bool HoldsCopies(Candidate& candidate);
  void Listen(Candidate& candidate);
  void ChooseLive();
  bool EndsSealed() const;
  bool CheckEnd(SegmentId newest_id);
  void JudgeTail(bool log_was_closed);
  void DecideDoubtful(const Candidate& newest, bool lost_at_end);
  void Take(Candidate& candidate, std::optional<uint32_t> end);
  void Scan(Segment& segment, uint64_t end, bool end_is_known);
  format::FooterReader DirectoryOf(Segment& segment);
  uint64_t RevisionMaxBefore(SegmentId segment) const;
  void Lose(std::string file, uint64_t offset, uint64_t bytes, std::string what, uint64_t revision_max);
  void Note(std::string text) { result_.notes.push_back(std::move(text)); }
  void Saw(uint64_t revision) { result_.last_revision = std::max(result_.last_revision, revision); }

  io::Disk& disk_;
  const format::Superblock& superblock_;
  SalvagedLog result_;

  std::vector<Candidate> candidates_;    // ascending ids
  std::vector<std::string> unreadable_;  // nothing in them can be verified
  std::vector<TailUnit> tail_units_;
  std::optional<CloseMark> close_mark_;
  std::string tail_damage_;  // empty: TAIL is as a process left it
  uint64_t tail_bytes_ = 0;
  std::set<SegmentId> live_;  // taken
};

}  // namespace firn::log
