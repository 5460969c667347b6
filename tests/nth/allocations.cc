#include "nth/allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

#include "support/uncounted.h"

namespace firn::test {
namespace {

std::atomic<bool> armed{false};
std::atomic<bool> every_further{false};
std::atomic<uint64_t> numbered{0}, failing{0};

bool Fails() {
  if (!armed.load(std::memory_order_relaxed) || Uncounted::Here()) return false;
  const uint64_t number = numbered.fetch_add(1, std::memory_order_relaxed);
  return number == failing.load(std::memory_order_relaxed) ||
         (every_further.load(std::memory_order_relaxed) && number > failing.load(std::memory_order_relaxed));
}

void* Take(std::size_t size) {
  void* const memory = Fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
  return memory;
}

void* Take(std::size_t size, std::align_val_t alignment) {
  const auto bytes = static_cast<std::size_t>(alignment);
  return Fails() ? nullptr : std::aligned_alloc(bytes, (size + bytes - 1) / bytes * bytes);
}

void* OrThrow(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void FailAllocation(uint64_t point, bool lasting) {
  numbered = 0;
  failing = point;
  every_further = lasting;
  armed = true;
}

uint64_t StopFailingAllocations() {
  armed = false;
  return numbered;
}

}  // namespace firn::test

using firn::test::OrThrow;
using firn::test::Take;

void* operator new(std::size_t size) { return OrThrow(Take(size)); }
void* operator new[](std::size_t size) { return OrThrow(Take(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) { return OrThrow(Take(size, alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return OrThrow(Take(size, alignment)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return Take(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return Take(size); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return Take(size, alignment);
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return Take(size, alignment);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept { std::free(memory); }
