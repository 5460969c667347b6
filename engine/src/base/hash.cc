#include "base/hash.h"

#include <xxhash.h>

#include <new>

namespace firn::base {
namespace {

XXH3_state_t* StateOf(void* state) { return static_cast<XXH3_state_t*>(state); }

XXH3_state_t* NewState() {
  XXH3_state_t* const state = XXH3_createState();
  if (state == nullptr) throw std::bad_alloc();
  return state;
}

}  // namespace

uint64_t Hash64(Bytes bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

Hash128Value Hash128(Bytes bytes, uint64_t seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {hash.low64, hash.high64};
}

Hasher128::Hasher128(uint64_t seed) : state_(NewState()) { XXH3_128bits_reset_withSeed(StateOf(state_), seed); }

Hasher128::~Hasher128() { XXH3_freeState(StateOf(state_)); }

void Hasher128::Add(Bytes bytes) { XXH3_128bits_update(StateOf(state_), bytes.data(), bytes.size()); }

Hash128Value Hasher128::Get() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(StateOf(state_));
  return {hash.low64, hash.high64};
}

}  // namespace firn::base
