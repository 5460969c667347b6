// The read of one key by somebody who does not wait for the disk: what Store::Get does, cut in two where the disk
// comes.
//
//   PointRead::Next next = read.Start(index_key, revision, caching);
//   while (next == PointRead::Next::kDisk) {  // the disk is asked for `read`, a request of its own
//     ...
//     next = read.Finish();
//   }
//
// While the disk works no epoch is held, so the record, or the extent, may move away and its place be used again. A
// read keeps the file open, and what it finds there tells: an address is never used twice, and the checksum of a record
// is seeded with its segment's salt and its offset; an extent is known by its hash. What verifies is what was asked
// for. What does not is looked up again, and is damage only if the index still names that place.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/aligned_buffer.h"
#include "db/store.h"

namespace firn {

class PointRead : public io::ReadRequest {
 public:
  enum class Next { kDone, kDisk };

  explicit PointRead(Store& store) : store_(store) {}
  PointRead(const PointRead&) = delete;

  // `index_key` as of `revision` (Store::kNewest: now).
  Next Start(std::string_view index_key, uint64_t revision, Store::Caching caching) noexcept;
  // The request has ended.
  Next Finish() noexcept;

  // Once done. NotFound: there is no such key.
  const absl::Status& found() const { return found_; }
  std::string& value() { return value_; }
  // Of the version found; of an absent key, what covers its absence.
  Revision revision() const { return revision_; }
  int64_t expires_at_ms() const { return version_.expiry.at_ms; }
  // Lets go of files, and of memory beyond what ordinary values need. Once done, or when nobody wants the answer.
  void Drop();

 private:
  template <typename Step>
  Next Guarded(const Step& step) noexcept;
  Next Done(absl::Status found);
  Next Look();
  Next TakeBlocks();
  Next Fetch();
  Next FetchRecord();
  Next FetchExtent();
  absl::Status TakeRecord(bool from_disk);
  absl::Status TakeExtent();
  base::MutableBytes Blocks(uint64_t size_bytes);

  Store& store_;
  std::string index_key_;
  uint64_t at_ = 0;
  Store::Caching caching_ = Store::Caching::kFill;

  Version version_;
  std::shared_ptr<log::Segment> segment_;  // of a record
  values::ValueStore::Blocks extent_;      // of a separated value
  base::AlignedBuffer buffer_;

  absl::Status found_;
  std::string value_;
  Revision revision_ = 0;
};

}  // namespace firn
