#include "support/model.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace firn::test {
namespace {

// The last step on a key counts.
std::map<KeyId, const WriteStep*> LastSteps(const WriteCall& call) {
  std::map<KeyId, const WriteStep*> last_steps;
  for (const WriteStep& step : call.steps) last_steps[step.key] = &step;
  return last_steps;
}

bool OnlyDeletes(const WriteCall& call) {
  const auto last_steps = LastSteps(call);
  return std::all_of(last_steps.begin(), last_steps.end(),
                     [](const auto& each) { return each.second->kind == WriteStep::Kind::kDelete; });
}

bool Touches(const WriteCall& call, const KeyId& key) {
  return std::any_of(call.steps.begin(), call.steps.end(), [&key](const WriteStep& step) { return step.key == key; });
}

bool Holds(const Condition& condition, bool present, Revision revision) {
  switch (condition.kind()) {
    case Condition::Kind::kNone:
      return true;
    case Condition::Kind::kAbsent:
      return !present;
    case Condition::Kind::kPresent:
      return present;
    case Condition::Kind::kRevisionEquals:
      return present && revision == condition.revision();
  }
  return false;
}

// Calls `test(present)` for each presence that the expiry permits; true when one of them passes.
template <typename Test>
bool AnyPresence(const std::optional<Entry>& entry, const Window& window, Test test) {
  if (!entry) return test(false);
  const Visibility visibility = VisibilityOf(*entry, window.wall_ms_min, window.wall_ms_max);
  return (visibility != Visibility::kHidden && test(true)) || (visibility != Visibility::kVisible && test(false));
}

bool MayHold(const WriteStep& step, const std::optional<Entry>& before, const Window& window) {
  return AnyPresence(before, window, [&](bool present) {
    if (step.kind == WriteStep::Kind::kSetExpiry && !present) return false;
    return Holds(step.condition, present, before ? before->revision : 0);
  });
}

bool MayFail(const WriteStep& step, const std::optional<Entry>& before, const Window& window) {
  return AnyPresence(before, window, [&](bool present) {
    if (step.kind == WriteStep::Kind::kSetExpiry && !present) return true;
    return !Holds(step.condition, present, before ? before->revision : 0);
  });
}

bool FieldsMatch(const Entry& entry, const Seen& seen) {
  return (!seen.value || *seen.value == entry.value) && (!seen.metadata || *seen.metadata == entry.metadata) &&
         (!seen.expires_at_ms || *seen.expires_at_ms == entry.expires_at_ms) &&
         (!seen.revision || *seen.revision == entry.revision);
}

}  // namespace

Visibility VisibilityOf(const Entry& entry, int64_t wall_ms_min, int64_t wall_ms_max) {
  if (entry.expires_at_ms == 0 || entry.expires_at_ms > wall_ms_max) return Visibility::kVisible;
  return entry.expires_at_ms <= wall_ms_min ? Visibility::kHidden : Visibility::kEither;
}

bool Matches(const std::optional<Entry>& entry, const Seen& seen, const Window& window) {
  return AnyPresence(entry, window,
                     [&](bool present) { return present == seen.present && (!present || FieldsMatch(*entry, seen)); });
}

Model::Model(const History& history) : history_(history) {
  for (const auto& [key, entry] : history.base) VersionsOf(key);
  for (const WriteCall& call : history.writes) {
    switch (call.outcome) {
      case WriteCall::Outcome::kInDoubt:
        in_doubt_.push_back(&call);
        for (const WriteStep& step : call.steps) {
          const auto [place, fresh] = unsure_since_.emplace(step.key, call.invoked);
          if (!fresh) place->second = std::min(place->second, call.invoked);
        }
        break;
      case WriteCall::Outcome::kDone:
        committed_.push_back(&call);
        break;
      case WriteCall::Outcome::kRefused:
        refused_.push_back(&call);
        break;
      case WriteCall::Outcome::kNoRoom:
        break;
    }
  }
  // Deleting an absent key writes nothing and tells the newest revision, which may be another call's: those come last.
  const auto order = [](const WriteCall& call) { return std::tuple(call.revision, OnlyDeletes(call), call.invoked); };
  std::sort(committed_.begin(), committed_.end(),
            [order](const WriteCall* a, const WriteCall* b) { return order(*a) < order(*b); });
  std::vector<const WriteCall*> answered;
  answered.swap(committed_);
  for (const WriteCall* call : answered) newest_by_reply_.emplace_back(call->replied, call->revision);
  for (auto call = answered.begin(); call != answered.end();) {
    if (!OnlyDeletes(**call)) {
      Replay(**call++);
      continue;
    }
    const auto end = std::find_if(call, answered.end(), [revision = (*call)->revision](const WriteCall* other) {
      return other->revision != revision;
    });
    ReplayDeletes({call, end});
    call = end;
  }
  CheckRevisionsFollowTime();
  std::sort(newest_by_reply_.begin(), newest_by_reply_.end());
  Revision newest = history.base_revision;
  for (auto& [reply, revision] : newest_by_reply_) newest = revision = std::max(newest, revision);
}

