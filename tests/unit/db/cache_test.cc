// The value cache behind reads and writes: what is in memory is not read from disk, and the budget holds.
#include "unit/db/testing.h"

namespace firn::testing {
namespace {

// More than the tail buffers hold.
constexpr size_t kKeys = 1'000;
std::string ValueOf(size_t i, size_t bytes = 3'000) { return std::to_string(i) + std::string(bytes, 'v'); }

void Fill(RealStore& store, size_t value_bytes = 3'000) {
  for (size_t i = 0; i < kKeys; ++i) Must(store->Put(NumberedKey(i), ValueOf(i, value_bytes), Buffered()));
}

uint64_t Reads(RealStore& store) { return store->GetStats().device_reads; }

// How many device reads it takes to get all values, which are right.
uint64_t ReadsToGetAll(RealStore& store, size_t value_bytes = 3'000) {
  const uint64_t before = Reads(store);
  for (size_t i = 0; i < kKeys; ++i) {
    const auto value = store->Get(NumberedKey(i));
    REQUIRE(value.ok());
    if (*value != ValueOf(i, value_bytes)) FAIL(NumberedKey(i) + " has another value");
  }
  return Reads(store) - before;
}

}  // namespace

TEST_CASE("a value that was read once is read from memory afterwards") {
  RealStore store;
  Fill(store);
  store.Reopen();
  CHECK(ReadsToGetAll(store) == kKeys);
  CHECK(ReadsToGetAll(store) == 0);
  const Stats stats = store->GetStats();
  CHECK(stats.cache_hits == kKeys);
  CHECK(stats.cache_misses == kKeys);
  CHECK(stats.cache_values == kKeys);
  CHECK(stats.cache_bytes > kKeys * 3'000);
  CHECK(stats.cache_bytes <= stats.cache_capacity_bytes);
}

TEST_CASE("so is a separated value, and one that was read by a multi-get") {
  RealStore store({.value_separation_threshold_bytes = 8 * 1024});
  Fill(store, 12'000);
  store.Reopen();
  std::vector<std::string> names;
  for (size_t i = 0; i < kKeys; ++i) names.push_back(NumberedKey(i));
  const std::vector<std::string_view> keys(names.begin(), names.end());
  for (const auto& value : store->MultiGet(keys)) REQUIRE(value.ok());
  CHECK(ReadsToGetAll(store, 12'000) == 0);
  const uint64_t before = Reads(store);
  size_t right = 0;
  const auto values = store->MultiGet(keys);
  for (size_t i = 0; i < kKeys; ++i) right += values[i].ok() && *values[i] == ValueOf(i, 12'000) ? 1 : 0;
  CHECK(right == kKeys);
  CHECK(Reads(store) == before);
}

TEST_CASE("metadata is found with the value") {
  RealStore store;
  PutOptions options;
  options.metadata = "about it";
  for (const size_t bytes : {100, 200'000}) Must(store->Put(NumberedKey(bytes), ValueOf(1, bytes), options));
  store.Reopen();
  for (const size_t bytes : {100, 200'000}) {
    for (int round = 0; round < 3; ++round) {
      std::string value;
      ValueInfo info;
      Must(store->GetInto(NumberedKey(bytes), &value, &info));
      CHECK(value == ValueOf(1, bytes));
      CHECK(info.metadata == "about it");
      CHECK(info.value_bytes == value.size());
    }
  }
}

TEST_CASE("what was just written is read from memory, wherever it has gone since") {
  RealStore store;
  Fill(store);
  Must(store->Flush());
  CHECK(ReadsToGetAll(store) == 0);
  // And what it has become.
  for (size_t i = 0; i < kKeys; ++i) Must(store->Put(NumberedKey(i), ValueOf(i, 4'000), Buffered()));
  Must(store->Flush());
  CHECK(ReadsToGetAll(store, 4'000) == 0);
}

TEST_CASE("a scan takes what is in the cache and puts nothing there") {
  RealStore store;
  Fill(store);
  store.Reopen();
  const auto scan = [&] {
    const uint64_t before = Reads(store);
    const auto iterator = store->NewIterator();
    size_t keys = 0;
    for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next())
      keys += iterator->value() == ValueOf(keys) ? 1 : 0;
    CHECK(keys == kKeys);
    return Reads(store) - before;
  };
  CHECK(scan() > 0);
  CHECK(store->GetStats().cache_values == 0);
  CHECK(ReadsToGetAll(store) == kKeys);
  CHECK(scan() == 0);
  CHECK(store->GetStats().cache_misses == kKeys);
}

TEST_CASE("what cannot be read from disk is named as such although it is in the cache") {
  SimWorld world(1);
  auto db = Must(OpenOn({}, {.disk = world.machine.Attach(), .clock = &world.clock, .random = &world.random}));
  const std::string value = "hot " + ValueOf(1);
  Must(db->Put("hot", value));
  // Out of the tail buffers.
  for (size_t i = 0; i < kKeys; ++i) Must(db->Put(NumberedKey(i), ValueOf(i + 2), Buffered()));
  Must(db->Flush());
  for (const std::string& name : world.machine.FileNames()) {
    if (!name.starts_with("log/")) continue;
    const size_t at = world.machine.ReadFile(name).find(value);
    if (at != std::string::npos) world.machine.FlipBits(name, at + 10, std::byte{1});
  }
  CHECK(Must(db->Get("hot")) == value);
  const VerifyReport report = Must(db->Verify());
  REQUIRE(report.damages.size() == 1);
  REQUIRE(report.damages[0].keys.size() == 1);
  CHECK(report.damages[0].keys[0].key == "hot");
  Must(db->Close());
}

TEST_CASE("values that reclaim moves stay in the cache") {
  RealStore store;
  Fill(store);
  for (size_t i = 0; i < kKeys; i += 2) Must(store->Delete(NumberedKey(i)));
  Must(store->Flush());
  Must(store->Compact());
  CHECK(store->GetStats().relocated_records > 0);
  const uint64_t before = Reads(store);
  size_t right = 0;
  for (size_t i = 1; i < kKeys; i += 2) right += Must(store->Get(NumberedKey(i))) == ValueOf(i) ? 1 : 0;
  CHECK(right == kKeys / 2);
  CHECK(Reads(store) == before);
}

TEST_CASE("a pinned value stays as it was through overwrites, deletes and the end of the store") {
  PinnedValue pinned, uncached;
  {
    RealStore store;
    Fill(store);
    store.Reopen();
    uncached = Must(store->GetPinned(NumberedKey(7)));
    CHECK_FALSE(uncached.is_cached());
    CHECK(uncached.value() == ValueOf(7));
    pinned = Must(store->GetPinned(NumberedKey(7)));
    CHECK(pinned.is_cached());
    Must(store->Put(NumberedKey(7), "another"));
    CHECK(Must(store->GetPinned(NumberedKey(7))).value() == "another");
    Must(store->Delete(NumberedKey(7)));
    CHECK(Code(store->GetPinned(NumberedKey(7))) == kNotFound);
    CHECK(Code(store->GetPinned("")) == kInvalid);
    CHECK(pinned.value() == ValueOf(7));
    Must(store->Close());
    CHECK(Code(store->GetPinned(NumberedKey(8))) == kPrecondition);
  }
  CHECK(pinned.value() == ValueOf(7));
  CHECK(uncached.value() == ValueOf(7));
  pinned = PinnedValue();
  CHECK(pinned.value().empty());
}

TEST_CASE("the cache gives way to the index, which fills the budget as before, and comes back with room") {
  RealStore store({.memory_budget_bytes = kMemoryBudgetBytesMin});
  Fill(store);
  const uint64_t at_first = store->GetStats().cache_capacity_bytes;
  CHECK(at_first > 6'000'000);
  size_t keys = kKeys;
  const std::string long_key(400, 'k');
  absl::Status status;
  while (status.ok()) {
    status = store->Put(long_key + NumberedKey(keys), "", Buffered()).status();
    ++keys;
    const Stats stats = keys % 1'000 == 0 || !status.ok() ? store->GetStats() : Stats();
    REQUIRE(stats.cache_bytes + stats.index_bytes <= kMemoryBudgetBytesMin);
  }
  CHECK(Code(status) == kExhausted);
  CHECK(store->GetStats().index_bytes > kMemoryBudgetBytesMin / 2);
  CHECK(store->GetStats().cache_bytes < 1'000'000);
  CHECK(ReadsToGetAll(store) > kKeys / 2);
  for (size_t i = kKeys; i < keys; ++i)
    Must(store->Delete(long_key + NumberedKey(i), {.durability = Durability::kBuffered}));
  Must(store->Flush());
  // In one of the next turns of the background work, of which there are some while this goes on.
  for (int i = 0; i < 50'000'000 && (i % 1'000 != 0 || store->GetStats().cache_capacity_bytes < at_first / 2); ++i) {
    Must(store->Put("busy", "", Buffered()));
  }
  CHECK(store->GetStats().cache_capacity_bytes >= at_first / 2);
}

}  // namespace firn::testing
