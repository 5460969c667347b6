#include <catch2/catch.hpp>
#include <cstring>
#include <set>
#include <string>

#include "base/aligned_buffer.h"
#include "support/crash_points.h"
#include "support/scheduler.h"
#include "unit/io/sim_disk_testing.h"

namespace firn::test {

TEST_CASE("the simulated disk reads what was written, and zeros where only space was claimed") {
  SimMachine machine(1);
  const auto disk = machine.Attach();
  const auto file = *disk->Open("f", io::OpenMode::kCreate);
  REQUIRE(file->Allocate(3 * kBlock).ok());
  REQUIRE(Write(*file, 1, 'x').ok());
  base::AlignedBuffer all(3 * kBlock);
  REQUIRE(file->Read(0, all.bytes()).ok());
  CHECK(all.data()[0] == std::byte{0});
  CHECK(all.data()[kBlock] == std::byte{'x'});
  CHECK(file->Read(kBlock, all.bytes()).code() == absl::StatusCode::kOutOfRange);
  CHECK(file->size_bytes() == 3 * kBlock);
}

TEST_CASE("names behave as on a file system") {
  SimMachine machine(1);
  const auto disk = machine.Attach();
  CHECK(disk->Open("f", io::OpenMode::kReadWrite).status().code() == absl::StatusCode::kNotFound);
  CHECK(disk->Open("log/1", io::OpenMode::kCreate).status().code() == absl::StatusCode::kNotFound);
  REQUIRE(disk->MakeFolder("log").ok());
  REQUIRE(disk->MakeFolder("log").ok());
  REQUIRE(disk->Open("log/1", io::OpenMode::kCreate).ok());
  CHECK(disk->Open("log/1", io::OpenMode::kCreate).status().code() == absl::StatusCode::kAlreadyExists);
  REQUIRE(disk->Rename("log/1", "log/2").ok());
  CHECK(*disk->List("log") == std::vector<std::string>{"2"});
  CHECK(disk->List("").value().empty());
  REQUIRE(disk->Remove("log/2").ok());
  CHECK(disk->Remove("log/2").code() == absl::StatusCode::kNotFound);
}

TEST_CASE("a hard link is one more name for the same bytes, takes no space, and is durable at once") {
  SimMachine machine(1);
  std::unique_ptr<io::Disk> disk = machine.Attach();
  const auto file = MakeFile(*disk, 2);
  REQUIRE(Write(*file, 1, 'n').ok());  // not synced: the link makes it durable
  const uint64_t claimed = machine.claimed_bytes();
  machine.Link("f", "copy/f");
  CHECK(*file->Links() == 2);
  CHECK(machine.claimed_bytes() == claimed);
  REQUIRE(disk->Remove("f").ok());
  CHECK(*file->Links() == 1);
  REQUIRE(Write(*file, 0, 'u').ok());
  CHECK(LettersOfBlock(machine, 0, "copy/f") == std::set<char>{'u'});
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  for (const char* name : {"f", "copy/f"}) {
    INFO(name);
    CHECK(LettersOfBlock(machine, 0, name) == std::set<char>{'o'});
    CHECK(LettersOfBlock(machine, 1, name) == std::set<char>{'n'});
  }
  disk = machine.Attach();
  CHECK(*(*disk->Open("f", io::OpenMode::kRead))->Links() == 2);
}

TEST_CASE("synced blocks survive every power cut, unsynced ones are lost, kept or torn by the sector") {
  bool lost = false, kept = false, torn = false;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SimMachine machine(seed);
    const auto disk = machine.Attach();
    const auto file = MakeFile(*disk, 4);
    REQUIRE(Write(*file, 0, 's', io::Flush::kData).ok());
    REQUIRE(Write(*file, 1, 'u').ok());
    machine.Crash({CrashKind::kPowerCut, Survival::kSectors});
    CHECK(LettersOfBlock(machine, 0) == std::set{'s'});
    const std::set<char> unsynced = LettersOfBlock(machine, 1);
    lost |= unsynced == std::set{'o'};
    kept |= unsynced == std::set{'u'};
    torn |= unsynced == std::set{'o', 'u'};
  }
  CHECK(lost);
  CHECK(kept);
  CHECK(torn);
}

TEST_CASE("a power cut that keeps nothing takes every unsynced write, one that keeps everything none") {
  for (const Survival survival : {Survival::kNothing, Survival::kEverything}) {
    SimMachine machine(1);
    const auto disk = machine.Attach();
    const auto file = MakeFile(*disk, 2);
    REQUIRE(Write(*file, 1, 'u').ok());
    REQUIRE(Write(*file, 1, 'v').ok());
    machine.Crash({CrashKind::kPowerCut, survival});
    CHECK(LettersOfBlock(machine, 1) == std::set{survival == Survival::kNothing ? 'o' : 'v'});
  }
}