std::vector<Model::Version>& Model::VersionsOf(const KeyId& key) {
  std::vector<Version>& versions = versions_[key];
  if (versions.empty()) {
    const auto found = history_.base.find(key);
    Version first;
    if (found != history_.base.end()) {
      first.revision = found->second.revision;
      first.entry = found->second;
    }
    versions.push_back(std::move(first));
  }
  return versions;
}

// Why the delete cannot have found all its keys absent; empty when it can. `writer` has deleted its own just before.
std::string Model::WhyNotNothing(const WriteCall& call, const WriteCall* writer) {
  for (const WriteStep& step : call.steps) {
    // What has expired, or may have, counts as absent: then it makes no difference whether a tombstone was written.
    const std::optional<Entry>& last = VersionsOf(step.key).back().entry;
    const bool may_be_absent = Unsure(step.key, call.replied) || (writer != nullptr && Touches(*writer, step.key)) ||
                               AnyPresence(last, call, [](bool present) { return !present; });
    if (!may_be_absent) {
      return "a delete wrote nothing although the key is there: " + test::Describe(call) + ", key " +
             test::Describe(last) + When(call) + StoryOf(step.key);
    }
    if (!MayHold(step, std::nullopt, call)) return "a delete's condition did not hold: " + test::Describe(call);
  }
  return "";
}

// Why the delete cannot have written anything; empty when it can.
std::string Model::WhyNotWritten(const WriteCall& call) {
  // What is written gets a revision that nobody has seen before.
  if (call.revision <= std::max(history_.base_revision, call.newest_before)) return "its revision was known before";
  if (!committed_.empty() && committed_.back()->revision == call.revision) {
    return "its revision belongs to " + Describe(*committed_.back());
  }
  bool any = false;
  for (const WriteStep& step : call.steps) {
    const std::optional<Entry>& last = VersionsOf(step.key).back().entry;
    const bool unsure = Unsure(step.key, call.replied);
    any |= unsure || last.has_value();  // an expired one too: the clock may have been set back at the next open
    if (!unsure && !MayHold(step, last, call)) return "its condition did not hold at " + Describe(step.key);
  }
  return any ? "" : "its keys were absent";
}

