#include "base/key_filter.h"

#include <algorithm>
#include <cstring>

namespace firn::base {
namespace {

constexpr uint64_t kBlockBits = 512;

// Nine bits of the result choose each bit in the block. The block itself is chosen by the hash's high bits.
uint64_t ProbeBits(uint64_t key_hash) {
  key_hash *= 0x9E3779B97F4A7C15u;
  return key_hash ^ (key_hash >> 32);
}

}  // namespace

KeyFilter::KeyFilter(uint64_t keys)
    : blocks_(std::max<uint64_t>(1, (keys * kBitsPerKey + kBlockBits - 1) / kBlockBits)) {}

uint64_t KeyFilter::BlockOf(uint64_t key_hash) const {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(key_hash) * blocks_.size()) >> 64);
}

std::unique_ptr<KeyFilter> KeyFilter::FromBytes(Bytes bytes) {
  if (bytes.empty() || bytes.size() % sizeof(Block) != 0) return nullptr;
  std::unique_ptr<KeyFilter> filter(new KeyFilter);
  filter->blocks_.resize(bytes.size() / sizeof(Block));
  std::memcpy(filter->blocks_.data(), bytes.data(), bytes.size());
  return filter;
}

void KeyFilter::Add(uint64_t key_hash) {
  Block& block = blocks_[BlockOf(key_hash)];
  uint64_t bits = ProbeBits(key_hash);
  for (int probe = 0; probe < kProbes; ++probe, bits >>= 9) {
    block.words[bits / 64 % 8] |= uint64_t{1} << bits % 64;
  }
}

bool KeyFilter::MayHold(uint64_t key_hash) const {
  const Block& block = blocks_[BlockOf(key_hash)];
  uint64_t bits = ProbeBits(key_hash);
  for (int probe = 0; probe < kProbes; ++probe, bits >>= 9) {
    if ((block.words[bits / 64 % 8] >> bits % 64 & 1) == 0) return false;
  }
  return true;
}

}  // namespace firn::base
