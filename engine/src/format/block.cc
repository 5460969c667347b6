#include "format/block.h"

#include <cstring>
#include <string>

#include "base/check.h"

namespace firn::format {

bool IsZero(base::Bytes bytes) {
  if (bytes.empty()) return true;
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

void SealBlock(uint64_t magic, uint64_t seed, base::MutableBytes block) {
  FIRN_CHECK(block.size() == kBlockBytes);
  base::StoreLe(block.data() + kMagicAt, magic);
  base::StoreLe(block.data() + kChecksumAt, base::Hash64(block.subspan(kVersionAt), seed));
}

absl::Status CheckBlock(uint64_t magic, uint64_t seed, base::Bytes block, std::string_view name) {
  const std::string prefix = std::string(name) + ": ";
  if (block.size() != kBlockBytes) return base::DataLoss(prefix + "not one whole block");
  if (base::LoadLe<uint64_t>(block.data() + kMagicAt) != magic) return base::DataLoss(prefix + "wrong magic");
  if (base::LoadLe<uint64_t>(block.data() + kChecksumAt) != base::Hash64(block.subspan(kVersionAt), seed)) {
    return base::DataLoss(prefix + "checksum does not match");
  }
  const auto version = base::LoadLe<uint32_t>(block.data() + kVersionAt);
  if (version > kFormatVersion) {
    return base::FailedPrecondition(prefix + "format version " + std::to_string(version) + " is newer than " +
                                    std::to_string(kFormatVersion) + ", the newest that this build reads");
  }
  if (version == 0) return base::DataLoss(prefix + "format version 0 does not exist");
  return absl::OkStatus();
}

}  // namespace firn::format
