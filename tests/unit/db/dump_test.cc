// DumpFile(): a file of the store in words.
#include <fstream>

#include "unit/db/testing.h"

namespace firn::testing {
namespace {

struct Dumped {
  absl::Status status;
  std::string text;

  bool Has(std::string_view words) const { return text.find(words) != std::string::npos; }
};

Dumped Dump(const RealStore& store, const std::string& name) {
  Dumped dumped;
  dumped.status = DumpFile(store.dir.path(), store.dir.path() + "/" + name,
                           [&](std::string_view line) { dumped.text += std::string(line) + "\n"; });
  return dumped;
}

void Overwrite(const RealStore& store, const std::string& name, uint64_t at, const std::string& bytes) {
  std::fstream file(store.dir.path() + "/" + name, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file << bytes;
}

constexpr const char* kFirst = "log/0000000001.seg";
constexpr uint64_t kUnitAt = 4'096;

TEST_CASE("a dump names every kind of record that a user's calls write, with keys, sizes and times") {
  RealStore store;
  PutOptions options;
  options.metadata = "meta";
  Must(store->Put("k", "value", options));
  Must(store->Put("gone", "v", Expiring(4'000'000'000'000)));
  Must(store->SetExpiry("k", 5'000'000'000'000));
  Must(store->Delete("gone"));
  Batch batch;
  batch.Put("one", "1");
  batch.Delete("k");
  Must(store->Apply(batch));
  Must(store->CreateNamespace("space"));
  Must(store->DropNamespace("space"));

  const Dumped open = Dump(store, kFirst);
  INFO(open.text);
  CHECK(open.status.ok());
  for (const char* words : {"segment 1, incarnation", "key \"k\" metadata 4 bytes value 5 bytes",
                            "expires at 4000000000000 ms", "expiry-change", "delete", "namespace-create",
                            "namespace-drop", "(batch goes on)", "no footer that verifies"}) {
    INFO(words);
    CHECK(open.Has(words));
  }
  Must(store->Close());
  const Dumped closed = Dump(store, kFirst);
  INFO(closed.text);
  CHECK(closed.status.ok());
  CHECK(closed.Has("footer: "));
  CHECK_FALSE(closed.Has("no footer"));
}

TEST_CASE("a dump describes what is damaged and goes on behind it") {
  RealStore store;
  Must(store->Put("first", "value"));
  Must(store->Put("second", "value"));
  Must(store->Close());
  SECTION("a unit") {
    Overwrite(store, kFirst, kUnitAt + 8, "damage");
    const Dumped dumped = Dump(store, kFirst);
    INFO(dumped.text);
    CHECK(dumped.status.ok());
    CHECK(dumped.Has("4096 no unit verifies here, up to "));
    CHECK(dumped.Has("damage, for another unit follows"));
    CHECK(dumped.Has("key \"second\" value 5 bytes"));
  }
  SECTION("the header, though its salt stands") {
    Overwrite(store, kFirst, 20, "damage");
    const Dumped dumped = Dump(store, kFirst);
    INFO(dumped.text);
    CHECK(Code(dumped.status) == kDataLoss);
    CHECK(dumped.Has("the header does not verify"));
    CHECK(dumped.Has("its fields as they stand"));
  }
  SECTION("the header, all of it") {
    Overwrite(store, kFirst, 0, std::string(4'096, '\0'));
    const Dumped dumped = Dump(store, kFirst);
    INFO(dumped.text);
    CHECK(dumped.status.ok());
    CHECK(dumped.Has("no segment yet: the header is a block of zeros"));
  }
  SECTION("one copy of the superblock, and both") {
    Overwrite(store, "SUPERBLOCK", 16, "damage");
    const Dumped one = Dump(store, "SUPERBLOCK");
    INFO(one.text);
    CHECK(Code(one.status) == kDataLoss);
    CHECK(one.Has("0 superblock does not verify"));
    CHECK(one.Has("4096 superblock: uuid "));
    CHECK(Dump(store, kFirst).status.ok());  // by the other copy
    Overwrite(store, "SUPERBLOCK", 4'096 + 16, "damage");
    CHECK(Code(Dump(store, "SUPERBLOCK").status) == kDataLoss);
    CHECK(Code(Dump(store, kFirst).status) == kDataLoss);
  }
  SECTION("a file that is too short to be a segment") {
    std::ofstream(store.dir.path() + "/log/0000000077.seg") << "short";
    CHECK(Code(Dump(store, "log/0000000077.seg").status) == kDataLoss);
  }
}

}  // namespace
}  // namespace firn::testing
