#include "nth/life.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/memory.h"
#include "db/open.h"
#include "support/uncounted.h"

namespace firn::test {
namespace {

std::string label;

std::string Short(const std::optional<std::string>& value) {
  if (!value) return "absent";
  return "\"" + value->substr(0, 20) + "\" (" + std::to_string(value->size()) + " bytes)";
}

// Runs a call of the engine's, whose allocations count, and demands that it does not throw.
template <typename Call>
auto Engine(const std::string& what, const Call& call) {
  try {
    const Counted counted;
    return call();
  } catch (const std::exception& e) {
    const Uncounted uncounted;
    Fail(what + " threw " + e.what());
  }
}

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

Life::Life(Opener opener, std::vector<absl::StatusCode> failures)
    : opener_(std::move(opener)), failures_(std::move(failures)) {}

bool Life::Poisoned() { return db_->GetStats().poisoned; }

bool Life::Judge(const absl::Status& status, const std::string& what) {
  if (status.ok()) return true;
  if (absl::IsUnavailable(status) && db_ != nullptr && Poisoned()) return false;
  const bool may_fail = failing_ && std::count(failures_.begin(), failures_.end(), status.code()) != 0;
  Demand(may_fail, what + ": " + std::string(status.ToString()));
  return false;
}

void Life::Settle() {
  for (auto& [key, state] : keys_) {
    state.after_power_cut = state.maybe;
    state.after_power_cut.push_back(state.now);
  }
}

void Life::Acknowledge(std::string_view key, Value value, bool durable) {
  Key& state = keys_[std::string(key)];
  if (state.after_power_cut.empty()) state.after_power_cut.push_back(state.now);
  state.now = std::move(value);
  state.after_power_cut.push_back(state.now);
  if (durable) Settle();
}

void Life::NoteWrite(const Changes& changes, const absl::Status& status, Durability durability,
                     const std::string& what) {
  if (Judge(status, what)) {
    for (const auto& [key, value] : changes) Acknowledge(key, value, false);
    if (durability == Durability::kSynced) Settle();
    return;
  }
  if (!absl::IsUnavailable(status)) return;  // nothing happened
  Group group{.changes = changes};
  for (const auto& [key, value] : changes) {
    Key& state = keys_[key];
    if (state.after_power_cut.empty()) state.after_power_cut.push_back(state.now);
    group.before[key] = state.now;
    state.maybe.push_back(value);
    state.after_power_cut.push_back(value);
  }
  groups_.push_back(std::move(group));
}

bool Life::Open() {
  auto opened = Engine("open", [&] { return opener_(options); });
  if (!opened.ok()) {
    // Unavailable: a write of its own failed.
    const bool may_fail = std::count(failures_.begin(), failures_.end(), opened.status().code()) != 0 ||
                          (!failures_.empty() && absl::IsUnavailable(opened.status()));
    Demand(failing_ && may_fail, "open: " + std::string(opened.status().ToString()));
    return false;
  }
  db_ = *std::move(opened);
  return true;
}

void Life::Close() {
  if (db_ == nullptr) return;
  const absl::Status status = Engine("close", [&] { return db_->Close(); });
  if (status.ok()) Settle();
  Demand(status.ok() || absl::IsUnavailable(status) ||
             (failing_ && std::count(failures_.begin(), failures_.end(), status.code()) != 0),
         "close: " + std::string(status.ToString()));
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
  const absl::Status status = Engine("put", [&] { return db_->Put(key, value, put).status(); });
  NoteWrite({{std::string(key), std::string(value)}}, status, durability, "put " + std::string(key));
}

void Life::PutStream(std::string_view key, std::string_view value) {
  if (db_ == nullptr) return;
  const absl::Status status = Engine("put stream", [&] {
    size_t at = 0;
    const ValueSource source = [&]() -> absl::StatusOr<std::string_view> {
      const std::string_view piece = value.substr(at, 300'000);
      at += piece.size();
      return piece;
    };
    return db_->PutStream(key, source).status();
  });
  NoteWrite({{std::string(key), std::string(value)}}, status, Durability::kSynced, "put stream " + std::string(key));
}

void Life::Delete(std::string_view key, Durability durability) {
  if (db_ == nullptr) return;
  const absl::Status status =
      Engine("delete", [&] { return db_->Delete(key, WriteOptions{.durability = durability}).status(); });
  NoteWrite({{std::string(key), std::nullopt}}, status, durability, "delete " + std::string(key));
}

void Life::SetExpiry(std::string_view key, int64_t expires_at_ms) {
  if (db_ == nullptr || !keys_[std::string(key)].now) return;
  const absl::Status status = Engine("set expiry", [&] { return db_->SetExpiry(key, expires_at_ms).status(); });
  if (absl::IsNotFound(status) && Poisoned()) return;
  NoteWrite({{std::string(key), keys_[std::string(key)].now}}, status, Durability::kSynced,
            "set expiry " + std::string(key));
}

void Life::Apply(const Changes& changes) {
  if (db_ == nullptr) return;
  const absl::Status status = Engine("batch", [&] {
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
  NoteWrite(changes, status, Durability::kSynced, "batch");
}

void Life::CreateNamespace(std::string_view name) {
  if (db_ == nullptr) return;
  const auto space = Engine("create namespace", [&] { return db_->CreateNamespace(name); });
  if (Judge(space.status(), "create namespace")) {
    namespaces_[std::string(name)] = true;
    Settle();
  } else if (absl::IsUnavailable(space.status())) {
    unsure_namespaces_[std::string(name)] = true;
  }
}

void Life::PutIn(std::string_view name, std::string_view key, std::string_view value) {
  if (db_ == nullptr || !namespaces_.contains(name)) return;
  auto space = Engine("open namespace", [&] { return db_->OpenNamespace(name); });
  if (!Judge(space.status(), "open namespace")) return;
  const absl::Status status = Engine("put in namespace", [&] { return space->Put(key, value).status(); });
  NoteWrite({{std::string(name) + "/" + std::string(key), std::string(value)}}, status, Durability::kSynced,
            "put in namespace");
}

void Life::DropNamespace(std::string_view name) {
  if (db_ == nullptr || !namespaces_.contains(name)) return;
  const absl::Status status = Engine("drop namespace", [&] { return db_->DropNamespace(name); });
  const bool dropped = Judge(status, "drop namespace");
  if (!dropped && !absl::IsUnavailable(status)) return;
  if (!dropped) unsure_namespaces_[std::string(name)] = true;
  namespaces_.erase(std::string(name));
  std::erase_if(keys_, [&](const auto& key) { return key.first.starts_with(std::string(name) + "/"); });
  if (dropped) Settle();
}

void Life::CheckValue(const std::string& key, const absl::StatusOr<std::string>& result, const Value& expected,
                      const std::string& how) {
  const std::string what = how + " " + key;
  if (result.ok()) {
    Demand(expected && *result == *expected, what + " is " + Short(*result) + ", not " + Short(expected));
  } else if (absl::IsNotFound(result.status())) {
    Demand(!expected, what + " is absent, not " + Short(expected));
  } else {
    Judge(result.status(), what);
  }
}

void Life::Get(std::string_view key) {
  if (db_ == nullptr) return;
  CheckValue(std::string(key), Engine("get", [&] { return db_->Get(key); }), keys_[std::string(key)].now, "get");
  CheckValue(std::string(key), Engine("get range", [&] { return db_->GetRange(key, 0, uint64_t{1} << 30); }),
             keys_[std::string(key)].now, "get range");
  const auto exists = Engine("exists", [&] { return db_->Exists(key); });
  if (Judge(exists.status(), "exists")) {
    Demand(*exists == keys_[std::string(key)].now.has_value(), "exists " + std::string(key));
  }
}

void Life::GetStream(std::string_view key) {
  if (db_ == nullptr) return;
  std::string whole;
  const absl::Status status = Engine("get stream", [&] {
    return db_->GetStream(key, [&](std::string_view piece) {
      const Uncounted uncounted;
      whole += piece;
      return absl::OkStatus();
    });
  });
  if (status.ok()) {
    CheckValue(std::string(key), whole, keys_[std::string(key)].now, "get stream");
  } else {
    CheckValue(std::string(key), status, keys_[std::string(key)].now, "get stream");
  }
}

void Life::MultiGet() {
  if (db_ == nullptr) return;
  std::vector<std::string_view> names;
  for (const auto& [key, state] : keys_) {
    if (key.find('/') == key.npos) names.push_back(key);
  }
  const auto results = Engine("multi-get", [&] { return db_->MultiGet(names); });
  if (results.empty()) {
    Demand(failing_ || names.empty(), "a multi-get without results");
    return;
  }
  Demand(results.size() == names.size(), "a multi-get of another size");
  for (size_t i = 0; i < names.size(); ++i) {
    CheckValue(std::string(names[i]), results[i], keys_.find(names[i])->second.now, "multi-get");
  }
}

namespace {

using Contents = std::map<std::string, std::string>;

// What a walk shows, if it comes to its end.
absl::StatusOr<Contents> Walk(DB& db, const Snapshot* snapshot, bool backward) {
  const std::unique_ptr<Iterator> iterator = db.NewIterator({.snapshot = snapshot});
  if (iterator == nullptr) return base::OutOfMemory();
  Contents contents;
  if (backward) {
    iterator->SeekToLast();
  } else {
    iterator->SeekToFirst();
  }
  while (iterator->Valid()) {
    const std::string_view key = iterator->key(), value = iterator->value();
    if (!iterator->status().ok()) return iterator->status();
    {
      const Uncounted uncounted;
      contents.emplace(key, value);
    }
    if (backward) {
      iterator->Prev();
    } else {
      iterator->Next();
    }
  }
  if (!iterator->status().ok()) return iterator->status();
  return contents;
}

}  // namespace

void Life::Scan() {
  if (db_ == nullptr) return;
  Contents expected;
  for (const auto& [key, state] : keys_) {
    if (state.now && key.find('/') == key.npos) expected.emplace(key, *state.now);
  }
  for (const bool backward : {false, true}) {
    const auto walked = Engine("scan", [&] { return Walk(*db_, nullptr, backward); });
    if (!Judge(walked.status(), "scan")) continue;
    Demand(*walked == expected, "a scan shows something else");
  }
}

void Life::WithSnapshot(const std::function<void()>& meanwhile) {
  if (db_ == nullptr) return;
  std::shared_ptr<const Snapshot> snapshot = Engine("snapshot", [&] { return db_->GetSnapshot(); });
  const auto before = keys_;
  Contents expected;
  for (const auto& [key, state] : before) {
    if (state.now && key.find('/') == key.npos) expected.emplace(key, *state.now);
  }
  meanwhile();
  if (snapshot == nullptr) {
    Demand(failing_, "no snapshot");
    return;
  }
  const ReadOptions at{.snapshot = snapshot.get()};
  for (const auto& [key, state] : before) {
    if (key.find('/') != key.npos) continue;
    const auto value = Engine("get at a snapshot", [&] { return db_->Get(key, at); });
    // Memory may have run out for what the snapshot needs: then it says so for ever.
    if (absl::IsResourceExhausted(value.status())) continue;
    CheckValue(key, value, state.now, "get at a snapshot");
  }
  const auto walked = Engine("scan at a snapshot", [&] { return Walk(*db_, snapshot.get(), false); });
  if (walked.ok()) {
    Demand(*walked == expected, "a scan at a snapshot shows something else");
  } else if (!absl::IsResourceExhausted(walked.status())) {
    Judge(walked.status(), "scan at a snapshot");
  }
  Engine("letting go of a snapshot", [&] {
    snapshot.reset();
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
  for (const auto& [key, state] : keys_) {
    if (key.find('/') == key.npos) Get(key);
  }
  MultiGet();
  Scan();
  const std::string wrong = poisoned ? "" : CheckReferences(*db_);
  Demand(wrong.empty(), "references: " + wrong);
  Verify();
  const absl::Status written = db_->Put("after all", "it works").status();
  // A flush that failed in the background while failures were made may poison the store only now.
  Demand(written.ok() ? !poisoned : absl::IsUnavailable(written) && Poisoned(),
         "a write afterwards: " + std::string(written.ToString()));
  if (!written.ok()) return;
  Demand(db_->Delete("after all").ok(), "a delete afterwards");
  Settle();
}

void Life::CheckReopened(End end) {
  Demand(Open(), "open afterwards");
  for (const auto& [name, sure] : namespaces_) Demand(db_->OpenNamespace(name).ok(), "namespace " + name + " is gone");
  std::map<std::string, Value> found;
  for (auto& [key, state] : keys_) {
    const size_t slash = key.find('/');
    absl::StatusOr<std::string> value = absl::NotFoundError("");
    if (slash == key.npos) {
      value = db_->Get(key);
    } else {
      auto space = db_->OpenNamespace(key.substr(0, slash));
      Demand(space.ok(), "namespace of " + key);
      value = space->Get(key.substr(slash + 1));
    }
    Demand(value.ok() || absl::IsNotFound(value.status()),
           "get " + key + ": " + std::string(value.status().ToString()));
    const Value shown = value.ok() ? Value(*value) : std::nullopt;
    std::vector<Value> allowed = state.maybe;
    allowed.push_back(state.now);
    if (end == End::kPowerCut && !state.after_power_cut.empty()) allowed = state.after_power_cut;
    Demand(std::count(allowed.begin(), allowed.end(), shown) != 0,
           "reopened: " + key + " is " + Short(shown) + ", acknowledged was " + Short(state.now));
    found[key] = shown;
  }
  for (const Group& group : groups_) {
    size_t there = 0;
    for (const auto& [key, value] : group.changes) there += found[key] == value ? 1 : 0;
    size_t same = 0;
    for (const auto& [key, value] : group.changes) same += group.before.at(key) == value ? 1 : 0;
    Demand(there == group.changes.size() || there == same || group.changes.size() == 1 || groups_.size() > 1,
           "reopened: a batch is there in part");
  }
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
