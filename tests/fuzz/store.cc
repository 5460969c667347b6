// Whole stores whose files were mutated: opened with and without salvage, for reading or writing, they never crash or
// hang, and show nothing that was never written, unless the mutation made checksums fit. What is written to them then
// is there at the next open.
//
//   input: which store u8 | how u8 | edits (store_image.cc)
#include <firn/db.h>

#include <algorithm>
#include <memory>
#include <string>

#include "db/open.h"
#include "fuzz/store_image.h"
#include "support/sim_environment.h"

namespace firn::fuzz {
namespace {

constexpr int kEditsMax = 12;
constexpr std::string_view kProbe = "probe";

struct How {
  bool read_only, salvage, forged, compact;
};

absl::StatusOr<std::unique_ptr<DB>> Open(test::SimWorld& world, const How& how) {
  Options options;
  options.create_if_missing = false;
  options.read_only = how.read_only;
  options.salvage = how.salvage;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  options.flush_interval_ms = kFlushIntervalMsMax;
  options.value_separation_threshold_bytes = kValueSeparationThresholdBytesMin;
  return OpenOn(options, test::SimEnvironment(world.machine, world.clock, world.random, kSegmentBytesMin));
}

void CheckShown(std::string_view key, std::string_view value, const How& how) {
  if (!how.forged) Require(IsValueOf(key, value), "a store shows nothing that was never written");
}

// Returns the newest revision seen.
Revision CheckReads(Namespace space, const How& how) {
  Revision newest = 0;
  const std::unique_ptr<Iterator> it = space.NewIterator();
  std::string before;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    Require(before < it->key(), "a walk goes forward");
    before = it->key();
    newest = std::max(newest, it->revision());
    const std::string value(it->value());
    if (it->status().ok()) CheckShown(before, value, how);
  }
  for (int i = 0; i < kKeys; ++i) {
    const auto value = space.Get(KeyOf(i));
    if (value.ok()) CheckShown(KeyOf(i), *value, how);
    Require(value.ok() || !value.status().message().empty() || absl::IsNotFound(value.status()), "a failure says why");
  }
  return newest;
}

Revision CheckStore(DB& db, const How& how) {
  Revision newest = CheckReads(db.root(), how);
  if (const auto space = db.OpenNamespace(kNamespaceName); space.ok()) {
    newest = std::max(newest, CheckReads(*space, how));
  }
  const auto report = db.Verify();
  Require(report.ok() || how.forged, "verify reports damage, it does not fail");
  db.GetStats();
  db.GcReport();
  return newest;
}

// Whether the probe is promised to be there from now on. `newest`: the revision of what was there before.
bool Write(DB& db, Revision newest, const How& how) {
  const auto written = db.Put(kProbe, ValueOf(kProbe, 1, 100));
  Require(!written.ok() || *written > newest, "revisions go on above all that were seen");
  db.Delete(KeyOf(4)).IgnoreError();
  db.Put(KeyOf(5), ValueOf(KeyOf(5), 9, 6'000)).IgnoreError();
  if (how.compact) db.Compact().IgnoreError();
  CheckStore(db, how);
  return written.ok();
}

void CheckOpen(test::SimWorld& world, const How& how) {
  auto db = Open(world, how);
  if (!db.ok()) {
    Require(!db.status().message().empty(), "a refusal says why");
    return;
  }
  const Revision newest = CheckStore(**db, how);
  if (how.read_only) return;
  const bool promised = Write(**db, newest, how);
  const bool closed = (*db)->Close().ok();
  db->reset();
  if (!promised || how.forged) return;
  auto again = Open(world, {.salvage = how.salvage});
  Require(again.ok() || !closed, "a store that was closed in order opens again");
  if (!again.ok()) return;
  const auto probe = (*again)->Get(kProbe);
  Require(probe.ok() && IsValueOf(kProbe, *probe), "what was promised is there at the next open");
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  enum : uint8_t { kReadOnly = 1, kSalvage = 2, kCompact = 4 };
  Input input(data, size);
  Files files = StoreImages()[input.Byte() % StoreImages().size()];
  const uint8_t how = input.Byte();
  const bool forged = Mutate(input, kEditsMax, files);
  firn::test::SimWorld world(1);
  PutOn(files, world.machine);
  CheckOpen(world, {.read_only = (how & kReadOnly) != 0,
                    .salvage = (how & kSalvage) != 0,
                    .forged = forged,
                    .compact = (how & kCompact) != 0});
  return 0;
}