TEST_CASE("a file whose folder was not synced may vanish, and renames and removals may be undone") {
  SimMachine machine(1);
  auto disk = machine.Attach();
  MakeFile(*disk, 1);
  REQUIRE(disk->Open("new", io::OpenMode::kCreate).value()->Sync().ok());
  REQUIRE(disk->Rename("f", "g").ok());
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.FileNames() == std::vector<std::string>{"f"});

  disk = machine.Attach();
  REQUIRE(disk->Rename("f", "g").ok());
  REQUIRE(disk->SyncFolder("").ok());
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.FileNames() == std::vector<std::string>{"g"});

  disk = machine.Attach();
  REQUIRE(disk->Remove("g").ok());
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.FileNames() == std::vector<std::string>{"g"});
  CHECK(LettersOfBlock(machine, 0, "g") == std::set{'o'});
}

TEST_CASE("a file's size is durable with its sync") {
  SimMachine machine(1);
  auto disk = machine.Attach();
  auto file = MakeFile(*disk, 2);
  REQUIRE(file->Allocate(8 * kBlock).ok());
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.FileSize("f") == 2 * kBlock);

  disk = machine.Attach();
  file = *disk->Open("f", io::OpenMode::kReadWrite);
  REQUIRE(file->Truncate(kBlock).ok());
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.FileSize("f") == 2 * kBlock);
  CHECK(LettersOfBlock(machine, 1) == std::set{'o'});

  disk = machine.Attach();
  file = *disk->Open("f", io::OpenMode::kReadWrite);
  REQUIRE(file->Truncate(kBlock).ok());
  REQUIRE(file->Allocate(3 * kBlock).ok());
  REQUIRE(file->Sync().ok());
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.FileSize("f") == 3 * kBlock);
  CHECK(LettersOfBlock(machine, 1) == std::set{'\0'});
}

TEST_CASE("a killed process keeps all finished writes and its shared memory") {
  SimMachine machine(1);
  auto disk = machine.Attach();
  const auto file = MakeFile(*disk, 1);
  REQUIRE(Write(*file, 0, 'k').ok());
  const auto memory = *disk->MapShared("TAIL", 2 * kBlock);
  memory->bytes()[5] = std::byte{'m'};
  machine.Crash({CrashKind::kKill, Survival::kSectors});
  memory->bytes()[5] = std::byte{'n'};  // the old process lingers
  CHECK(LettersOfBlock(machine, 0) == std::set{'k'});
  CHECK(machine.ReadFile("TAIL")[5] == 'm');

  disk = machine.Attach();
  const auto again = *disk->MapShared("TAIL", 2 * kBlock);
  CHECK(again->bytes()[5] == std::byte{'m'});
  CHECK(disk->MapShared("TAIL", kBlock).status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("shared memory is created whole and durable") {
  SimMachine machine(1);
  REQUIRE(machine.Attach()->MapShared("TAIL", 2 * kBlock).ok());
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.FileSize("TAIL") == 2 * kBlock);
}

TEST_CASE("after a power cut each page of shared memory is old or new") {
  bool old = false, fresh = false, mixed = false;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SimMachine machine(seed);
    const auto disk = machine.Attach();
    const auto memory = *disk->MapShared("TAIL", 2 * kBlock);
    memory->bytes()[0] = memory->bytes()[kBlock] = std::byte{'1'};
    machine.WriteBackMappings();
    memory->bytes()[0] = memory->bytes()[kBlock] = std::byte{'2'};
    machine.Crash({CrashKind::kPowerCut, Survival::kPages});
    const std::string left = machine.ReadFile("TAIL");
    old |= left[0] != '2' && left[kBlock] != '2';
    fresh |= left[0] == '2' && left[kBlock] == '2';
    mixed |= left[0] != left[kBlock];
  }
  CHECK(old);
  CHECK(fresh);
  CHECK(mixed);
}

TEST_CASE("a process that has crashed can do nothing any more") {
  SimMachine machine(1);
  const auto disk = machine.Attach();
  const auto file = MakeFile(*disk, 1);
  machine.Crash({CrashKind::kKill, Survival::kEverything});
  const uint64_t operations = machine.operations();
  CHECK(Write(*file, 0, 'z').code() == absl::StatusCode::kUnavailable);
  CHECK(file->Sync().code() == absl::StatusCode::kUnavailable);
  CHECK(disk->Open("f", io::OpenMode::kRead).status().code() == absl::StatusCode::kUnavailable);
  CHECK(disk->Remove("f").code() == absl::StatusCode::kUnavailable);
  CHECK(LettersOfBlock(machine, 0) == std::set{'o'});
  CHECK(machine.operations() == operations);
}

