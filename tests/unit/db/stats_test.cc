// What a store says of itself.
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "unit/db/testing.h"

namespace firn::testing {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

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

// What the kernel counts of this process: bytes sent to storage, or put into pages that will be; and of these, bytes
// that were cut or punched away before they got there. Nothing where it does not say.
std::optional<uint64_t> CountedByKernel(std::string_view wanted = "write_bytes") {
  std::ifstream file("/proc/self/io");
  std::string name;
  for (uint64_t bytes; file >> name >> bytes;) {
    if (name == std::string(wanted) + ":") return bytes;
  }
  return std::nullopt;
}

bool KernelCountsWritesIn(const std::string& directory) {
  struct statfs file_system;
  REQUIRE(::statfs(directory.c_str(), &file_system) == 0);
  if (file_system.f_type != TMPFS_MAGIC && CountedByKernel()) return true;
  WARN("skipped: writes are not counted here, on tmpfs or without /proc/self/io; FIRN_TEST_DIR names another place");
  return false;
}

uint64_t BlocksBelow(const std::string& directory, uint64_t* files) {
  uint64_t bytes = 0;
  *files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat found;
    if (!entry.is_regular_file() || ::stat(entry.path().c_str(), &found) != 0) continue;
    bytes += static_cast<uint64_t>(found.st_blocks) * 512;
    ++*files;
  }
  return bytes;
}

