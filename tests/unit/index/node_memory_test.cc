// Memory for nodes: every place is given to one at a time, and comes back.
#include "index/node_memory.h"

#include <catch2/catch.hpp>

#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "support/rng.h"

namespace firn::index {
namespace {

struct Held {
  void* memory;
  size_t bytes;
  unsigned char mark;
};

bool IsIntact(const Held& held) {
  const auto* bytes = static_cast<const unsigned char*>(held.memory);
  for (size_t i = 0; i < held.bytes; ++i) {
    if (bytes[i] != held.mark) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("nodes of all sizes that come and go at random never share a byte, and all memory goes back") {
  const uint64_t seed = GENERATE(1, 2, 3);
  CAPTURE(seed);
  test::Rng rng(seed);
  NodeMemory memory;
  std::vector<Held> held;
  uint64_t held_bytes = 0, most_bytes = 0;
  const auto free_one = [&] {
    std::swap(held[rng.Below(held.size())], held.back());
    REQUIRE(IsIntact(held.back()));
    REQUIRE(memory.Free(held.back().memory, held.back().bytes));
    held_bytes -= held.back().bytes;
    held.pop_back();
  };
  for (int phase = 0; phase < 4; ++phase) {
    const bool grows = phase % 2 == 0;
    for (int i = 0; i < 4'000; ++i) {
      if (held.empty() || rng.OneIn(3) != grows) {
        const size_t bytes =
            (1 + rng.Below(NodeMemory::kNodeBytesMax / NodeMemory::kStepBytes)) * NodeMemory::kStepBytes;
        const auto mark = static_cast<unsigned char>(rng.Below(256));
        held.push_back({memory.Allocate(bytes), bytes, mark});
        REQUIRE(reinterpret_cast<uintptr_t>(held.back().memory) % NodeMemory::kStepBytes == 0);
        std::memset(held.back().memory, mark, bytes);
        held_bytes += bytes;
      } else {
        free_one();
      }
    }
    most_bytes = std::max(most_bytes, held_bytes);
    CHECK(memory.region_bytes() >= held_bytes);
  }
  CHECK(most_bytes > NodeMemory::kRegionBytes);
  while (!held.empty()) free_one();
  CHECK(memory.region_bytes() == 0);
}

TEST_CASE("what came from elsewhere is not taken for a node's memory") {
  NodeMemory memory;
  std::vector<char> other(4'096);
  CHECK_FALSE(memory.Free(other.data(), 4'096));
  void* const node = memory.Allocate(512);
  CHECK_FALSE(memory.Free(other.data(), 4'096));
  CHECK(memory.Free(node, 512));
  CHECK_FALSE(NodeMemory::HasSize(0));
  CHECK_FALSE(NodeMemory::HasSize(513));
  CHECK_FALSE(NodeMemory::HasSize(4'608));
}

TEST_CASE("a run that is free takes nodes of another size, so that little is kept of what has gone") {
  NodeMemory memory;
  for (size_t bytes = 512; bytes <= 4'096; bytes += 512) {
    std::vector<void*> nodes;
    for (size_t i = 0; i < NodeMemory::kRegionBytes / bytes - 32; ++i) nodes.push_back(memory.Allocate(bytes));
    CHECK(memory.region_bytes() == NodeMemory::kRegionBytes);
    for (void* node : nodes) REQUIRE(memory.Free(node, bytes));
    CHECK(memory.region_bytes() == 0);
  }
}

}  // namespace firn::index