TEST_CASE("a full disk refuses space and gives it again once something is removed") {
  SimMachine machine(1);
  machine.set_capacity_bytes(10 * kBlock);
  const auto disk = machine.Attach();
  auto file = MakeFile(*disk, 8);
  CHECK(*disk->FreeBytes() == 2 * kBlock);
  const auto other = *disk->Open("other", io::OpenMode::kCreate);
  CHECK(other->Allocate(3 * kBlock).code() == absl::StatusCode::kResourceExhausted);
  CHECK(other->size_bytes() == 0);
  CHECK(Write(*other, 0, 'x', io::Flush::kNone, 3).code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(file->Truncate(kBlock).ok());
  CHECK(other->Allocate(3 * kBlock).ok());
}

TEST_CASE("a hole of the simulated disk gives space back, reads as zeros, and is filled by writing or claiming it") {
  SimMachine machine(1);
  const auto disk = machine.Attach();
  auto file = MakeFile(*disk, 8);
  CHECK(*file->AllocatedBytes() == 8 * kBlock);
  REQUIRE(file->PunchHole(2 * kBlock, 3 * kBlock).ok());
  CHECK(machine.claimed_bytes() == 5 * kBlock);
  CHECK(*file->AllocatedBytes() == 5 * kBlock);
  CHECK(machine.FileSize("f") == 8 * kBlock);
  CHECK(LettersOfBlock(machine, 1) == std::set{'o'});
  CHECK(LettersOfBlock(machine, 2) == std::set{'\0'});
  REQUIRE(Write(*file, 3, 'w').ok());
  CHECK(machine.claimed_bytes() == 6 * kBlock);
  REQUIRE(file->Allocate(9 * kBlock, 8 * kBlock).ok());
  CHECK(machine.claimed_bytes() == 7 * kBlock);
  REQUIRE(file->Allocate(9 * kBlock).ok());
  CHECK(machine.claimed_bytes() == 9 * kBlock);
  REQUIRE(file->PunchHole(8 * kBlock, 4 * kBlock).ok());
  CHECK(machine.claimed_bytes() == 8 * kBlock);
  REQUIRE(file->Truncate(kBlock).ok());
  CHECK(machine.claimed_bytes() == kBlock);
}

TEST_CASE("writing into a hole needs room on a full simulated disk") {
  SimMachine machine(1);
  machine.set_capacity_bytes(4 * kBlock);
  const auto disk = machine.Attach();
  auto file = MakeFile(*disk, 4);
  REQUIRE(file->PunchHole(0, kBlock).ok());
  const auto other = *disk->Open("other", io::OpenMode::kCreate);
  REQUIRE(other->Allocate(kBlock).ok());
  CHECK(Write(*file, 0, 'x').code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(other->Truncate(0).ok());
  CHECK(Write(*file, 0, 'x').ok());
}

TEST_CASE("a hole that was not synced may be gone after a power cut, block by block, and a synced one stays") {
  bool gone = false, there = false;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SimMachine machine(seed);
    auto disk = machine.Attach();
    auto file = MakeFile(*disk, 4);
    REQUIRE(file->PunchHole(0, kBlock).ok());
    REQUIRE(file->Sync().ok());
    REQUIRE(file->PunchHole(2 * kBlock, kBlock).ok());
    machine.Crash({CrashKind::kPowerCut, Survival::kSectors});
    CHECK(LettersOfBlock(machine, 0) == std::set{'\0'});
    const bool punched = LettersOfBlock(machine, 2) == std::set{'\0'};
    CHECK(machine.claimed_bytes() == (punched ? 2 : 3) * kBlock);
    (punched ? there : gone) = true;
  }
  CHECK(gone);
  CHECK(there);
}

TEST_CASE("punching can fail, crash and be missing") {
  SimMachine machine(1);
  const auto disk = machine.Attach();
  auto file = MakeFile(*disk, 4);
  machine.Inject({.operations = kWriteOperation});
  CHECK(file->PunchHole(0, kBlock).code() == absl::StatusCode::kDataLoss);
  machine.set_can_punch(false);
  CHECK(file->PunchHole(0, kBlock).code() == absl::StatusCode::kUnimplemented);
  machine.set_can_punch(true);
  machine.CrashAfter(0, {CrashKind::kKill, Survival::kEverything});
  CHECK(file->PunchHole(0, kBlock).code() == absl::StatusCode::kUnavailable);
  CHECK(machine.claimed_bytes() == 4 * kBlock);
}

TEST_CASE("open files are limited") {
  SimMachine machine(1);
  machine.set_open_files_max(1);
  const auto disk = machine.Attach();
  auto file = *disk->Open("a", io::OpenMode::kCreate);
  CHECK(disk->Open("b", io::OpenMode::kCreate).status().code() == absl::StatusCode::kResourceExhausted);
  file.reset();
  CHECK(disk->Open("b", io::OpenMode::kCreate).ok());
}

TEST_CASE("flipped bits stay flipped for every later reader") {
  SimMachine machine(1);
  const auto disk = machine.Attach();
  const auto file = MakeFile(*disk, 1);
  machine.FlipBits("f", 77, std::byte{1});
  CHECK(machine.ReadFile("f")[77] == ('o' ^ 1));
  machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
  CHECK(machine.ReadFile("f")[77] == ('o' ^ 1));
}

TEST_CASE("one writer or several readers hold a simulated lock, and a crash frees it") {
  SimMachine machine(1);
  const auto first = machine.Attach(), second = machine.Attach();
  CHECK(first->Lock("LOCK", false).status().code() == absl::StatusCode::kNotFound);
  auto lock = *first->Lock("LOCK", true);
  CHECK(first->Lock("LOCK", true).status().code() == absl::StatusCode::kUnavailable);
  CHECK(second->Lock("LOCK", false).status().code() == absl::StatusCode::kUnavailable);
  lock.reset();
  const auto reader = *first->Lock("LOCK", false), another = *second->Lock("LOCK", false);
  CHECK(second->Lock("LOCK", true).status().code() == absl::StatusCode::kUnavailable);
  machine.Crash({CrashKind::kKill, Survival::kEverything});
  CHECK(machine.Attach()->Lock("LOCK", true).ok());
}

TEST_CASE("a write under way at a kill arrives in part") {
  bool none = false, part = false, whole = false;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SimMachine machine(seed);
    SimScheduler scheduler({.seed = seed});
    scheduler.Run([&machine] {
      const auto disk = machine.Attach();
      const auto file = MakeFile(*disk, 2);
      machine.CrashAfter(0, {CrashKind::kKill, Survival::kPages});
      CHECK(Write(*file, 0, 'w', io::Flush::kNone, 2).code() == absl::StatusCode::kUnavailable);
    });
    const bool first = LettersOfBlock(machine, 0) == std::set{'w'};
    const bool second = LettersOfBlock(machine, 1) == std::set{'w'};
    none |= !first && !second;
    part |= first != second;
    whole |= first && second;
  }
  CHECK(none);
  CHECK(part);
  CHECK(whole);
}

