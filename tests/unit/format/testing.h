// What the format tests share: a seeded source of random contents, byte buffers, and every single-bit flip of
// a buffer.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "base/coding.h"
#include "format/layout.h"

namespace firn::format::testing {

using Buffer = std::vector<std::byte>;

// Random contents from one seed: FIRN_TEST_SEED, or a fresh one. Tests put ReplayLine() into INFO.
class Random {
 public:
  Random() : seed_(PickSeed()), engine_(seed_) {}

  std::string ReplayLine() const {
    std::string name;
    for (const char c : Catch::getResultCapture().getCurrentTestName()) {
      if (c == ',') name += '\\';  // on the command line a comma separates names
      name += c;
    }
    return "replay: FIRN_TEST_SEED=" + std::to_string(seed_) + " firn_test_format '" + name + "'";
  }
  uint64_t Next() { return engine_(); }
  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  // Small numbers as often as large ones.
  uint64_t Skewed() { return engine_() >> Below(64); }
  std::string Text(size_t size) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(engine_());
    return text;
  }

 private:
  static uint64_t PickSeed() {
    if (const char* given = std::getenv("FIRN_TEST_SEED")) return std::strtoull(given, nullptr, 10);
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  }

  uint64_t seed_;
  std::mt19937_64 engine_;
};

inline Buffer ToBuffer(base::Bytes bytes) { return {bytes.begin(), bytes.end()}; }
inline Buffer ToBuffer(std::string_view text) { return ToBuffer(base::AsBytes(text)); }

inline Salt SaltFrom(uint8_t first) {
  Salt salt;
  for (size_t i = 0; i < salt.size(); ++i) salt[i] = static_cast<std::byte>(first + i);
  return salt;
}

// Calls `accepts` with each single-bit flip of `bytes` and returns the bits whose flip was accepted.
template <typename Accepts>
std::vector<size_t> AcceptedFlips(Buffer bytes, const Accepts& accepts) {
  std::vector<size_t> accepted;
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1u << bit % 8);
    bytes[bit / 8] ^= mask;
    if (accepts(bytes)) accepted.push_back(bit);
    bytes[bit / 8] ^= mask;
  }
  return accepted;
}

// Each proper prefix of `bytes`, in memory of exactly that size so that a sanitizer sees any read past it.
template <typename Accepts>
std::vector<size_t> AcceptedTruncations(const Buffer& bytes, const Accepts& accepts) {
  std::vector<size_t> accepted;
  for (size_t size = 0; size < bytes.size(); ++size) {
    Buffer prefix(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    prefix.shrink_to_fit();
    if (accepts(prefix)) accepted.push_back(size);
  }
  return accepted;
}

inline const std::vector<size_t> kNone;

}  // namespace firn::format::testing
