// Debian builds RocksDB for processors of 2003, whose CRC-32C is a table. The library calls its own function through
// the dynamic linker, so one of the same name in the program takes its place: RocksDB is measured as its users build
// it.
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>

namespace rocksdb::crc32c {

uint32_t Extend(uint32_t crc, const char* data, size_t size);

__attribute__((target("sse4.2"), visibility("default"))) uint32_t Extend(uint32_t crc, const char* data, size_t size) {
  uint64_t state = crc ^ 0xffffffffU;
  for (; size >= sizeof(uint64_t); data += sizeof(uint64_t), size -= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, data, sizeof(word));
    state = _mm_crc32_u64(state, word);
  }
  auto narrow = static_cast<uint32_t>(state);
  for (; size > 0; ++data, --size) narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(*data));
  return narrow ^ 0xffffffffU;
}

}  // namespace rocksdb::crc32c
#endif
