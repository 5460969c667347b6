#include "db/point_read.h"

#include <utility>

#include "base/memory.h"

namespace firn {
namespace {

using Part = memory::CacheKey::Part;

// What a read keeps of its buffer for the next one.
constexpr size_t kKeptBytesMax = size_t{16} << 10;

bool SamePlace(const index::Entry& a, const index::Entry& b) {
  return a.segment == b.segment && a.offset == b.offset && a.size == b.size;
}

}  // namespace

PointRead::Next PointRead::Done(absl::Status found) {
  found_ = std::move(found);
  return Next::kDone;
}

template <typename Step>
PointRead::Next PointRead::Guarded(const Step& step) noexcept {
  Next next = Next::kDone;
  return base::IfMemoryPermits([&] { next = step(); }) ? next : Done(base::OutOfMemory());
}

base::MutableBytes PointRead::Blocks(uint64_t size_bytes) {
  if (buffer_.size() < size_bytes) buffer_ = base::AlignedBuffer(size_bytes);
  return buffer_.bytes().first(size_bytes);
}

void PointRead::Drop() {
  segment_ = nullptr;
  extent_.file = nullptr;
  value_.clear();
  if (value_.capacity() > kKeptBytesMax) value_ = std::string();
  if (buffer_.size() > kKeptBytesMax) buffer_ = base::AlignedBuffer();
}

PointRead::Next PointRead::Start(std::string_view index_key, uint64_t revision, Store::Caching caching) noexcept {
  at_ = revision;
  caching_ = caching;
  return Guarded([&] {
    index_key_ = index_key;
    return Look();
  });
}

PointRead::Next PointRead::Finish() noexcept {
  return Guarded([&] { return TakeBlocks(); });
}

PointRead::Next PointRead::Look() {
  found_ = absl::OkStatus();
  base::EpochGuard guard(store_.epochs_);
  const auto version = store_.Locate(index_key_, at_);
  revision_ = version ? version->entry.revision : store_.AbsenceRevision(at_);
  if (!version) {
    absl::Status servable = store_.CheckAbsenceServable(at_);
    return Done(servable.ok() ? Store::KeyNotFound() : std::move(servable));
  }
  version_ = *version;
  if (absl::Status servable = store_.CheckServable(version_); !servable.ok()) return Done(std::move(servable));
  return Fetch();
}

// Inside the guard in which the version was found.
PointRead::Next PointRead::Fetch() {
  const bool separated = IsSeparated(version_.entry);
  const Part part = separated ? Part::kSeparatedValue : Part::kRecord;
  if (memory::Cached found; store_.FindCached(index_key_, version_.entry, part, found, caching_)) {
    value_.assign(base::AsText(found.value));
    return Next::kDone;
  }
  return separated ? FetchExtent() : FetchRecord();
}

PointRead::Next PointRead::FetchRecord() {
  const index::Entry& entry = version_.entry;
  log::Segment* const segment = store_.log_->segments().Find(entry.segment);
  // Units that a read-only open found in the tail buffers are in no file.
  if (segment == nullptr || !segment->overlays.empty()) {
    return Done(store_.ReadRecord(index_key_, version_, &value_, nullptr, caching_));
  }
  const uint64_t begin = base::RoundDown(entry.offset, io::File::kAlignmentBytes);
  const uint64_t end = base::RoundUp(uint64_t{entry.offset} + entry.size, io::File::kAlignmentBytes);
  const base::MutableBytes blocks = Blocks(end - begin);
  segment_ = segment->shared_from_this();
  if (store_.log_->ReadResident(entry.segment, entry.offset, blocks.subspan(entry.offset - begin, entry.size))) {
    return Done(TakeRecord(/*from_disk=*/false));
  }
  static_cast<io::ReadRequest&>(*this) = {segment->file.get(), begin, blocks, {}};
  return Next::kDisk;
}

PointRead::Next PointRead::FetchExtent() {
  auto extent = store_.values_->BlocksOf(version_.entry.size);
  if (!extent.ok()) return Done(extent.status());
  extent_ = *std::move(extent);
  static_cast<io::ReadRequest&>(*this) = {extent_.file.get(), extent_.offset, Blocks(extent_.size_bytes), {}};
  return Next::kDisk;
}

PointRead::Next PointRead::TakeBlocks() {
  // A file that ends before what is in it has lost it.
  absl::Status taken = absl::IsOutOfRange(status) ? base::DataLoss(std::string(status.message())) : status;
  if (taken.ok()) taken = IsSeparated(version_.entry) ? TakeExtent() : TakeRecord(/*from_disk=*/true);
  if (taken.ok()) return Next::kDone;

  base::SchedulePoint();
  base::EpochGuard guard(store_.epochs_);
  const auto version = store_.Locate(index_key_, at_);
  if (version && SamePlace(version->entry, version_.entry)) return Done(std::move(taken));
  return Look();
}

absl::Status PointRead::TakeRecord(bool from_disk) {
  const index::Entry& entry = version_.entry;
  const base::Bytes bytes = base::Bytes(buffer_.bytes()).subspan(entry.offset % io::File::kAlignmentBytes, entry.size);
  FIRN_ASSIGN_OR_RETURN(const format::Record record, Store::Verified(*segment_, index_key_, version_, bytes));
  value_.assign(base::AsText(record.value));
  // What is still in the tail buffers was put into the cache when it was written, if it is to be there.
  if (from_disk && caching_ == Store::Caching::kFill) {
    store_.KeepCached(index_key_, entry, Part::kRecord, record.value, record.metadata);
  }
  return absl::OkStatus();
}

absl::Status PointRead::TakeExtent() {
  const base::Bytes value = base::Bytes(buffer_.bytes()).first(extent_.length);
  FIRN_RETURN_IF_ERROR(store_.values_->Verify(extent_, value));
  value_.assign(base::AsText(value));
  if (caching_ == Store::Caching::kFill)
    store_.KeepCached(index_key_, version_.entry, Part::kSeparatedValue, value, {});
  return absl::OkStatus();
}

}  // namespace firn
