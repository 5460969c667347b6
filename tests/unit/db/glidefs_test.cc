// The preset for stores of 128 KiB blocks: what is separated, where it lies, what it takes.
#include "unit/db/separated.h"

namespace firn::testing {
namespace {

constexpr uint64_t kBlock = 128 * 1024;
constexpr std::string_view kFirstFile = "values/0000000001.val";

uint64_t Padded(uint64_t bytes) { return (bytes + kBlock - 1) / kBlock * kBlock; }

TEST_CASE("GlideFs: values of 128 KiB and more get extents at multiples of 128 KiB, smaller ones stay in the log") {
  const Options preset = Options::GlideFs();
  CHECK(preset.value_separation_threshold_bytes == kBlock);
  CHECK(preset.value_alignment_bytes == kBlock);
  SimStore store(preset);
  const std::vector<size_t> inline_sizes{100, 4'096, 65'536, kBlock - 1};
  // The one that has the most slack is separated too: at this alignment there is no limit to it.
  const std::vector<size_t> separated_sizes{kBlock, kBlock + 1, 2 * kBlock, 200'000, 1'000'000};
  std::vector<std::pair<std::string, std::string>> puts;
  const auto put = [&](size_t size) {
    const std::string key = NumberedKey(puts.size());
    puts.emplace_back(key, ValueOf(puts.size(), size));
    Must(store->Put(key, puts.back().second));
  };
  for (const size_t size : inline_sizes) put(size);
  CHECK(store->GetStats().value_extents == 0);
  CHECK(store->GetStats().value_files == 0);
  uint64_t live_bytes = 0, slack_bytes = 0;
  for (const size_t size : separated_sizes) {
    put(size);
    live_bytes += size;
    slack_bytes += Padded(size) - size;
  }
  Must(store->Put("a second name", puts.back().second));
  puts.emplace_back("a second name", puts.back().second);

  const auto check = [&](const char* when) {
    INFO(when);
    const Stats stats = store->GetStats();
    INFO(stats.ToString());
    CHECK(stats.value_extents == separated_sizes.size());
    CHECK(stats.value_live_bytes == live_bytes);
    CHECK(stats.value_slack_bytes == slack_bytes);
    CHECK(stats.value_waiting_bytes == 0);
    CHECK(stats.value_files == 1);
    // The slack is on the disk, too, but for that of the last one at a clean end. The header has a block of its own.
    CHECK(stats.value_files_bytes >= kBlock + live_bytes);
    for (const auto& [key, value] : puts) CHECK((Text(store->Get(key)) == value));
    const std::string file = store.world.machine.ReadFile(kFirstFile);
    uint64_t at = kBlock;
    for (size_t i = 0; i < separated_sizes.size(); ++i) {
      const std::string& value = puts[inline_sizes.size() + i].second;
      INFO("value of " << value.size() << " bytes at " << at);
      CHECK((file.compare(at, value.size(), value) == 0));
      at += Padded(value.size());
    }
    for (size_t i = 0; i < inline_sizes.size(); ++i) CHECK(file.find(puts[i].second) == std::string::npos);
  };
  check("as written");
  CHECK(store->GetStats().value_dedup_hits == 1);
  store.Reopen();
  check("reopened");
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  check("after a power cut");
  CHECK(UnexplainedValueBytes(*store.db) == 0);
}

TEST_CASE("GlideFs: an overwritten block gives back its slack too, and its range holds the whole of it") {
  Scheduled(31, [](SimWorld& world) {
    Options options = Options::GlideFs();
    std::unique_ptr<DB> db = Must(OpenIn(world, options));
    // Neighbours, so that the file stays.
    for (const char* key : {"a", "b", "c"}) Must(db->Put(key, ValueOf(static_cast<size_t>(*key), kBlock + 1)));
    const uint64_t before = db->GetStats().value_files_bytes;
    Must(db->Put("b", "small"));
    Must(db->Compact());
    const Stats stats = db->GetStats();
    INFO(stats.ToString());
    CHECK(stats.value_extents == 2);
    CHECK(stats.value_slack_bytes == 2 * (kBlock - 1));
    CHECK(stats.value_waiting_bytes == 0);
    CHECK(stats.value_files_bytes + 2 * kBlock <= before);
    CHECK(Text(db->Get("b")) == "small");
    for (const char* key : {"a", "c"}) {
      CHECK((Text(db->Get(key)) == ValueOf(static_cast<size_t>(*key), kBlock + 1)));
    }
    Must(db->Close());
  });
}

}  // namespace
}  // namespace firn::testing
