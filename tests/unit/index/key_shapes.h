// Keys of many shapes for random tests: shared prefixes, keys that are prefixes of one another, zero bytes,
// one byte, and the longest.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "index/tree.h"

namespace firn::index {

class KeyShapes {
 public:
  explicit KeyShapes(uint64_t seed) : random_(seed) {}

  std::mt19937_64& random() { return random_; }
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  // Drawn from a bounded set, so that the same keys come again.
  std::string Next() {
    switch (Below(16)) {
      case 0:
        return std::string(1, static_cast<char>(Below(256)));
      case 1:
        return std::string(1 + Below(40), '\0');
      case 2:
        return std::string(1 + Below(600), 'a');
      case 3:
        return std::string("ns\0\1", 4) + std::string(Below(8), '\0') + std::string(Below(4), '\xff');
      case 4:
        return Long(kIndexKeyBytesMax - Below(3), Below(6));
      case 5:
        return Long(500 + Below(40), Below(40));
      case 6:
        return std::string(3000, 'p') + std::to_string(Below(300));
      case 7:
        return std::string(3000, 'p') + std::to_string(Below(10)) + std::string(700, 'q') + std::to_string(Below(10));
      case 8:
      case 9:
      case 10:
        return "usr/include/c++/12/" + std::to_string(Below(3000)) + ".h";
      default:
        return std::string("ns\0\1", 4) + Random16(Below(4000));
    }
  }

  static std::string Random16(uint64_t number) {
    std::string key;
    for (uint64_t half = 0; half < 2; ++half) {
      uint64_t x = (2 * number + half + 1) * 0x9e3779b97f4a7c15u;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
      x ^= x >> 31;
      for (int i = 0; i < 8; ++i) key.push_back(static_cast<char>(x >> (8 * i)));
    }
    return key;
  }

 private:
  static std::string Long(size_t size, uint64_t number) {
    std::string key(size, static_cast<char>('k' + number % 3));
    key[size / 2] = static_cast<char>('0' + number / 3);
    return key;
  }

  std::mt19937_64 random_;
};

inline Entry EntryOf(uint64_t number) {
  const auto n = static_cast<uint32_t>(number);
  return {.segment = n, .offset = n + 1, .size = n + 2, .flags = n + 3, .revision = number};
}

}  // namespace firn::index
