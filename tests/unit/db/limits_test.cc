// Every limit of firn/limits.h: one below, at and one above.
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include "unit/db/testing.h"

namespace firn::testing {

TEST_CASE("keys have 1 to 65,535 bytes, for every operation") {
  RealStore store;
  for (const size_t size : {kKeyBytesMin, kKeyBytesMin + 1, kKeyBytesMax - 1, kKeyBytesMax}) {
    const std::string key(size, 'k');
    Must(store->Put(key, "v"));
    CHECK(*store->Exists(key));
    Must(store->SetExpiry(key, 0));
    Batch batch;
    batch.Put(key, std::to_string(size));
    Must(store->Apply(batch));
  }
  for (const size_t size : {size_t{0}, kKeyBytesMax + 1}) {
    const std::string key(size, 'k');
    CHECK(Code(store->Put(key, "v")) == kInvalid);
    CHECK(Code(store->Get(key)) == kInvalid);
    CHECK(Code(store->Exists(key)) == kInvalid);
    CHECK(Code(store->Delete(key)) == kInvalid);
    CHECK(Code(store->SetExpiry(key, 0)) == kInvalid);
    const std::string_view keys[] = {key};
    CHECK(Code(store->MultiGet(keys)[0]) == kInvalid);
    Batch batch;
    batch.Put("fine", "v");
    batch.Delete(key);
    CHECK(Code(store->Apply(batch)) == kInvalid);
  }
  store.Reopen();
  for (const size_t size : {kKeyBytesMin, kKeyBytesMin + 1, kKeyBytesMax - 1, kKeyBytesMax}) {
    CHECK(Text(store->Get(std::string(size, 'k'))) == std::to_string(size));
  }
  CHECK(store->GetStats().keys == 4);
  const auto iterator = store->NewIterator();
  iterator->Seek(std::string(kKeyBytesMax + 10, 'k'));
  CHECK_FALSE(iterator->Valid());
  iterator->SeekForPrev(std::string(kKeyBytesMax + 10, 'k'));
  REQUIRE(iterator->Valid());
  CHECK(iterator->key().size() == kKeyBytesMax);
  CHECK(iterator->value() == "65535");
}

TEST_CASE("metadata has at most 4,096 bytes") {
  SimStore store;
  for (const size_t size : {kMetadataBytesMax - 1, kMetadataBytesMax, kMetadataBytesMax + 1}) {
    const std::string metadata(size, 'm');
    PutOptions options;
    options.metadata = metadata;
    const bool fits = size <= kMetadataBytesMax;
    CHECK(Code(store->Put("k", "v", options)) == (fits ? kOk : kInvalid));
    Batch batch;
    batch.Put("batched", "v", options);
    CHECK(Code(store->Apply(batch)) == (fits ? kOk : kInvalid));
  }
  ValueInfo info;
  std::string value;
  Must(store->GetInto("batched", &value, &info));
  CHECK(info.metadata.size() == kMetadataBytesMax);
}

#if !defined(__SANITIZE_THREAD__)  // one thread, gigabytes to hash: minutes that find no race
TEST_CASE("a value has at most 1 GiB, beside the log or in it (needs 4 GiB of memory and 3 GiB of disk)", "[large]") {
  {
    const TempDir place;
    struct statvfs disk;
    struct sysinfo memory;
    const bool known = ::statvfs(place.path().c_str(), &disk) == 0 && ::sysinfo(&memory) == 0;
    // Free memory alone is no measure: the cache gives way.
    if (!known || disk.f_bavail * disk.f_frsize < 5 * kValueBytesMax ||
        memory.totalram * memory.mem_unit < 6 * kValueBytesMax) {
      WARN("skipped: less than 6 GiB of memory, or less than 5 GiB free in " << place.path());
      return;
    }
  }
  std::string value(kValueBytesMax + 1, '\0');
  for (size_t at = 0; at < value.size(); at += 4'096) value[at] = static_cast<char>(at / 4'096 * 131);
  for (const bool separated : {true, false}) {
    value.resize(kValueBytesMax + 1, 'e');
    Options options;
    if (!separated) options.value_separation_threshold_bytes = 0;
    RealStore store(options);
    CHECK(Code(store->Put("k", value)) == kInvalid);
    CHECK(Code(store->Get("k")) == kNotFound);
    std::string found;
    for (const size_t size : {kValueBytesMax - 1, kValueBytesMax}) {
      value.resize(size, 'e');
      Must(store->Put("k", value, Buffered()));
      if (size == kValueBytesMax) store.Reopen();
      Must(store->GetInto("k", &found));
      CHECK((found == value));  // no message of 2 GiB
    }
  }
}
#endif

TEST_CASE("a record larger than a segment gets a segment of its own size") {
  SimStore store({}, 64 * 1024);
  const std::string huge(10'000'000, 'h');
  Must(store->Put("before", "v", Buffered()));
  Must(store->Put("huge", huge, Buffered()));
  Must(store->Put("after", "v", Buffered()));
  CHECK(Text(store->Get("huge")) == huge);
  store.CrashAndReopen({CrashKind::kKill, Survival::kEverything});
  CHECK(Text(store->Get("huge")) == huge);
  Must(store->Put("synced", huge));
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(Text(store->Get("synced")) == huge);
  CHECK(Text(store->Get("before")) == "v");
  CHECK(Text(store->Get("after")) == "v");
}

TEST_CASE("records of every size around a tail buffer come back") {
  SimStore store;
  constexpr size_t kBuffer = 256 * 1024;
  for (size_t size = kBuffer - 400; size <= kBuffer + 16; size += 13) {
    const std::string value(size, static_cast<char>('a' + size % 26));
    Must(store->Put(std::to_string(size), value, Buffered()));
    REQUIRE(Text(store->Get(std::to_string(size))) == value);
  }
  store.CrashAndReopen({CrashKind::kKill, Survival::kEverything});
  for (size_t size = kBuffer - 400; size <= kBuffer + 16; size += 13) {
    REQUIRE(Text(store->Get(std::to_string(size))) == std::string(size, static_cast<char>('a' + size % 26)));
  }
}

TEST_CASE("a batch has at most 64 MiB of keys, metadata and values") {
  RealStore store;
  constexpr size_t kPart = 1 << 20;
  for (const int beyond : {-1, 0, 1}) {
    Batch batch;
    while (batch.payload_bytes() + kPart + 8 < kBatchBytesMax) {
      batch.Put("k" + std::to_string(batch.size()), std::string(kPart, 'v'));
    }
    batch.Put("last", std::string(kBatchBytesMax - batch.payload_bytes() - 4 + static_cast<uint64_t>(beyond), 'l'));
    REQUIRE(batch.payload_bytes() == kBatchBytesMax + static_cast<uint64_t>(beyond));
    CHECK(Code(store->Apply(batch, {.durability = Durability::kBuffered})) == (beyond <= 0 ? kOk : kInvalid));
  }
  store.Reopen();
  CHECK(Text(store->Get("k7")) == std::string(kPart, 'v'));
  CHECK(Must(store->Get("last")).front() == 'l');
}

TEST_CASE("a batch of very many small operations is applied whole") {
  SimStore store;
  Batch batch;
  for (size_t i = 0; i < 100'000; ++i) batch.Put(NumberedKey(i), "v");
  Must(store->Apply(batch));
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(store->GetStats().keys == 100'000);
  CHECK(Text(store->Get(NumberedKey(99'999))) == "v");
}

TEST_CASE("namespace names have 1 to 64 of the characters A-Z a-z 0-9 _ -") {
  SimStore store;
  for (const size_t size : {size_t{1}, kNamespaceNameBytesMax - 1, kNamespaceNameBytesMax}) {
    const std::string name(size, 'n');
    Must(store->CreateNamespace(name));
    Must(store->OpenNamespace(name));
  }
  for (const size_t size : {size_t{0}, kNamespaceNameBytesMax + 1}) {
    const std::string name(size, 'n');
    CHECK(Code(store->CreateNamespace(name)) == kInvalid);
    CHECK(Code(store->OpenNamespace(name)) == kInvalid);
    CHECK(Code(store->DropNamespace(name)) == kInvalid);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool allowed =
        (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    CHECK(Code(store->CreateNamespace("x" + std::string(1, c))) == (allowed ? kOk : kInvalid));
  }
}

TEST_CASE("a store has at most 1,024 namespaces, and a dropped one makes room") {
  SimStore store;
  for (size_t i = 0; i < kNamespacesMax; ++i) Must(store->CreateNamespace("n" + std::to_string(i)));
  CHECK(Code(store->CreateNamespace("one-more")) == kExhausted);
  store.Reopen();
  CHECK(store->ListNamespaces().size() == kNamespacesMax);
  CHECK(Code(store->CreateNamespace("one-more")) == kExhausted);
  Must(store->DropNamespace("n7"));
  Must(store->CreateNamespace("one-more"));
  CHECK(Code(store->CreateNamespace("n7")) == kExhausted);
}

TEST_CASE("a multi-get takes at most 1,048,576 keys") {
  SimStore store;
  Must(store->Put("k", "v"));
  std::vector<std::string_view> keys(kMultiGetKeysMax + 1, "nowhere");
  keys.front() = "k";
  for (const auto& value : store->MultiGet(keys)) REQUIRE(Code(value) == kInvalid);
  for (int below = 0; below < 2; ++below) {
    keys.pop_back();
    keys.back() = "k";
    const auto values = store->MultiGet(keys);
    REQUIRE(values.size() == keys.size());
    CHECK(Text(values.front()) == "v");
    CHECK(Text(values.back()) == "v");
    CHECK(Code(values[1]) == kNotFound);
  }
}

TEST_CASE("memory_budget_bytes and flush_interval_ms have ranges") {
  const auto opens = [](const Options& options) {
    SimWorld world(1);
    return Code(OpenIn(world, options));
  };
  CHECK(opens({.memory_budget_bytes = kMemoryBudgetBytesMin - 1}) == kInvalid);
  CHECK(opens({.memory_budget_bytes = kMemoryBudgetBytesMin}) == kOk);
  CHECK(opens({.memory_budget_bytes = kMemoryBudgetBytesMin + 1}) == kOk);
  CHECK(opens({.memory_budget_bytes = 0}) == kInvalid);
  CHECK(opens({.memory_budget_bytes = UINT64_MAX}) == kOk);
  CHECK(opens({.flush_interval_ms = kFlushIntervalMsMin - 1}) == kInvalid);
  CHECK(opens({.flush_interval_ms = kFlushIntervalMsMin}) == kOk);
  CHECK(opens({.flush_interval_ms = kFlushIntervalMsMin + 1}) == kOk);
  CHECK(opens({.flush_interval_ms = kFlushIntervalMsMax - 1}) == kOk);
  CHECK(opens({.flush_interval_ms = kFlushIntervalMsMax}) == kOk);
  CHECK(opens({.flush_interval_ms = kFlushIntervalMsMax + 1}) == kInvalid);
}

TEST_CASE("expiry times are 0 to 2^48 - 1 milliseconds") {
  SimStore store;
  Must(store->Put("set", "v"));
  for (const int64_t expiry : {kExpiryMsMax - 1, kExpiryMsMax, kExpiryMsMax + 1, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    const absl::StatusCode expected = expiry > 0 && expiry <= kExpiryMsMax ? kOk : kInvalid;
    CHECK(Code(store->Put("put", "v", Expiring(expiry))) == expected);
    CHECK(Code(store->SetExpiry("set", expiry)) == expected);
    Batch batch;
    batch.SetExpiry("set", expiry);
    CHECK(Code(store->Apply(batch)) == expected);
  }
  for (int opened = 0; opened < 2; ++opened) {
    for (const std::string_view key : {"put", "set"}) {
      ValueInfo info;
      std::string value;
      Must(store->GetInto(key, &value, &info));
      CHECK(info.expires_at_ms == kExpiryMsMax);
    }
    store.Reopen();
  }
  Must(store->Put("put", "v", Expiring(1)));  // 1970: gone at once
  CHECK(Code(store->Get("put")) == kNotFound);
}

TEST_CASE("max_disk_bytes is 0, for no quota, or at least 16 MiB") {
  for (const uint64_t bytes : {uint64_t{1}, kMaxDiskBytesMin - 1}) {
    TempDir dir;
    Options options;
    options.max_disk_bytes = bytes;
    const auto db = DB::Open(options, dir.path());
    CHECK(Code(db) == kInvalid);
    CHECK(std::string(db.status().message()).find("max_disk_bytes") != std::string::npos);
  }
  for (const uint64_t bytes : {uint64_t{0}, kMaxDiskBytesMin, kMaxDiskBytesMin + 1}) {
    Options options;
    options.max_disk_bytes = bytes;
    RealStore store(options);
    Must(store->Put("k", "v"));
    const Stats stats = store->GetStats();
    CHECK(stats.quota_bytes == bytes);
    CHECK(stats.quota_used_bytes > uint64_t{1} << 20);
    CHECK(stats.free_bytes > uint64_t{8} << 20);
    CHECK_FALSE(stats.disk_full);
    CHECK(stats.ToString().find("kept back") != std::string::npos);
  }
}

TEST_CASE("the smallest quota is room enough to work in, and is kept") {
  Options options;
  options.max_disk_bytes = kMaxDiskBytesMin;
  RealStore store(options);
  const std::string value(1'000, 'v');
  size_t written = 0;
  while (store->Put(NumberedKey(written), value, Buffered()).ok()) ++written;
  CHECK(written > 6'000);
  CHECK(store->GetStats().quota_used_bytes <= kMaxDiskBytesMin);
  CHECK(store->GetStats().reserve_bytes >= uint64_t{2} << 20);
  CHECK(Code(store->Put("one more", std::string(100'000, 'v'))) == kExhausted);
  for (size_t i = 0; i < written / 2; ++i) Must(store->Delete(NumberedKey(i), {.durability = Durability::kBuffered}));
  for (size_t i = 0; i < written / 4; ++i) {
    absl::Status status;
    for (int turn = 0; turn < 50; ++turn) {
      status = store->Put(NumberedKey(i), value, Buffered()).status();
      if (status.ok()) break;
    }
    Must(status);
  }
  CHECK(store->GetStats().quota_used_bytes <= kMaxDiskBytesMin);
  store.Reopen();
  CHECK(store->GetStats().keys == written - written / 2 + written / 4);
}

}  // namespace firn::testing
