#include "base/key_filter.h"

#include <catch2/catch.hpp>
#include <string>

#include "base/hash.h"

namespace firn::base {
namespace {

uint64_t HashOf(uint64_t number) { return Hash64(AsBytes("key" + std::to_string(number))); }

TEST_CASE("a key filter holds every key that was added, and about 2 % of the others at most") {
  for (const uint64_t keys : {uint64_t{1}, uint64_t{50}, uint64_t{1'000}, uint64_t{300'000}}) {
    CAPTURE(keys);
    KeyFilter filter(keys);
    for (uint64_t i = 0; i < keys; ++i) filter.Add(HashOf(i));
    uint64_t missed = 0, wrong = 0;
    for (uint64_t i = 0; i < keys; ++i) missed += filter.MayHold(HashOf(i)) ? 0 : 1;
    constexpr uint64_t kOthers = 100'000;
    for (uint64_t i = 0; i < kOthers; ++i) wrong += filter.MayHold(HashOf(keys + i)) ? 1 : 0;
    CAPTURE(wrong);
    CHECK(missed == 0);
    CHECK(wrong < kOthers * 2 / 100);
    CHECK(filter.memory_bytes() <= keys * 9 / 8 + 200);
  }
}

TEST_CASE("a key filter without keys holds none") {
  const KeyFilter filter(0);
  for (uint64_t i = 0; i < 1'000; ++i) CHECK_FALSE(filter.MayHold(HashOf(i)));
}

}  // namespace
}  // namespace firn::base
