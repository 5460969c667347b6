// Crashes and faults at every single disk operation.
#include <algorithm>
#include <set>

#include "unit/values/testing.h"

namespace firn::values {
namespace {

using namespace testing;

ValueOptions SmallFiles() {
  ValueOptions options;
  options.file_bytes_max = 48 * kKiB;
  return options;
}

// The next file is made ahead, by the writer that finds it due.
ValueOptions FilesMadeAhead() {
  ValueOptions options = SmallFiles();
  options.on_next_due = [] {};  // a scenario puts its own here
  return options;
}

// A value store beside a log that never fails: what was remembered is durable at once.
class Scenario {
 public:
  Scenario(SimWorld& world, Remembered& remembered, bool& clean, const ValueOptions& options)
      : machine_(world.machine),
        crashes_(machine_.crashes()),
        remembered_(remembered),
        clean_(clean),
        session_(world, WithOwnCall(options)) {
    open_ = session_.status().ok();
    for (const auto& [name, value] : remembered_) {
      if (!open_) return;
      const auto slot = session_->Adopt(value.first);
      open_ = slot.ok();
      if (open_) slots_[name] = *slot;
    }
    open_ = open_ && session_->FinishRecovery(clean).ok();
    clean_ = false;
  }

  // Rule 4: the record comes after the extent is durable.
  void Put(const std::string& name, const std::string& value) {
    if (!open_) return;
    const auto stored = session_->Put(base::AsBytes(value));
    if (!stored.ok() || !session_->Sync().ok()) return;
    Remember(name, *stored, value);
  }
  void Stream(const std::string& name, const std::string& value) {
    if (!open_) return;
    const auto stream = session_->BeginStream();
    if (!stream->Append(base::AsBytes(value)).ok()) return;
    const auto stored = stream->Finish();
    if (stored.ok() && session_->Sync().ok()) Remember(name, *stored, value);
  }
  // The change is durable only with `durable`.
  void Drop(const std::string& name, bool durable) {
    if (!slots_.contains(name)) return;
    session_->Release(slots_.at(name), ++revision_);
    slots_.erase(name);
    if (!durable || machine_.crashes() != crashes_) return;
    remembered_.erase(name);
    durable_revision_ = revision_;
  }
  void Free() {
    if (open_) session_->FreeDropped(durable_revision_);
  }
  void Close() {
    if (open_) clean_ = session_->Close().ok() && machine_.crashes() == crashes_;
  }
  ValueStore& store() { return *session_; }

 private:
  ValueOptions WithOwnCall(ValueOptions options) {
    if (options.on_next_due) options.on_next_due = [this] { session_->PrepareNext(); };
    return options;
  }
  // Of a process that is alive.
  void Remember(const std::string& name, const ValueStore::Stored& stored, const std::string& value) {
    Drop(name, true);
    slots_[name] = stored.slot;
    remembered_[name] = {stored.pointer, value};
  }

  const SimMachine& machine_;
  const uint64_t crashes_;
  Remembered& remembered_;
  bool& clean_;
  Session session_;
  bool open_ = false;
  std::map<std::string, Slot> slots_;
  uint64_t revision_ = 0, durable_revision_ = 0;
};

uint64_t LiveBytes(const Remembered& remembered) {
  std::set<std::pair<uint32_t, uint64_t>> seen;
  uint64_t bytes = 0;
  for (const auto& [name, value] : remembered) {
    if (seen.emplace(value.first.file, value.first.offset).second) bytes += base::RoundUp(value.first.length, 4096);
  }
  return bytes;
}

// After whatever happened: all that is remembered verifies, nothing else takes space, the store works and can be
// closed.
void RequireWhole(SimWorld& world, const Remembered& remembered, bool clean, const ValueOptions& options) {
  for (int turn = 0; turn < 2; ++turn) {
    Session store(world, options);
    Must(store.status());
    const auto slots = AdoptAll(*store, remembered);
    Must(store->FinishRecovery(clean));
    RequireAll(*store, remembered, slots);
    store->FreeDropped(0);
    const ValueStats stats = store->GetStats();
    INFO("turn " << turn << ", clean " << clean);
    REQUIRE(stats.waiting_bytes == 0);
    // The newest file may have claimed 1 MiB ahead, if it could be appended to.
    REQUIRE(stats.allocated_bytes <= LiveBytes(remembered) + stats.files * 4096 + (clean ? kMiB : 0));
    REQUIRE(stats.files <= remembered.size() + 1);
    const auto fresh = Put(*store, "still working");
    for (const auto& [name, value] : remembered) {
      const bool overlap = value.first.file == fresh.pointer.file && value.first.offset == fresh.pointer.offset;
      REQUIRE_FALSE(overlap);
      if (!clean) REQUIRE(fresh.pointer.file > value.first.file);
    }
    Must(store->Sync());
    REQUIRE(ReadValue(*store, fresh.slot) == "still working");
    RequireAll(*store, remembered, slots);
    store->Release(fresh.slot, 0);
    Must(store->Close());
    clean = true;
  }
}

struct Enumerated {
  CrashTest test;
  Remembered remembered;
  bool clean = true;

