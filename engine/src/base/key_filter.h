// Which keys a segment may hold: a Bloom filter whose bits for one key lie in one cache line, so that a question is one
// miss. No false negatives. Source: F. Putze, P. Sanders, J. Singler, "Cache-, hash- and space-efficient Bloom
// filters", 2007.
//
// Not synchronised: all keys are added before other threads may ask, and whoever publishes the filter orders that.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/coding.h"

namespace firn::base {

class KeyFilter {
 public:
  static constexpr uint64_t kBitsPerKey = 9;

  // Room for `keys`; more may be added, and cost accuracy only.
  explicit KeyFilter(uint64_t keys);

  void Add(uint64_t key_hash);
  // False: was not added. True of about 1.5 % of the keys that were not.
  bool MayHold(uint64_t key_hash) const;
  // What a filter that was made from it answers as this one does. Null: of no filter.
  Bytes bytes() const { return std::as_bytes(std::span(blocks_)); }
  static std::unique_ptr<KeyFilter> FromBytes(Bytes bytes);
  uint64_t memory_bytes() const { return sizeof(*this) + blocks_.capacity() * sizeof(Block); }

 private:
  struct alignas(64) Block {
    std::array<uint64_t, 8> words{};
  };
  KeyFilter() = default;
  static constexpr int kProbes = 6;  // 9 * ln 2

  uint64_t BlockOf(uint64_t key_hash) const;

  std::vector<Block> blocks_;
};

}  // namespace firn::base
