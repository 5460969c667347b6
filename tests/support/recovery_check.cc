#include "support/recovery_check.h"

#include <algorithm>
#include <set>

namespace firn::test {
namespace {

std::string TickText(Tick tick) { return tick == kNever ? "never" : std::to_string(tick); }

class RecoveryCheck {
 public:
  RecoveryCheck(const Model& model, const Found& found, Promise promise, const EverPut& ever_put)
      : model_(model), history_(model.history()), found_(found), promise_(promise), ever_put_(ever_put) {}

  Recovered Run() {
    MatchSpaces();
    CollectEntries();
    if (promise_ == Promise::kNoLies) {
      CheckNoLies();
    } else {
      FindCut();
    }
    return Result();
  }

 private:
  void MatchSpaces();
  void CollectEntries();
  void FindCut();
  void CheckNoLies() const;
  Recovered Result() const;

  Revision Floor(std::string* why) const;
  std::string WhyNot(Revision cut) const;
  std::string WhyUnansweredTorn(const WriteCall& call, Revision cut) const;
  bool PutByUnanswered(const KeyId& key, const Entry& entry) const;
  bool MayShow(const WriteCall& call, const WriteStep& step) const;
  bool Shows(const WriteCall& call, const WriteStep& step) const;
  bool ShownByOther(const WriteCall& call, const KeyId& key) const;
  bool Applied(const WriteCall& call) const;
  bool OthersTouch(const WriteCall& call, const KeyId& key) const;
  bool Explained(const KeyId& key) const;
  const Entry* Find(const KeyId& key) const;
  std::optional<Entry> Expected(const KeyId& key, Revision cut) const;
  bool IsCommitted(Revision revision) const { return committed_revisions_.contains(revision); }

