// What the clients of a store asked for and what they were told, in one life of the store: from an open to a crash or
// close. Plain records; model.h judges them.
#pragma once

#include <firn/db.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace firn::test {

// Logical time: every invocation, reply and observation gets the next number.
using Tick = uint64_t;
inline constexpr Tick kNever = UINT64_MAX;

// When a call was under way, and how far the wall clock may have been for it: expiry is judged by that. An engine may
// remember the latest time it ever saw, so `wall_ms_max` is the latest of all times so far.
struct Window {
  Tick invoked = 0;
  Tick replied = kNever;
  int64_t wall_ms_min = 0, wall_ms_max = 0;
};

struct Entry {
  std::string value;
  std::string metadata;
  int64_t expires_at_ms = 0;
  Revision revision = 0;

  bool operator==(const Entry&) const = default;
};

// One incarnation of a namespace; a name that is dropped and created again is another space. Space 0 is the default
// one.
struct Space {
  std::string name;
  uint32_t id = 0;
  Tick create_invoked = 0, create_replied = 0;
  Tick drop_invoked = kNever, drop_replied = kNever;  // replied stays kNever when it failed: in doubt
};

struct KeyId {
  size_t space = 0;
  std::string key;

  auto operator<=>(const KeyId&) const = default;
};

struct WriteStep {
  enum class Kind { kPut, kDelete, kSetExpiry };
  Kind kind = Kind::kPut;
  KeyId key;
  Condition condition;
  std::string value, metadata;
  int64_t expires_at_ms = 0;
};

struct WriteCall : Window {
  enum class Outcome {
    kInDoubt,
    kDone,
    kRefused,  // a condition did not hold
    kNoRoom,   // ResourceExhausted: nothing was written
  };
  std::vector<WriteStep> steps;
  bool batch = false;
  bool synced = false;
  Outcome outcome = Outcome::kInDoubt;
  absl::StatusCode code = absl::StatusCode::kUnknown;
  Revision revision = 0;
  Revision newest_before = 0;  // the newest that any answer had told when the call was made
  uint64_t replied_nanos = 0;
};

// What a read said of one key. Fields that the call does not report are empty.
struct Seen {
  bool present = false;
  std::optional<std::string> value;
  std::optional<std::string> metadata;
  std::optional<int64_t> expires_at_ms;
  std::optional<Revision> revision;
};

// One or several keys at one moment, or at a snapshot's revision.
struct ReadCall : Window {
  std::vector<KeyId> keys;
  std::vector<Seen> seen;
  std::optional<Revision> snapshot;
  bool durable = false;     // read_durable was asked for
  bool space_gone = false;  // the answer may also mean that the namespace does not exist
};

struct ScanStep {
  enum class Kind { kSeekToFirst, kSeekToLast, kSeek, kSeekForPrev, kNext, kPrev };
  Kind kind = Kind::kSeekToFirst;
  std::string target;
  // What it stood on afterwards, unless it was at the end.
  bool valid = false;
  std::string key;
  Seen seen;
};

struct ScanCall : Window {  // the window is that of the creation
  size_t space = 0;
  std::string lower, upper;  // effective bounds; no upper bound when empty
  std::optional<Revision> snapshot;
  std::vector<ScanStep> steps;
  Tick ended = 0;
  int64_t ended_wall_ms_max = 0;
};

struct SnapshotCall : Window {
  Revision revision = 0;
};

// What makes everything up to a revision durable: Sync, Flush, DurableRevision, a durable read.
struct DurableFact {
  Revision revision = 0;
  std::string why;
};

struct History {
  // Where this life began.
  std::map<KeyId, Entry> base;
  Revision base_revision = 0;

  std::vector<Space> spaces;
  // Deques: a call's place does not move while other clients add theirs.
  std::deque<WriteCall> writes;
  std::deque<ReadCall> reads;
  std::deque<ScanCall> scans;
  std::deque<SnapshotCall> snapshots;
  std::vector<DurableFact> durable;
};

}  // namespace firn::test
