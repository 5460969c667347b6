// One memory number: what the process takes stays within it, whatever is loaded, read, changed and opened.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

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

// Sanitizers have memory of their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr uint64_t kBudgetBytes = uint64_t{64} << 20;
constexpr uint64_t kKeys = 400'000;  // 220 MiB

constexpr double kMiB = 1'048'576;

std::unique_ptr<DB> Open(const std::string& path) {
  Options options;
  options.memory_budget_bytes = kBudgetBytes;
  return Must(DB::Open(options, path));
}

std::string Load(DB& db) {
  test::Rng rng(1);
  for (uint64_t i = 0; i < kKeys; ++i) Must(db.Put(NumberedKey(i), ValueOf(i, 0), Buffered()));
  for (uint64_t i = 0; i < kKeys / 2; ++i) {
    const uint64_t key = rng.Below(kKeys);
    const auto value = db.Get(NumberedKey(key));
    if (!value.ok() || *value != ValueOf(key, 0)) return "a value is wrong";
  }
  for (uint64_t i = 0; i < kKeys; i += 2) Must(db.Put(NumberedKey(i), ValueOf(i, 1), Buffered()));
  uint64_t count = 0;
  const auto iterator = db.NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) count += iterator->value().empty() ? 0 : 1;
  return count == kKeys ? "" : "a scan has " + std::to_string(count) + " values";
}

std::string GetSome(DB& db) {
  for (uint64_t i = 0; i < kKeys; i += 7) {
    if (!db.Get(NumberedKey(i)).ok()) return "a value is missing";
  }
  return "";
}

// In a process of its own: the allocator keeps what a store gives back.
std::string WithinBudget(const std::string& path, const std::string& what, std::string (*work)(DB&)) {
  return InChild([&]() -> std::string {
    if (!ForgetPeak()) return "";  // not permitted here
    const uint64_t before = StatusBytes("VmRSS:");
    const std::unique_ptr<DB> db = Open(path);
    if (std::string wrong = work(*db); !wrong.empty()) return wrong;
    const uint64_t peak = StatusBytes("VmHWM:") - before;
    std::printf("%s: %.1f MiB of a budget of %.0f\n", what.c_str(), static_cast<double>(peak) / kMiB,
                static_cast<double>(kBudgetBytes) / kMiB);
    std::fflush(stdout);
    Must(db->Close());
    return peak <= kBudgetBytes + kBudgetBytes / 10 ? "" : what + ": " + std::to_string(peak) + " bytes";
  });
}

}  // namespace

TEST_CASE(
    "a process takes at most a tenth more than the budget while four times as much is loaded, read, changed, "
    "scanned and opened") {
  if (kSanitized) return;
  TempDir directory;
  CHECK(WithinBudget(directory.path(), "loaded", &Load) == "");
  CHECK(WithinBudget(directory.path(), "opened", &GetSome) == "");
  std::filesystem::remove(std::filesystem::path(directory.path()) / "IMAGE");
  CHECK(WithinBudget(directory.path(), "opened by footers", &GetSome) == "");
}

}  // namespace firn::testing
