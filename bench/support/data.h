// Keys and values, all made of random bytes, and the orders in which keys are chosen.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace firn::bench {

// What is read must come to the processor, or an engine that gives views has done nothing: looks at every cache line.
inline void Touch(std::string_view value) {
  uint64_t sum = 0;
  for (size_t at = 0; at < value.size(); at += 64) sum += static_cast<unsigned char>(value[at]);
  asm volatile("" : : "r"(sum));
}

// 16 bytes that look random, made without an allocation.
struct Key {
  std::array<char, 16> bytes;
  operator std::string_view() const { return {bytes.data(), bytes.size()}; }
};
// The same for the same number, so that ascending numbers are keys in random order.
Key KeyOfNumber(uint64_t number);
// Nothing for what is the key of no number.
std::optional<uint64_t> NumberOfKey(std::string_view key);

// Values that no compressor makes smaller and of which no two are equal. Making one costs no copy: it is a window of a
// fixed pool of random bytes whose first bytes are stamped with the key and version.
class ValueMaker {
 public:
  explicit ValueMaker(uint64_t value_bytes);
  // The value of version `version` of key `number`. Lives until the next call.
  std::string_view Make(uint64_t number, uint64_t version);

 private:
  static constexpr size_t kStampBytes = 16;

  uint64_t value_bytes_;
  std::string pool_;
  size_t stamped_at_ = 0;
  std::string before_stamp_;  // what the pool holds there otherwise
};

// Every number in [0, keys) `times` times, shuffled.
std::vector<uint32_t> ShuffledNumbers(uint64_t keys, uint64_t times, uint64_t seed);

// Draws numbers in [0, keys) with probability proportional to 1 / rank^exponent; which number has which rank is
// random in key order, for keys are.
class Zipf {
 public:
  Zipf(uint64_t keys, double exponent);
  uint64_t operator()(std::mt19937_64& random) const;

 private:
  std::vector<double> cumulative_;
};

}  // namespace firn::bench
