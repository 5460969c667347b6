#include "reclaim/victims.h"

#include <algorithm>
#include <cmath>

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
constexpr double kAgeExponent = 0.125;

double Score(const Candidate& candidate) {
  const double live = LiveFraction(candidate);
  return (1 - live) * std::pow(static_cast<double>(candidate.age + 1), kAgeExponent) / (1 + live);
}

// The best candidates of one temperature that fit into a round; none if what they free is not worth it.
std::vector<uint32_t> Gather(std::span<const Scored> scored, bool moved_before, const VictimLimits& limits) {
  std::vector<uint32_t> victims;
  uint64_t copy_bytes = 0, bytes = 0;
  for (const Scored& each : scored) {
    const Candidate& candidate = *each.candidate;
    if ((candidate.generation > 0) != moved_before) continue;
    if (!victims.empty() && copy_bytes + candidate.live_bytes > limits.copy_bytes_max) continue;
    victims.push_back(candidate.segment);
    copy_bytes += candidate.live_bytes;
    bytes += candidate.bytes;
  }
  const uint64_t left_bytes = copy_bytes == 0 ? 0 : copy_bytes + kSegmentFixedBytes;
  if (bytes < left_bytes + kGainBytesMin) victims.clear();
  return victims;
}

}  // namespace

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
