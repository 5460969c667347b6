// Salvage of whole stores whose files were mutated: it never crashes or hangs, writes nothing to what it reads, and
// what it makes is a store that verifies and shows nothing that was never written, unless the mutation made checksums
// fit.
//
//   input: which store u8 | how u8 | edits (store_image.cc)
#include <firn/db.h>
#include <firn/salvage.h>

#include <memory>
#include <string>

#include "db/open.h"
#include "fuzz/store_image.h"
#include "support/sim_environment.h"

namespace firn::fuzz {
namespace {

constexpr int kEditsMax = 12;

uint64_t CheckShown(const Namespace& space, bool forged) {
  uint64_t keys = 0;
  const std::unique_ptr<Iterator> it = space.NewIterator();
  for (it->SeekToFirst(); it->Valid(); it->Next(), ++keys) {
    const std::string value(it->value());
    Require(it->status().ok(), "what was salvaged can be read");
    Require(forged || IsValueOf(it->key(), value), "nothing is salvaged that was never written");
  }
  Require(it->status().ok(), "what was salvaged can be walked");
  return keys;
}

void CheckMade(test::SimWorld& from, test::SimWorld& to, const SalvageReport& report, bool forged) {
  Options options;
  options.create_if_missing = false;
  options.memory_budget_bytes = kMemoryBudgetBytesMin;
  const auto db = OpenOn(options, test::SimEnvironment(to.machine, from.clock, from.random, kSegmentBytesMin));
  Require(db.ok(), "what was salvaged is a store");
  uint64_t keys = CheckShown((*db)->root(), forged);
  for (const std::string& name : (*db)->ListNamespaces()) {
    const auto space = (*db)->OpenNamespace(name);
    Require(space.ok(), "a namespace that is listed opens");
    keys += CheckShown(*space, forged);
  }
  Require(keys <= report.keys, "the report counts every key");
  const auto verified = (*db)->Verify();
  Require(verified.ok() && verified->damages.empty(), "what was salvaged verifies");
  Require((*db)->Close().ok(), "what was salvaged can be closed");
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  Input input(data, size);
  Files files = StoreImages()[input.Byte() % StoreImages().size()];
  const uint8_t how = input.Byte();
  const bool forged = Mutate(input, kEditsMax, files);
  firn::test::SimWorld from(1), to(2);
  PutOn(files, from.machine);
  const uint64_t before = from.machine.Hash();
  const auto report =
      firn::SalvageOn(from.machine.Attach(),
                      [&] { return firn::test::SimEnvironment(to.machine, from.clock, from.random, kSegmentBytesMin); },
                      {.older_versions = (how & 1) != 0});
  Require(from.machine.Hash() == before, "salvage changes nothing in what it reads");
  if (!report.ok()) {
    Require(!report.status().message().empty(), "a refusal says why");
    return 0;
  }
  if (report->outcome != firn::SalvageReport::Outcome::kNothing) CheckMade(from, to, *report, forged);
  return 0;
}
