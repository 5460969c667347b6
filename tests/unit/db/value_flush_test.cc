// How often the files of separated values are flushed.
#include <atomic>
#include <functional>
#include <string>

#include "unit/db/separated.h"

namespace firn::testing {
namespace {

TEST_CASE("the extents of a batch, and those of a group of writes, are flushed once, not one by one") {
  SimStore store(Separating(), kSegmentBytes);
  Must(store->Put("makes the file", ValueOf(0, 12'000)));
  Must(store->Sync());
  std::atomic<uint64_t> syncs_of_values{0}, writes_of_values{0};
  store.world.machine.set_trace([&](const std::string& line) {
    if (line.find(" values/") == std::string::npos) return;
    syncs_of_values += line.find(" sync ") != std::string::npos;
    writes_of_values += line.find(" write ") != std::string::npos;
  });
  constexpr size_t kValues = 12;
  const auto flushes_of = [&](const std::function<void()>& writes) {
    syncs_of_values = writes_of_values = 0;
    writes();
    CHECK(writes_of_values >= kValues);
    return syncs_of_values.load();
  };
  size_t number = 1;
  CHECK(flushes_of([&] {
          Batch batch;
          for (size_t i = 0; i < kValues; ++i, ++number) batch.Put(NumberedKey(number), ValueOf(number, 12'000));
          Must(store->Apply(batch, {}));
        }) == 1);
  // Who waits takes along all that was appended before.
  CHECK(flushes_of([&] {
          for (size_t i = 1; i < kValues; ++i, ++number) {
            Must(store->Put(NumberedKey(number), ValueOf(number, 12'000), Buffered()));
          }
          Must(store->Put(NumberedKey(number), ValueOf(number, 12'000)));
          ++number;
        }) == 1);
  CHECK(flushes_of([&] {
          for (size_t i = 0; i < kValues; ++i, ++number) {
            Must(store->Put(NumberedKey(number), ValueOf(number, 12'000), Buffered()));
          }
          Must(store->Sync());
        }) == 1);
  store.world.machine.set_trace(nullptr);
  store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
  for (size_t i = 1; i < number; ++i) CHECK((Text(store->Get(NumberedKey(i))) == ValueOf(i, 12'000)));
}

}  // namespace
}  // namespace firn::testing
