// The index image: what the index says of the records in sealed segments, so that opening need not read the footers of
// these. The offset tables stand in docs/format.md.
//
//   head | blocks of records | key filters | manifest: segments, first keys of blocks
//
// It holds nothing that the segments do not say. Whoever finds anything wrong with it does without.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/status.h"
#include "format/footer.h"
#include "format/layout.h"
#include "format/record.h"
#include "format/superblock.h"

namespace firn::format {

inline constexpr std::string_view kImageFile = "IMAGE";
inline constexpr std::string_view kUnfinishedImageFile = "IMAGE.new";

inline constexpr uint64_t kImageBlockBytes = uint64_t{256} << 10;  // all but the last
inline constexpr size_t kImageSegmentsMax = 65'535;
inline constexpr uint64_t kImageManifestBytesMax = uint64_t{1} << 28;

// A segment whose records the image speaks for, and what its footer would say of it.
struct ImageSegment {
  SegmentId id = kNoSegment;
  Salt salt{};
  uint32_t units_end = 0;
  uint64_t file_bytes = 0;
  uint64_t revision_min = 0, last_revision = 0;
  int64_t time_ms_max = 0;
  uint64_t records = 0, record_bytes = 0;
  uint64_t tombstones = 0;  // that had to stay
  uint64_t filter_bytes = 0, filter_checksum = 0;
  bool operator==(const ImageSegment&) const = default;
};

struct ImageHead {
  Uuid store_uuid{};
  Salt salt{};  // of this image
  // The log reaches at least up to here: what the image leaves out because of later records is still told by these.
  uint64_t revision = 0;
  uint32_t next_namespace_id = kFirstUserNamespace;
  uint32_t next_value_file = 1;
  uint64_t records = 0;                // in all blocks
  std::vector<ImageSegment> segments;  // ascending ids
  std::vector<KeyPlace> first_keys;    // of each block; ascending
  bool operator==(const ImageHead&) const = default;
};

// Where the parts are. Each begins at a multiple of kBlockBytes; the manifest goes up to the end.
struct ImageLayout {
  uint64_t filters_at = 0, filters_bytes = 0;
  uint64_t manifest_at = 0;
  uint64_t file_bytes = 0;
  static uint64_t BlockAt(size_t block) { return kBlockBytes + block * kImageBlockBytes; }
  uint64_t BlockBytes(size_t block) const { return std::min(kImageBlockBytes, filters_at - BlockAt(block)); }
};

// The manifest, a multiple of kBlockBytes. What a head does not say itself.
std::string EncodeImageManifest(const ImageHead& head);
// The layout of an image with so long blocks, in all.
ImageLayout LayoutOf(const ImageHead& head, uint64_t blocks_bytes, uint64_t manifest_bytes);
// `block` is the file's first.
void EncodeImageHead(const ImageHead& head, const ImageLayout& layout, base::Bytes manifest, uint64_t store_secret,
                     base::MutableBytes block);
absl::StatusOr<ImageLayout> DecodeImageLayout(base::Bytes block, const Superblock& superblock, uint64_t file_bytes);
absl::StatusOr<ImageHead> DecodeImageHead(base::Bytes block, const ImageLayout& layout, base::Bytes manifest,
                                          const Superblock& superblock);

// One record. Its segment is a place in the head's list.
struct ImageRecord {
  uint32_t namespace_id = 0;
  std::string_view key;
  RecordType type = RecordType::kPut;  // kPut, kNamespaceCreate or kExpiryChange
  uint32_t segment = 0;
  uint32_t offset = 0, size = 0;
  uint64_t revision = 0;
  int64_t expires_at_ms = 0;         // 0: never
  std::optional<ExtentName> extent;  // of a put
};

// Fills one block.
class ImageBlockBuilder {
 public:
  ImageBlockBuilder();
  // Records come in the order of their keys, and those of a key in that of their revisions. False: the block is full.
  // All records of a key go into one block, together.
  bool Add(std::span<const ImageRecord> of_one_key, std::span<const ImageSegment> segments);
  uint64_t records() const { return records_; }
  const KeyPlace& first_key() const { return first_key_; }
  // The block, to be written to `offset` of the file; the last one is cut to a multiple of kBlockBytes. Valid until the
  // next Add(), which begins another.
  std::string_view Finish(const ChecksumSeed& seed, uint64_t offset, bool last);

 private:
  std::string bytes_;
  uint64_t records_ = 0;
  KeyPlace first_key_, last_key_;
};

// Reads one block, which is not trusted.
class ImageBlockReader {
 public:
  ImageBlockReader() = default;
  // DataLoss if it does not verify. `bytes` stays for as long as the reader is used.
  absl::Status Open(base::Bytes bytes, const ChecksumSeed& seed, uint64_t offset, const KeyPlace& first_key,
                    const ImageHead& head);
  // False at the end, or at the first record that cannot be. Keys never come in the wrong order.
  bool Next(ImageRecord& record);
  bool AtEnd() const { return left_ == 0 && rest_.empty(); }
  // That Next() gave.
  const KeyPlace& LastKey() const { return last_; }

 private:
  const ImageHead* head_ = nullptr;
  base::Bytes rest_;
  uint64_t left_ = 0;
  bool first_ = true;
  KeyPlace last_;
};

}  // namespace firn::format