TEST_CASE("on a real disk bytes written agree with the kernel's count, and bytes taken with the files' blocks") {
  Options options;
  options.value_separation_threshold_bytes = 64 * 1024;
  RealStore store(options);
  if (!KernelCountsWritesIn(store.dir.path())) return;
  const auto kernel_before = CountedByKernel();
  const uint64_t before = store->GetStats().device_written_bytes;
  for (size_t i = 0; i < 200; ++i) {
    PutOptions synced;
    Must(store->Put(NumberedKey(i), std::string(40'000, 'v'), synced));
    Must(store->Put("large" + std::to_string(i), std::to_string(i) + std::string(150'000, 'w'), synced));
  }
  const uint64_t by_stats = store->GetStats().device_written_bytes - before;
  const uint64_t by_kernel = *CountedByKernel() - *kernel_before;
  INFO("by Stats " << by_stats << ", by the kernel " << by_kernel);
  CHECK(by_stats > 200 * 190'000);
  // The kernel also counts the pages of TAIL that are written back, and blocks of the file system's own.
  CHECK(by_kernel >= by_stats - by_stats / 50);
  CHECK(by_kernel <= by_stats + by_stats / 10 + 2 * kMiB);

  // A file that is being made, or removed, by the store's own threads is counted a moment before or after it is there:
  // they have to come to rest.
  uint64_t files = 0, by_blocks = 0, by_store = 0;
  const auto differ = [&] {
    by_store = store->GetStats().disk_bytes;
    by_blocks = BlocksBelow(store.dir.path(), &files);
    return by_store > by_blocks + files * 8'192 || by_blocks > by_store + files * 8'192;
  };
  for (int turn = 0; turn < 1'000 && differ(); ++turn) std::this_thread::yield();
  INFO("by Stats " << by_store << ", by blocks " << by_blocks << " in " << files << " files");
  // A block or two for each file, which the file system needs to find the others.
  CHECK(by_store <= by_blocks + files * 8'192);
  CHECK(by_blocks <= by_store + files * 8'192);
}

// What is written behind the kernel counts when it becomes dirty, which Stats do when it is written: both at once, and
// whatever becomes of it. Pages that are punched before they were sent are in both counts.
TEST_CASE("on a real disk bytes written agree with the kernel's count for buffered overwrites, extents and punches") {
  Options options;
  options.value_separation_threshold_bytes = 64 * 1024;
  RealStore store(options);
  if (!KernelCountsWritesIn(store.dir.path())) return;
  const uint64_t kernel_before = *CountedByKernel(), cancelled_before = *CountedByKernel("cancelled_write_bytes");
  const Stats before = store->GetStats();
  constexpr size_t kKeys = 120, kRounds = 5;
  for (size_t round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < kKeys; ++i) {
      const std::string tag = std::to_string(round * kKeys + i);
      Must(store->Put(NumberedKey(i), tag + std::string(40'000, 'v'), Buffered()));
      Must(store->Put("large" + std::to_string(i), tag + std::string(150'000, 'w'), Buffered()));
    }
  }
  // Every other one: holes, not whole files.
  for (size_t i = 0; i < kKeys; i += 2) Must(store->Delete("large" + std::to_string(i)));
  Must(store->Compact());
  Must(store->Flush());
  const Stats after = store->GetStats();
  CHECK(after.value_waiting_bytes == 0);
  CHECK(after.value_live_bytes < kKeys * 160'000 / 2);
  const uint64_t by_stats = after.device_written_bytes - before.device_written_bytes;
  const uint64_t by_kernel = *CountedByKernel() - kernel_before;
  const uint64_t cancelled = *CountedByKernel("cancelled_write_bytes") - cancelled_before;
  INFO("by Stats " << by_stats << ", by the kernel " << by_kernel << ", of them cancelled " << cancelled);
  CHECK(by_stats > kRounds * kKeys * 190'000);
  // As above. TAIL's pages become dirty, and are counted, once for each time that the kernel writes them back.
  CHECK(by_kernel >= by_stats - by_stats / 50);
  CHECK(by_kernel <= by_stats + by_stats / 10 + 2 * kMiB);
}

// What the device wrote for each byte of keys and values; the benchmark counts the same at full size.
TEST_CASE("a load writes little more than what is put, and overwrites of separated values write them once") {
  const auto [value_bytes, at_most] =
      GENERATE(table<size_t, double>({{100, 1.8}, {4'096, 1.04}, {32'768, 1.02}, {131'072, 1.02}}));
  CAPTURE(value_bytes);
  Options options;
  options.flush_interval_ms = 60'000;
  SimStore store(options);
  const auto key_of = [](size_t i) { return NumberedKey(i) + std::string(16 - NumberedKey(i).size() % 16, 'k'); };
  const size_t keys = 40 * kMiB / value_bytes / (value_bytes < 1'000 ? 4 : 1);
  const auto put_all = [&](size_t round) {
    for (size_t i = 0; i < keys; ++i) {
      std::string value = std::to_string(round * keys + i) + ".";
      value.resize(value_bytes, static_cast<char>('a' + i % 26));
      Must(store->Put(key_of(i), value, Buffered()));
    }
    Must(store->Sync());
  };
  const Stats before = store->GetStats();  // a young store's first segment is filled ahead: a MiB, once
  const auto write_amplification = [&] {
    const Stats now = store->GetStats();
    return static_cast<double>(now.device_written_bytes - before.device_written_bytes) /
           static_cast<double>(now.user_bytes_written - before.user_bytes_written);
  };
  put_all(0);
  CHECK(write_amplification() <= at_most);
  if (value_bytes < options.value_separation_threshold_bytes) return;
  for (size_t round = 1; round <= 3; ++round) put_all(round);
  CHECK(write_amplification() <= 1.1);
  CHECK(store->GetStats().relocated_bytes <= keys * (100 + 32) * 4);
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

TEST_CASE("separated values have their part in the progress of Verify, which can be cancelled between two of them") {
  Options options;
  options.value_separation_threshold_bytes = 4'096;
  SimStore store(options, 64 * 1024);
  constexpr size_t kValues = 20;
  constexpr uint64_t kValueBytes = 50'000;
  for (size_t i = 0; i < kValues; ++i) {
    Must(
        store->Put(NumberedKey(i), NumberedKey(i) + std::string(kValueBytes - NumberedKey(i).size(), 'v'), Buffered()));
  }
  Must(store->Put("one more name", Must(store->Get(NumberedKey(0)))));
  Must(store->Flush());
  uint64_t last_done = 0, last_total = 0;
  const VerifyReport report = Must(store->Verify([&](uint64_t done, uint64_t total) {
    CHECK(done >= last_done);
    CHECK(done - last_done <= 64 * 1024);
    CHECK(done <= total);
    last_done = done;
    last_total = total;
    return true;
  }));
  CHECK(report.damages.empty());
  CHECK(report.values == kValues);
  CHECK(last_total >= kValues * kValueBytes);
  CHECK(last_done == last_total);

  uint64_t done_when_cancelled = 0;
  const auto cancelled = store->Verify([&](uint64_t done, uint64_t total) {
    done_when_cancelled = done;
    return total - done > kValues / 2 * kValueBytes;
  });
  CHECK(Code(cancelled) == absl::StatusCode::kCancelled);
  CHECK(done_when_cancelled < last_total);
}

}  // namespace
}  // namespace firn::testing