// Deletes that told one revision: at most one of them wrote, and it left what lets all others have written nothing.
void Model::ReplayDeletes(std::span<const WriteCall* const> calls) {
  const auto why_not = [this, calls](const WriteCall* writer) -> std::string {
    for (const WriteCall* call : calls) {
      if (call == writer) continue;
      if (std::string why = WhyNotNothing(*call, writer); !why.empty()) return why;
    }
    return "";
  };
  std::vector<const WriteCall*> possible;
  std::string why_nobody = why_not(nullptr);
  const bool somebody_wrote = !why_nobody.empty();
  for (const WriteCall* call : calls) {
    if (call->revision < call->newest_before) {
      throw Violation("a delete told an older revision than " + std::to_string(call->newest_before) +
                      ", which was known before: " + Describe(*call));
    }
    std::string why = WhyNotWritten(*call);
    if (why.empty()) why = why_not(call);
    if (why.empty()) possible.push_back(call);
    if (!why.empty()) why_nobody += "\n  " + Describe(*call) + " did not write: " + why;
  }
  if (somebody_wrote && possible.empty()) throw Violation(why_nobody);

  if (somebody_wrote) {
    const WriteCall& writer = *possible.front();  // whoever it was, the keys are absent then; the earliest bounds all
    Replay(writer);
    // A key that another found absent was deleted by the time of that answer.
    for (const auto& [key, step] : LastSteps(writer)) {
      Version& version = VersionsOf(key).back();
      for (const WriteCall* call : calls) {
        if (!version.guessed && Touches(*call, key)) version.effective = std::min(version.effective, call->replied);
      }
    }
    possible.erase(possible.begin());
  }
  // Perhaps an unanswered call had put a key and this one deleted it, or the key had an expiry that some of the clocks
  // of this call had not reached; else it wrote nothing and the revision is not its own.
  for (const WriteCall* call : possible) {
    bool guessed = false;
    for (const auto& [key, step] : LastSteps(*call)) {
      const std::optional<Entry>& last = VersionsOf(key).back().entry;
      const bool perhaps_there = last && AnyPresence(last, *call, [](bool present) { return present; });
      if (!perhaps_there && !Unsure(key, call->replied)) continue;
      ReplayStep(*call, *step, std::nullopt, true);
      guessed = true;
    }
    if (guessed) guesses_.push_back(call);
  }
}

void Model::Replay(const WriteCall& call) {
  if (call.revision <= history_.base_revision) {
    throw Violation("a revision is not above those before the open, " + std::to_string(history_.base_revision) + ": " +
                    test::Describe(call));
  }
  if (!committed_.empty() && committed_.back()->revision == call.revision) {
    throw Violation("one revision for two writes: " + Describe(*committed_.back()) + " and " + test::Describe(call));
  }
  committed_.push_back(&call);
  // Conditions look at the state before the batch.
  for (const WriteStep& step : call.steps) {
    if (!Unsure(step.key, call.replied)) CheckCondition(call, step, VersionsOf(step.key).back().entry);
  }
  for (const auto& [key, step] : LastSteps(call)) {
    ReplayStep(call, *step, VersionsOf(key).back().entry, Unsure(key, call.replied) || VersionsOf(key).back().guessed);
  }
}

void Model::CheckCondition(const WriteCall& call, const WriteStep& step, const std::optional<Entry>& before) const {
  if (BuildsOnGuess(step.key)) return;
  if (MayHold(step, before, call)) return;
  throw Violation("a write succeeded though its condition did not hold: " + test::Describe(call) + ", key " +
                  test::Describe(step.key) + " before: " + test::Describe(before) + When(call) + StoryOf(step.key));
}

void Model::ReplayStep(const WriteCall& call, const WriteStep& step, const std::optional<Entry>& before, bool unsure) {
  Version version;
  version.revision = call.revision;
  version.invoked = call.invoked;
  version.effective = call.replied;
  version.guessed = unsure && step.kind != WriteStep::Kind::kPut;
  if (step.kind == WriteStep::Kind::kPut) {
    version.entry = Entry{step.value, step.metadata, step.expires_at_ms, call.revision};
  } else if (step.kind == WriteStep::Kind::kSetExpiry) {
    version.entry = before.value_or(Entry{});
    version.entry->expires_at_ms = step.expires_at_ms;
    version.entry->revision = call.revision;
  }
  VersionsOf(step.key).push_back(std::move(version));
}

void Model::CheckRevisionsFollowTime() const {
  Tick earliest_reply = kNever;
  const WriteCall* later = nullptr;
  for (auto call = committed_.rbegin(); call != committed_.rend(); ++call) {
    if (later != nullptr && (*call)->invoked > earliest_reply) {
      throw Violation("a later write has a lower revision: " + Describe(*later) + " was over before " +
                      test::Describe(**call) + " began");
    }
    if ((*call)->replied < earliest_reply) {
      earliest_reply = (*call)->replied;
      later = *call;
    }
  }
}

bool Model::Unsure(const KeyId& key, Tick tick) const {
  const auto found = unsure_since_.find(key);
  return found != unsure_since_.end() && found->second < tick;
}

