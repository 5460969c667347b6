#include "values/stream_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/memory.h"

namespace firn::values {
namespace {

constexpr uint64_t kAheadBytesMax = uint64_t{64} << 20;

}  // namespace

StreamWriter::StreamWriter(ValueStore& store, std::function<bool()> await_room)
    : store_(store), await_room_(std::move(await_room)), buffer_(kPieceBytes), hasher_(store.secret_) {}

StreamWriter::~StreamWriter() {
  if (file_ != nullptr) store_.Discard(std::move(file_));
}

absl::Status StreamWriter::Append(base::Bytes bytes) {
  FIRN_CHECK(!finished_);
  if (status_.ok() && bytes.size() > kValueBytesMax - flushed_bytes_ - buffered_bytes_) {
    status_ = base::InvalidArgument("a value has at most " + std::to_string(kValueBytesMax) + " bytes");
  }
  while (status_.ok() && !bytes.empty()) {
    if (buffered_bytes_ == kPieceBytes) status_ = FlushBuffer();
    const size_t size = std::min(bytes.size(), kPieceBytes - buffered_bytes_);
    std::memcpy(buffer_.data() + buffered_bytes_, bytes.data(), size);
    buffered_bytes_ += size;
    bytes = bytes.subspan(size);
  }
  return status_;
}

absl::Status StreamWriter::FlushBuffer() {
  if (!store_.writable_) return base::FailedPrecondition("the value store is read-only or closed");
  absl::Status claimed = Claim(flushed_bytes_ + base::RoundUp(buffered_bytes_, format::kBlockBytes));
  while (io::IsNoRoom(claimed) && await_room_ && await_room_()) {
    claimed = Claim(flushed_bytes_ + base::RoundUp(buffered_bytes_, format::kBlockBytes));
  }
  FIRN_RETURN_IF_ERROR(claimed);
  const uint64_t offset = file_->first_extent() + flushed_bytes_;
  const base::Bytes bytes = buffer_.bytes().first(buffered_bytes_);
  hasher_.Add(bytes);
  for (size_t at = 0; at < bytes.size(); at += format::kValuePieceBytes) {
    const auto piece = bytes.subspan(at, std::min<size_t>(format::kValuePieceBytes, bytes.size() - at));
    piece_checksums_.push_back(base::Hash64(piece, store_.secret_));
  }
  FIRN_ASSIGN_OR_RETURN(const Handle handle, store_.files_.Open(*file_));
  FIRN_RETURN_IF_ERROR(store_.WriteBytes(*handle, offset, bytes, io::Flush::kNone));
  flushed_bytes_ += buffered_bytes_;
  buffered_bytes_ = 0;
  return absl::OkStatus();
}

// Space for the first `bytes` of the value.
absl::Status StreamWriter::Claim(uint64_t bytes) {
  if (file_ == nullptr) {
    FIRN_ASSIGN_OR_RETURN(file_, store_.CreateFile());
    claimed_ = format::kBlockBytes;
  }
  const uint64_t end = file_->first_extent() + bytes;
  if (end <= claimed_) return absl::OkStatus();
  return store_.Claim(*file_, end, std::min(flushed_bytes_, kAheadBytesMax), &claimed_);
}

absl::StatusOr<ValueStore::Stored> StreamWriter::Finish() {
  FIRN_CHECK(!finished_);
  finished_ = true;
  FIRN_RETURN_IF_ERROR(status_);
  if (file_ == nullptr) return store_.Put(buffer_.bytes().first(buffered_bytes_));
  return FinishFile();
}

absl::StatusOr<ValueStore::Stored> StreamWriter::FinishFile() {
  if (buffered_bytes_ > 0) FIRN_RETURN_IF_ERROR(FlushBuffer());
  const uint64_t offset = file_->first_extent();
  FIRN_ASSIGN_OR_RETURN(const Handle handle, store_.files_.Open(*file_));
  store_.CutToEnd(*file_, offset + base::RoundUp(flushed_bytes_, format::kBlockBytes));
  base::Hash128Value hash = hasher_.Get();
  if (store_.options_.hash != &base::Hash128) {
    FIRN_ASSIGN_OR_RETURN(hash, store_.HashOnDisk(*handle, offset, flushed_bytes_));
  }
  FIRN_ASSIGN_OR_RETURN(const ExtentTable::Acquired acquired,
                        store_.Share(hash, flushed_bytes_, ValueStore::CheckOf(piece_checksums_), ReadBack(buffer_)));
  if (!acquired.is_new) {
    store_.Discard(std::exchange(file_, nullptr));
    return ValueStore::Stored{acquired.slot, store_.PointerOf(acquired.slot, std::move(piece_checksums_))};
  }
  file_->extents.fetch_add(1, std::memory_order_relaxed);
  store_.table_.SetPlace(acquired.slot, file_->slot, offset);
  const Place place = store_.table_.PlaceOf(acquired.slot);
  store_.slack_bytes_.fetch_add(store_.TakenBytes(place) - place.length, std::memory_order_relaxed);
  // The extent is being waited for, and from here on the file goes with it.
  const bool marked = base::IfMemoryPermits([&] { store_.dirty_.Mark(handle); });
  if (marked) {
    store_.table_.Publish(acquired.slot);
  } else {
    store_.Abandon(acquired.slot);
  }
  store_.Unpin(*std::exchange(file_, nullptr));
  if (!marked) return base::OutOfMemory();
  return ValueStore::Stored{acquired.slot, store_.PointerOf(acquired.slot, std::move(piece_checksums_))};
}

// What was written so far, through `buffer`.
ValueStore::Source StreamWriter::ReadBack(base::AlignedBuffer& buffer) {
  return [this, &buffer](uint64_t offset, uint64_t size) -> absl::StatusOr<base::Bytes> {
    FIRN_ASSIGN_OR_RETURN(const Handle handle, store_.files_.Open(*file_));
    const base::MutableBytes blocks = buffer.bytes().first(base::RoundUp(size, format::kBlockBytes));
    FIRN_RETURN_IF_ERROR(store_.ReadBlocks(*handle, file_->first_extent() + offset, blocks));
    return base::Bytes(blocks.first(size));
  };
}

}  // namespace firn::values
