// What every fuzz target uses: the input, read as numbers and strings off its front, and the claim that fails it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

// Each target defines it. Returns 0; a claim that does not hold aborts.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace firn::fuzz {

inline void Require(bool holds, const char* sentence) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: it does not hold that %s\n", sentence);
  std::abort();
}

// Past its end an input goes on with zeros.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }

  template <typename T>
  T Number() {
    T value = 0;
    const size_t size = std::min(sizeof(value), rest_.size());
    // Byte by byte: with a memcpy of a size that may be 0, what g++ 12 made of a caller's loop at -O3 never ended.
    for (size_t i = 0; i < size; ++i) value = static_cast<T>(value | static_cast<T>(rest_[i]) << (8 * i));
    rest_ = rest_.subspan(size);
    return value;
  }
  uint8_t Byte() { return Number<uint8_t>(); }
  // Small numbers in two bytes, any in nine: a mutation of few bytes gets far.
  uint64_t Skewed() {
    const uint8_t kind = Byte();
    if (kind < 0xF0) return kind < 0x80 ? kind : uint64_t{kind & 0x7Fu} << 8 | Byte();
    const auto value = Number<uint64_t>();
    return kind < 0xF8 ? value : ~value;
  }
  // At most `size_max` bytes; fewer at the end.
  std::string_view Text(size_t size_max) {
    const size_t size = std::min(size_max, rest_.size());
    const std::string_view text(reinterpret_cast<const char*>(rest_.data()), size);
    rest_ = rest_.subspan(size);
    return text;
  }
  std::string_view Rest() { return Text(rest_.size()); }

 private:
  std::span<const uint8_t> rest_;
};

}  // namespace firn::fuzz
