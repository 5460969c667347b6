// Calls that read: each shows what was written, in every way there is to read it.
#include "base/memory.h"
#include "nth/judged.h"
#include "nth/life.h"

namespace firn::test {

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
    CheckValue(key, value, state.now, "get at a snapshot");
  }
  const auto walked = Engine("scan at a snapshot", [&] { return Walk(*db_, snapshot.get(), false); });
  if (Judge(walked.status(), "scan at a snapshot")) {
    Demand(*walked == expected, "a scan at a snapshot shows something else");
  }
  Engine("letting go of a snapshot", [&] {
    snapshot.reset();
    return 0;
  });
}

}  // namespace firn::test