  Enumerated(const ValueOptions& options, std::function<void(Scenario&)> before, std::function<void(Scenario&)> run) {
    test.prepare = [this, options, before](SimWorld& world) {
      remembered.clear();
      clean = true;
      Scenario scenario(world, remembered, clean, options);
      before(scenario);
      scenario.Close();
    };
    test.run = [this, options, run](SimWorld& world) {
      Scenario scenario(world, remembered, clean, options);
      run(scenario);
    };
    test.check = [this, options](SimWorld& world) { RequireWhole(world, remembered, clean, options); };
  }

  uint64_t Crashes(uint64_t seed) { return ForEachCrash(test, {CrashKind::kPowerCut, CrashKind::kKill}, seed).points; }
  uint64_t Faults(unsigned operations, bool lasting, uint64_t seed) {
    return ForEachFault(test, operations, lasting, seed).points;
  }
};

void Nothing(Scenario&) {}

void PutAndClose(Scenario& scenario) {
  scenario.Put("a", Content(1, 5'000));
  scenario.Put("b", Content(2, 70'000));
  scenario.Put("c", Content(1, 5'000));  // shared
  scenario.Close();
}

void DropAndFree(Scenario& scenario) {
  scenario.Drop("a", true);
  scenario.Free();
  scenario.Drop("c", true);
  scenario.Free();
  scenario.Put("d", Content(3, 9'000));  // content of a freed one, and of one that is not
  scenario.Put("e", Content(4, 9'000));
  scenario.Drop("d", true);
  scenario.Free();
  scenario.Drop("b", false);  // not durable: nothing of it may go
  scenario.Free();
  scenario.Close();
}

void FillSome(Scenario& scenario) {
  for (int i = 0; i < 4; ++i) scenario.Put(std::string(1, static_cast<char>('a' + i)), Content(i + 3, 9'000));
}

void ChangeFiles(Scenario& scenario) {
  for (int i = 0; i < 7; ++i) {
    const std::string name(1, static_cast<char>('p' + i % 3));
    scenario.Put(name, Content(i, 15'000));
    if (i % 2 == 0) scenario.Free();
  }
  scenario.Put("large", Content(50, 60'000));
  scenario.Drop("large", true);
  scenario.Free();
  scenario.Close();
}

void StreamSome(Scenario& scenario) {
  scenario.Stream("s", Content(5, kMiB + 100'000));
  scenario.Put("t", Content(6, 5'000));
  scenario.Stream("u", Content(5, kMiB + 100'000));  // shared
  scenario.Drop("s", true);
  scenario.Drop("u", true);
  scenario.Free();
  scenario.Close();
}

TEST_CASE("a crash in any operation of put and sync loses nothing that was synced and leaks nothing") {
  CHECK(Enumerated({}, Nothing, PutAndClose).Crashes(1) > 12);
}

TEST_CASE("a crash in any operation of release and free loses no byte that is referred to and leaks nothing") {
  CHECK(Enumerated({}, FillSome, DropAndFree).Crashes(2) > 8);
  CHECK(Enumerated(SmallFiles(), FillSome, DropAndFree).Crashes(3) > 8);
  CHECK(Enumerated(FilesMadeAhead(), FillSome, DropAndFree).Crashes(3) > 8);
}

TEST_CASE("a crash in any operation of changing files loses nothing that was synced and leaks nothing") {
  CHECK(Enumerated(SmallFiles(), FillSome, ChangeFiles).Crashes(4) > 40);
  CHECK(Enumerated(FilesMadeAhead(), FillSome, ChangeFiles).Crashes(4) > 40);
}

TEST_CASE("a crash in any operation of a stream loses nothing that was synced and leaks nothing") {
  CHECK(Enumerated({}, FillSome, StreamSome).Crashes(5) > 20);
}

TEST_CASE("a crash in any operation of recovery itself leaves all to the next one") {
  Remembered remembered;
  bool clean = true;
  CrashTest test;
  test.prepare = [&](SimWorld& world) {
    remembered.clear();
    clean = true;
    {
      Scenario scenario(world, remembered, clean, SmallFiles());
      FillSome(scenario);
      ChangeFiles(scenario);
    }
    clean = false;
    remembered.erase("b");  // orphans and gaps
    remembered.erase("q");
  };
  test.run = [&](SimWorld& world) {
    Scenario scenario(world, remembered, clean, SmallFiles());
    scenario.Put("z", Content(9, 5'000));
  };
  test.check = [&](SimWorld& world) { RequireWhole(world, remembered, clean, SmallFiles()); };
  CHECK(ForEachCrash(test, {CrashKind::kPowerCut, CrashKind::kKill}, 6).points > 15);
}

TEST_CASE("a fault in any operation is a status: what was synced stays, and after it nothing is half there") {
  const bool lasting = GENERATE(false, true);
  CAPTURE(lasting);
  for (const unsigned operations :
       {unsigned{test::kWriteOperation}, unsigned{test::kSyncOperation}, unsigned{test::kReadOperation},
        unsigned{test::kOpenOperation}, unsigned{test::kAllocateOperation}, unsigned{test::kFolderOperation}}) {
    CAPTURE(operations);
    Enumerated({}, Nothing, PutAndClose).Faults(operations, lasting, 7);
    Enumerated(SmallFiles(), FillSome, DropAndFree).Faults(operations, lasting, 8);
    Enumerated(SmallFiles(), FillSome, ChangeFiles).Faults(operations, lasting, 9);
    Enumerated(FilesMadeAhead(), FillSome, ChangeFiles).Faults(operations, lasting, 9);
    Enumerated({}, FillSome, StreamSome).Faults(operations, lasting, 10);
  }
  CHECK(Enumerated({}, FillSome, StreamSome).Faults(test::kAnyOperation, lasting, 10) > 20);
}

TEST_CASE("random lives of a store, with crashes anywhere, lose nothing and leak nothing") {
  const uint64_t first = PickSeed();
  INFO(Replay(first));
  for (uint64_t seed = first; seed < first + 60; ++seed) {
    CAPTURE(seed);
    SimWorld world(seed);
    Remembered remembered;
    bool clean = true;
    Rng rng(seed);
    const ValueOptions options = rng.OneIn(3) ? ValueOptions{} : rng.OneIn(2) ? SmallFiles() : FilesMadeAhead();
    for (int life = 0; life < 6; ++life) {
      if (rng.OneIn(2)) {
        const CrashKind kind = rng.OneIn(2) ? CrashKind::kKill : CrashKind::kPowerCut;
        world.machine.CrashAfter(rng.Below(80), {kind, test::kSurvivals[rng.Below(4)]});
      }
      {
        Scenario scenario(world, remembered, clean, options);
        for (uint64_t step = rng.Below(30); step > 0; --step) {
          const std::string name(1, static_cast<char>('a' + rng.Below(8)));
          if (rng.OneIn(3)) {
            scenario.Drop(name, true);
          } else {
            scenario.Put(name, Content(rng.Below(12), rng.Between(1, 30'000)));
          }
          if (rng.OneIn(4)) scenario.Free();
        }
        if (rng.OneIn(2)) scenario.Close();
      }
      world.machine.ClearFaults();
      if (!clean) world.machine.Crash({CrashKind::kKill, Survival::kEverything});
    }
    RequireWhole(world, remembered, clean, options);
  }
}

}  // namespace
}  // namespace firn::values
