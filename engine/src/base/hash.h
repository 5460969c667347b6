// XXH3 behind one seam, so that no header of ours names an xxHash type.
// Source: https://github.com/Cyan4973/xxHash, XXH3 as of version 0.8.
#pragma once

#include <cstdint>

#include "base/coding.h"

namespace firn::base {

uint64_t Hash64(Bytes bytes, uint64_t seed = 0);

struct Hash128Value {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128Value&) const = default;
};
Hash128Value Hash128(Bytes bytes, uint64_t seed = 0);

// Hash128 of bytes that come in pieces.
class Hasher128 {
 public:
  explicit Hasher128(uint64_t seed);
  ~Hasher128();
  Hasher128(const Hasher128&) = delete;

  void Add(Bytes bytes);
  Hash128Value Get() const;  // of what was added so far

 private:
  void* const state_;
};

}  // namespace firn::base
