// Every way in which a crash at one moment can leave the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "enumerate/history.h"

namespace firn::test {

struct CutLimits {
  // Of what was not synced, at one moment; more than these are sampled. With 4,096 it takes hours.
  uint64_t subsets_max = 64;
  uint64_t torn_pages_max = 8;  // pages at one moment that are torn, one by one
  bool recover_none = false;    // counts only
};

struct CutCounts {
  uint64_t states = 0;                  // ways in which a crash left the disk
  uint64_t distinct = 0;                // of these, the ones that differ within a history
  uint64_t recovered = 0;               // each of them, which was opened and compared
  uint64_t exhausted = 0, sampled = 0;  // moments and kinds of crash whose subsets were all, or in part, tried

  void Add(const CutCounts& other) {
    states += other.states;
    distinct += other.distinct;
    recovered += other.recovered;
    exhausted += other.exhausted;
    sampled += other.sampled;
  }
};

// Crashes a history at each of its moments, by kill and by power cut, with every subset of the pages, sizes, names and
// holes that were not synced, and with torn pages. Whatever is left is opened and held to the history. Throws
// std::runtime_error, which names the moment and the state by number, for the first that breaks a promise.
CutCounts CrashEverywhere(const History& history, const CutLimits& limits);

}  // namespace firn::test
