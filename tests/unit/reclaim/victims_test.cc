// Which segments are given up first.
#include <catch2/catch.hpp>

#include "reclaim/victims.h"

namespace firn::reclaim {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST_CASE("near the ceiling a round copies less, unless that would not be worth a round") {
  CHECK(RoundCopyBytes(kMiB, 0.5) == kMiB / 8 * 15);
  CHECK(RoundCopyBytes(kMiB, 0.6) == kMiB / 8 * 11);
  CHECK(RoundCopyBytes(kMiB, 2) == kMiB / 8 * 11);
  CHECK(RoundCopyBytes(kMiB / 16, 2) == kMiB / 16 / 8 * 15);
}

TEST_CASE("of two segments of one age the emptier one goes first") {
  const std::vector<Candidate> candidates = {
      {.segment = 1, .bytes = kMiB, .live_bytes = kMiB / 2, .age = 10},
      {.segment = 2, .bytes = kMiB, .live_bytes = kMiB / 4, .age = 10},
  };
  const auto victims = ChooseVictims(candidates, {.copy_bytes_max = kMiB / 3});
  CHECK(victims == std::vector<uint32_t>{2});
}

TEST_CASE("an old segment goes before a young one that has a little more garbage") {
  const std::vector<Candidate> candidates = {
      {.segment = 1, .bytes = kMiB, .live_bytes = kMiB / 2, .age = 1'000},
      {.segment = 2, .bytes = kMiB, .live_bytes = kMiB * 4 / 10, .age = 10},
  };
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB / 2}) == std::vector<uint32_t>{1});
}

TEST_CASE("victims of one round fit together, and fresh ones do not mix with moved ones") {
  std::vector<Candidate> candidates;
  for (uint32_t id = 1; id <= 8; ++id) {
    candidates.push_back({.segment = id, .bytes = kMiB, .live_bytes = kMiB / 4, .age = 100 - id, .generation = id % 2});
  }
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB * 3 / 4}) == std::vector<uint32_t>{1, 3, 5});
}

TEST_CASE("a best victim that is not worth a round does not keep those of the other temperature from theirs") {
  const std::vector<Candidate> candidates = {
      {.segment = 1, .bytes = kSegmentFixedBytes, .live_bytes = 3'000, .age = 1'000'000, .generation = 5},
      {.segment = 2, .bytes = kMiB, .live_bytes = kMiB / 4, .age = 10},
      {.segment = 3, .bytes = kMiB, .live_bytes = kMiB / 2, .age = 10},
  };
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB}) == std::vector<uint32_t>{2, 3});
}

TEST_CASE("a segment without anything live does not make moving another worth it") {
  const uint64_t bytes = kSegmentFixedBytes + kGainBytesMin;
  std::vector<Candidate> candidates = {{.segment = 1, .bytes = bytes, .live_bytes = 5'000, .age = 10}};
  REQUIRE(ChooseVictims(candidates, {.copy_bytes_max = kMiB}).empty());
  candidates.push_back({.segment = 2, .bytes = kMiB, .live_bytes = 0, .age = 10});
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB}) == std::vector<uint32_t>{2});
  candidates.push_back({.segment = 3, .bytes = kMiB, .live_bytes = kMiB / 4, .age = 10});
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB}).size() == 3);
}

TEST_CASE("what each segment of copies takes beside them counts against the gain") {
  const uint64_t live_bytes = kMiB / 2, fixed_bytes = 2 * kSegmentFixedBytes;
  const std::vector<Candidate> candidates = {
      {.segment = 1, .bytes = live_bytes + fixed_bytes + kGainBytesMin - 1, .live_bytes = live_bytes, .age = 10}};
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB, .copy_segment_bytes = live_bytes + 1}).size() == 1);
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB, .copy_segment_bytes = live_bytes}).empty());
}

TEST_CASE("the best victim is taken even if it alone is too much for a round") {
  const std::vector<Candidate> candidates = {{.segment = 7, .bytes = 64 * kMiB, .live_bytes = 20 * kMiB, .age = 1}};
  CHECK(ChooseVictims(candidates, {.copy_bytes_max = kMiB}) == std::vector<uint32_t>{7});
}

TEST_CASE("segments that are nearly all live, and rounds that would free next to nothing, are left alone") {
  CHECK(ChooseVictims(std::vector<Candidate>{{.segment = 1, .bytes = kMiB, .live_bytes = kMiB * 97 / 100, .age = 1}},
                      {.copy_bytes_max = kMiB})
            .empty());
  // A lone small segment would only be written anew, again and again; a few of them make one.
  std::vector<Candidate> small = {{.segment = 1, .bytes = kSegmentFixedBytes, .live_bytes = 100, .age = 1}};
  CHECK(ChooseVictims(small, {.copy_bytes_max = kMiB}).empty());
  for (uint32_t id = 2; id <= 4; ++id) small.push_back({.segment = id, .bytes = kSegmentFixedBytes, .live_bytes = 100});
  CHECK(ChooseVictims(small, {.copy_bytes_max = kMiB}).size() == 4);
  CHECK(ChooseVictims({}, {.copy_bytes_max = kMiB}).empty());
}

}  // namespace
}  // namespace firn::reclaim
