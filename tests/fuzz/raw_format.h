// Files of a store as a fuzzer wants them: whatever fields it asks for, under checksums that verify, so that it is the
// fields that the reader has to judge. Places and seeds are those of docs/format.md, written down a second time.
#pragma once

#include <string>

#include "base/coding.h"
#include "base/hash.h"
#include "format/footer.h"
#include "format/layout.h"
#include "format/record.h"
#include "format/unit.h"
#include "fuzz/input.h"

namespace firn::fuzz {

inline constexpr uint64_t kSecret = 0x1122334455667788;
inline constexpr uint64_t kBlock = format::kBlockBytes;

inline std::byte* At(std::string& bytes, uint64_t at) { return reinterpret_cast<std::byte*>(bytes.data()) + at; }
inline const std::byte* At(const std::string& bytes, uint64_t at) {
  return reinterpret_cast<const std::byte*>(bytes.data()) + at;
}
inline base::Bytes Part(const std::string& bytes, uint64_t at, uint64_t size) { return {At(bytes, at), size}; }

inline format::Salt SaltOf(uint8_t tag) {
  format::Salt salt{};
  salt[0] = static_cast<std::byte>(tag);
  return salt;
}

// The block at `at`: superblock, segment header or value file header.
inline void SealBlockAt(std::string& file, uint64_t at, uint64_t seed) {
  base::StoreLe(At(file, at + 8), base::Hash64(Part(file, at + 16, kBlock - 16), seed));
}

// The record at `at`, if it is one, whose place in its segment is `place`. Returns its size, 0 if it is none.
inline uint64_t SealRecordAt(std::string& bytes, uint64_t at, uint64_t size_max, const format::ChecksumSeed& seed,
                             uint64_t place) {
  const auto record = format::ParseRecord(Part(bytes, at, size_max));
  if (!record) return 0;
  base::StoreLe(At(bytes, at), base::Hash64(Part(bytes, at + 8, record->size_bytes - 8), seed.At(place)));
  return record->size_bytes;
}

// The unit of `size` bytes at `at`, whose place in its segment is `place`.
inline void SealUnitAt(std::string& bytes, uint64_t at, uint64_t size, const format::ChecksumSeed& seed,
                       uint64_t place) {
  base::StoreLe(
      At(bytes, at + 16),
      base::Hash64(Part(bytes, at + format::kUnitHeaderBytes, size - format::kUnitHeaderBytes), seed.At(place)));
  base::StoreLe(At(bytes, at + 8), base::Hash64(Part(bytes, at + 16, format::kUnitHeaderBytes - 16), seed.At(place)));
}

// The footer that ends the file, of which `footer_at` says where it begins.
inline void SealFooterAt(std::string& file, uint64_t footer_at, const format::ChecksumSeed& seed) {
  const uint64_t trailer_at = file.size() - format::kTrailerBytes;
  base::StoreLe(At(file, trailer_at + 24),
                base::Hash64(Part(file, footer_at, trailer_at - footer_at), seed.At(footer_at)));
  base::StoreLe(At(file, trailer_at + 8),
                base::Hash64(Part(file, trailer_at + 16, format::kTrailerBytes - 16), seed.At(trailer_at)));
}

inline void AppendVarint(std::string& to, uint64_t value) {
  std::byte encoded[base::kVarintBytesMax];
  to.append(base::AsText({encoded, base::StoreVarint(encoded, value)}));
}
inline void AppendLe(std::string& to, uint64_t value) {
  std::byte encoded[sizeof(value)];
  base::StoreLe(encoded, value);
  to.append(base::AsText(encoded));
}

// A record that the input describes, well-formed or not, under a checksum that verifies at `place`.
inline std::string RecordFrom(Input& input, const format::ChecksumSeed& seed, uint64_t place) {
  std::string bytes(8, '\0');
  AppendLe(bytes, input.Skewed());
  bytes += static_cast<char>(input.Byte());
  const uint8_t flags = input.Byte();
  bytes += static_cast<char>(flags);
  AppendVarint(bytes, input.Skewed());  // namespace
  const std::string_view key = input.Text(input.Byte());
  const std::string_view metadata = input.Text(input.Byte() & 0x1F);
  const std::string_view value = input.Text(size_t{input.Byte()} * 4);  // a few of them fill a block
  AppendVarint(bytes, key.size());
  AppendVarint(bytes, metadata.size());
  AppendVarint(bytes, value.size());
  if ((flags & format::record_flags::kHasExpiry) != 0) AppendVarint(bytes, input.Skewed());
  bytes.append(key).append(metadata).append(value);
  base::StoreLe(At(bytes, 0), base::Hash64(Part(bytes, 8, bytes.size() - 8), seed.At(place)));
  return bytes;
}

// A sealed unit of up to seven such records, for `place`; the input says what its header claims.
inline std::string UnitFrom(Input& input, const format::ChecksumSeed& seed, uint64_t place) {
  std::string unit("firnUNI1");
  const uint8_t shape = input.Byte();
  AppendLe(unit, 0);
  AppendLe(unit, 0);
  AppendLe(unit, input.Skewed());  // first revision
  AppendLe(unit, input.Skewed());  // last revision
  AppendLe(unit, input.Skewed());  // time
  AppendLe(unit, 0);               // blocks, payload bytes
  const uint64_t durable_segment = input.Skewed();
  AppendLe(unit, input.Skewed() << 32 | (durable_segment & UINT32_MAX));
  for (int records = shape & 7; records > 0; --records) unit += RecordFrom(input, seed, place + unit.size());
  auto payload_bytes = static_cast<uint32_t>(unit.size() - format::kUnitHeaderBytes);
  if ((shape & 8) != 0) payload_bytes += static_cast<uint32_t>(input.Skewed());
  unit.resize(base::RoundUp(unit.size(), kBlock) + ((shape & 32) != 0 ? kBlock : 0));
  auto blocks = static_cast<uint32_t>(unit.size() / kBlock);
  if ((shape & 16) != 0) blocks += static_cast<uint32_t>(input.Skewed());
  base::StoreLe(At(unit, 48), blocks);
  base::StoreLe(At(unit, 52), payload_bytes);
  SealUnitAt(unit, 0, unit.size(), seed, place);
  return unit;
}

}  // namespace firn::fuzz
