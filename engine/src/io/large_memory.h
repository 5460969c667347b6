// Memory by the megabyte. What is read at random costs a miss of the processor's address translation beside the miss of
// its caches, unless it lies in huge pages.
#pragma once

#include <cstddef>
#include <memory>

namespace firn::io {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

struct FreeLarge {
  void operator()(void* memory) const noexcept;
};
using LargeMemory = std::unique_ptr<std::byte, FreeLarge>;

// Not initialised; begins at a multiple of kHugePageBytes, and lies in huge pages where the system gives them. A whole
// one is taken with the first byte that is touched in it. Throws std::bad_alloc.
LargeMemory AllocateLarge(size_t bytes);

// What lay there is lost, and its memory given back until it is touched again. Both are multiples of the page size.
void ForgetPages(std::byte* memory, size_t bytes) noexcept;

}  // namespace firn::io
