// Threads that put, drop, free, read and sync at once: under the scheduler with many seeds, and as plain threads for
// ThreadSanitizer.
#include <algorithm>
#include <atomic>
#include <thread>

#include "io/open_disk.h"
#include "support/temp_dir.h"
#include "unit/values/testing.h"

namespace firn::values {
namespace {

using namespace testing;

// One run for each of `count` seeds, as scheduled threads.
template <typename Body>
void ForEachSeed(uint64_t count, const Body& body) {
  const uint64_t first = PickSeed();
  INFO(Replay(first));
  for (uint64_t seed = first; seed < first + count; ++seed) {
    CAPTURE(seed);
    SimWorld world(seed);
    SimScheduler scheduler({.seed = seed, .switch_probability = seed % 2 == 0 ? 0.25 : 0.7});
    REQUIRE(scheduler.Run([&] { body(world, seed); }));
  }
}

// What threads found wrong; Catch's assertions are for one thread.
class Complaints {
 public:
  void Expect(bool right, const char* what) {
    if (!right) first_.store(what);
  }
  void Expect(const absl::Status& status, const char* what) {
    if (!status.ok()) first_.store(what);
  }
  std::string text() const { return first_.load() == nullptr ? "" : first_.load(); }

 private:
  std::atomic<const char*> first_{nullptr};
};

bool Shows(ValueStore& store, Slot slot, std::string_view value) {
  std::string out(store.length(slot), '\0');
  return store.Read(slot, std::as_writable_bytes(std::span(out))).ok() && out == value;
}

TEST_CASE("threads that put the same content at once share one extent, which all of them can rely on") {
  ForEachSeed(150, [](SimWorld& world, uint64_t seed) {
    Session store(world);
    store.Fresh();
    const std::string value = Content(seed, 9'000);
    Complaints complaints;
    std::vector<base::Thread> threads;
    std::vector<Slot> slots(4, kNoSlot);
    for (size_t i = 0; i < slots.size(); ++i) {
      threads.emplace_back("putter", [&, i] {
        const auto stored = store->Put(base::AsBytes(value));
        complaints.Expect(stored.status(), "put");
        slots[i] = stored->slot;
        complaints.Expect(Shows(*store, stored->slot, value), "a shared extent is read before it is written");
      });
    }
    for (base::Thread& thread : threads) thread.Join();
    REQUIRE(complaints.text() == "");
    CHECK(std::count(slots.begin(), slots.end(), slots[0]) == 4);
    CHECK(store->GetStats().extents == 1);
    CHECK(store->GetStats().dedup_hits == 3);
  });
}

TEST_CASE("when the write that others wait for fails, one of them writes it") {
  ForEachSeed(150, [](SimWorld& world, uint64_t seed) {
    Session store(world);
    store.Fresh();
    Put(*store, "the file is there");
    const std::string value = Content(seed, 9'000);
    world.machine.Inject({.operations = test::kWriteOperation});
    std::atomic<int> failed{0};
    Complaints complaints;
    std::vector<base::Thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back("putter", [&] {
        const auto stored = store->Put(base::AsBytes(value));
        if (!stored.ok()) {
          ++failed;
        } else {
          complaints.Expect(Shows(*store, stored->slot, value), "read");
          store->Release(stored->slot, 0);
        }
      });
    }
    for (base::Thread& thread : threads) thread.Join();
    REQUIRE(complaints.text() == "");
    CHECK(failed == 1);
    store->FreeDropped(0);
    CHECK(store->GetStats().waiting_bytes == 0);
    CHECK(store->GetStats().extents == 1);
  });
}

TEST_CASE("content put while it is being freed is never lost, and never freed under a reader [rule 4]") {
  ForEachSeed(400, [](SimWorld& world, uint64_t seed) {
    ValueOptions options;
    options.file_bytes_max = seed % 3 == 0 ? 24 * kKiB : kMiB;
    Session store(world, options);
    store.Fresh();
    const std::string values[] = {Content(1, 6'000), Content(2, 6'000)};
    Complaints complaints;
    std::atomic<uint64_t> revision{0};
    std::atomic<uint32_t> published{kNoSlot};  // what an index would show: a slot some putter still refers to
    std::vector<base::Thread> threads;
    std::atomic<int> running{2};
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back("putter", [&, i] {
        Rng rng(seed * 7 + static_cast<uint64_t>(i));
        for (int step = 0; step < 8; ++step) {
          const std::string& value = values[rng.Below(2)];
          const auto stored = store->Put(base::AsBytes(value));
          complaints.Expect(stored.status(), "put");
          published = stored->slot;
          base::SchedulePoint();
          complaints.Expect(Shows(*store, stored->slot, value), "what was put is gone");
          uint32_t mine = stored->slot;
          published.compare_exchange_strong(mine, kNoSlot);
          store->Release(stored->slot, ++revision);
        }
        --running;
      });
    }
    threads.emplace_back("reader", [&] {
      while (running > 0) {
        base::EpochGuard guard(store.epochs());
        base::SchedulePoint();
        // Only a slot that is published after the guard began was surely referred to within it.
        const uint32_t slot = published;
        if (slot == kNoSlot) {
          base::SpinPause(0);
          continue;
        }
        base::SchedulePoint();
        complaints.Expect(Shows(*store, slot, values[0]) || Shows(*store, slot, values[1]),
                          "an extent was freed under its reader");
      }
    });
    threads.emplace_back("freer", [&] {
      while (running > 0) {
        store->FreeDropped(revision);
        base::SpinPause(0);
      }
    });
    for (base::Thread& thread : threads) thread.Join();
    REQUIRE(complaints.text() == "");
    store->FreeDropped(revision);
    REQUIRE(store->GetStats().extents == 0);
    REQUIRE(store->GetStats().waiting_bytes == 0);
    REQUIRE(store->GetStats().slack_bytes == 0);
  });
}

TEST_CASE("a put that ends while another's sync runs is covered by its own sync [A8]") {
  ForEachSeed(200, [](SimWorld& world, uint64_t seed) {
    world.machine.set_latency_nanos_max(100'000);
    Remembered remembered;
    {
      Session store(world);
      store.Fresh();
      Complaints complaints;
      base::Mutex mutex;
      std::vector<base::Thread> threads;
      for (int i = 0; i < 3; ++i) {
        threads.emplace_back("putter", [&, i] {
          for (int step = 0; step < 4; ++step) {
            // Some of it shared with another thread that has not synced yet.
            const std::string value =
                Content(seed + static_cast<uint64_t>(step % 2 == 0 ? step : step * 10 + i), 5'000);
            const auto stored = store->Put(base::AsBytes(value));
            if (!stored.ok() || !store->Sync().ok()) return;
            base::MutexLock lock(mutex);
            remembered[std::to_string(i) + "." + std::to_string(step)] = {stored->pointer, value};
          }
        });
      }
      world.machine.CrashAfter(5 + seed % 50, {CrashKind::kPowerCut, Survival::kNothing});
      for (base::Thread& thread : threads) thread.Join();
      world.machine.ClearFaults();
    }
    Session store(world);
    const auto slots = AdoptAll(*store, remembered);
    Must(store->FinishRecovery(false));
    RequireAll(*store, remembered, slots);
  });
}

TEST_CASE("whoever shares an extent that another thread has just written syncs it too [rule 4]") {
  ForEachSeed(300, [](SimWorld& world, uint64_t seed) {
    const std::string value = Content(seed, 5'000);
    std::atomic<bool> synced{false};
    ValuePointer pointer;
    {
      Session store(world);
      store.Fresh();
      Put(*store, "the file is there");
      Must(store->Sync());
      std::vector<base::Thread> threads;
      for (int i = 0; i < 2; ++i) {
        threads.emplace_back("putter", [&] {
          const auto stored = store->Put(base::AsBytes(value));
          if (!stored.ok() || !store->Sync().ok() || synced.exchange(true)) return;
          pointer = stored->pointer;
          world.machine.Crash({CrashKind::kPowerCut, Survival::kNothing});
        });
      }
      for (base::Thread& thread : threads) thread.Join();
    }
    REQUIRE(synced);
    Session store(world);
    const Slot slot = Must(store->Adopt(pointer));
    Must(store->FinishRecovery(false));
    REQUIRE(ReadValue(*store, slot) == value);
  });
}

TEST_CASE("files that are made ahead by one thread while others put, free and want their room lose and leak nothing") {
  ForEachSeed(200, [](SimWorld& world, uint64_t seed) {
    world.machine.set_latency_nanos_max(seed % 2 == 0 ? 0 : 100'000);
    std::atomic<int> due{0}, running{2};
    ValueOptions options;
    options.file_bytes_max = 48 * kKiB;
    options.on_next_due = [&due] { ++due; };
    Session store(world, options);
    store.Fresh();
    Complaints complaints;
    std::atomic<uint64_t> revision{0};
    std::vector<std::pair<Slot, std::string>> kept[2];
    std::vector<base::Thread> threads;
    for (uint64_t i = 0; i < 2; ++i) {
      threads.emplace_back("putter", [&, i] {
        for (uint64_t step = 0; step < 8; ++step) {
          const std::string value = Content(seed + 100 * i + step, 9'000);
          store->AwaitRunway(value.size(), world.clock, 1'000'000);
          const auto stored = store->Put(base::AsBytes(value));
          complaints.Expect(stored.status(), "put");
          complaints.Expect(Shows(*store, stored->slot, value), "what was put is gone");
          if (step % 3 == 1) {
            kept[i].emplace_back(stored->slot, value);
          } else {
            store->Release(stored->slot, ++revision);
          }
        }
        --running;
      });
    }
    threads.emplace_back("preparer", [&] {
      for (int made = 0; running > 0;) {
        if (due == made) {
          base::SpinPause(0);
          continue;
        }
        made = due;
        store->PrepareNext();
      }
    });
    threads.emplace_back("freer", [&] {
      for (int turn = 0; running > 0; ++turn) {
        store->FreeDropped(revision, kMiB, ValueStore::ActiveFile::kLast);
        if (turn % 4 == 3) store->GiveBackAhead();
        base::SpinPause(0);
      }
    });
    for (base::Thread& thread : threads) thread.Join();
    store->FreeDropped(revision);
    REQUIRE(store->UnexplainedBytes() == 0);
    for (const auto& each : kept) {
      for (const auto& [slot, value] : each) {
        complaints.Expect(Shows(*store, slot, value), "what was kept is gone");
        store->Release(slot, ++revision);
      }
    }
    REQUIRE(complaints.text() == "");
    store->FreeDropped(revision);
    REQUIRE(store->GetStats().extents == 0);
    REQUIRE(store->GetStats().waiting_bytes == 0);
    REQUIRE(store->UnexplainedBytes() == 0);
    Must(store->Close());
    REQUIRE(store->GetStats().files == 1);  // the one that was written to last
  });
}

TEST_CASE("a stream that is given up while others free is given back once") {
  ForEachSeed(200, [](SimWorld& world, uint64_t) {
    Session store(world);
    store.Fresh();
    std::atomic<bool> over{false};
    base::Thread freeing("freeing", [&] {
      while (!over) store->FreeDropped(0);
    });
    for (int i = 0; i < 4; ++i) {
      const auto stream = store->BeginStream();
      Must(stream->Append(base::AsBytes(Content(1, kMiB + 5'000))));
    }
    over = true;
    freeing.Join();
    store->FreeDropped(0);
    REQUIRE(store->GetStats().files == 0);
  });
}

TEST_CASE("threads put, stream, read, drop, free and sync at once") {
  // On a real disk: ThreadSanitizer does not see the locks of the simulated one.
  firn::testing::TempDir dir;
  ValueOptions options;
  options.file_bytes_max = 4 * kMiB;
  options.open_files_max = 4;
  Session store(Must(io::OpenDisk(dir.path(), {})), base::Clock::System(), base::Random::System(), options);
  store.Fresh();
  Complaints complaints;
  std::atomic<uint64_t> revision{0};
  std::atomic<int> running{3};
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      Rng rng(i + 1);
      std::vector<std::pair<Slot, std::string>> held;
      for (int step = 0; step < 300; ++step) {
        if (held.size() < 6 && rng.OneIn(2)) {
          const std::string value = Content(rng.Below(20), rng.Between(1, 4) * 7'000);
          const auto stored = store->Put(base::AsBytes(value));
          complaints.Expect(stored.status(), "put");
          held.emplace_back(stored->slot, value);
        } else if (rng.OneIn(30)) {
          const std::string value = Content(rng.Below(3), kMiB + 5'000);
          const auto stream = store->BeginStream();
          complaints.Expect(stream->Append(base::AsBytes(value)), "append");
          if (rng.OneIn(2)) continue;
          const auto stored = stream->Finish();
          complaints.Expect(stored.status(), "finish");
          held.emplace_back(stored->slot, value);
        } else if (!held.empty()) {
          const size_t which = rng.Below(held.size());
          complaints.Expect(Shows(*store, held[which].first, held[which].second), "read");
          store->Release(held[which].first, ++revision);
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        }
        if (rng.OneIn(10)) complaints.Expect(store->Sync(), "sync");
      }
      for (const auto& [slot, value] : held) store->Release(slot, ++revision);
      --running;
    });
  }
  threads.emplace_back([&] {
    while (running > 0) {
      store->FreeDropped(revision);
      complaints.Expect(store->GetStats().files < 1'000, "files");
    }
  });
  for (std::thread& thread : threads) thread.join();
  REQUIRE(complaints.text() == "");
  store->FreeDropped(revision);
  const ValueStats stats = store->GetStats();
  CHECK(stats.extents == 0);
  CHECK(stats.waiting_bytes == 0);
  CHECK(stats.slack_bytes == 0);
  CHECK(stats.files <= 1);
}

}  // namespace
}  // namespace firn::values
