// Every way in which a crash at one moment can leave the disk.
#pragma once

#include <array>
#include <cstdint>

#include "enumerate/history.h"
#include "enumerate/seen.h"

namespace firn::test {

struct CutLimits {
  // Of what was not synced at one moment, but for the pages of TAIL; more than these are sampled.
  uint64_t subsets_max = 4096;
  uint64_t torn_pages_max = 8;  // pages at one moment that are torn, one by one
  uint64_t tail_mixes = 16;     // subsets of TAIL's pages at one moment, beside all and none
  bool recover_none = false;    // counts only
  size_t first_step = 0;        // of a history, that is crashed
};

struct CutCounts {
  struct Moments {
    uint64_t exhausted = 0, sampled = 0;  // whose subsets were all, or in part, tried
    // By the binary logarithm of how many subsets there are, rounded up; the last: more than 2^16.
    std::array<uint64_t, 18> by_subsets{};

    void Add(const Moments& other) {
      exhausted += other.exhausted;
      sampled += other.sampled;
      for (size_t i = 0; i < by_subsets.size(); ++i) by_subsets[i] += other.by_subsets[i];
    }
  };
  uint64_t moments = 0;
  uint64_t states = 0;     // ways in which a crash left the disk
  uint64_t different = 0;  // of these, the ones that differ in what is on the disk, or in what is demanded of it
  uint64_t disks = 0;      // of these, the ones that differ in what is on the disk
  uint64_t recovered = 0;  // each that is different, which was opened and compared
  Moments kills, power_cuts;

  void Add(const CutCounts& other) {
    moments += other.moments;
    states += other.states;
    different += other.different;
    disks += other.disks;
    recovered += other.recovered;
    kills.Add(other.kills);
    power_cuts.Add(other.power_cuts);
  }
};

// Crashes a history at each of its moments from a step on, by kill and by power cut, with every subset of the pages,
// sizes, names and holes that were not synced, each with all and with none of TAIL's pages; and with torn pages.
// Whatever is left and is not among the states seen is opened and held to the history. Throws std::runtime_error, which
// names the moment and the state by number, for the first that breaks a promise.
CutCounts CrashEverywhere(const History& history, const CutLimits& limits, SeenStates& seen);

}  // namespace firn::test