bool Model::BuildsOnGuess(const KeyId& key) const {
  const auto found = versions_.find(key);
  return found != versions_.end() && found->second.back().guessed;
}

const Model::Version* Model::StateAt(const KeyId& key, Revision revision) const {
  const auto found = versions_.find(key);
  if (found == versions_.end()) return nullptr;
  const std::vector<Version>& versions = found->second;
  const auto after = std::upper_bound(versions.begin(), versions.end(), revision,
                                      [](Revision r, const Version& version) { return r < version.revision; });
  return after == versions.begin() ? nullptr : &*std::prev(after);
}

std::vector<const Model::Version*> Model::CurrentIn(const KeyId& key, const Window& window) const {
  static const Version kNothingEver;
  const auto found = versions_.find(key);
  if (found == versions_.end()) return {&kNothingEver};
  std::vector<const Version*> current;
  for (auto version = found->second.rbegin(); version != found->second.rend(); ++version) {
    if (version->invoked < window.replied) current.push_back(&*version);
    if (version->effective < window.invoked) break;  // anything older was overwritten by then
  }
  return current;
}

std::vector<Revision> Model::RevisionsIn(const Window& window) const {
  Revision lowest = history_.base_revision;
  const auto after =
      std::lower_bound(newest_by_reply_.begin(), newest_by_reply_.end(), std::pair<Tick, Revision>(window.invoked, 0));
  if (after != newest_by_reply_.begin()) lowest = std::prev(after)->second;
  std::vector<Revision> revisions{lowest};
  for (const WriteCall* call : committed_) {
    if (call->revision <= lowest) continue;
    if (call->invoked >= window.replied) break;
    revisions.push_back(call->revision);
  }
  for (const WriteCall* call : guesses_) {
    if (call->revision > lowest && call->invoked < window.replied) revisions.push_back(call->revision);
  }
  return revisions;
}

bool Model::EverWritten(const KeyId& key, const Seen& seen) const {
  if (!seen.present) return true;
  if (const auto found = versions_.find(key); found != versions_.end()) {
    for (const Version& version : found->second) {
      if (version.entry && (!seen.value || *seen.value == version.entry->value)) return true;
      if (version.guessed) return true;
    }
  }
  for (const WriteCall* call : in_doubt_) {
    for (const WriteStep& step : call->steps) {
      if (step.key == key && (!seen.value || *seen.value == step.value)) return true;
    }
  }
  return false;
}

void Model::CheckReads() {
  for (const WriteCall* call : refused_) CheckRefused(*call);
  std::vector<const ReadCall*> reads;
  for (const ReadCall& read : history_.reads) reads.push_back(&read);
  // In the order of their replies: what one read has seen has happened for every later one.
  std::sort(reads.begin(), reads.end(), [](const ReadCall* a, const ReadCall* b) { return a->replied < b->replied; });
  for (const ReadCall* read : reads) {
    if (read->snapshot || read->keys.size() != 1) {
      CheckOneRevision(*read);
    } else {
      CheckPoint(*read);
    }
  }
  for (const SnapshotCall& call : history_.snapshots) CheckSnapshot(call);
  for (const ScanCall& scan : history_.scans) CheckScan(scan);
}

void Model::CheckRefused(const WriteCall& call) const {
  for (const WriteStep& step : call.steps) {
    if (MayBeDropped(step.key.space, call.replied)) return;
    if (Unsure(step.key, call.replied)) return;
    for (const Version* version : CurrentIn(step.key, call)) {
      if (version->guessed || MayFail(step, version->entry, call)) return;
    }
  }
  throw Violation("a write was refused (" + std::string(absl::StatusCodeToString(call.code)) +
                  ") though every condition held: " + test::Describe(call) + When(call));
}

