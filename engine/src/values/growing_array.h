// An array that grows while others read it: its elements never move. Chunk k holds 2^k times the first chunk.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace firn::values {

// Whoever grows is serialised by the caller. A reader may use an index that was handed to it after Grow() made room for
// it: the chunk's pointer is stored with release and loaded with acquire, and never changes again.
template <typename T, uint32_t kFirstChunk>
class GrowingArray {
  static_assert(std::has_single_bit(kFirstChunk));

 public:
  GrowingArray() = default;
  GrowingArray(const GrowingArray&) = delete;
  ~GrowingArray() {
    for (auto& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
  }

  T& operator[](uint32_t index) const {
    const auto [chunk, at] = Locate(index);
    return chunks_[chunk].load(std::memory_order_acquire)[at];
  }
  // Makes room for `index`. What is new is initialised as `new T[]` does: integers not at all.
  void Grow(uint32_t index) {
    const auto [chunk, at] = Locate(index);
    if (chunks_[chunk].load(std::memory_order_relaxed) != nullptr) return;
    chunks_[chunk].store(new T[size_t{kFirstChunk} << chunk], std::memory_order_release);
  }

 private:
  struct Location {
    int chunk;
    uint32_t at;
  };
  static Location Locate(uint32_t index) {
    const uint64_t from_first = uint64_t{index} + kFirstChunk;
    const int chunk = std::bit_width(from_first) - std::bit_width(kFirstChunk);
    return {chunk, static_cast<uint32_t>(from_first - (uint64_t{kFirstChunk} << chunk))};
  }

  std::array<std::atomic<T*>, 34 - std::bit_width(kFirstChunk)> chunks_{};
};

}  // namespace firn::values
