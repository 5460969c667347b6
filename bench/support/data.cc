#include "support/data.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace firn::bench {
namespace {

constexpr size_t kPoolBytes = size_t{1} << 20;

// A bijective mixer, so that distinct numbers give distinct keys.
// Source: S. Vigna, SplitMix64, https://prng.di.unimi.it/splitmix64.c (public domain), its output function.
uint64_t Mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// The number that Mixed() makes this of: its steps backwards, with the inverses of its factors modulo 2^64.
uint64_t Unmixed(uint64_t x) {
  x = (x ^ (x >> 31) ^ (x >> 62)) * 0x319642B2D24D8EC3u;
  x = (x ^ (x >> 27) ^ (x >> 54)) * 0x96DE1B173F119089u;
  return x ^ (x >> 30) ^ (x >> 60);
}

}  // namespace

Key KeyOfNumber(uint64_t number) {
  // From 1: zero would stay zero.
  const uint64_t words[2] = {Mixed(number + 1), Mixed(~number)};
  Key key;
  static_assert(sizeof(words) == sizeof(key.bytes));
  std::memcpy(key.bytes.data(), words, sizeof(words));
  return key;
}

std::optional<uint64_t> NumberOfKey(std::string_view key) {
  uint64_t word = 0;
  if (key.size() != sizeof(Key)) return std::nullopt;
  std::memcpy(&word, key.data(), sizeof(word));
  const uint64_t number = Unmixed(word) - 1;
  return std::string_view(KeyOfNumber(number)) == key ? std::optional(number) : std::nullopt;
}

ValueMaker::ValueMaker(uint64_t value_bytes)
    : value_bytes_(value_bytes), pool_(kPoolBytes + value_bytes, '\0'), before_stamp_(pool_, 0, kStampBytes) {
  std::mt19937_64 random(7);
  for (size_t at = 0; at + sizeof(uint64_t) <= pool_.size(); at += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(pool_.data() + at, &word, sizeof(word));
  }
  before_stamp_ = pool_.substr(0, kStampBytes);
}

std::string_view ValueMaker::Make(uint64_t number, uint64_t version) {
  pool_.replace(stamped_at_, kStampBytes, before_stamp_);
  const uint64_t stamp[2] = {Mixed(number + 1), Mixed(version + 1) ^ number};
  stamped_at_ = Mixed(stamp[0] ^ (stamp[1] << 1)) % kPoolBytes;
  before_stamp_.assign(pool_, stamped_at_, kStampBytes);
  std::memcpy(pool_.data() + stamped_at_, stamp, std::min<uint64_t>(sizeof(stamp), value_bytes_));
  return std::string_view(pool_).substr(stamped_at_, value_bytes_);
}

std::vector<uint32_t> ShuffledNumbers(uint64_t keys, uint64_t times, uint64_t seed) {
  std::vector<uint32_t> numbers(keys * times);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint32_t>(i % keys);
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937_64(seed));
  return numbers;
}

Zipf::Zipf(uint64_t keys, double exponent) : cumulative_(keys) {
  double sum = 0;
  for (uint64_t rank = 0; rank < keys; ++rank) {
    sum += std::pow(static_cast<double>(rank + 1), -exponent);
    cumulative_[rank] = sum;
  }
}

uint64_t Zipf::operator()(std::mt19937_64& random) const {
  const double at = std::uniform_real_distribution<double>(0, cumulative_.back())(random);
  const auto rank = std::upper_bound(cumulative_.begin(), cumulative_.end(), at) - cumulative_.begin();
  return std::min<uint64_t>(static_cast<uint64_t>(rank), cumulative_.size() - 1);
}

}  // namespace firn::bench