  const Model& model_;
  const History& history_;
  const Found& found_;
  const Promise promise_;
  const EverPut& ever_put_;
  std::vector<bool> space_there_;
  std::map<KeyId, Entry> entries_;
  std::set<KeyId> keys_;  // known or found
  std::set<Revision> committed_revisions_;
  Revision cut_ = 0;
};

void RecoveryCheck::MatchSpaces() {
  space_there_.assign(history_.spaces.size(), false);
  space_there_[0] = true;
  std::set<std::string> matched;
  for (size_t i = 1; i < history_.spaces.size(); ++i) {
    const Space& space = history_.spaces[i];
    const auto place = found_.spaces.find(space.name);
    // An id that was never told (the create got no answer) matches by name.
    const bool there = place != found_.spaces.end() && (space.id == 0 || space.id == place->second);
    if (there && !matched.insert(space.name).second) continue;
    space_there_[i] = there;
    if (there && space.drop_replied != kNever && promise_ != Promise::kNoLies) {
      throw Violation("a dropped namespace is back: " + space.name);
    }
    const bool certain = space.create_replied == 0 || promise_ == Promise::kEverything;
    if (!there && space.drop_invoked == kNever && space.create_replied != kNever && certain &&
        promise_ != Promise::kNoLies) {
      throw Violation("a namespace is gone: " + space.name);
    }
  }
  for (const auto& [name, id] : found_.spaces) {
    if (!matched.contains(name) && promise_ != Promise::kNoLies) {
      throw Violation("a namespace that should not be there: " + name + " with id " + std::to_string(id));
    }
  }
}

void RecoveryCheck::CollectEntries() {
  for (size_t i = 0; i < history_.spaces.size(); ++i) {
    if (!space_there_[i]) continue;
    const auto entries = found_.entries.find(history_.spaces[i].name);
    if (entries == found_.entries.end()) continue;
    for (const auto& [key, entry] : entries->second) entries_[{i, key}] = entry;
  }
  for (const auto& [key, versions] : model_.versions()) keys_.insert(key);
  for (const auto& [key, entry] : entries_) keys_.insert(key);
  for (const WriteCall* call : model_.committed()) committed_revisions_.insert(call->revision);
}

const Entry* RecoveryCheck::Find(const KeyId& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

std::optional<Entry> RecoveryCheck::Expected(const KeyId& key, Revision cut) const {
  const Model::Version* version = model_.StateAt(key, cut);
  return version == nullptr ? std::nullopt : version->entry;
}

Revision RecoveryCheck::Floor(std::string* why) const {
  Revision floor = model_.DurableFloor(why);
  if (promise_ == Promise::kEverything && !model_.committed().empty()) {
    floor = std::max(floor, model_.committed().back()->revision);
    *why = "an acknowledged write";
  }
  for (const Space& space : history_.spaces) {
    if (space.drop_invoked == kNever) continue;
    // A drop that is there comes after everything that was answered before it was asked for.
    if (space.drop_replied == kNever && space_there_[static_cast<size_t>(&space - history_.spaces.data())]) continue;
    for (const WriteCall* call : model_.committed()) {
      if (call->replied < space.drop_invoked && call->revision > floor) {
        floor = call->revision;
        *why = "a write below a durable drop of a namespace";
      }
    }
  }
  // A prefix: whatever is there vouches for all below it.
  for (const auto& [key, entry] : entries_) {
    if (entry.revision > floor && (entry.revision > history_.base_revision)) {
      floor = entry.revision;
      *why = "a write below a surviving one, " + Describe(key) + " of revision " + std::to_string(entry.revision);
    }
  }
  return floor;
}

// Whether an unanswered put accounts for the entry.
bool RecoveryCheck::PutByUnanswered(const KeyId& key, const Entry& entry) const {
  for (const WriteCall* call : model_.in_doubt()) {
    for (const WriteStep& step : call->steps) {
      if (step.kind == WriteStep::Kind::kPut && step.key == key && step.value == entry.value &&
          step.metadata == entry.metadata && step.expires_at_ms == entry.expires_at_ms) {
        return true;
      }
    }
  }
  return false;
}

bool RecoveryCheck::Shows(const WriteCall& call, const WriteStep& step) const {
  if (!MayShow(call, step)) return false;
  return step.kind != WriteStep::Kind::kSetExpiry || !PutByUnanswered(step.key, *Find(step.key));
}

bool RecoveryCheck::MayShow(const WriteCall& call, const WriteStep& step) const {
  const Entry* entry = Find(step.key);
  if (entry == nullptr || IsCommitted(entry->revision) || entry->revision <= history_.base_revision) return false;
  if (step.kind == WriteStep::Kind::kDelete) return false;
  if (step.expires_at_ms != entry->expires_at_ms) return false;
  if (step.kind == WriteStep::Kind::kPut && (step.value != entry->value || step.metadata != entry->metadata))
    return false;
  // What was answered before this call began has lower revisions.
  for (auto other = model_.committed().rbegin(); other != model_.committed().rend(); ++other) {
    if ((*other)->revision < entry->revision) break;
    if ((*other)->replied < call.invoked) return false;
  }
  return true;
}

// Whether what is found at the key may be the work of another unanswered call.
bool RecoveryCheck::ShownByOther(const WriteCall& call, const KeyId& key) const {
  return std::any_of(model_.in_doubt().begin(), model_.in_doubt().end(), [&](const WriteCall* other) {
    return other != &call && std::any_of(other->steps.begin(), other->steps.end(), [&](const WriteStep& step) {
             return step.key == key && MayShow(*other, step);
           });
  });
}

bool RecoveryCheck::Applied(const WriteCall& call) const {
  return std::any_of(call.steps.begin(), call.steps.end(), [&](const WriteStep& step) { return Shows(call, step); });
}

// Whether another call may have come after `call` on this key.
bool RecoveryCheck::OthersTouch(const WriteCall& call, const KeyId& key) const {
  const auto touches = [&](const WriteCall* other) {
    return other != &call && other->replied > call.invoked &&
           std::any_of(other->steps.begin(), other->steps.end(),
                       [&](const WriteStep& step) { return step.key == key; });
  };
  return std::any_of(model_.in_doubt().begin(), model_.in_doubt().end(), touches) ||
         std::any_of(model_.committed().begin(), model_.committed().end(), touches);
}

// Whether an unanswered call accounts for what is found, or not found, at the key.
bool RecoveryCheck::Explained(const KeyId& key) const {
  for (const WriteCall* call : model_.in_doubt()) {
    for (const WriteStep& step : call->steps) {
      if (step.key != key) continue;
      if (Find(key) != nullptr) {
        if (Shows(*call, step)) return true;
        continue;
      }
      // Absent: deleted, or expired by now. A batch must show somewhere, unless all of it was overwritten.
      const bool hides = step.kind == WriteStep::Kind::kDelete ||
                         VisibilityOf(Entry{"", "", step.expires_at_ms, 0}, found_.window.wall_ms_min,
                                      found_.window.wall_ms_max) != Visibility::kVisible;
      const bool may_be_applied =
          Applied(*call) || std::all_of(call->steps.begin(), call->steps.end(), [&](const WriteStep& other) {
            return other.kind == WriteStep::Kind::kDelete || Find(other.key) == nullptr ||
                   OthersTouch(*call, other.key);
          });
      if (hides && may_be_applied) return true;
    }
  }
  return false;
}

std::string RecoveryCheck::WhyUnansweredTorn(const WriteCall& call, Revision cut) const {
  Revision revision = 0;
  for (const WriteStep& step : call.steps) {
    // An expiry change that changes nothing but the revision leaves what looks like the put before it.
    if (!Shows(call, step) || ShownByOther(call, step.key)) continue;
    const Revision shown = Find(step.key)->revision;
    if (revision != 0 && revision != shown) {
      return "one batch with two revisions, " + std::to_string(revision) + " and at " + Describe(step.key) + " " +
             Describe(std::optional(*Find(step.key))) + model_.StoryOf(step.key);
    }
    revision = shown;
  }
  if (revision == 0) return "";
  std::map<KeyId, const WriteStep*> last_steps;
  for (const WriteStep& step : call.steps) last_steps[step.key] = &step;
  for (const auto& [key, step] : last_steps) {
    if (!space_there_[key.space]) continue;
    const Entry* entry = Find(key);
    if (entry != nullptr && entry->revision > revision) continue;
    if (entry != nullptr && entry->revision == revision && MayShow(call, *step)) continue;
    if (entry == nullptr) {
      if (step->kind == WriteStep::Kind::kDelete) continue;
      const Model::Version* version = model_.StateAt(key, cut);
      const bool deleted_later = version != nullptr && version->revision > revision;
      const bool expired = VisibilityOf(Entry{"", "", step->expires_at_ms, 0}, found_.window.wall_ms_min,
                                        found_.window.wall_ms_max) != Visibility::kVisible;
      if (deleted_later || expired || OthersTouch(call, key)) continue;
    }
    return "a batch is there in part: revision " + std::to_string(revision) + " misses " + Describe(key) +
           model_.StoryOf(key);
  }
  return "";
}

// Empty when what was found is what the acknowledged writes up to `cut`, and some unanswered ones, leave.
std::string RecoveryCheck::WhyNot(Revision cut) const {
  for (const KeyId& key : keys_) {
    if (!space_there_[key.space] && history_.spaces[key.space].drop_invoked != kNever) continue;
    const Entry* entry = Find(key);
    const std::optional<Entry> expected = Expected(key, cut);
    const Model::Version* version = model_.StateAt(key, cut);
    if (version != nullptr && version->guessed) {
      const std::optional<Entry> earlier = Expected(key, version->revision - 1);
      if (entry == nullptr || entry->revision == version->revision || (earlier && *earlier == *entry)) continue;
    }
    Seen seen;
    if (entry != nullptr) seen = {true, entry->value, entry->metadata, entry->expires_at_ms, entry->revision};
    if (Matches(expected, seen, found_.window) || Explained(key)) continue;
    return Describe(key) + " should be " + Describe(expected) + " but is " + Describe(seen) + model_.StoryOf(key);
  }
  for (const WriteCall* call : model_.in_doubt()) {
    if (std::string why = WhyUnansweredTorn(*call, cut); !why.empty()) return why;
  }
  return "";
}

void RecoveryCheck::FindCut() {
  std::string why_floor = "the state before this life";
  const Revision floor = Floor(&why_floor);
  std::set<Revision> cuts{floor};
  for (const auto& [key, versions] : model_.versions()) {
    for (const Model::Version& version : versions) {
      if (version.revision > floor) cuts.insert(version.revision);
    }
  }
  std::string first_why;
  for (const Revision cut : cuts) {
    std::string why = WhyNot(cut);
    if (why.empty()) {
      cut_ = cut;
      return;
    }
    if (first_why.empty()) first_why = std::move(why);
  }
  for (size_t i = 0; i < history_.spaces.size(); ++i) {
    const Space& space = history_.spaces[i];
    first_why += "\n  namespace " + std::to_string(i) + " '" + space.name + "' id " + std::to_string(space.id) +
                 (space_there_[i] ? " is there" : " is not there") + ", created " +
                 std::to_string(space.create_invoked) + ".." + TickText(space.create_replied) + ", dropped " +
                 TickText(space.drop_invoked) + ".." + TickText(space.drop_replied);
  }
  throw Violation("what was recovered is no prefix of what was written. Everything up to revision " +
                  std::to_string(floor) + " must be there (" + why_floor + "); then " + first_why);
}

// A salvaged store may lack the newest version of a key and show an older one, even one that was deleted.
void RecoveryCheck::CheckNoLies() const {
  for (const auto& [space, entries] : found_.entries) {
    for (const auto& [key, entry] : entries) {
      if (ever_put_.contains(Remember(space, key, entry.value, entry.metadata))) continue;
      throw Violation("what is there was never written: " + space + " " + Describe(KeyId{0, key}) + " " +
                      Describe(entry));
    }
  }
}

Recovered RecoveryCheck::Result() const {
  Recovered result;
  result.base_revision = std::max(history_.base_revision, cut_);
  std::vector<size_t> places(history_.spaces.size(), SIZE_MAX);
  for (size_t i = 0; i < history_.spaces.size(); ++i) {
    if (!space_there_[i]) continue;
    places[i] = result.spaces.size();
    Space space;
    space.name = history_.spaces[i].name;
    if (i > 0)
      space.id = found_.spaces.at(space.name);
    else
      space.id = history_.spaces[0].id;
    result.spaces.push_back(std::move(space));
  }
  for (const auto& [key, entry] : entries_) {
    result.base[{places[key.space], key.key}] = entry;
    result.base_revision = std::max(result.base_revision, entry.revision);
  }
  if (promise_ != Promise::kNoLies) {
    // Entries that have expired, or may have, could still be there when the clock is set back.
    for (const auto& [key, versions] : model_.versions()) {
      const std::optional<Entry> expected = Expected(key, cut_);
      if (!expected || places[key.space] == SIZE_MAX || Find(key) != nullptr || Explained(key)) continue;
      result.base[{places[key.space], key.key}] = *expected;
    }
    result.lost_writes =
        static_cast<uint64_t>(std::count_if(model_.committed().begin(), model_.committed().end(),
                                            [this](const WriteCall* call) { return call->revision > cut_; }));
  }
  result.unanswered_found = static_cast<uint64_t>(std::count_if(
      model_.in_doubt().begin(), model_.in_doubt().end(), [this](const WriteCall* call) { return Applied(*call); }));
  return result;
}

}  // namespace

std::string Remember(const std::string& space_name, const std::string& key, const std::string& value,
                     const std::string& metadata) {
  return space_name + "/" + std::to_string(key.size()) + "/" + key + std::to_string(value.size()) + "/" + value +
         metadata;
}

Recovered CheckRecovered(const Model& model, const Found& found, Promise promise, const EverPut& ever_put) {
  return RecoveryCheck(model, found, promise, ever_put).Run();
}

}  // namespace firn::test
