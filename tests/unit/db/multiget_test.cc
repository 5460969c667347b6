// Reading many keys at one revision.
#include <atomic>
#include <thread>

#include "unit/db/testing.h"

namespace firn::testing {
namespace {

// Writers put the same number under all keys, or take all away, in one batch; readers must never see two states at
// once.
void WriteBatches(DB& db, size_t keys, int batches, uint64_t seed) {
  test::Rng rng(seed);
  for (int i = 0; i < batches; ++i) {
    Batch batch;
    const bool takes_away = rng.OneIn(4);
    const std::string value = std::to_string(rng.Next());
    for (size_t k = 0; k < keys; ++k) {
      if (takes_away) {
        batch.Delete(NumberedKey(k));
      } else {
        batch.Put(NumberedKey(k), value);
      }
    }
    if (!db.Apply(batch, {.durability = Durability::kBuffered}).ok()) std::abort();
  }
}

// How many reads saw more than one state.
int ReadWhileWritten(DB& db, size_t keys, const std::function<bool()>& go_on) {
  std::vector<std::string> names;
  for (size_t k = 0; k < keys; ++k) names.push_back(NumberedKey(k));
  const std::vector<std::string_view> views(names.begin(), names.end());
  int mixed = 0;
  do {
    const auto values = db.MultiGet(views);
    for (const auto& value : values) {
      if (Text(value) != Text(values[0])) {
        ++mixed;
        break;
      }
    }
  } while (go_on());
  return mixed;
}

}  // namespace

TEST_CASE("a multi-get answers each key by itself, in the order asked") {
  RealStore store;
  Must(store->Put("a", "1"));
  Must(store->Put("b", "2"));
  const std::string too_long(kKeyBytesMax + 1, 'k');
  const std::string_view keys[] = {"b", "", "nowhere", "a", "b", too_long};
  const auto values = store->MultiGet(keys);
  REQUIRE(values.size() == 6);
  CHECK(Text(values[0]) == "2");
  CHECK(Code(values[1]) == kInvalid);
  CHECK(Code(values[2]) == kNotFound);
  CHECK(Text(values[3]) == "1");
  CHECK(Text(values[4]) == "2");
  CHECK(Code(values[5]) == kInvalid);
  CHECK(store->MultiGet({}).empty());
}

TEST_CASE("a multi-get from disk brings values of all sizes") {
  const bool use_io_uring = GENERATE(true, false);
  RealStore store({.use_io_uring = use_io_uring});
  const auto value_of = [](size_t i) { return std::string(i * i * 37 % 300'000, static_cast<char>('a' + i % 26)); };
  for (size_t i = 0; i < 200; ++i) Must(store->Put(NumberedKey(i), value_of(i), Buffered()));
  store.Reopen();
  std::vector<std::string> names;
  for (size_t i = 0; i < 210; ++i) names.push_back(NumberedKey(i));
  const std::vector<std::string_view> views(names.begin(), names.end());
  const auto values = store->MultiGet(views);
  for (size_t i = 0; i < 200; ++i) REQUIRE(Text(values[i]) == value_of(i));
  for (size_t i = 200; i < 210; ++i) REQUIRE(Code(values[i]) == kNotFound);
}

TEST_CASE("a pinned multi-get has the values of all sizes, from memory and from disk, and they outlive the store") {
  std::optional<RealStore> store(std::in_place, Options{.value_separation_threshold_bytes = 64 * 1024});
  const auto value_of = [](size_t i) { return std::string(i * i * 37 % 300'000, static_cast<char>('a' + i % 26)); };
  for (size_t i = 0; i < 200; ++i) Must((*store)->Put(NumberedKey(i), value_of(i), Buffered()));
  store->Reopen();
  std::vector<std::string> names;
  for (size_t i = 0; i < 210; ++i) names.push_back(NumberedKey(i));
  const std::vector<std::string_view> views(names.begin(), names.end());
  std::vector<absl::StatusOr<PinnedValue>> last;
  for (const bool from_memory : {false, true}) {
    last = (*store)->MultiGetPinned(views);
    REQUIRE(last.size() == 210);
    for (size_t i = 0; i < 200; ++i) {
      REQUIRE(last[i].ok());
      REQUIRE(last[i]->value() == value_of(i));
      CHECK(last[i]->is_cached() == from_memory);
    }
    for (size_t i = 200; i < 210; ++i) CHECK(Code(last[i]) == kNotFound);
  }
  store.reset();
  PinnedValue moved = *std::move(last[7]);
  CHECK(moved.value() == value_of(7));
  moved = *std::move(last[100]);
  for (size_t i = 101; i < 200; ++i) REQUIRE(last[i]->value() == value_of(i));
  CHECK(moved.value() == value_of(100));
}

TEST_CASE("neighbours on disk are read in one request, and damage to one is not the others'") {
  SimStore store;
  for (size_t i = 0; i < 40; ++i)
    Must(store->Put(NumberedKey(i), std::string(6'000, static_cast<char>('A' + i)), Buffered()));
  store.Reopen();
  std::vector<std::string> names;
  for (size_t i = 0; i < 40; ++i) names.push_back(NumberedKey(i));
  const std::vector<std::string_view> views(names.begin(), names.end());
  const uint64_t reads = store->GetStats().device_reads;
  for (const auto& value : store->MultiGet(views)) CHECK(value.ok());
  CHECK(store->GetStats().device_reads == reads + 1);
  for (const std::string& name : store.world.machine.FileNames()) {
    const size_t at = store.world.machine.ReadFile(name).find(std::string(5'000, 'A' + 20));
    if (name.ends_with(".seg") && at != std::string::npos) store.world.machine.FlipBits(name, at, std::byte{1});
  }
  const auto values = store->MultiGet(views);
  for (size_t i = 0; i < 40; ++i) {
    if (i == 20) {
      CHECK(Code(values[i]) == kDataLoss);
    } else {
      CHECK(Text(values[i]) == std::string(6'000, static_cast<char>('A' + i)));
    }
  }
}

TEST_CASE("batches appear whole to a multi-get on ordinary threads") {
  RealStore store;
  constexpr size_t kKeys = 12;
  std::atomic<int> writing{2};
  std::vector<std::thread> writers;
  for (uint64_t t = 0; t < 2; ++t) {
    writers.emplace_back([&store, &writing, t] {
      WriteBatches(*store.db, kKeys, 1'000, t);
      --writing;
    });
  }
  int mixed = 0;
  std::thread reader([&] { mixed = ReadWhileWritten(*store.db, kKeys, [&] { return writing != 0; }); });
  for (std::thread& writer : writers) writer.join();
  reader.join();
  CHECK(mixed == 0);
}

TEST_CASE("batches appear whole to a multi-get and to an iterator in every schedule tried") {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Scheduled(seed, [seed](SimWorld& world) {
      const auto db = Must(OpenIn(world));
      int writing = 2;
      const auto write = [&](uint64_t salt) {
        WriteBatches(*db, 5, 12, seed * 2 + salt);
        --writing;
      };
      base::Thread first("first", [&] { write(0); });
      base::Thread second("second", [&] { write(1); });
      base::Thread scanner("scanner", [&] {
        while (writing != 0) {
          const auto iterator = db->NewIterator();
          std::string value;
          size_t count = 0;
          for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next(), ++count) {
            if (count == 0) value = iterator->value();
            REQUIRE(iterator->value() == value);
          }
          REQUIRE((count == 0 || count == 5));
        }
      });
      CHECK(ReadWhileWritten(*db, 5, [&] { return writing != 0; }) == 0);
      first.Join();
      second.Join();
      scanner.Join();
      Must(db->Close());
    });
  }
}

TEST_CASE("a batch of deletes appears whole to a multi-get, though its tombstones leave the index meanwhile") {
  constexpr size_t kKeys = 5;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    INFO("seed " << seed);
    SimWorld world(seed);
    // Few switches, and no view that keeps the tombstones: a whole batch comes between two keys of a multi-get.
    SimScheduler scheduler({.seed = seed, .switch_probability = 0.03});
    REQUIRE(scheduler.Run([&] {
      const auto db = Must(OpenIn(world));
      bool writing = true;
      base::Thread writer("writer", [&] {
        for (int i = 0; i < 20; ++i) {
          Batch puts, deletes;
          for (size_t k = 0; k < kKeys; ++k) {
            puts.Put(NumberedKey(k), std::to_string(i));
            deletes.Delete(NumberedKey(k));
          }
          Must(db->Apply(puts, {.durability = Durability::kBuffered}));
          Must(db->Apply(deletes, {.durability = Durability::kBuffered}));
        }
        writing = false;
      });
      CHECK(ReadWhileWritten(*db, kKeys, [&] { return writing; }) == 0);
      writer.Join();
      Must(db->Close());
    }));
  }
}

TEST_CASE("a key that is only ever overwritten is found by every read while its segments are retired") {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    Scheduled(seed, [](SimWorld& world) {
      const auto db = Must(OpenIn(world, {}, 64 * 1024));
      Must(db->Put("k", "v", Buffered()));
      bool writing = true;
      base::Thread writer("writer", [&] {
        for (int i = 0; i < 6; ++i) {
          Must(db->Put("k", std::to_string(i), Buffered()));
          Must(db->Flush());
          // Dropping a namespace wakes the upkeep, which retires what is dead.
          Must(db->CreateNamespace("n"));
          Must(db->DropNamespace("n"));
        }
        writing = false;
      });
      const std::string_view keys[] = {"k", "k"};
      while (writing) {
        const auto value = db->Get("k");
        INFO(value.status());
        REQUIRE(value.ok());
        const auto values = db->MultiGet(keys);
        INFO(values[0].status());
        REQUIRE(values[0].ok());
        REQUIRE(values[1].ok());
      }
      writer.Join();
      Must(db->Close());
    });
  }
}

TEST_CASE("with many keys changing all the time a multi-get still ends, with one state") {
  Scheduled(9, [](SimWorld& world) {
    const auto db = Must(OpenIn(world));
    bool reading = true;
    base::Thread writer("writer", [&] {
      for (uint64_t i = 0; reading; ++i) WriteBatches(*db, 40, 1, i);
    });
    CHECK(ReadWhileWritten(*db, 40, [turn = 0]() mutable { return ++turn < 20; }) == 0);
    reading = false;
    writer.Join();
    CHECK(db->GetStats().snapshots == 0);
    Must(db->Close());
  });
}

}  // namespace firn::testing
