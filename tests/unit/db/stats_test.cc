// What a store says of itself.
#include "unit/db/testing.h"

namespace firn::testing {

TEST_CASE("operations and bytes are counted") {
  RealStore store;
  const Stats fresh = store->GetStats();
  CHECK(fresh.puts.count == 0);
  CHECK(fresh.keys == 0);
  CHECK(fresh.user_bytes_written == 0);
  for (size_t i = 0; i < 100; ++i) Must(store->Put(NumberedKey(i), std::string(90, 'v'), Buffered()));
  for (size_t i = 0; i < 10; ++i) Must(store->Delete(NumberedKey(i), Buffered()));
  for (size_t i = 0; i < 50; ++i) Must(store->Get(NumberedKey(i + 20)));
  Batch batch;
  batch.Put("x", "12345");
  batch.Put("y", "12345");
  Must(store->Apply(batch));
  const std::string_view keys[] = {"x", "y", "z"};
  store->MultiGet(keys);
  Must(store->Sync());
  const Stats stats = store->GetStats();
  CHECK(stats.puts.count == 100);
  CHECK(stats.deletes.count == 10);
  CHECK(stats.batches.count == 1);
  CHECK(stats.gets.count == 50);
  CHECK(stats.multi_gets.count == 1);
  CHECK(stats.multi_get_keys == 3);
  CHECK(stats.syncs.count == 1);
  CHECK(stats.user_bytes_written == 100 * 100 + 10 * 10 + 12);
  CHECK(stats.user_bytes_read == 50 * 90 + 10);
  CHECK(stats.keys == 92);
  CHECK(stats.puts.p50_ns > 0);
  CHECK(stats.puts.p50_ns <= stats.puts.p99_ns);
  CHECK(stats.puts.p99_ns <= stats.puts.p999_ns);
  CHECK(stats.last_revision >= 111);
  CHECK(stats.durable_revision == stats.last_revision);
  CHECK(stats.durable_revision == store->DurableRevision());
  CHECK_FALSE(stats.poisoned);
  CHECK(stats.disk_kind == (stats.disk_kind == "pread" ? "pread" : "io_uring"));
}

TEST_CASE("segments, live and dead bytes, commits and the index add up") {
  SimStore store({}, 64 * 1024);
  for (size_t i = 0; i < 300; ++i) Must(store->Put(NumberedKey(i), std::string(1'000, 'v'), Buffered()));
  Must(store->Flush());
  Stats stats = store->GetStats();
  CHECK(stats.segments > 4);
  CHECK(stats.sealed_segments == stats.segments - 1);
  CHECK(stats.live_bytes > 300 * 1'010);
  CHECK(stats.live_bytes < 300 * 1'100);
  CHECK(stats.live_bytes + stats.dead_bytes == stats.log_bytes);
  CHECK(stats.commit_writes >= 300);
  CHECK(stats.commits > 0);
  CHECK(stats.commit_bytes >= 300'000);
  CHECK(stats.commit_bytes <= stats.device_written_bytes);
  CHECK(stats.group_size_max >= stats.group_size_p50);
  CHECK(stats.group_size_max > 1);
  CHECK(stats.device_syncs > 0);
  CHECK(stats.index_bytes > 0);
  CHECK(stats.index_bytes_per_key == Approx(static_cast<double>(stats.index_bytes) / 300));
  const uint64_t live = stats.live_bytes;
  for (size_t i = 0; i < 150; ++i) Must(store->Delete(NumberedKey(i), Buffered()));
  stats = store->GetStats();
  CHECK(stats.live_bytes < live * 52 / 100);
  CHECK(stats.live_bytes > live * 48 / 100);
  const uint64_t live_after = stats.live_bytes;
  store.Reopen();
  stats = store->GetStats();
  CHECK(stats.live_bytes == live_after);
  CHECK(stats.keys == 150);
  CHECK(stats.open_read_bytes > 0);
  CHECK(stats.open_read_bytes == stats.device_read_bytes);
}

TEST_CASE("opening a cleanly closed store reads the footers, not the data") {
  SimStore store;
  for (size_t i = 0; i < 50'000; ++i) Must(store->Put(NumberedKey(i), std::string(1'024, 'v'), Buffered()));
  store.Reopen();
  const Stats stats = store->GetStats();
  CHECK(stats.keys == 50'000);
  CHECK(stats.open_read_bytes < stats.log_bytes / 10);
}

TEST_CASE("Stats can be read as a table") {
  SimStore store;
  Must(store->Put("k", "v"));
  const std::string table = store->GetStats().ToString();
  for (const char* word : {"puts", "gets", "device", "log", "commits", "index", "revisions"}) {
    CHECK(table.find(word) != std::string::npos);
  }
}

TEST_CASE("Verify counts what there is, reports progress and can be cancelled") {
  SimStore store({}, 64 * 1024);
  for (size_t i = 0; i < 300; ++i) Must(store->Put(NumberedKey(i), std::string(1'000, 'v'), Buffered()));
  Must(store->Flush());
  uint64_t last_done = 0, last_total = 0;
  const VerifyReport report = Must(store->Verify([&](uint64_t done, uint64_t total) {
    CHECK(done >= last_done);
    CHECK(done <= total);
    last_done = done;
    last_total = total;
    return true;
  }));
  CHECK(report.damages.empty());
  CHECK(report.records >= 300);
  CHECK(report.segments == store->GetStats().segments);
  CHECK(report.bytes >= 300'000);
  CHECK(last_done == last_total);
  CHECK(Code(store->Verify([](uint64_t, uint64_t) { return false; })) == absl::StatusCode::kCancelled);
}

}  // namespace firn::testing