TEST_CASE("a sync covers what was written before it began") {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SimMachine machine(seed);
    machine.set_latency_nanos_max(1'000'000);
    SimScheduler scheduler({.seed = seed});
    scheduler.Run([&machine] {
      const auto disk = machine.Attach();
      const auto file = MakeFile(*disk, 2);
      REQUIRE(Write(*file, 0, 'b').ok());
      base::Thread writer("writer", [&file] { Write(*file, 1, 'd').IgnoreError(); });
      REQUIRE(file->Sync().ok());
      machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
      writer.Join();
    });
    CHECK(LettersOfBlock(machine, 0) == std::set{'b'});
  }
}

TEST_CASE("enumerated crashes meet every operation and find the write and rename idiom safe") {
  const auto letter = [](SimWorld& world) { return *LettersOfBlock(world.machine, 0).begin(); };
  bool acknowledged = false;
  CrashTest test;
  test.prepare = [](SimWorld& world) { MakeFile(*world.machine.Attach(), 1); };
  test.run = [&acknowledged](SimWorld& world) {
    acknowledged = false;
    const auto disk = world.machine.Attach();
    auto file = disk->Open("f.new", io::OpenMode::kCreate);
    acknowledged = file.ok() && Write(**file, 0, 'n', io::Flush::kData).ok() && disk->Rename("f.new", "f").ok() &&
                   disk->SyncFolder("").ok();
  };
  test.check = [&](SimWorld& world) {
    const char found = letter(world);
    REQUIRE(LettersOfBlock(world.machine, 0).size() == 1);
    if (acknowledged) REQUIRE(found == 'n');
    REQUIRE((found == 'n' || found == 'o'));
  };
  const PointCount count = ForEachCrash(test, {CrashKind::kPowerCut, CrashKind::kKill}, 11);
  CHECK(count.points == 5);
  CHECK((count.runs == 8 * 6 || kPointsStep > 1));
  CHECK(ForEachFault(test, kAnyOperation, false, 11).points == 5);
}

TEST_CASE("the simulated wall clock jumps either way and the monotonic one never back") {
  SimClock clock;
  const int64_t before = clock.WallTimeMs();
  const uint64_t monotonic = clock.MonotonicNanos();
  clock.JumpWall(-5'000);
  CHECK(clock.WallTimeMs() < before);
  CHECK(clock.MonotonicNanos() > monotonic);
  clock.JumpWall(60'000);
  CHECK(clock.WallTimeMs() > before);
}

}  // namespace firn::test
