// A store that meets failures of its machine, and what must hold of it meanwhile and afterwards.
//
// Every call goes through here and is judged by what firn/db.h says of its status:
//   OK                 it happened; what is read is what was written
//   ResourceExhausted  nothing happened
//   Unavailable        of the write that poisoned the store: whole or not at all, and the next open tells; writes that
//                      are begun later do not happen
// Where system calls fail, DataLoss (EIO) or Internal (an fsync's EINTR) may take the place of ResourceExhausted. Where
// what fails is harmless, every call succeeds and nothing poisons the store. Whatever else comes is a failure of the
// test, which ends the program and names the point that replays it.
#pragma once

#include <firn/db.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace firn::test {

// "scenario, point, mode": printed with a failure.
void SetLabel(std::string label);
[[noreturn]] void Fail(const std::string& what);
void Demand(bool holds, const std::string& what);

class Life {
 public:
  using Opener = std::function<absl::StatusOr<std::unique_ptr<DB>>(const Options& options)>;
  // What calls may give while the machine fails. None: it fails in ways that are harmless.
  struct Failures {
    std::vector<absl::StatusCode> of_all;
    std::vector<absl::StatusCode> of_reads;  // of these only, besides
  };
  Life(Opener opener, Failures failures);

  Options options;
  DB& db() { return *db_; }
  bool is_open() const { return db_ != nullptr; }
  // From here to EndFailures() calls may fail, unless that is harmless.
  void BeginFailures() { failing_ = may_be_poisoned_ = !failures_.of_all.empty(); }
  void EndFailures() { failing_ = false; }

  // False if it failed, as it may.
  bool Open();
  void Close();
  void Drop();

  void Put(std::string_view key, std::string_view value, Durability durability = Durability::kSynced,
           int64_t expires_at_ms = 0);
  void PutStream(std::string_view key, std::string_view value);
  void Delete(std::string_view key, Durability durability = Durability::kSynced);
  void SetExpiry(std::string_view key, int64_t expires_at_ms);
  using Changes = std::vector<std::pair<std::string, std::optional<std::string>>>;
  void Apply(const Changes& changes);
  // A namespace of its own: made, written to, dropped.
  void CreateNamespace(std::string_view name);
  void PutIn(std::string_view name, std::string_view key, std::string_view value);
  void DropNamespace(std::string_view name);

  void Get(std::string_view key);
  void GetStream(std::string_view key);
  void MultiGet();
  void Scan();
  // Puts over an asynchronous context, and reads everything over it, all in flight together.
  void InFlight(std::string_view key, std::string_view value);
  // Takes a view, changes the store by `meanwhile`, and reads what was there before, in every way.
  void WithSnapshot(const std::function<void()>& meanwhile);
  void Sync();
  void Flush();
  void Compact();
  void Verify();
  void LookAround();  // what tells statistics

  // Nothing fails any more. The store works, or is poisoned, and holds what it should.
  void CheckAlive();
  // Of the store that is opened next, by nobody's failure: it holds what was acknowledged, and is whole.
  enum class End { kClosed, kKilled, kPowerCut };
  void CheckReopened(End end);

 private:
  using Value = std::optional<std::string>;
  struct Key {
    Value now;                           // as acknowledged last
    std::vector<Value> after_power_cut;  // what there may be instead; none: nothing
  };
  enum class Presence { kThere, kGone, kUnsure };
  enum class Call { kRead, kWrite };
  enum class Outcome { kDone, kNotDone, kUnanswered };  // of a write; of what is unanswered the next open tells

  bool MayGive(const absl::Status& status, Call call) const;
  // Whether the call happened.
  bool Judge(const absl::Status& status, const std::string& what, Call call = Call::kRead);
  template <typename Change>
  Outcome Write(const std::string& what, const Change& change);
  template <typename Change>
  void WriteKeys(const Changes& changes, Durability durability, const std::string& what, const Change& change);
  void Settle();
  // What `key` may be now that the store was opened again.
  std::vector<Value> Possible(const std::string& key, End end, bool with_unanswered) const;
  void CheckUnansweredIsWhole(const std::map<std::string, Value>& found, End end);
  // Sure to exist, as far as calls were answered.
  bool HasNamespace(std::string_view name) const;
  void CheckNamespaces(const std::string& when);
  void CheckValue(const std::string& key, const absl::StatusOr<std::string>& result, const Value& expected,
                  const std::string& how);
  bool Poisoned();

  const Opener opener_;
  const Failures failures_;
  std::unique_ptr<DB> db_;
  bool failing_ = false, may_be_poisoned_ = false;
  std::map<std::string, Key, std::less<>> keys_;  // of the namespace NAME as "NAME/KEY"
  std::map<std::string, Value> unanswered_;       // the one write during which the store was poisoned
  std::map<std::string, Presence, std::less<>> namespaces_;
};

}  // namespace firn::test
