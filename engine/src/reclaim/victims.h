// Which segments to give up next. Cost and benefit as in M. Rosenblum, J. Ousterhout, "The Design and Implementation
// of a Log-Structured File System", 1992, section 3.6: what moving a segment's live bytes costs, against the space it
// frees and the time for which that space stays free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace firn::reclaim {

struct Candidate {
  uint32_t segment = 0;
  uint64_t bytes = 0;       // on disk
  uint64_t live_bytes = 0;  // what would have to move, with its part of a footer
  uint64_t age = 0;         // revisions drawn since its newest record
  uint32_t generation = 0;  // how often its records have been moved
};

// What a segment takes beside its records, at least: header, and what is lost to whole blocks.
inline constexpr uint64_t kSegmentFixedBytes = uint64_t{3} * 4096;
// A round that frees less than this is not worth its syncs.
inline constexpr uint64_t kGainBytesMin = uint64_t{16} << 10;

// What a round may copy, in live bytes: what fits into a segment twice as large as one of the fresh log, or into two.
// Near the ceiling (`debt` as of Pacer) a little less, which is one victim less, because until a round ends its copies
// come on top; but not of tiny segments, where that would not be worth a round.
uint64_t RoundCopyBytes(uint64_t target_segment_bytes, double debt);

struct VictimLimits {
  uint64_t copy_bytes_max = 0;               // live bytes of all victims together
  uint64_t copy_segment_bytes = UINT64_MAX;  // of the segments that they are copied to
  double live_fraction_max = 0.95;
};

// The best candidate, and as many of the next best of about its temperature (fresh ones, or moved ones) as fit beside
// it. The best one is taken even if it alone is above copy_bytes_max. If what they would free is not worth it, those of
// the other temperature; empty when these are not worth it either.
std::vector<uint32_t> ChooseVictims(std::span<const Candidate> candidates, const VictimLimits& limits);

}  // namespace firn::reclaim
