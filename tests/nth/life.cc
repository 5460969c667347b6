// Calls that open, change and close the store, and what must be there afterwards. Those that read: life_reads.cc.
#include "nth/life.h"

#include <firn/async.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/memory.h"
#include "db/open.h"
#include "nth/judged.h"
#include "support/uncounted.h"

namespace firn::test {
namespace {

std::string label;

}  // namespace

void SetLabel(std::string text) { label = std::move(text); }

void Fail(const std::string& what) {
  const Uncounted uncounted;
  std::fprintf(stderr, "FAILED: %s: %s\n", label.c_str(), what.c_str());
  std::abort();
}

void Demand(bool holds, const std::string& what) {
  if (!holds) Fail(what);
}

Life::Life(Opener opener, Failures failures) : opener_(std::move(opener)), failures_(std::move(failures)) {}

bool Life::Poisoned() { return db_->GetStats().poisoned; }

bool Life::MayGive(const absl::Status& status, Call call) const {
  const auto has = [&](const std::vector<absl::StatusCode>& codes) {
    return std::count(codes.begin(), codes.end(), status.code()) != 0;
  };
  return failing_ && (has(failures_.of_all) || (call == Call::kRead && has(failures_.of_reads)));
}

bool Life::Judge(const absl::Status& status, const std::string& what, Call call) {
  if (status.ok()) return true;
  const bool is_refusal = absl::IsUnavailable(status) && may_be_poisoned_ && Poisoned();
  Demand(is_refusal || MayGive(status, call), what + ": " + std::string(status.ToString()));
  return false;
}

template <typename Change>
Life::Outcome Life::Write(const std::string& what, const Change& change) {
  const bool was_poisoned = Poisoned();
  const absl::Status status = Engine(what, change);
  if (Judge(status, what, Call::kWrite)) return Outcome::kDone;
  // What is begun in a poisoned store gets no place in the log any more.
  return absl::IsUnavailable(status) && !was_poisoned ? Outcome::kUnanswered : Outcome::kNotDone;
}

void Life::Settle() {
  for (auto& [key, state] : keys_) state.after_power_cut.clear();
}

template <typename Change>
void Life::WriteKeys(const Changes& changes, Durability durability, const std::string& what, const Change& change) {
  const Outcome outcome = Write(what, change);
  for (const auto& [key, value] : changes) {
    Key& state = keys_[key];
    if (outcome == Outcome::kUnanswered) unanswered_[key] = value;
    if (outcome != Outcome::kDone) continue;
    state.after_power_cut.push_back(std::exchange(state.now, value));
  }
  if (outcome == Outcome::kDone && durability == Durability::kSynced) Settle();
}

bool Life::Open() {
  auto opened = Engine("open", [&] { return opener_(options); });
  if (!opened.ok()) {
    // Unavailable: a write of its own failed.
    const bool may_fail = MayGive(opened.status(), Call::kRead) || (failing_ && absl::IsUnavailable(opened.status()));
    Demand(may_fail, "open: " + std::string(opened.status().ToString()));
    return false;
  }
  db_ = *std::move(opened);
  return true;
}

void Life::Close() {
  if (db_ == nullptr) return;
  if (Judge(Engine("close", [&] { return db_->Close(); }), "close")) Settle();
  Drop();
}

void Life::Drop() {
  Engine("the destructor", [&] {
    db_.reset();
    return 0;
  });
}

void Life::Put(std::string_view key, std::string_view value, Durability durability, int64_t expires_at_ms) {
  if (db_ == nullptr) return;
  PutOptions put;
  put.durability = durability;
  put.expires_at_ms = expires_at_ms;
  WriteKeys({{std::string(key), std::string(value)}}, durability, "put " + std::string(key),
            [&] { return db_->Put(key, value, put).status(); });
}

void Life::PutStream(std::string_view key, std::string_view value) {
  if (db_ == nullptr) return;
  WriteKeys({{std::string(key), std::string(value)}}, Durability::kSynced, "put stream " + std::string(key), [&] {
    size_t at = 0;
    const ValueSource source = [&]() -> absl::StatusOr<std::string_view> {
      const std::string_view piece = value.substr(at, 300'000);
      at += piece.size();
      return piece;
    };
    return db_->PutStream(key, source).status();
  });
}

void Life::Delete(std::string_view key, Durability durability) {
  if (db_ == nullptr) return;
  WriteKeys({{std::string(key), std::nullopt}}, durability, "delete " + std::string(key),
            [&] { return db_->Delete(key, WriteOptions{.durability = durability}).status(); });
}

void Life::SetExpiry(std::string_view key, int64_t expires_at_ms) {
  if (db_ == nullptr || !keys_[std::string(key)].now) return;
  WriteKeys({{std::string(key), keys_[std::string(key)].now}}, Durability::kSynced, "set expiry " + std::string(key),
            [&] { return db_->SetExpiry(key, expires_at_ms).status(); });
}

void Life::Apply(const Changes& changes) {
  if (db_ == nullptr) return;
  WriteKeys(changes, Durability::kSynced, "batch", [&] {
    Batch batch;
    for (const auto& [key, value] : changes) {
      if (value) {
        batch.Put(key, *value);
      } else {
        batch.Delete(key);
      }
    }
    return db_->Apply(batch).status();
  });
}

void Life::CreateNamespace(std::string_view name) {
  if (db_ == nullptr) return;
  Presence& presence = namespaces_[std::string(name)];
  switch (Write("create namespace", [&] { return db_->CreateNamespace(name).status(); })) {
    case Outcome::kDone:
      presence = Presence::kThere;
      Settle();
      break;
    case Outcome::kNotDone:
      presence = Presence::kGone;
      break;
    case Outcome::kUnanswered:
      presence = Presence::kUnsure;
      break;
  }
}

bool Life::HasNamespace(std::string_view name) const {
  const auto found = namespaces_.find(name);
  return found != namespaces_.end() && found->second == Presence::kThere;
}

void Life::PutIn(std::string_view name, std::string_view key, std::string_view value) {
  if (db_ == nullptr || !HasNamespace(name)) return;
  auto space = Engine("open namespace", [&] { return db_->OpenNamespace(name); });
  if (!Judge(space.status(), "open namespace")) return;
  WriteKeys({{std::string(name) + "/" + std::string(key), std::string(value)}}, Durability::kSynced, "put in namespace",
            [&] { return space->Put(key, value).status(); });
}

void Life::DropNamespace(std::string_view name) {
  if (db_ == nullptr || !HasNamespace(name)) return;
  Presence& presence = namespaces_.find(name)->second;
  switch (Write("drop namespace", [&] { return db_->DropNamespace(name); })) {
    case Outcome::kDone:
      presence = Presence::kGone;
      std::erase_if(keys_, [&](const auto& key) { return key.first.starts_with(std::string(name) + "/"); });
      Settle();
      break;
    case Outcome::kNotDone:
      break;
    case Outcome::kUnanswered:  // with its keys if it is there
      presence = Presence::kUnsure;
      break;
  }
}

void Life::CheckNamespaces(const std::string& when) {
  for (const auto& [name, presence] : namespaces_) {
    const absl::Status found = db_->OpenNamespace(name).status();
    const std::string what = when + "namespace " + name + ": " + std::string(found.ToString());
    Demand(found.ok() ? presence != Presence::kGone : absl::IsNotFound(found) && presence != Presence::kThere, what);
  }
}

void Life::InFlight(std::string_view key, std::string_view value) {
  if (db_ == nullptr) return;
  auto context = Engine("make a context", [&] { return AsyncContext::Create(*db_); });
  if (!Judge(context.status(), "make a context")) return;
  const auto wait = [&] {
    Engine("wait", [&] {
      while ((*context)->in_flight() > 0) (*context)->Wait();
      return 0;
    });
  };
  WriteKeys({{std::string(key), std::string(value)}}, Durability::kSynced, "put in flight " + std::string(key), [&] {
    std::optional<absl::Status> answer;
    const auto done = [&answer](const AsyncRevision& revision) { answer = revision.status(); };
    const auto id = (*context)->Put(key, value, done);
    if (!id.ok()) return id.status();
    while (!answer) (*context)->Wait();
    return *answer;
  });
  std::map<std::string, absl::StatusOr<std::string>> values;
  for (const auto& [name, state] : keys_) {
    if (name.find('/') == name.npos) values.emplace(name, absl::UnknownError("not answered"));
  }
  for (auto& [name, place] : values) {
    const auto done = [&value = place](AsyncValue answer) { value = std::move(answer); };
    const auto id = Engine("get in flight", [&, &name = name] { return (*context)->Get(name, done); });
    if (!id.ok()) place = id.status();
  }
  wait();
  for (const auto& [name, found] : values) CheckValue(name, found, keys_.find(name)->second.now, "get in flight");
  const auto iterator = Engine("make an iterator", [&] { return (*context)->NewIterator(); });
  Demand(iterator != nullptr || failing_, "no iterator");
  for (bool more = iterator != nullptr; more;) {
    more = false;
    const auto done = [&](const AsyncStep& step) {
      const Uncounted uncounted;
      more = step.ok() && *step;
      if (more) CheckValue((*step)->key, (*step)->value, keys_.find((*step)->key)->second.now, "step in flight");
      if (!step.ok()) Judge(step.status(), "step in flight");
    };
    const auto id = Engine("step in flight", [&] { return iterator->Next(done); });
    Judge(id.status(), "step in flight");
    wait();
  }
  Engine("destroy a context", [&] {
    context->reset();
    return 0;
  });
}

void Life::Sync() {
  if (db_ == nullptr) return;
  if (Judge(Engine("sync", [&] { return db_->Sync(); }), "sync")) Settle();
}

void Life::Flush() {
  if (db_ == nullptr) return;
  if (Judge(Engine("flush", [&] { return db_->Flush(); }), "flush")) Settle();
}

void Life::Compact() {
  if (db_ == nullptr) return;
  Judge(Engine("compact", [&] { return db_->Compact(); }), "compact");
}

void Life::Verify() {
  if (db_ == nullptr) return;
  for (const bool scrub : {false, true}) {
    const std::string what = scrub ? "scrub" : "verify";
    const auto report = Engine(what, [&] { return scrub ? db_->Scrub() : db_->Verify(); });
    if (!Judge(report.status(), what) || failing_) continue;
    Demand(report->damages.empty(), what + ": " + (report->damages.empty() ? "" : report->damages.front().ToString()));
  }
}

void Life::LookAround() {
  if (db_ == nullptr) return;
  Engine("statistics", [&] { return db_->GetStats(); });
  Engine("a report", [&] { return db_->GcReport(); });
  Engine("a list", [&] { return db_->ListNamespaces(); });
}

void Life::CheckAlive() {
  if (db_ == nullptr) return;
  const bool poisoned = Poisoned();
  Demand(!poisoned || may_be_poisoned_, "the store is poisoned, and nothing has failed");
  for (const auto& [key, state] : keys_) {
    if (key.find('/') == key.npos) Get(key);
  }
  MultiGet();
  Scan();
  CheckNamespaces("");
  const std::string wrong = poisoned ? "" : CheckReferences(*db_);
  Demand(wrong.empty(), "references: " + wrong);
  Verify();
  const absl::Status written = db_->Put("after all", "it works").status();
  // A flush that failed in the background while failures were made may poison the store only now.
  Demand(written.ok() ? !poisoned : absl::IsUnavailable(written) && may_be_poisoned_ && Poisoned(),
         "a write afterwards: " + std::string(written.ToString()));
  if (!written.ok()) return;
  Demand(db_->Delete("after all").ok(), "a delete afterwards");
  Settle();
}

std::vector<Life::Value> Life::Possible(const std::string& key, End end, bool with_unanswered) const {
  const Key& state = keys_.find(key)->second;
  std::vector<Value> values;
  if (end == End::kPowerCut) values = state.after_power_cut;
  values.push_back(state.now);
  const auto unanswered = unanswered_.find(key);
  if (with_unanswered && unanswered != unanswered_.end()) values.push_back(unanswered->second);
  return values;
}

void Life::CheckUnansweredIsWhole(const std::map<std::string, Value>& found, End end) {
  bool shows = false, lacks = false;
  for (const auto& [key, value] : unanswered_) {
    // A key that may have this value anyway does not tell where it came from.
    const std::vector<Value> otherwise = Possible(key, end, false);
    const bool has_value = found.at(key) == value;
    lacks = lacks || !has_value;
    shows = shows || (has_value && std::count(otherwise.begin(), otherwise.end(), value) == 0);
  }
  Demand(!shows || !lacks, "reopened: a batch is there in part");
}

void Life::CheckReopened(End end) {
  may_be_poisoned_ = false;
  Demand(Open(), "open afterwards");
  CheckNamespaces("reopened: ");
  std::map<std::string, Value> found;
  for (auto& [key, state] : keys_) {
    const size_t slash = key.find('/');
    absl::StatusOr<std::string> value = absl::NotFoundError("");
    if (slash == key.npos) {
      value = db_->Get(key);
    } else {
      auto space = db_->OpenNamespace(key.substr(0, slash));
      if (!space.ok()) continue;  // dropped by a call that was not answered
      value = space->Get(key.substr(slash + 1));
    }
    Demand(value.ok() || absl::IsNotFound(value.status()),
           "get " + key + ": " + std::string(value.status().ToString()));
    const Value shown = value.ok() ? Value(*value) : std::nullopt;
    const std::vector<Value> allowed = Possible(key, end, true);
    Demand(std::count(allowed.begin(), allowed.end(), shown) != 0,
           "reopened: " + key + " is " + Short(shown) + ", acknowledged was " + Short(state.now));
    found[key] = shown;
  }
  CheckUnansweredIsWhole(found, end);
  failing_ = false;
  Verify();
  const std::string wrong = CheckReferences(*db_);
  Demand(wrong.empty(), "reopened, references: " + wrong);
  Demand(UnexplainedValueBytes(*db_) == 0, "reopened: bytes of value files are unexplained");
  const absl::Status written = db_->Put("after all", "it works").status();
  Demand(written.ok(), "reopened, a write: " + std::string(written.ToString()));
  const absl::Status closed = db_->Close();
  Demand(closed.ok(), "reopened, close: " + std::string(closed.ToString()));
  Drop();
}

}  // namespace firn::test
