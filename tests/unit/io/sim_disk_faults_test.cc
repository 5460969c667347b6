// How the simulated disk fails, and how it lies.
#include <catch2/catch.hpp>
#include <cerrno>
#include <set>
#include <string>

#include "base/aligned_buffer.h"
#include "unit/io/sim_disk_testing.h"

namespace firn::test {

TEST_CASE("a failed fsync loses what it should have written, and the next one does not bring it back") {
  bool lost = false;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SimMachine machine(seed);
    const auto disk = machine.Attach();
    const auto file = MakeFile(*disk, 1);
    machine.Inject({.operations = kSyncOperation});
    CHECK(Write(*file, 0, 'x', io::Flush::kData).code() == absl::StatusCode::kDataLoss);
    CHECK(LettersOfBlock(machine, 0) == std::set{'x'});  // reads still see it
    CHECK(file->Sync().ok());
    machine.Crash({CrashKind::kPowerCut, Survival::kEverything});
    lost |= LettersOfBlock(machine, 0) == std::set{'o'};
  }
  CHECK(lost);
}

TEST_CASE("once the page cache has evicted what a failed fsync did not write, reads see what was there before") {
  bool evicted = false;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SimMachine machine(seed);
    machine.set_failed_sync_evicts(true);
    const auto disk = machine.Attach();
    const auto file = MakeFile(*disk, 2);
    REQUIRE(Write(*file, 0, 'x', io::Flush::kData).ok());
    machine.Inject({.operations = kSyncOperation});
    REQUIRE(Write(*file, 0, 'y').ok());
    CHECK_FALSE(file->Sync().ok());
    if (machine.pages_evicted() == 0) continue;
    evicted = true;
    CHECK(LettersOfBlock(machine, 0) == std::set{'x'});
    CHECK(LettersOfBlock(machine, 1) == std::set{'o'});
    REQUIRE(Write(*file, 0, 'z', io::Flush::kData).ok());
    CHECK(LettersOfBlock(machine, 0) == std::set{'z'});
  }
  CHECK(evicted);
}

TEST_CASE("a stale read gives what a page held before it was last written, once or from then on") {
  SimMachine machine(7);
  const auto disk = machine.Attach();
  const auto file = MakeFile(*disk, 3);
  const auto letter_of = [&file](uint64_t block) {
    base::AlignedBuffer page(kBlock);
    REQUIRE(file->Read(block * kBlock, page.bytes()).ok());
    return static_cast<char>(page.data()[0]);
  };
  REQUIRE(Write(*file, 0, 'x', io::Flush::kData).ok());
  REQUIRE(Write(*file, 1, 'y').ok());  // not synced
  machine.Inject({.kind = Fault::Kind::kStaleRead, .operations = kReadOperation, .after = 1});
  CHECK(letter_of(0) == 'x');
  CHECK(letter_of(0) == 'o');
  CHECK(letter_of(0) == 'x');
  machine.Inject({.kind = Fault::Kind::kStaleRead, .operations = kReadOperation, .lasting = true});
  CHECK(letter_of(1) == 'o');
  CHECK(letter_of(0) == 'o');
  CHECK(letter_of(2) == '\0');  // what was there before the only write
  CHECK(machine.stale_pages_read() == 4);
  machine.ClearFaults();
  CHECK(letter_of(1) == 'y');
}

TEST_CASE("of several pages that are read at least one is stale, and not always the same ones") {
  std::set<std::string> read;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SimMachine machine(seed);
    const auto disk = machine.Attach();
    const auto file = MakeFile(*disk, 3);
    for (uint64_t block = 0; block < 3; ++block) REQUIRE(Write(*file, block, 'n', io::Flush::kData).ok());
    machine.Inject({.kind = Fault::Kind::kStaleRead, .operations = kReadOperation});
    base::AlignedBuffer pages(3 * kBlock);
    REQUIRE(file->Read(0, pages.bytes()).ok());
    std::string letters;
    for (uint64_t block = 0; block < 3; ++block) letters += static_cast<char>(pages.data()[block * kBlock]);
    CHECK(letters != "nnn");
    read.insert(letters);
  }
  CHECK(read.size() > 2);
}

TEST_CASE("an operation can fail for want of memory") {
  SimMachine machine(1);
  const auto disk = machine.Attach();
  const auto file = MakeFile(*disk, 1);
  machine.Inject({.operations = kAnyOperation, .error_number = ENOMEM});
  CHECK(absl::IsResourceExhausted(Write(*file, 0, 'x')));
  CHECK(Write(*file, 0, 'x').ok());
  machine.Inject({.operations = kOpenOperation});
  CHECK(absl::IsResourceExhausted(disk->Open("f", io::OpenMode::kRead).status()));  // EMFILE
}

TEST_CASE("writes can fail, be lost or land elsewhere while they report success") {
  SimMachine machine(2);
  const auto disk = machine.Attach();
  const auto file = MakeFile(*disk, 8);
  machine.Inject({.operations = kWriteOperation, .after = 1});
  CHECK(Write(*file, 0, 'a').ok());
  CHECK(Write(*file, 0, 'b').code() == absl::StatusCode::kDataLoss);
  CHECK(Write(*file, 0, 'c').ok());
  machine.Inject({.kind = Fault::Kind::kLoseWrite, .operations = kWriteOperation});
  CHECK(Write(*file, 1, 'd').ok());
  CHECK(LettersOfBlock(machine, 1) == std::set{'o'});
  machine.Inject({.kind = Fault::Kind::kMisdirect, .operations = kWriteOperation});
  CHECK(Write(*file, 1, 'e').ok());
  CHECK(machine.ReadFile("f").find('e') != std::string::npos);
  CHECK(machine.faults_hit() == 3);
}

TEST_CASE("a lasting fault fails every operation until it is cleared") {
  SimMachine machine(2);
  const auto disk = machine.Attach();
  const auto file = MakeFile(*disk, 1);
  machine.Inject({.operations = kReadOperation, .lasting = true});
  base::AlignedBuffer out(kBlock);
  CHECK(file->Read(0, out.bytes()).code() == absl::StatusCode::kDataLoss);
  CHECK(file->Read(0, out.bytes()).code() == absl::StatusCode::kDataLoss);
  machine.ClearFaults();
  CHECK(file->Read(0, out.bytes()).ok());
}

}  // namespace firn::test
