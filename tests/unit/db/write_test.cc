// Puts, deletes, conditions, batches and metadata.
#include <deque>

#include "unit/db/testing.h"

namespace firn::testing {

TEST_CASE("a put is found by every kind of read, and revisions increase") {
  RealStore store;
  const Revision first = Must(store->Put("a", "1"));
  const Revision second = Must(store->Put("b", ""));
  CHECK(second > first);
  CHECK(Text(store->Get("a")) == "1");
  CHECK(Text(store->Get("b")) == "");
  CHECK(*store->Exists("a"));
  CHECK_FALSE(*store->Exists("c"));
  CHECK(Text(store->Get("c")) == kAbsent);
  std::string value = "what was here before";
  ValueInfo info;
  REQUIRE(store->GetInto("a", &value, &info).ok());
  CHECK(value == "1");
  CHECK(info.revision == first);
  CHECK(info.value_bytes == 1);
  CHECK(info.expires_at_ms == 0);
  CHECK(info.metadata.empty());
  CHECK(Code(store->GetInto("c", &value)) == kNotFound);
  CHECK(value.empty());
}

TEST_CASE("an overwritten key has its newest value, also after a reopen and from disk") {
  RealStore store;
  for (int i = 0; i < 5; ++i) Must(store->Put("k", "value " + std::to_string(i)));
  CHECK(Text(store->Get("k")) == "value 4");
  store.Reopen();
  CHECK(Text(store->Get("k")) == "value 4");
}

TEST_CASE("revisions go on above everything after a reopen") {
  RealStore store;
  const Revision before = Must(store->Put("k", "v"));
  store.Reopen();
  ValueInfo info;
  std::string value;
  REQUIRE(store->GetInto("k", &value, &info).ok());
  CHECK(info.revision == before);
  CHECK(Must(store->Put("k", "w")) > before);
}

TEST_CASE("deleting a key removes it, and deleting an absent one writes nothing") {
  SimStore store;
  Must(store->Put("k", "v"));
  const Revision deleted = Must(store->Delete("k"));
  CHECK(Text(store->Get("k")) == kAbsent);
  CHECK_FALSE(*store->Exists("k"));
  const Stats before = store->GetStats();
  CHECK(Must(store->Delete("k")) == deleted);
  CHECK(Must(store->Delete("never there")) == deleted);
  const Stats after = store->GetStats();
  CHECK(after.last_revision == before.last_revision);
  CHECK(after.commits == before.commits);
  store.Reopen();
  CHECK(Text(store->Get("k")) == kAbsent);
}

TEST_CASE("conditions on puts, deletes and expiry changes decide as documented") {
  SimStore store;
  const int64_t later = store.NowMs() + 1'000'000;
  CHECK(Code(store->Put("k", "v", PutIf(Condition::Present()))) == kPrecondition);
  CHECK(Code(store->Put("k", "v", PutIf(Condition::RevisionEquals(1)))) == kPrecondition);
  CHECK(Code(store->Delete("k", If(Condition::Present()))) == kPrecondition);
  CHECK(Code(store->Delete("k", If(Condition::RevisionEquals(1)))) == kPrecondition);
  CHECK(Code(store->Delete("k", If(Condition::Absent()))) == kOk);
  CHECK(Code(store->SetExpiry("k", later, If(Condition::Present()))) == kPrecondition);
  CHECK(Code(store->SetExpiry("k", later)) == kNotFound);
  CHECK(Code(store->SetExpiry("k", later, If(Condition::Absent()))) == kNotFound);
  CHECK(Text(store->Get("k")) == kAbsent);

  const Revision put = Must(store->Put("k", "v", PutIf(Condition::Absent())));
  CHECK(Code(store->Put("k", "w", PutIf(Condition::Absent()))) == kPrecondition);
  CHECK(Code(store->Delete("k", If(Condition::Absent()))) == kPrecondition);
  CHECK(Code(store->Put("k", "w", PutIf(Condition::RevisionEquals(put + 1)))) == kPrecondition);
  CHECK(Code(store->SetExpiry("k", later, If(Condition::RevisionEquals(put - 1)))) == kPrecondition);
  CHECK(Text(store->Get("k")) == "v");

  // An expiry change moves the revision that conditions compare.
  const Revision changed = Must(store->SetExpiry("k", later, If(Condition::RevisionEquals(put))));
  CHECK(Code(store->Put("k", "w", PutIf(Condition::RevisionEquals(put)))) == kPrecondition);
  const Revision replaced = Must(store->Put("k", "w", PutIf(Condition::RevisionEquals(changed))));
  Must(store->Put("k", "x", PutIf(Condition::Present())));
  CHECK(Code(store->Delete("k", If(Condition::RevisionEquals(replaced)))) == kPrecondition);
  CHECK(Text(store->Get("k")) == "x");
  CHECK(Code(store->Delete("k", If(Condition::Present()))) == kOk);
  CHECK(Text(store->Get("k")) == kAbsent);
}

TEST_CASE("a condition on a revision still holds after a reopen") {
  SimStore store;
  const Revision put = Must(store->Put("k", "v"));
  const Revision changed = Must(store->SetExpiry("k", store.NowMs() + 1'000'000));
  const Revision other = Must(store->Put("other", "v"));
  store.Reopen();
  CHECK(Code(store->Put("k", "w", PutIf(Condition::RevisionEquals(put)))) == kPrecondition);
  CHECK(Code(store->Put("k", "w", PutIf(Condition::RevisionEquals(changed)))) == kOk);
  CHECK(Code(store->Delete("other", If(Condition::RevisionEquals(other)))) == kOk);
}

TEST_CASE("a condition that does not hold writes nothing") {
  SimStore store;
  Must(store->Put("k", "v"));
  const Stats before = store->GetStats();
  CHECK(Code(store->Put("k", "w", PutIf(Condition::Absent()))) == kPrecondition);
  CHECK(Code(store->SetExpiry("k", 1, If(Condition::RevisionEquals(99)))) == kPrecondition);
  Batch batch;
  batch.Put("new", "1");
  batch.Delete("k", Condition::RevisionEquals(99));
  CHECK(Code(store->Apply(batch)) == kPrecondition);
  Must(store->Sync());
  const Stats after = store->GetStats();
  CHECK(after.last_revision == before.last_revision);
  CHECK(after.commits == before.commits);  // device writes may be those of the next segment being prepared
  CHECK(after.user_bytes_written == before.user_bytes_written);
  CHECK(Contents(*store.db) == "k=v");
}

TEST_CASE("no write is refused, or called needless, for what a failed write may not have made durable") {
  SimStore store;
  Must(store->Put("k", "v"));
  const Revision put = Must(store->Put("other", "v"));
  store.world.machine.Inject({.operations = test::kSyncOperation, .lasting = true});
  Batch batch;
  batch.Put("new", "1");
  batch.Delete("k");
  batch.Put("other", "w");
  REQUIRE(Code(store->Apply(batch)) == kUnavailable);
  store.world.machine.ClearFaults();
  CHECK(Code(store->SetExpiry("k", store.NowMs() + 1'000'000)) == kUnavailable);
  CHECK(Code(store->Delete("k", Buffered())) == kUnavailable);
  CHECK(Code(store->Put("k", "w", PutIf(Condition::Present()))) == kUnavailable);
  CHECK(Code(store->Put("new", "2", PutIf(Condition::Absent()))) == kUnavailable);
  CHECK(Code(store->Delete("other", If(Condition::RevisionEquals(put)))) == kUnavailable);
}

TEST_CASE("what is durable decides the conditions of a poisoned store's writes") {
  SimStore store;
  Must(store->Put("k", "v"));
  store.world.machine.Inject({.operations = test::kSyncOperation, .lasting = true});
  REQUIRE(Code(store->Put("failing", "v")) == kUnavailable);
  store.world.machine.ClearFaults();
  CHECK(Code(store->Put("k", "w", PutIf(Condition::Absent()))) == kPrecondition);
  CHECK(Code(store->SetExpiry("nobody", store.NowMs() + 1'000'000)) == kNotFound);
  CHECK(Code(store->Put("k", "w", PutIf(Condition::Present()))) == kUnavailable);
}

TEST_CASE("a batch commits under one revision, across namespaces, and survives a power cut whole") {
  SimStore store;
  Namespace other = Must(store->CreateNamespace("other"));
  Must(store->Put("gone", "x"));
  Batch batch;
  batch.Put("a", "1");
  batch.Put("a", "in the other", {}, other.id());
  batch.Delete("gone");
  batch.Delete("never there");
  const Revision revision = Must(store->Apply(batch));
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  const Namespace again = Must(store->OpenNamespace("other"));
  CHECK(Contents(*store.db) == "a=1");
  CHECK(Contents(again) == "a=in the other");
  ValueInfo here, there;
  std::string value;
  REQUIRE(store->GetInto("a", &value, &here).ok());
  REQUIRE(again.GetInto("a", &value, &there).ok());
  CHECK(here.revision == revision);
  CHECK(there.revision == revision);
}

TEST_CASE("in a batch the last operation on a key counts") {
  SimStore store;
  Must(store->Put("d", "old"));
  const int64_t later = store.NowMs() + 1'000'000;
  Batch batch;
  batch.Put("a", "1");
  batch.Put("a", "2");
  batch.Put("b", "1");
  batch.Delete("b");
  batch.Delete("c");
  batch.Put("c", "back");
  batch.SetExpiry("d", later);
  batch.Put("d", "new");
  Must(store->Apply(batch));
  for (int opened = 0; opened < 2; ++opened) {
    CHECK(Contents(*store.db) == "a=2 c=back d=new");
    ValueInfo info;
    std::string value;
    REQUIRE(store->GetInto("d", &value, &info).ok());
    CHECK(info.expires_at_ms == 0);
    store.Reopen();
  }
}

TEST_CASE("in a batch an expiry change after a put of the same key becomes part of the put") {
  SimStore store;
  const int64_t later = store.NowMs() + 1'000'000;
  PutOptions with_metadata;
  with_metadata.metadata = "m";
  Batch batch;
  batch.Put("new", "v", with_metadata);
  batch.SetExpiry("new", later);
  const Revision revision = Must(store->Apply(batch));
  for (int opened = 0; opened < 2; ++opened) {
    ValueInfo info;
    std::string value;
    REQUIRE(store->GetInto("new", &value, &info).ok());
    CHECK(value == "v");
    CHECK(info.metadata == "m");
    CHECK(info.expires_at_ms == later);
    CHECK(info.revision == revision);
    store.Reopen();
  }
  Batch deleted_first;
  deleted_first.Delete("new");
  deleted_first.SetExpiry("new", 0);
  CHECK(Code(store->Apply(deleted_first)) == kNotFound);
  CHECK(Text(store->Get("new")) == "v");
}

TEST_CASE("every condition of a batch is checked against the state before it, or nothing happens") {
  SimStore store;
  Namespace other = Must(store->CreateNamespace("other"));
  Must(store->Put("here", "1"));
  const Revision there = Must(other.Put("there", "1"));

  Batch both_absent;  // the first put does not make the second one's condition fail
  both_absent.Put("n", "1", PutIf(Condition::Absent()));
  both_absent.Put("n", "2", PutIf(Condition::Absent()));
  Must(store->Apply(both_absent));
  CHECK(Text(store->Get("n")) == "2");

  Batch overruled;  // the condition of an operation that does not count must hold all the same
  overruled.Put("here", "2", PutIf(Condition::Absent()));
  overruled.Put("here", "3");
  CHECK(Code(store->Apply(overruled)) == kPrecondition);

  Batch across;
  across.Put("here", "4", PutIf(Condition::Present()));
  across.Put("there", "4", PutIf(Condition::RevisionEquals(there + 1)), other.id());
  CHECK(Code(store->Apply(across)) == kPrecondition);
  Batch unknown_key;
  unknown_key.Put("here", "5");
  unknown_key.SetExpiry("nowhere", 1);
  CHECK(Code(store->Apply(unknown_key)) == kNotFound);
  Batch unknown_space;
  unknown_space.Put("here", "6");
  unknown_space.Put("k", "6", {}, 4711);
  CHECK(Code(store->Apply(unknown_space)) == kNotFound);
  Batch system_space;
  system_space.Put("k", "7", {}, 0);
  CHECK(Code(store->Apply(system_space)) == kNotFound);
  CHECK(Contents(*store.db) == "here=1 n=2");
  CHECK(Contents(other) == "there=1");

  across.Clear();
  across.Put("here", "8", PutIf(Condition::Present()));
  across.Put("there", "8", PutIf(Condition::RevisionEquals(there)), other.id());
  across.SetExpiry("n", 0, Condition::Present());
  Must(store->Apply(across));
  CHECK(Contents(*store.db) == "here=8 n=2");
  CHECK(Contents(other) == "there=8");
}

TEST_CASE("an empty batch is fine and writes nothing, and a cleared one can be used again") {
  SimStore store;
  const Revision last = Must(store->Put("k", "v"));
  Batch batch;
  CHECK(batch.empty());
  CHECK(Must(store->Apply(batch)) == last);
  batch.Put("x", "y");
  CHECK(batch.size() == 1);
  CHECK(batch.payload_bytes() == 2);
  batch.Clear();
  CHECK(batch.empty());
  CHECK(batch.payload_bytes() == 0);
  CHECK(Must(store->Apply(batch)) == last);
  batch.Delete("k");
  CHECK(Must(store->Apply(batch)) > last);
  CHECK(Contents(*store.db) == "");
}

TEST_CASE("metadata lies beside the value until the next put") {
  SimStore store;
  PutOptions options;
  options.metadata = std::string_view("type\0json", 9);
  Must(store->Put("k", "v", options));
  Must(store->SetExpiry("k", store.NowMs() + 1'000'000));
  for (int opened = 0; opened < 2; ++opened) {
    ValueInfo info;
    std::string value;
    REQUIRE(store->GetInto("k", &value, &info).ok());
    CHECK(value == "v");
    CHECK(info.metadata == options.metadata);
    auto iterator = store->NewIterator();
    iterator->SeekToFirst();
    REQUIRE(iterator->Valid());
    CHECK(iterator->metadata() == options.metadata);
    CHECK(iterator->value() == "v");
    iterator.reset();
    store.Reopen();
  }
  Must(store->Put("k", "w"));
  ValueInfo info;
  std::string value;
  REQUIRE(store->GetInto("k", &value, &info).ok());
  CHECK(info.metadata.empty());
}

TEST_CASE("keys and values of any bytes come back as they were") {
  SimStore store;
  std::string all_bytes;
  for (int byte = 0; byte < 256; ++byte) all_bytes += static_cast<char>(byte);
  for (int byte = 0; byte < 256; ++byte) Must(store->Put(std::string(1, static_cast<char>(byte)), all_bytes));
  Must(store->Put(all_bytes, std::string(3, '\0')));
  for (int opened = 0; opened < 2; ++opened) {
    for (int byte = 0; byte < 256; ++byte)
      REQUIRE(Text(store->Get(std::string(1, static_cast<char>(byte)))) == all_bytes);
    CHECK(Text(store->Get(all_bytes)) == std::string(3, '\0'));
    store.Reopen();
  }
}

// The writer alone would need a tenth of a second for what it finds in its way: a disk that takes that long for each
// operation, a full buffer, and a segment that is not there yet.
TEST_CASE("while the disk stands still many puts wait a little each, and none for all of it") {
  const uint64_t seed = GENERATE(range<uint64_t>(1, 9));
  Scheduled(seed, [&](SimWorld& world) {
    const auto db = Must(OpenIn(world));
    world.machine.set_latency_nanos_max(200'000'000);
    uint64_t longest_nanos = 0, before = world.clock.MonotonicNanos();
    for (int i = 0; i < 600; ++i) {
      Must(db->Put("k" + std::to_string(i % 50), std::string(4'000, 'v'), Buffered()));
      const uint64_t now = world.clock.MonotonicNanos();
      longest_nanos = std::max(longest_nanos, now - std::exchange(before, now));
    }
    CHECK(longest_nanos <= 30'000'000);
    world.machine.set_latency_nanos_max(0);
    Must(db->Close());
  });
}

TEST_CASE("where the next segment cannot be made no put waits for it before it has to") {
  Scheduled(1, [](SimWorld& world) {
    // Room for the first segment, and not for another.
    world.machine.set_capacity_bytes(5 << 19);
    const auto db = Must(OpenIn(world));
    absl::Status status;
    int puts = 0;
    for (; status.ok(); ++puts) {
      CHECK(db->GetStats().throttled_ns == 0);
      status = db->Put("k" + std::to_string(puts), std::string(4'000, 'v'), Buffered()).status();
    }
    CHECK(Code(status) == kExhausted);
    CHECK(puts > 150);
    Must(db->Close());
  });
}

// Making and sealing a segment takes flushes that a fill waits for; small ones keep reclaim's rounds small.
TEST_CASE("a store that is filled fast has larger segments than one that is filled slowly, or changed") {
  constexpr uint64_t kKeys = 6'000;
  const auto segments_for = [](bool slow, bool change) {
    size_t segments = 0;
    Scheduled(21, [&](SimWorld& world) {
      Events events;
      const auto db = Must(OpenIn(world, {.listener = &events}, 64 * 1024));
      const auto put_all = [&](uint64_t step) {
        for (uint64_t i = 0; i < kKeys; ++i) {
          Must(db->Put(NumberedKey(i * step % kKeys), std::string(4'000, 'v'), Buffered()));
          if (slow) PassTime(world, 10);
        }
      };
      put_all(1'009);
      const size_t filled = events.Count(EventKind::kSegmentSealed);
      if (change) put_all(2'003);  // in another order: no segment dies whole
      segments = events.Count(EventKind::kSegmentSealed) - (change ? filled : 0);
      Must(db->Close());
    });
    return segments;
  };
  const size_t filled_fast = segments_for(/*slow=*/false, /*change=*/false);
  CHECK(segments_for(true, false) > 3 * filled_fast / 2);
  CHECK(segments_for(false, true) > 5 * filled_fast / 4);
}

TEST_CASE("buffered writes become durable within the flush interval however fast others follow") {
  const uint64_t seed = GENERATE(range<uint64_t>(1, 6));
  Scheduled(seed, [&](SimWorld& world) {
    constexpr uint64_t kMs = 1'000'000, kLatencyMs = 20, kIntervalMs = 50;
    // One segment for all, or the end of each would make durable what is in it.
    const auto db = Must(OpenIn(world, {.flush_interval_ms = kIntervalMs}, uint64_t{32} << 20));
    world.machine.set_latency_nanos_max(kLatencyMs * kMs);
    const uint64_t began = world.clock.MonotonicNanos();
    uint64_t longest_nanos = 0;
    std::deque<std::pair<Revision, uint64_t>> not_durable;
    for (int i = 0; i < 500; ++i) {
      const auto revision = Must(db->Put("k" + std::to_string(i % 50), std::string(30'000, 'v'), Buffered()));
      const uint64_t now = world.clock.MonotonicNanos();
      not_durable.emplace_back(revision, now);
      while (!not_durable.empty() && not_durable.front().first <= db->DurableRevision()) not_durable.pop_front();
      if (!not_durable.empty()) longest_nanos = std::max(longest_nanos, now - not_durable.front().second);
    }
    // The flush under way, and then a group of four buffers and its sync.
    constexpr uint64_t kLongestNanos = (kIntervalMs + 10 * kLatencyMs) * kMs;
    REQUIRE(world.clock.MonotonicNanos() - began > 2 * kLongestNanos);
    CHECK(longest_nanos <= kLongestNanos);
    world.machine.set_latency_nanos_max(0);
    Must(db->Close());
  });
}

TEST_CASE("a writer that outruns both tail buffers waits for the disk, and loses nothing") {
  Scheduled(17, [](SimWorld& world) {
    world.machine.set_latency_nanos_max(50'000'000);
    const auto db = Must(OpenIn(world, {.value_separation_threshold_bytes = 0}));
    const auto value_of = [](size_t i) { return std::string(60'000, static_cast<char>('a' + i % 26)); };
    for (size_t i = 0; i < 40; ++i) Must(db->Put(NumberedKey(i), value_of(i), Buffered()));
    for (size_t i = 0; i < 40; ++i) REQUIRE(Text(db->Get(NumberedKey(i))) == value_of(i));
    world.machine.Inject({.operations = test::kWriteOperation, .lasting = true});
    absl::Status status;
    for (size_t i = 0; i < 40 && status.ok(); ++i) status = db->Put(NumberedKey(i), value_of(i), Buffered()).status();
    CHECK(Code(status) == kUnavailable);  // whoever waits is told
  });
}

}  // namespace firn::testing
