#include "io/large_memory.h"

#include <sys/mman.h>

#include <new>

#include "base/coding.h"

namespace firn::io {

void FreeLarge::operator()(void* memory) const noexcept {
  ::operator delete (memory, std::align_val_t{kHugePageBytes});
}

LargeMemory AllocateLarge(size_t bytes) {
  const size_t whole = base::RoundUp(bytes, kHugePageBytes);
  LargeMemory memory(static_cast<std::byte*>(::operator new (whole, std::align_val_t{kHugePageBytes})));
  // Where there are none, ordinary pages do.
  static_cast<void>(::madvise(memory.get(), whole, MADV_HUGEPAGE));
  return memory;
}

void ForgetPages(std::byte* memory, size_t bytes) noexcept {
  // A huge page that is half empty would be made whole again behind our back.
  static_cast<void>(::madvise(memory, bytes, MADV_NOHUGEPAGE));
  static_cast<void>(::madvise(memory, bytes, MADV_DONTNEED));
}

}  // namespace firn::io
