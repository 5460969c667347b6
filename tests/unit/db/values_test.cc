// Separated values as a user sees them: the same operations, whatever the size.
#include <map>

#include "unit/db/separated.h"

namespace firn::testing {
namespace {

TEST_CASE("values of every size around the threshold and the block come back, now, after a reopen and after a crash") {
  SimStore store(Separating(), kSegmentBytes);
  const size_t sizes[] = {0, 1, 4'095, 4'096, 4'097, 8'191, 8'192, 65'535, 65'536, 65'537, 1'000'000, 3'000'000};
  const auto content = [](size_t size) { return ValueOf(size, size).substr(0, size); };
  const auto check = [&] {
    for (const size_t size : sizes) {
      std::string value;
      ValueInfo info;
      REQUIRE(store->GetInto("k" + std::to_string(size), &value, &info).ok());
      REQUIRE(value == content(size));
      REQUIRE(info.metadata == "m" + std::to_string(size));
      REQUIRE(info.value_bytes == value.size());
    }
  };
  for (const size_t size : sizes) {
    PutOptions options;
    const std::string metadata = "m" + std::to_string(size);
    options.metadata = metadata;
    Must(store->Put("k" + std::to_string(size), content(size), options));
  }
  CHECK(store->GetStats().value_extents >= 7);
  check();
  store.Reopen();
  check();
  CHECK(Must(store->Verify()).damages.empty());
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  check();
  store.CrashAndReopen({CrashKind::kKill, Survival::kNothing});
  check();
}

TEST_CASE("equal values are stored once, and stay until the last key that has them is gone") {
  SimStore store(Separating(), kSegmentBytes);
  const std::string value = ValueOf(1, 100'000);
  for (size_t i = 0; i < 50; ++i) Must(store->Put(NumberedKey(i), value, Buffered()));
  CHECK(store->GetStats().value_extents == 1);
  for (size_t i = 0; i < 49; ++i) Must(store->Delete(NumberedKey(i)));
  Must(store->Compact());
  CHECK(Text(store->Get(NumberedKey(49))) == value);
  store.Reopen();
  CHECK(Text(store->Get(NumberedKey(49))) == value);
  Must(store->Put(NumberedKey(49), "small"));
  Must(store->Compact());
  CHECK(store->GetStats().value_extents == 0);
  CHECK(store->GetStats().live_user_bytes < 1'000);
}

TEST_CASE("of a separated value compacting moves at most 100 bytes plus the key") {
  SimStore store(Separating(), kSegmentBytes);
  uint64_t key_bytes = 0;
  for (size_t i = 0; i < 3'000; ++i) {
    const std::string key = NumberedKey(i % 3 == 0 ? i : i % 100);  // what stays lies among what dies
    key_bytes = key.size();
    Must(store->Put(key, ValueOf(i, i % 100 == 0 ? 300'000 : 4'096), Buffered()));
  }
  Must(store->Compact());
  const Stats stats = store->GetStats();
  INFO(stats.ToString());
  CHECK(stats.relocated_records > 500);
  CHECK(stats.relocated_bytes <= stats.relocated_records * (100 + key_bytes));
}

TEST_CASE("compacting moves no byte of a separated value") {
  SimStore store(Separating(), kSegmentBytes);
  std::map<std::string, std::string> expected;
  for (size_t i = 0; i < 400; ++i) {
    const std::string key = NumberedKey(i % 100);
    expected[key] = ValueOf(i, 32'768);
    Must(store->Put(key, expected[key], Buffered()));
    Must(store->Put("small " + key, ValueOf(i, 500), Buffered()));
  }
  Must(store->Compact());
  const Stats stats = store->GetStats();
  INFO(stats.ToString());
  CHECK(stats.relocated_records > 0);
  CHECK(stats.relocated_bytes <= stats.relocated_records * (100 + 500 + 30));
  CHECK(stats.disk_bytes < 100 * 32'768 * 3 / 2 + 2 * 1024 * 1024);
  for (const auto& [key, value] : expected) REQUIRE(Text(store->Get(key)) == value);
}

TEST_CASE("a snapshot keeps the extents it sees, and only as long as it lives") {
  SimStore store(Separating(), kSegmentBytes);
  Must(store->Put("k", ValueOf(1, 50'000)));
  auto snapshot = store->GetSnapshot();
  Must(store->Put("k", ValueOf(2, 50'000)));
  Must(store->Compact());
  CHECK(store->GetStats().value_extents == 2);
  CHECK(Text(store->Get("k", {.snapshot = snapshot.get()})) == ValueOf(1, 50'000));
  snapshot.reset();
  Must(store->Compact());
  CHECK(store->GetStats().value_extents == 1);
  CHECK(Text(store->Get("k")) == ValueOf(2, 50'000));
}

TEST_CASE("what only snapshots need is pinned, each extent once, and what a live key shares with them lives") {
  constexpr uint64_t kValueBytes = 100'000, kRecordsMax = 1'000;
  const auto is_about = [](uint64_t bytes, uint64_t values) {
    return bytes >= values * kValueBytes && bytes <= values * kValueBytes + kRecordsMax;
  };
  SimStore store(Separating(), kSegmentBytes);
  const std::string first = ValueOf(1, kValueBytes), second = ValueOf(2, kValueBytes);
  Must(store->Put("k", first));
  auto snapshot = store->GetSnapshot();
  Must(store->Put("k", first));
  CHECK(is_about(store->GetStats().pinned_bytes, 0));
  CHECK(is_about(store->GetStats().live_user_bytes, 1));
  Must(store->SetExpiry("k", store.NowMs() + 1'000'000));
  CHECK(is_about(store->GetStats().pinned_bytes, 0));
  CHECK(is_about(store->GetStats().live_user_bytes, 1));
  Must(store->Put("k", second));
  CHECK(is_about(store->GetStats().pinned_bytes, 1));  // though three kept versions name it
  CHECK(is_about(store->GetStats().live_user_bytes, 1));
  Must(store->Put("other", first));
  CHECK(is_about(store->GetStats().pinned_bytes, 0));
  CHECK(is_about(store->GetStats().live_user_bytes, 2));
  Must(store->Delete("other"));
  Must(store->Delete("k"));
  CHECK(is_about(store->GetStats().pinned_bytes, 2));
  CHECK(is_about(store->GetStats().live_user_bytes, 0));
  snapshot.reset();
  CHECK(store->GetStats().pinned_bytes == 0);
  CHECK(store->GetStats().live_user_bytes < kRecordsMax);
}

TEST_CASE("an inline value whose expiry changed under a snapshot lives, and is not pinned as well") {
  SimStore store({}, kSegmentBytes);
  Must(store->Put("k", ValueOf(1, 10'000)));
  const uint64_t live_bytes = store->GetStats().live_user_bytes;
  auto snapshot = store->GetSnapshot();
  for (int i = 1; i <= 3; ++i) Must(store->SetExpiry("k", store.NowMs() + i * 1'000'000));
  CHECK(store->GetStats().pinned_bytes < 200);
  CHECK(store->GetStats().live_user_bytes >= live_bytes);
  CHECK(store->GetStats().live_user_bytes < live_bytes + 200);
  Must(store->Delete("k"));
  CHECK(store->GetStats().pinned_bytes >= 10'000);
  CHECK(store->GetStats().pinned_bytes < 10'400);
  CHECK(store->GetStats().live_user_bytes <= live_bytes - 10'000);
}

TEST_CASE("a condition that does not hold leaves no extent behind") {
  SimStore store(Separating(), kSegmentBytes);
  Must(store->Put("k", "small"));
  CHECK(Code(store->Put("k", ValueOf(1, 50'000), PutIf(Condition::Absent()))) == kPrecondition);
  Batch batch;
  batch.Put("a", ValueOf(2, 50'000));
  batch.Put("k", ValueOf(3, 50'000), PutIf(Condition::Absent()));
  CHECK_FALSE(store->Apply(batch).ok());
  Must(store->Compact());
  CHECK(store->GetStats().value_extents == 0);
}

TEST_CASE("a batch of large values is applied whole or not at all, wherever the power goes") {
  for (uint64_t after = 0; after < 40; ++after) {
    SimStore store(Separating(), kSegmentBytes);
    Must(store->Put("a", ValueOf(1, 20'000)));
    store.world.machine.CrashAfter(after, {CrashKind::kPowerCut, Survival::kSectors});
    Batch batch;
    batch.Put("a", ValueOf(2, 20'000));
    batch.Put("b", ValueOf(3, 20'000));
    const bool acknowledged = store->Apply(batch).ok();
    store.world.machine.ClearFaults();
    store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
    const std::string a = Text(store->Get("a")), b = Text(store->Get("b"));
    const bool whole = a == ValueOf(2, 20'000) && b == ValueOf(3, 20'000);
    const bool nothing = a == ValueOf(1, 20'000) && b == kAbsent;
    INFO("after " << after);
    REQUIRE((whole || nothing));
    if (acknowledged) REQUIRE(whole);
  }
}

TEST_CASE("fault A4: large, then small, then the same large value again, with scans in between, loses nothing") {
  SimStore store(Separating(), kSegmentBytes);
  const std::string large = ValueOf(1, 60'000);
  for (int round = 0; round < 4; ++round) {
    Must(store->Put("k", large));
    Must(store->Put("k", "small"));
    if (round % 2 == 0) store.CrashAndReopen({CrashKind::kKill, Survival::kNothing});
    Must(store->Compact());
    Must(store->Put("k", large));
    store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
    REQUIRE(Text(store->Get("k")) == large);
  }
}

TEST_CASE("fault A13: writing the same content again heals an extent that has rotted") {
  SimStore store(Separating(), kSegmentBytes);
  const std::string value = ValueOf(1, 60'000);
  Must(store->Put("k", value));
  Must(store->Put("twin", value));
  store.world.machine.FlipBits("values/0000000001.val", 4'096 + 30'000, std::byte{4});
  CHECK(Code(store->Get("k")) == absl::StatusCode::kDataLoss);
  CHECK_FALSE(Must(store->Verify()).damages.empty());
  Must(store->Put("other", value));
  CHECK(Text(store->Get("k")) == value);
  CHECK(Text(store->Get("twin")) == value);
  CHECK(Must(store->Verify()).damages.empty());
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(Text(store->Get("k")) == value);
}

TEST_CASE("compacting moves records with pointers, however many fill a segment") {
  SimStore store(Separating(), kSegmentBytes);
  constexpr size_t kKeys = 3'000;
  PutOptions options;
  options.durability = Durability::kBuffered;
  for (size_t i = 0; i < kKeys; ++i) Must(store->Put(NumberedKey(i), ValueOf(1, 12'000), options));
  for (size_t i = 0; i < kKeys; i += 3) Must(store->Delete(NumberedKey(i)));
  Must(store->Compact());
  REQUIRE(store->GetStats().relocated_records > kKeys / 2);
  for (size_t i = 0; i < kKeys; ++i) REQUIRE(store->Get(NumberedKey(i)).ok() == (i % 3 != 0));
}

TEST_CASE("a value file that is missing refuses the store with its name, and salvaging opens the rest") {
  SimStore store(Separating(), kSegmentBytes);
  Must(store->Put("large", ValueOf(1, 60'000)));
  Must(store->Put("small", "v"));
  Must(store->Close());
  store.db.reset();
  Must(store.world.machine.Attach()->Remove("values/0000000001.val"));
  const auto refused = OpenIn(store.world, store.options, kSegmentBytes);
  CHECK(Code(refused) == absl::StatusCode::kDataLoss);
  CHECK(std::string(refused.status().message()).find("0000000001.val") != std::string::npos);
  store.options.salvage = true;
  store.Open();
  CHECK(Text(store->Get("small")) == "v");
  CHECK(Text(store->Get("large")) == kAbsent);
}

TEST_CASE("expiry changes, iterators, multi-gets and existence are the same for separated values") {
  SimStore store(Separating(), kSegmentBytes);
  for (size_t i = 0; i < 10; ++i) Must(store->Put(NumberedKey(i), ValueOf(i, 12'000)));
  REQUIRE(store->GetStats().value_extents == 10);
  Must(store->SetExpiry(NumberedKey(3), store.NowMs() + 1'000));
  std::vector<std::string> names;
  for (size_t i = 0; i < 10; ++i) names.push_back(NumberedKey(i));
  const auto all = store->MultiGet(std::vector<std::string_view>(names.begin(), names.end()));
  for (size_t i = 0; i < 10; ++i) REQUIRE(Text(all[i]) == ValueOf(i, 12'000));
  store.world.clock.JumpWall(5'000);
  CHECK_FALSE(Must(store->Exists(NumberedKey(3))));
  size_t seen = 0;
  const auto iterator = store->NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next(), ++seen)
    REQUIRE(iterator->value().size() == 12'000);
  CHECK(seen == 9);
}

TEST_CASE("an iterator has value and metadata of an entry that expires while it stands there, separated or not") {
  for (const size_t size : {100, 12'000}) {
    SimStore store(Separating(), kSegmentBytes);
    PutOptions options;
    options.metadata = "about it";
    options.expires_at_ms = store.NowMs() + 1'000;
    Must(store->Put("k", ValueOf(1, size), options));
    const auto iterator = store->NewIterator();
    iterator->SeekToFirst();
    REQUIRE(iterator->Valid());
    store.world.clock.JumpWall(5'000);
    CHECK(iterator->metadata() == "about it");
    CHECK(iterator->value() == ValueOf(1, size));
    CHECK(iterator->status().ok());
    iterator->Next();
    CHECK_FALSE(iterator->Valid());
  }
}

TEST_CASE("a multi-get of separated values, small, large and damaged, is as one get after the other") {
  SimStore store(Separating(), kSegmentBytes);
  std::vector<std::string> names;
  std::map<std::string, std::string> expected;
  for (size_t i = 0; i < 40; ++i) {
    const size_t sizes[] = {100, 12'000, 200'000, 600'001};
    names.push_back(NumberedKey(i));
    expected[names.back()] = ValueOf(i, sizes[i % 4]);
    Must(store->Put(names.back(), expected[names.back()], Buffered()));
  }
  names.push_back("absent");
  names.push_back("large");
  expected["large"] = ValueOf(99, 5'000'000);
  Must(store->Put("large", expected["large"]));
  Must(store->Sync());
  const uint64_t reads = store->GetStats().device_reads;
  const auto all = store->MultiGet(std::vector<std::string_view>(names.begin(), names.end()));
  CHECK(store->GetStats().device_reads - reads < 30 + 10 + 5'000'000 / (256 * 1024) + 2);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto want = expected.find(names[i]);
    REQUIRE(Text(all[i]) == (want == expected.end() ? std::string(kAbsent) : want->second));
  }
  // The second block of the first separated value, and the end of the file.
  const std::string file = "values/0000000001.val";
  store.world.machine.FlipBits(file, 2 * 4'096 + 1, std::byte{1});
  const auto damaged = store->MultiGet(std::vector<std::string_view>(names.begin(), names.end()));
  size_t lost = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    REQUIRE(Code(damaged[i]) == Code(store->Get(names[i])));
    lost += Code(damaged[i]) == absl::StatusCode::kDataLoss ? 1 : 0;
  }
  CHECK(lost == 1);
}

TEST_CASE("the options of value separation have limits") {
  const auto open_with = [](uint64_t threshold, uint32_t alignment) {
    SimWorld world(1);
    Options options;
    options.value_separation_threshold_bytes = threshold;
    options.value_alignment_bytes = alignment;
    const auto db = OpenIn(world, options);
    return Code(db);
  };
  constexpr auto kFine = absl::StatusCode::kOk;
  CHECK(open_with(0, 4'096) == kFine);
  CHECK(open_with(4'095, 4'096) == kInvalid);
  CHECK(open_with(4'096, 4'096) == kFine);
  CHECK(open_with(kValueBytesMax, 4'096) == kFine);
  CHECK(open_with(kValueBytesMax + 1, 4'096) == kInvalid);
  CHECK(open_with(32'768, 2'048) == kInvalid);
  CHECK(open_with(32'768, 6'000) == kInvalid);
  CHECK(open_with(32'768, 131'072) == kFine);
  CHECK(open_with(32'768, 262'144) == kInvalid);
}

}  // namespace
}  // namespace firn::testing
