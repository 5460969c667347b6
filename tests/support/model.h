// Judges a history by the contract of firn/db.h. The truth is the writes that were acknowledged, replayed in revision
// order; calls that got no clear answer may have happened or not.
//
//   Model model(history);          // throws Violation when the writes contradict each other
//   model.CheckReads();
//   model.CheckRecovered(found, floor, ...);   // recovery.h
#pragma once

#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/history.h"

namespace firn::test {

// The store broke its contract; the text says how.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Visibility { kVisible, kHidden, kEither };

Visibility VisibilityOf(const Entry& entry, int64_t wall_ms_min, int64_t wall_ms_max);
// For messages: unprintable bytes escaped, long texts cut.
std::string Shorten(const std::string& text);
std::string When(const Window& window);
std::string Describe(const KeyId& key);
std::string Describe(const std::optional<Entry>& entry);
std::string Describe(const Seen& seen);
std::string Describe(const WriteCall& call);

class Model {
 public:
  // One state of a key. The first is what the life began with.
  struct Version {
    Revision revision = 0;
    std::optional<Entry> entry;  // empty: absent
    Tick invoked = 0;
    Tick effective = 0;    // by then it had happened
    bool guessed = false;  // an unanswered call may have changed what this one builds on
  };

  explicit Model(const History& history);

  void CheckReads();

  const History& history() const { return history_; }
  // Acknowledged writes that changed something, by revision.
  const std::vector<const WriteCall*>& committed() const { return committed_; }
  const std::vector<const WriteCall*>& in_doubt() const { return in_doubt_; }
  const std::map<KeyId, std::vector<Version>>& versions() const { return versions_; }
  // Null when the key never existed up to `revision`.
  const Version* StateAt(const KeyId& key, Revision revision) const;
  // For messages: all that happened to a key.
  std::string StoryOf(const KeyId& key) const;
  // Everything acknowledged up to here must survive a power cut.
  Revision DurableFloor(std::string* why) const;

 private:
  void Replay(const WriteCall& call);
  void ReplayDeletes(std::span<const WriteCall* const> calls);
  std::string WhyNotNothing(const WriteCall& call, const WriteCall* writer);
  std::string WhyNotWritten(const WriteCall& call);
  void ReplayStep(const WriteCall& call, const WriteStep& step, const std::optional<Entry>& before, bool unsure);
  void CheckCondition(const WriteCall& call, const WriteStep& step, const std::optional<Entry>& before) const;
  void CheckRevisionsFollowTime() const;
  void CheckRefused(const WriteCall& call) const;
  void CheckPoint(const ReadCall& read);
  void CheckOneRevision(const ReadCall& read) const;
  void CheckSnapshot(const SnapshotCall& call) const;
  void CheckScan(const ScanCall& scan) const;
  std::string WhyScanDiffers(const ScanCall& scan, Revision revision) const;

  std::vector<Version>& VersionsOf(const KeyId& key);
  // Versions that were current at some moment of the window.
  std::vector<const Version*> CurrentIn(const KeyId& key, const Window& window) const;
  // Revisions at which a consistent view taken in the window may stand.
  std::vector<Revision> RevisionsIn(const Window& window) const;
  // An unanswered call may have changed the key before `tick`.
  bool Unsure(const KeyId& key, Tick tick) const;
  // The newest version builds on a state that is not known.
  bool BuildsOnGuess(const KeyId& key) const;
  bool EverWritten(const KeyId& key, const Seen& seen) const;
  bool MayBeDropped(size_t space, Tick tick) const { return history_.spaces[space].drop_invoked < tick; }

  const History& history_;
  std::vector<const WriteCall*> committed_, in_doubt_, refused_;
  std::vector<const WriteCall*> guesses_;  // acknowledged deletes of which an unanswered call decides if they wrote
  std::map<KeyId, std::vector<Version>> versions_;
  std::map<KeyId, Tick> unsure_since_;
  std::vector<std::pair<Tick, Revision>> newest_by_reply_;  // reply -> highest revision acknowledged by then
};

bool Matches(const std::optional<Entry>& entry, const Seen& seen, const Window& window);

}  // namespace firn::test
