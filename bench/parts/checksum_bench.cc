// The hashes behind every checksum: bytes a second over what records, blocks, units and extents have.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/hash.h"

namespace firn::base {
namespace {

constexpr int64_t kBytesMin = 64, kBytesMax = 1 << 20;
constexpr size_t kPieceBytes = size_t{64} << 10;  // as values that come as streams are hashed

// The same bytes over and over: up to 1 MiB they are in the processor's caches, as those of a record are that was just
// read or is about to be written.
template <typename HashOf>
void Measure(benchmark::State& state, const HashOf& hash_of) {
  const std::vector<std::byte> bytes(static_cast<size_t>(state.range(0)), std::byte{1});
  uint64_t seed = 0;
  for (auto _ : state) benchmark::DoNotOptimize(hash_of(Bytes(bytes), ++seed));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void Hash64Bits(benchmark::State& state) {
  Measure(state, [](Bytes bytes, uint64_t seed) { return Hash64(bytes, seed); });
}
void Hash128Bits(benchmark::State& state) {
  Measure(state, [](Bytes bytes, uint64_t seed) { return Hash128(bytes, seed); });
}
void Hash128BitsInPieces(benchmark::State& state) {
  Measure(state, [](Bytes bytes, uint64_t seed) {
    Hasher128 hasher(seed);
    for (size_t at = 0; at < bytes.size(); at += kPieceBytes) {
      hasher.Add(bytes.subspan(at, std::min(kPieceBytes, bytes.size() - at)));
    }
    return hasher.Get();
  });
}
BENCHMARK(Hash64Bits)->RangeMultiplier(4)->Range(kBytesMin, kBytesMax);
BENCHMARK(Hash128Bits)->RangeMultiplier(4)->Range(kBytesMin, kBytesMax);
BENCHMARK(Hash128BitsInPieces)->RangeMultiplier(4)->Range(kPieceBytes, kBytesMax);

}  // namespace
}  // namespace firn::base
