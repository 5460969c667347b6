// Little-endian integers and LEB128 varints, field by field. Nothing on disk is ever cast to a struct.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace firn::base {

static_assert(std::endian::native == std::endian::little, "firn's stores are read in place on little-endian hosts");

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes AsBytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view AsText(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

template <typename T>
void StoreLe(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}
template <typename T>
T LoadLe(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline constexpr size_t kVarintBytesMax = 10;

constexpr size_t VarintSize(uint64_t value) { return value == 0 ? 1 : (std::bit_width(value) + 6u) / 7u; }

// Writes a varint and returns the byte after it. `to` has VarintSize(value) bytes of room.
inline std::byte* StoreVarint(std::byte* to, uint64_t value) {
  while (value >= 0x80) {
    *to++ = static_cast<std::byte>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<std::byte>(value);
  return to;
}

// Reads fields off the front of a byte range. Once a read fails, `ok()` stays false and every later read
// gives zeros, so that a decoder can check once at its end.
class Reader {
 public:
  explicit Reader(Bytes bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  size_t remaining() const { return rest_.size(); }

  template <typename T>
  T Fixed() {
    const Bytes field = Take(sizeof(T));
    return ok_ ? LoadLe<T>(field.data()) : T{};
  }

  // Only the shortest encoding of a value is accepted, so that equal records have equal bytes.
  uint64_t Varint() {
    uint64_t value = 0;
    for (size_t i = 0; i < kVarintBytesMax && i < rest_.size(); ++i) {
      const auto byte = static_cast<uint64_t>(rest_[i]);
      value |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) {
        const bool overflow = i == kVarintBytesMax - 1 && byte > 1;
        const bool overlong = i > 0 && byte == 0;
        if (overflow || overlong) break;
        rest_ = rest_.subspan(i + 1);
        return value;
      }
    }
    return Fail();
  }

  Bytes Take(size_t size) {
    if (!ok_ || size > rest_.size()) {
      Fail();
      return {};
    }
    const Bytes field = rest_.first(size);
    rest_ = rest_.subspan(size);
    return field;
  }

 private:
  uint64_t Fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }

  Bytes rest_;
  bool ok_ = true;
};

constexpr uint64_t RoundUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}
constexpr uint64_t RoundDown(uint64_t value, uint64_t alignment) { return value / alignment * alignment; }

}  // namespace firn::base
