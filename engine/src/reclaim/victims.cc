#include "reclaim/victims.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace firn::reclaim {
namespace {

struct Scored {
  const Candidate* candidate;
  double score;
};

double LiveFraction(const Candidate& candidate) {
  return static_cast<double>(candidate.live_bytes) / static_cast<double>(std::max<uint64_t>(candidate.bytes, 1));
}

// The paper weighs by age itself, which is right where what is old stays. Overwrites at random wear old and young
// segments alike, and then age costs: 2.1 times the user's bytes were written instead of 1.9
// (docs/decisions/0005-victims.md).
constexpr double kAgeExponent = 0.0625;

double Score(const Candidate& candidate) {
  const double live = LiveFraction(candidate);
  return (1 - live) * std::pow(static_cast<double>(candidate.age + 1), kAgeExponent) / (1 + live);
}

// The best candidates of one temperature that fit into a round; none if what they free is not worth it. What needs no
// copy does not make copying the others worth it.
std::vector<uint32_t> Gather(std::span<const Scored> scored, bool moved_before, const VictimLimits& limits) {
  std::vector<uint32_t> dead, living;
  uint64_t dead_bytes = 0, living_bytes = 0, copy_bytes = 0;
  for (const Scored& each : scored) {
    const Candidate& candidate = *each.candidate;
    if ((candidate.generation > 0) != moved_before) continue;
    if (candidate.live_bytes == 0) {
      dead.push_back(candidate.segment);
      dead_bytes += candidate.bytes;
      continue;
    }
    if (!living.empty() && copy_bytes + candidate.live_bytes > limits.copy_bytes_max) continue;
    living.push_back(candidate.segment);
    copy_bytes += candidate.live_bytes;
    living_bytes += candidate.bytes;
  }
  std::vector<uint32_t> victims;
  if (dead_bytes >= kGainBytesMin) victims = std::move(dead);
  const uint64_t fixed_bytes = (copy_bytes / limits.copy_segment_bytes + 1) * kSegmentFixedBytes;
  const bool worth_it = living_bytes >= copy_bytes + fixed_bytes + kGainBytesMin;
  if (!living.empty() && worth_it) victims.insert(victims.end(), living.begin(), living.end());
  return victims;
}

}  // namespace

uint64_t RoundCopyBytes(uint64_t target_segment_bytes, double debt) {
  constexpr double kNearCeilingDebt = 0.6;
  const bool less = debt >= kNearCeilingDebt && target_segment_bytes >= 32 * kGainBytesMin;
  return target_segment_bytes / 8 * (less ? 11 : 15);
}

std::vector<uint32_t> ChooseVictims(std::span<const Candidate> candidates, const VictimLimits& limits) {
  std::vector<Scored> scored;
  for (const Candidate& candidate : candidates) {
    if (LiveFraction(candidate) <= limits.live_fraction_max) scored.push_back({&candidate, Score(candidate)});
  }
  std::sort(scored.begin(), scored.end(), [](const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score > b.score : a.candidate->segment < b.candidate->segment;
  });
  if (scored.empty()) return {};
  const bool best_moved = scored.front().candidate->generation > 0;
  std::vector<uint32_t> victims = Gather(scored, best_moved, limits);
  // What is best by itself may be too little to be worth a round: the other temperature must not starve behind it.
  if (victims.empty()) victims = Gather(scored, !best_moved, limits);
  return victims;
}

}  // namespace firn::reclaim
