// The clients' other calls: namespaces, durability, statistics, and time that passes.
#include <algorithm>

#include "base/sync.h"
#include "sim/session.h"

namespace firn::test {

// The incarnation of `name` that exists, as far as anybody was told.
std::optional<size_t> Client::LiveSpace(const std::string& name) const {
  const std::vector<Space>& spaces = session_.history_.spaces;
  for (size_t i = spaces.size(); i-- > 1;) {
    if (spaces[i].name == name && spaces[i].create_replied != kNever && spaces[i].drop_invoked == kNever) return i;
  }
  return std::nullopt;
}

void Client::CreateSpace() {
  const std::string name = RandomName();
  if (!session_.busy_names_.insert(name).second) return;
  const bool exists = LiveSpace(name).has_value();
  const size_t index = session_.history_.spaces.size();
  Window window = session_.Begin();
  if (!exists) {
    Space space;
    space.name = name;
    space.create_invoked = window.invoked;
    space.create_replied = kNever;
    session_.history_.spaces.push_back(std::move(space));
  }
  const absl::StatusOr<Namespace> handle = session_.db_->CreateNamespace(name);
  if (!session_.End(window)) return;
  if (exists) {
    session_.busy_names_.erase(name);
    const bool failed_otherwise = session_.tolerance_.write_errors && !handle.ok();
    if (!absl::IsAlreadyExists(handle.status()) && !failed_otherwise) {
      throw Violation("creating the namespace " + name + " again gave " + handle.status().ToString());
    }
    Count(Feature::kSpaceRefused);
    return;
  }
  if (!handle.ok()) {
    if (session_.tolerance_.write_errors || session_.tolerance_.no_room) return;  // the name stays busy
    throw Violation("a namespace could not be created: " + handle.status().ToString());
  }
  Count(Feature::kSpaceCreated);
  session_.history_.spaces[index].create_replied = window.replied;
  session_.history_.spaces[index].id = handle->id();
  session_.handles_.emplace(index, *handle);
  session_.busy_names_.erase(name);
}

void Client::DropSpace() {
  const std::string name = RandomName();
  if (!session_.busy_names_.insert(name).second) return;
  const std::optional<size_t> index = LiveSpace(name);
  Window window = session_.Begin();
  if (index) session_.history_.spaces[*index].drop_invoked = window.invoked;
  const absl::Status status = session_.db_->DropNamespace(name);
  if (!session_.End(window)) return;
  if (!index) {
    session_.busy_names_.erase(name);
    if (!absl::IsNotFound(status) && !session_.tolerance_.write_errors) {
      throw Violation("dropping an absent namespace gave " + status.ToString());
    }
    return;
  }
  if (!status.ok()) {
    if (session_.tolerance_.write_errors || session_.tolerance_.no_room) return;
    throw Violation("a namespace could not be dropped: " + status.ToString());
  }
  Count(Feature::kSpaceDropped);
  session_.history_.spaces[*index].drop_replied = window.replied;
  session_.busy_names_.erase(name);
}

void Client::ListSpaces() {
  // Only names that nobody is changing can be judged.
  const auto settled = [this] {
    std::map<std::string, bool> names;
    for (const char* name : {"alpha", "beta", "gamma-1", "DELTA_2"}) {
      if (!session_.busy_names_.contains(name)) names[name] = LiveSpace(name).has_value();
    }
    return names;
  };
  const std::map<std::string, bool> before = settled();
  const size_t spaces_before = session_.history_.spaces.size();
  Window window = session_.Begin();
  const std::vector<std::string> names = session_.db_->ListNamespaces();
  if (!session_.End(window)) return;
  Count(Feature::kSpaceListed);
  if (!std::is_sorted(names.begin(), names.end())) throw Violation("ListNamespaces is not sorted");
  if (session_.history_.spaces.size() != spaces_before) return;
  const std::map<std::string, bool> after = settled();
  for (const auto& [name, exists] : before) {
    const auto still = after.find(name);
    if (still == after.end() || still->second != exists) continue;
    if (std::binary_search(names.begin(), names.end(), name) != exists) {
      throw Violation("ListNamespaces is wrong about " + name);
    }
  }
}

void Client::OpenSpace() {
  const std::string name = RandomName();
  if (!session_.busy_names_.insert(name).second) return;
  const std::optional<size_t> index = LiveSpace(name);
  Window window = session_.Begin();
  const absl::StatusOr<Namespace> handle = session_.db_->OpenNamespace(name);
  if (!session_.End(window)) return;
  session_.busy_names_.erase(name);
  if (index ? !handle.ok() : !absl::IsNotFound(handle.status())) {
    throw Violation("opening the namespace " + name + " gave " + handle.status().ToString());
  }
  if (index && handle->id() != session_.history_.spaces[*index].id)
    throw Violation("a namespace changed its id: " + name);
}

void Client::Sync(bool seal) {
  Count(seal ? Feature::kFlush : Feature::kSync);
  const Revision before = session_.acknowledged_max_;
  Window window = session_.Begin();
  const absl::Status status = seal ? session_.db_->Flush() : session_.db_->Sync();
  if (!session_.End(window)) return;
  if (status.ok()) return session_.NoteDurable(before, seal ? "Flush()" : "Sync()");
  const bool excused = session_.tolerance_.write_errors || (seal && session_.tolerance_.no_room);
  if (!excused) throw Violation("Sync or Flush failed without cause: " + status.ToString());
}

void Client::Compact() {
  ++session_.compacts_;
  const bool cancels = rng_.OneIn(4);
  uint64_t turns_left = cancels ? rng_.Below(3) : UINT64_MAX, last_done = 0;
  const auto progress = [&](uint64_t done, uint64_t total) {
    if (done > total || done < last_done) throw Violation("progress of compacting runs backwards, or past its end");
    last_done = done;
    return turns_left-- > 0;
  };
  Window window = session_.Begin();
  const absl::Status status = rng_.OneIn(2) || cancels ? session_.db_->Compact(progress) : session_.db_->Compact();
  if (!session_.End(window)) return;
  if (status.ok()) return Count(Feature::kCompacted);
  if (absl::IsCancelled(status) && cancels) return Count(Feature::kCompactCancelled);
  const Session::Tolerance& tolerance = session_.tolerance_;
  const bool excused =
      tolerance.write_errors || tolerance.read_errors || (tolerance.no_room && absl::IsResourceExhausted(status));
  if (!excused) throw Violation("compacting failed without cause: " + status.ToString());
}

void Client::ReportGarbage() {
  Window window = session_.Begin();
  const std::vector<SegmentReport> reports = session_.db_->GcReport();
  if (!session_.End(window)) return;
  Count(Feature::kGcReport);
  if (reports.empty()) throw Violation("a store without a segment");
  for (size_t i = 0; i < reports.size(); ++i) {
    if (i > 0 && reports[i].segment <= reports[i - 1].segment)
      throw Violation("GcReport is not in the order of segments");
    if (reports[i].generation > 0 && !reports[i].sealed) throw Violation("a relocation segment is not sealed");
  }
}

void Client::LookAround() {
  Window window = session_.Begin();
  const Revision durable = session_.db_->DurableRevision();
  if (!session_.End(window)) return;
  Count(Feature::kDurableRevision);
  session_.NoteDurable(durable, "DurableRevision()");
  session_.SawRevision(durable);
  if (rng_.OneIn(4)) {
    const Revision known = session_.acknowledged_max_;
    const Stats stats = session_.db_->GetStats();
    if (session_.crashed()) return;
    Count(Feature::kStats);
    if (stats.throttled_ns > 0) Count(Feature::kThrottled);
    if (stats.pinned_bytes > 0) Count(Feature::kPinned);
    if (stats.value_waiting_bytes > 0) Count(Feature::kExtentsWaiting);
    if (stats.last_revision < known) throw Violation("Stats.last_revision is behind an acknowledged write");
    if (stats.durable_revision < durable) throw Violation("Stats.durable_revision runs backwards");
    if (stats.poisoned && !session_.tolerance_.write_errors) throw Violation("the store is poisoned without cause");
  }
  if (rng_.OneIn(12)) {
    const absl::StatusOr<VerifyReport> verified = session_.db_->Verify();
    if (session_.crashed()) return;
    Count(Feature::kVerify);
    if (session_.tolerance_.read_errors) return;
    if (!verified.ok()) throw Violation("Verify failed without cause: " + verified.status().ToString());
    if (!verified->damages.empty()) throw Violation("Verify reports damage: " + verified->damages.front().ToString());
  }
}

// All of it, at some pace, stopped now and then and gone on with. However much is retired, moved and punched meanwhile,
// nothing of a sound medium is damage.
void Client::Scrub() {
  constexpr uint64_t kPaces[] = {0, uint64_t{64} << 10, uint64_t{1} << 20, uint64_t{64} << 20};
  ScrubOptions options;
  options.bytes_per_second = kPaces[rng_.Below(std::size(kPaces))];
  uint64_t turns_left = rng_.OneIn(3) ? 1 + rng_.Below(6) : UINT64_MAX, last_done = 0;
  options.progress = [&](uint64_t done, uint64_t total) {
    if (done > total || done < last_done) throw Violation("progress of a scrub runs backwards, or past its end");
    last_done = done;
    return turns_left-- > 0 && !session_.over();
  };
  for (bool resumed = false;; resumed = true) {
    Window window = session_.Begin();
    const absl::StatusOr<VerifyReport> report = session_.db_->Scrub(options);
    if (!session_.End(window)) return;
    if (session_.tolerance_.read_errors) return;
    if (!report.ok()) {
      if (session_.tolerance_.write_errors) return;  // no descriptor is left, say
      throw Violation("Scrub failed without cause: " + report.status().ToString());
    }
    if (!report->damages.empty()) throw Violation("Scrub reports damage: " + report->damages.front().ToString());
    if (report->segments_skipped > 0) Count(Feature::kScrubSkipped);
    if (report->cursor.empty()) {
      Count(Feature::kScrubbed);
      if (options.bytes_per_second != 0) Count(Feature::kScrubPaced);
      if (resumed) Count(Feature::kScrubResumed);
      return;
    }
    if (session_.over()) return;
    options.from = report->cursor;
    turns_left = UINT64_MAX;
    last_done = 0;
  }
}

void Client::Sleep() {
  constexpr uint64_t kLongestNanos = 3'000'000'000;
  base::Scheduler* scheduler = base::Scheduler::Current();
  const uint64_t until = scheduler->NowNanos() + rng_.Below(kLongestNanos);
  while (scheduler->NowNanos() < until && !session_.crashed()) scheduler->Wait(&until, until);
}

void Client::JumpClock() {
  constexpr int64_t kFarthestMs = 15'000;
  session_.WallMs();
  const auto distance = static_cast<int64_t>(rng_.Below(kFarthestMs));
  const bool back = session_.settings_.clock_jumps_back && rng_.OneIn(2);
  session_.world_.clock.JumpWall(back ? -distance : distance);
  session_.WallMs();
  Count(Feature::kClockJump);
}

}  // namespace firn::test
