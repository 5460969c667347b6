// One memory number: what the process takes stays within it, whatever is loaded, read, changed and opened.
#include <cstdio>
#include <fstream>

#include "support/rng.h"
#include "unit/db/testing.h"
#include "unit/io/child_process.h"

namespace firn::testing {
namespace {

uint64_t StatusBytes(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) return std::stoull(line.substr(name.size())) * 1'024;
  }
  return 0;
}

// From here on the peak begins anew.
bool ForgetPeak() {
  std::ofstream file("/proc/self/clear_refs");
  return static_cast<bool>(file << "5" << std::flush);
}

// Of a sixteenth part of the values another length, so that records move about.
std::string ValueOf(uint64_t i, uint64_t version) {
  return std::to_string(i) + std::string(i % 16 == 0 ? 3'000 : 400, static_cast<char>('a' + version));
}

constexpr uint64_t kBudgetBytes = uint64_t{64} << 20;
constexpr uint64_t kKeys = 400'000;  // 220 MiB

std::string Load(RealStore& store) {
  test::Rng rng(1);
  for (uint64_t i = 0; i < kKeys; ++i) Must(store->Put(NumberedKey(i), ValueOf(i, 0), Buffered()));
  for (uint64_t i = 0; i < kKeys / 2; ++i) {
    const uint64_t key = rng.Below(kKeys);
    const auto value = store->Get(NumberedKey(key));
    if (!value.ok() || *value != ValueOf(key, 0)) return "a value is wrong";
  }
  for (uint64_t i = 0; i < kKeys; i += 2) Must(store->Put(NumberedKey(i), ValueOf(i, 1), Buffered()));
  uint64_t count = 0;
  const auto iterator = store->NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) count += iterator->value().empty() ? 0 : 1;
  return count == kKeys ? "" : "a scan has " + std::to_string(count) + " values";
}

}  // namespace

// Sanitizers have memory of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("the process takes at most a tenth more than the budget while four times as much is loaded, read, changed, "
          "scanned and opened") {
  const std::string report = InChild([]() -> std::string {
    if (!ForgetPeak()) return "";  // not permitted here
    const uint64_t before = StatusBytes("VmRSS:");
    RealStore store({.memory_budget_bytes = kBudgetBytes});
    if (std::string wrong = Load(store); !wrong.empty()) return wrong;
    const uint64_t loaded = StatusBytes("VmHWM:") - before;
    store.Reopen();
    for (uint64_t i = 0; i < kKeys; i += 7) {
      if (!store->Get(NumberedKey(i)).ok()) return "a value is missing";
    }
    const uint64_t opened = StatusBytes("VmHWM:") - before;
    std::printf("of a budget of %.0f MiB: %.1f MiB at most while loading, %.1f with opening\n", kBudgetBytes / 1048576.0,
                static_cast<double>(loaded) / 1048576.0, static_cast<double>(opened) / 1048576.0);
    std::fflush(stdout);
    return opened <= kBudgetBytes + kBudgetBytes / 10 ? "" : "the peak is " + std::to_string(opened);
  });
  CHECK(report.empty());
  if (!report.empty()) FAIL(report);
}
#endif

}  // namespace firn::testing
