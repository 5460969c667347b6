#include "sim/report.h"

#include <algorithm>

namespace firn::test {

const std::array<const char*, kFeatures> kFeatureNames = {
    "put",
    "delete",
    "set expiry",
    "batch",
    "batch over namespaces",
    "condition held",
    "condition failed",
    "synced",
    "buffered",
    "metadata",
    "large value",
    "equal value",
    "put stream",
    "empty value",
    "get",
    "get with info",
    "read durable",
    "get range",
    "get stream",
    "multi get",
    "exists",
    "found",
    "absent",
    "iterator",
    "iterator step",
    "iterator backward",
    "iterator keys only",
    "iterator bounds",
    "iterator prefix",
    "snapshot",
    "snapshot read",
    "snapshot scan",
    "namespace created",
    "namespace dropped",
    "namespaces listed",
    "namespace refused",
    "sync",
    "flush",
    "durable revision",
    "stats",
    "verify",
    "scrub, whole",
    "scrub, paced",
    "scrub, stopped and gone on with",
    "scrub, segment retired meanwhile",
    "compacted",
    "compacting cancelled",
    "relocated",
    "reclaimed by itself",
    "read ahead",
    "throttled",
    "pinned",
    "values evacuated",
    "gc report",
    "index image used",
    "references exact",
    "extents exact",
    "extent shared",
    "extents waiting",
    "no value bytes lost",
    "space settled",
    "clock jump",
    "expired and hidden",
    "clean close",
    "destroyed while open",
    "kill",
    "power cut",
    "crash in open",
    "crash in close",
    "read-only open",
    "second open refused",
    "torn tail",
    "footer fallback",
    "unanswered write kept",
    "unsynced write lost",
    "write error",
    "sync error",
    "write back error at open",
    "read error",
    "disk full",
    "index full",
    "no descriptors",
    "no memory",
    "evicted after a failed sync",
    "any error",
    "poisoned",
    "bit rot",
    "misdirected write",
    "lost write",
    "stale read",
    "salvaged",
    "salvaged into another store",
    "salvaged whole",
    "files shared with a copy",
    "asynchronous write",
    "asynchronous read",
    "asynchronous scan",
    "asynchronous call given up",
};

std::vector<uint64_t> ChooseSeeds(const std::vector<SeedReport>& reports, size_t count) {
  std::array<double, kFeatures> seeds_with{}, chosen_with{};
  const auto each_feature = [](const SeedReport& report, const auto& act) {
    for (size_t feature = 0; feature < kFeatures; ++feature) {
      if (report.counts[feature] != 0) act(feature);
    }
  };
  for (const SeedReport& report : reports) each_feature(report, [&](size_t feature) { ++seeds_with[feature]; });
  std::vector<const SeedReport*> left;
  for (const SeedReport& report : reports) left.push_back(&report);
  std::sort(left.begin(), left.end(), [](const SeedReport* a, const SeedReport* b) { return a->seed < b->seed; });
  std::vector<uint64_t> chosen;
  while (chosen.size() < count && !left.empty()) {
    // What is rare counts more, and each time it has been met already, less.
    const auto gain = [&](const SeedReport* report) {
      double sum = 0;
      each_feature(*report, [&](size_t feature) { sum += 1 / seeds_with[feature] / (1 + chosen_with[feature]); });
      return sum;
    };
    const auto best = std::max_element(left.begin(), left.end(),
                                       [&](const SeedReport* a, const SeedReport* b) { return gain(a) < gain(b); });
    each_feature(**best, [&](size_t feature) { ++chosen_with[feature]; });
    chosen.push_back((*best)->seed);
    left.erase(best);
  }
  return chosen;
}

}  // namespace firn::test
