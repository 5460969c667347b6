// The walks of iterators, judged against the state at one revision.
#include <map>
#include <optional>
#include <string>

#include "support/model.h"

namespace firn::test {

void Model::CheckScan(const ScanCall& scan) const {
  if (MayBeDropped(scan.space, scan.ended)) return;
  std::string differences;
  for (const Revision revision : scan.snapshot ? std::vector{*scan.snapshot} : RevisionsIn(scan)) {
    const std::string why = WhyScanDiffers(scan, revision);
    if (why.empty()) return;
    differences += "\n  at revision " + std::to_string(revision) + " " + why;
  }
  throw Violation("an iterator does not walk the state at one revision" + When(scan) + differences);
}

std::string Model::WhyScanDiffers(const ScanCall& scan, Revision revision) const {
  Window window = scan;
  window.wall_ms_max = scan.ended_wall_ms_max;
  // Keys that may be there at this revision, in order; the ones that must be are checked not to be passed over.
  struct Place {
    std::optional<Entry> entry;
    bool sure = true;
  };
  std::map<std::string, Place> places;
  for (auto found = versions_.lower_bound({scan.space, scan.lower}); found != versions_.end(); ++found) {
    const KeyId& key = found->first;
    if (key.space != scan.space || (!scan.upper.empty() && key.key >= scan.upper)) break;
    const Version* version = StateAt(key, revision);
    Place place;
    place.sure = !Unsure(key, scan.ended) && !(version && version->guessed);
    if (version != nullptr) place.entry = version->entry;
    if (place.entry || !place.sure) places[key.key] = std::move(place);
  }
  for (const auto& [key, since] : unsure_since_) {
    if (key.space == scan.space && since < scan.ended) places[key.key].sure = false;
  }
  const auto must_be_there = [&window](const Place& place) {
    return place.sure && place.entry &&
           VisibilityOf(*place.entry, window.wall_ms_min, window.wall_ms_max) == Visibility::kVisible;
  };
  // Says which sure key lies strictly between two bounds, where an empty optional is no bound.
  const auto passed_over = [&](const std::optional<std::string>& above, bool above_included,
                               const std::optional<std::string>& below, bool below_included) -> std::string {
    for (const auto& [key, place] : places) {
      if (above && (key < *above || (key == *above && !above_included))) continue;
      if (below && (key > *below || (key == *below && !below_included))) continue;
      if (must_be_there(place)) return "passed over " + Shorten(key);
    }
    return "";
  };
  std::optional<std::string> at;
  for (const ScanStep& step : scan.steps) {
    const std::optional<std::string> now = step.valid ? std::optional(step.key) : std::nullopt;
    std::string why;
    switch (step.kind) {
      case ScanStep::Kind::kSeekToFirst:
        why = passed_over(std::nullopt, true, now, false);
        break;
      case ScanStep::Kind::kSeekToLast:
        why = passed_over(now, false, std::nullopt, true);
        break;
      case ScanStep::Kind::kSeek:
        why = now && *now < step.target ? "stands before its target" : passed_over(step.target, true, now, false);
        break;
      case ScanStep::Kind::kSeekForPrev:
        why = now && *now > step.target ? "stands after its target" : passed_over(now, false, step.target, true);
        break;
      case ScanStep::Kind::kNext:
        why = now && *now <= *at ? "did not move on" : passed_over(at, false, now, false);
        break;
      case ScanStep::Kind::kPrev:
        why = now && *now >= *at ? "did not move back" : passed_over(now, false, at, false);
        break;
    }
    if (!why.empty()) return why + " at step to " + Shorten(now.value_or("the end"));
    if (now) {
      if (*now < scan.lower || (!scan.upper.empty() && *now >= scan.upper)) return "out of bounds at " + Shorten(*now);
      const auto place = places.find(*now);
      if (place == places.end()) return "stands on " + Shorten(*now) + ", which is absent";
      if (place->second.sure && !Matches(place->second.entry, step.seen, window)) {
        return Shorten(*now) + " is " + Describe(place->second.entry) + ", seen " + Describe(step.seen);
      }
    }
    at = now;
  }
  return "";
}

}  // namespace firn::test
