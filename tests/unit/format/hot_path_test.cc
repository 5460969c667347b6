// The functions that every put and get goes through take no memory from the heap.
#include <atomic>
#include <cstdlib>
#include <new>

#include "format/record.h"
#include "format/unit.h"
#include "unit/format/testing.h"

namespace {
std::atomic<uint64_t> allocations{0};

void* Allocate(size_t size) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size == 0 ? 1 : size);
}

void* AllocateOrThrow(size_t size) {
  void* const memory = Allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

// All of the unaligned forms, so that a sanitizer sees each pair of them agree.
void* operator new(size_t size) { return AllocateOrThrow(size); }
void* operator new[](size_t size) { return AllocateOrThrow(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace firn::format {
namespace {

TEST_CASE("encoding, parsing and decoding a record and sealing a unit allocate nothing") {
  const ChecksumSeed seed(1, testing::SaltFrom(1));
  testing::Buffer unit(2 * kBlockBytes, std::byte{0});
  const testing::Buffer value(5000, std::byte{7});
  Record record;
  record.type = RecordType::kPut;
  record.key = base::AsBytes("a key of some length that no small string would hold");
  record.value = value;

  const uint64_t before = allocations.load();
  const uint64_t size = RecordSize(record);
  EncodeRecord(record, seed, kUnitHeaderBytes, unit.data() + kUnitHeaderBytes);
  const base::Bytes payload = base::Bytes(unit).subspan(kUnitHeaderBytes);
  const auto parsed = ParseRecord(payload);
  const auto decoded = DecodeRecord(payload, seed, kUnitHeaderBytes);
  SealUnit({.blocks = 2, .payload_bytes = static_cast<uint32_t>(size)}, seed, 0, unit);
  const auto verified = VerifyUnit(unit, seed, 0);
  const uint64_t after = allocations.load();

  CHECK((parsed && decoded && verified));
  CHECK(after == before);
}

}  // namespace
}  // namespace firn::format