void Model::CheckPoint(const ReadCall& read) {
  const KeyId& key = read.keys.front();
  const Seen& seen = read.seen.front();
  if (read.space_gone && MayBeDropped(key.space, read.replied)) return;
  if (history_.spaces[key.space].drop_replied < read.invoked && seen.present) {
    throw Violation("a key of a dropped namespace was found: " + test::Describe(key) + When(read));
  }
  for (const Version* version : CurrentIn(key, read)) {
    const bool matches = version->guessed ? !seen.present || !seen.revision || *seen.revision == version->revision
                                          : Matches(version->entry, seen, read);
    if (!matches) continue;
    if (seen.revision && version->revision == *seen.revision) {
      Version& known = VersionsOf(key)[static_cast<size_t>(version - VersionsOf(key).data())];
      known.effective = std::min(known.effective, read.replied);
    }
    return;
  }
  if (Unsure(key, read.replied) && EverWritten(key, seen)) return;
  std::string text =
      "a read gave " + test::Describe(seen) + " for " + test::Describe(key) + When(read) + "; current then:";
  for (const Version* version : CurrentIn(key, read)) text += "\n  " + test::Describe(version->entry);
  throw Violation(text);
}

void Model::CheckOneRevision(const ReadCall& read) const {
  if (read.space_gone && MayBeDropped(read.keys.front().space, read.replied)) return;
  std::vector<size_t> sure;
  for (size_t i = 0; i < read.keys.size(); ++i) {
    if (!Unsure(read.keys[i], read.replied)) {
      sure.push_back(i);
    } else if (!EverWritten(read.keys[i], read.seen[i])) {
      throw Violation("a read gave what was never written: " + test::Describe(read.keys[i]) + " " +
                      test::Describe(read.seen[i]) + When(read));
    }
  }
  std::string differences;
  for (const Revision revision : read.snapshot ? std::vector{*read.snapshot} : RevisionsIn(read)) {
    bool all = true;
    for (const size_t i : sure) {
      const Version* version = StateAt(read.keys[i], revision);
      const std::optional<Entry> entry = version ? version->entry : std::nullopt;
      if ((version && version->guessed) || Matches(entry, read.seen[i], read)) continue;
      all = false;
      differences += "\n  at revision " + std::to_string(revision) + " " + test::Describe(read.keys[i]) + " is " +
                     test::Describe(entry) + ", seen " + test::Describe(read.seen[i]) + StoryOf(read.keys[i]);
      break;
    }
    if (all) return;
  }
  throw Violation(std::string(read.snapshot ? "a snapshot read" : "a read of several keys") +
                  " does not equal the state at one revision" + When(read) + differences);
}

void Model::CheckSnapshot(const SnapshotCall& call) const {
  const std::vector<Revision> possible = RevisionsIn(call);
  if (call.revision < possible.front()) {
    throw Violation("a snapshot at revision " + std::to_string(call.revision) + " misses the write of revision " +
                    std::to_string(possible.front()) + ", acknowledged before it was taken" + When(call));
  }
  for (const WriteCall* write : committed_) {
    if (write->revision <= call.revision && write->invoked > call.replied) {
      throw Violation("a snapshot's revision " + std::to_string(call.revision) +
                      " covers a later write: " + Describe(*write) + When(call) + StoryOf(write->steps.front().key));
    }
  }
}

std::string Model::StoryOf(const KeyId& key) const {
  std::string story;
  if (const auto found = versions_.find(key); found != versions_.end()) {
    for (const Version& version : found->second) {
      story += "\n  revision " + std::to_string(version.revision) + " ticks " + std::to_string(version.invoked) + ".." +
               std::to_string(version.effective) + ": " + test::Describe(version.entry);
    }
  }
  for (const WriteCall* call : in_doubt_) {
    for (const WriteStep& step : call->steps) {
      if (step.key == key) story += "\n  unanswered: '" + Shorten(step.value) + "' of " + Describe(*call);
    }
  }
  return story;
}

Revision Model::DurableFloor(std::string* why) const {
  Revision floor = history_.base_revision;
  const auto raise = [&floor, why](Revision revision, const std::string& reason) {
    if (revision <= floor) return;
    floor = revision;
    *why = reason;
  };
  // Of deletes that wrote nothing too: what made the key absent is durable with them.
  for (const WriteCall& call : history_.writes) {
    if (call.outcome == WriteCall::Outcome::kDone && call.synced) raise(call.revision, "a synced write");
  }
  for (const DurableFact& fact : history_.durable) raise(fact.revision, fact.why);
  return floor;
}

}  // namespace firn::test
