// Putting values: sharing what is there, healing what has rotted, writing what is new.
#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "base/check.h"
#include "base/memory.h"
#include "values/value_store.h"

namespace firn::values {
namespace {

constexpr uint64_t kLookAheadBytesMin = uint64_t{1} << 20;
constexpr uint64_t kFileBytesMin = uint64_t{4} << 20;
// At once: where a file system cannot claim, so much is filled with zeros.
constexpr uint64_t kClaimBytesMax = uint64_t{64} << 20;
constexpr uint64_t kFilePart = 64;  // of what lives

std::vector<uint64_t> PieceChecksums(base::Bytes value, uint64_t secret) {
  std::vector<uint64_t> checksums;
  checksums.reserve(value.size() / format::kValuePieceBytes + 1);
  for (size_t at = 0; at < value.size(); at += format::kValuePieceBytes) {
    const size_t size = std::min<size_t>(format::kValuePieceBytes, value.size() - at);
    checksums.push_back(base::Hash64(value.subspan(at, size), secret));
  }
  return checksums;
}

bool IsAligned(base::Bytes bytes) { return reinterpret_cast<uintptr_t>(bytes.data()) % io::File::kAlignmentBytes == 0; }

// Rot, as opposed to a machine that cannot serve now.
bool IsDamage(const absl::Status& status) { return absl::IsDataLoss(status); }

}  // namespace

absl::StatusOr<ValueStore::Stored> ValueStore::Put(base::Bytes value, io::Flush flush) {
  if (!writable_) return base::FailedPrecondition("the value store is read-only or closed");
  if (value.empty() || value.size() > kValueBytesMax) {
    return base::InvalidArgument("a value of " + std::to_string(value.size()) + " bytes has no extent: 1 to " +
                                 std::to_string(kValueBytesMax));
  }
  const Source source = [value](uint64_t offset, uint64_t size) -> absl::StatusOr<base::Bytes> {
    return value.subspan(offset, size);
  };
  std::vector<uint64_t> checksums = PieceChecksums(value, secret_);
  FIRN_ASSIGN_OR_RETURN(const ExtentTable::Acquired acquired,
                        Share(options_.hash(value, secret_), value.size(), CheckOf(checksums), source));
  if (acquired.is_new) {
    const auto write = [&](io::File& file, const Place& place) { return WriteBytes(file, place.offset, value, flush); };
    FIRN_RETURN_IF_ERROR(StoreNew(acquired.slot, value.size(), std::ref(write)));
  }
  return Stored{acquired.slot, PointerOf(acquired.slot, std::move(checksums))};
}

absl::StatusOr<ValueStore::Stored> ValueStore::CopyOut(Slot slot, std::vector<uint64_t> piece_checksums) {
  const Place from = table_.PlaceOf(slot);
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(files_.At(from.file)));
  const auto hash = HashOnDisk(*handle, from.offset, from.length);
  if (absl::IsDataLoss(hash.status()) || (hash.ok() && *hash != table_.HashOf(slot))) {
    files_.At(from.file).damaged = true;
    return hash.ok() ? Damage(from, "the value's hash does not match") : hash.status();
  }
  if (!hash.ok()) return hash.status();
  BufferPool::Lease buffer(buffers_);
  const Source source = SourceAt(*handle, from, buffer.bytes());
  FIRN_ASSIGN_OR_RETURN(const ExtentTable::Acquired acquired,
                        Share(*hash, from.length, CheckOf(piece_checksums), source, slot));
  if (acquired.is_new) {
    const auto write = [&](io::File& file, const Place& place) {
      return WriteFrom(file, place, source, io::Flush::kBehind);
    };
    FIRN_RETURN_IF_ERROR(StoreNew(acquired.slot, from.length, std::ref(write)));
    evacuated_.fetch_add(1, std::memory_order_relaxed);
  }
  return Stored{acquired.slot, PointerOf(acquired.slot, std::move(piece_checksums))};
}

// What lies on disk, through `buffer`.
ValueStore::Source ValueStore::SourceAt(io::File& file, const Place& place, base::MutableBytes buffer) {
  return [this, &file, place, buffer](uint64_t offset, uint64_t size) -> absl::StatusOr<base::Bytes> {
    FIRN_RETURN_IF_ERROR(
        ReadBlocks(file, place.offset + offset, buffer.first(base::RoundUp(size, format::kBlockBytes))));
    return base::Bytes(buffer.first(size));
  };
}

format::ValuePointer ValueStore::PointerOf(Slot slot, std::vector<uint64_t> piece_checksums) const {
  const base::Hash128Value hash = table_.HashOf(slot);
  const Place place = table_.PlaceOf(slot);
  return {hash.low, hash.high, place.length, files_.At(place.file).id, place.offset, std::move(piece_checksums)};
}

// Another hash of a value than that by which its extent is found.
uint32_t ValueStore::CheckOf(std::span<const uint64_t> piece_checksums) {
  return static_cast<uint32_t>(base::Hash64(std::as_bytes(piece_checksums)));
}

// An extent with exactly these bytes other than `except`, referred to once more; or a new one that the caller has to
// write.
absl::StatusOr<ExtentTable::Acquired> ValueStore::Share(const base::Hash128Value& hash, uint64_t length, uint32_t check,
                                                        const Source& source, Slot except) {
  std::vector<Slot> different{except};
  for (;;) {
    const ExtentTable::Acquired acquired = table_.Acquire(hash, length, check, different);
    if (acquired.is_new) return acquired;
    const absl::StatusOr<bool> same = base::OrOutOfMemory([&] { return Holds(acquired.slot, check, source); });
    if (same.ok() && *same) {
      dedup_hits_.fetch_add(1, std::memory_order_relaxed);
      dedup_bytes_.fetch_add(length, std::memory_order_relaxed);
      return acquired;
    }
    Release(acquired.slot, 0);
    different.push_back(acquired.slot);
    FIRN_RETURN_IF_ERROR(same.status());
  }
}

// True if the extent holds the bytes of `source`, after healing if need be. The caller has a reference, and the
// extent's hash and length are those of the source.
absl::StatusOr<bool> ValueStore::Holds(Slot slot, uint32_t check, const Source& source) {
  const Place place = table_.PlaceOf(slot);
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(files_.At(place.file)));
  const absl::StatusOr<bool> same = Compare(*handle, place, source);
  if (same.ok() && *same) return true;
  if (!same.ok() && !IsDamage(same.status())) return same.status();
  if (check != table_.CheckOf(slot)) return false;  // other bytes of the same hash, rotten or not
  if (same.ok()) {
    const auto found = HashOnDisk(*handle, place.offset, place.length);
    if (found.ok() && *found == table_.HashOf(slot)) return false;  // and of the same check
    if (!found.ok() && !IsDamage(found.status())) return found.status();
  }
  // Rot. Where it cannot be mended the value is stored anew, elsewhere.
  return Heal(place, source).ok();
}

absl::Status ValueStore::Heal(const Place& place, const Source& source) {
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(files_.At(place.file)));
  dirty_.Mark(handle);  // while it can still be given up
  FIRN_RETURN_IF_ERROR(WriteFrom(*handle, place, source, io::Flush::kNone));
  // A sync may have come in between. Bytes that nobody can sync must not pass for durable ones.
  if (!base::IfMemoryPermits([&] { dirty_.Mark(handle); })) dirty_.Fail(base::OutOfMemory());
  healed_.fetch_add(1, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status ValueStore::WriteFrom(io::File& file, const Place& place, const Source& source, io::Flush flush) {
  for (uint64_t at = 0; at < place.length; at += kPieceBytes) {
    FIRN_ASSIGN_OR_RETURN(const base::Bytes piece, source(at, std::min<uint64_t>(kPieceBytes, place.length - at)));
    FIRN_RETURN_IF_ERROR(WriteBytes(file, place.offset + at, piece, flush));
  }
  return absl::OkStatus();
}

// Gives a new extent its place and its bytes. If that fails nobody gets it. `write` must not take memory to be copied:
// the extent is being waited for already.
absl::Status ValueStore::StoreNew(Slot slot, uint64_t length,
                                  const std::function<absl::Status(io::File&, const Place&)>& write) {
  const absl::Status status = base::OrOutOfMemory([&]() -> absl::Status {
    FIRN_ASSIGN_OR_RETURN(const Reserved reserved, Reserve(length));
    table_.SetPlace(slot, reserved.file->slot, reserved.offset);
    const Place place = table_.PlaceOf(slot);
    slack_bytes_.fetch_add(TakenBytes(place) - length, std::memory_order_relaxed);
    FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(*reserved.file));
    FIRN_RETURN_IF_ERROR(write(*handle, place));
    // Before others may share it: their Sync() has to cover it.
    dirty_.Mark(handle);
    base::SchedulePoint();
    table_.Publish(slot);
    return absl::OkStatus();
  });
  if (!status.ok()) Abandon(slot);
  return status;
}

// What a failed write may have left is given back with the extents that were dropped.
void ValueStore::Abandon(Slot slot) {
  const Place place = table_.PlaceOf(slot);
  if (place.file != kNoFile) CountDropped(TakenBytes(place), place.length);
  table_.Fail(slot);
}

uint64_t ValueStore::TakenBytes(const Place& place) const {
  return files_.At(place.file).ExtentEnd(place.offset, place.length) - place.offset;
}

uint64_t ValueStore::LookAheadBytes() const {
  return std::min(std::max(table_.live_bytes() / kFilePart, kLookAheadBytesMin), options_.file_bytes_max);
}

// The file that is being written is left in peace: claiming and punching lock a file, and may take as long as the
// device stands still. So files are small enough to be claimed whole while nobody writes to them yet, and nothing is
// given back of one before it is left, if other files have something.
uint64_t ValueStore::FileBytesMax() const {
  // Where a file's space comes back only with its last extent, and what lives is copied.
  constexpr uint64_t kPartWithoutHoles = 16;
  const uint64_t bytes = table_.live_bytes() / (can_punch_ ? kFilePart : kPartWithoutHoles);
  return std::min(options_.file_bytes_max, std::max(kFileBytesMin, bytes));
}

// A place for a value, with its space claimed. It counts as an extent of its file.
absl::StatusOr<ValueStore::Reserved> ValueStore::Reserve(uint64_t length) {
  const uint64_t padded_bytes = base::RoundUp(length, format::kBlockBytes);
  const uint64_t first_extent = base::RoundUp(format::kBlockBytes, options_.alignment_bytes);
  // Where there are no holes, what lies beside a large value would keep its space.
  const uint64_t shared_bytes_max = can_punch_ ? options_.file_bytes_max : FileBytesMax();
  if (first_extent + padded_bytes > shared_bytes_max) return ReserveOwnFile(length);
  bool due = false;
  absl::StatusOr<Reserved> reserved = [&] {
    base::MutexLock lock(append_mutex_);
    auto place = ReserveLocked(padded_bytes);
    due = options_.on_next_due && next_state_ == Next::kNotDue && LeftBytes() < active_limit_ / 2;
    if (due) next_state_ = Next::kDue;
    return place;
  }();
  if (due) options_.on_next_due();
  return reserved;
}

absl::StatusOr<ValueStore::Reserved> ValueStore::ReserveLocked(uint64_t padded_bytes) {
  const auto place = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_) {
    return base::RoundUp(active_end_, options_.alignment_bytes);
  };
  if (active_ == nullptr || place() + padded_bytes > active_limit_) FIRN_RETURN_IF_ERROR(ChangeFile(padded_bytes));
  const uint64_t offset = place(), end = offset + padded_bytes;
  if (end > active_claimed_) {
    const uint64_t ahead_bytes =
        std::min({LookAheadBytes(), active_limit_ - std::min(active_limit_, end), kClaimBytesMax});
    // Not what lies before an aligned extent: whoever was there before may have been freed, and then nobody gives it
    // back.
    uint64_t claimed = std::max(active_claimed_, offset);
    FIRN_RETURN_IF_ERROR(Claim(*active_, end, ahead_bytes, &claimed));
    active_claimed_ = claimed;
  }
  active_end_ = end;
  active_->extents.fetch_add(1, std::memory_order_relaxed);
  return Reserved{active_, offset};
}

uint64_t ValueStore::LeftBytes() const { return active_limit_ - std::min(active_limit_, active_end_); }

void ValueStore::PrepareNext() {
  base::MutexLock preparing(prepare_mutex_);
  std::shared_ptr<ValueFile> before;
  {
    base::MutexLock lock(append_mutex_);
    if (next_state_ != Next::kDue || !writable_) return;
    before = active_;
  }
  // Where room is short a writer is to be refused for what it writes itself.
  const uint64_t limit = FileBytesMax();
  std::shared_ptr<ValueFile> file;
  uint64_t claimed = format::kBlockBytes;
  // Writers may be waiting: whatever comes of it is told below.
  base::IfMemoryPermits([&] {
    if (!room_.whole() || room_.full() || room_.FreeBytes() < 2 * limit) return;
    if (auto fresh = CreateFile(); fresh.ok()) file = *std::move(fresh);
    if (file == nullptr) return;
    const uint64_t wanted = base::RoundDown(std::min(LookAheadBytes(), limit), format::kBlockBytes);
    for (bool more = true; more && claimed < wanted;) {
      const uint64_t end = std::min(claimed + kClaimBytesMax, wanted);
      const uint64_t ahead_bytes = end - claimed - format::kBlockBytes;
      more = Claim(*file, claimed + format::kBlockBytes, ahead_bytes, &claimed).ok() && claimed == end;
      preparing_bytes_.store(claimed - format::kBlockBytes, std::memory_order_relaxed);
    }
  });
  base::MutexLock lock(append_mutex_);
  preparing_bytes_.store(0, std::memory_order_relaxed);
  next_state_ = file != nullptr ? Next::kReady : active_ == before ? Next::kFailed : Next::kNotDue;
  next_ = std::move(file);
  next_claimed_ = claimed;
  next_made_.NotifyAll();
}

uint64_t ValueStore::AwaitRunway(uint64_t bytes, base::Clock& clock, uint64_t nanos_max) {
  constexpr uint64_t kShortPart = 8;
  const auto is_short = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_) {
    return next_state_ == Next::kDue && LeftBytes() < std::max(active_limit_ / kShortPart, bytes) && writable_;
  };
  base::MutexLock lock(append_mutex_);
  if (!is_short()) return 0;
  const uint64_t began_nanos = clock.MonotonicNanos();
  uint64_t waited_nanos = 0;
  while (is_short() && waited_nanos < nanos_max) {
    next_made_.WaitFor(append_mutex_, nanos_max - waited_nanos);
    waited_nanos = clock.MonotonicNanos() - began_nanos;
  }
  return waited_nanos;
}

// The file that was made ahead goes, with the next GiveBack() of it at the latest.
void ValueStore::DropNext() {
  std::shared_ptr<ValueFile> next;
  {
    base::MutexLock lock(append_mutex_);
    if (next_ == nullptr) return;
    next = std::exchange(next_, nullptr);
    next_state_ = Next::kFailed;  // there is none, and no other before this one is needed
  }
  Unpin(*next);
}

absl::StatusOr<ValueStore::Reserved> ValueStore::ReserveOwnFile(uint64_t length) {
  FIRN_ASSIGN_OR_RETURN(std::shared_ptr<ValueFile> file, CreateFile());
  const uint64_t offset = file->first_extent();
  uint64_t claimed = format::kBlockBytes;
  const absl::Status status = base::OrOutOfMemory(
      [&] { return Claim(*file, offset + base::RoundUp(length, format::kBlockBytes), 0, &claimed); });
  if (status.ok()) file->extents.fetch_add(1, std::memory_order_relaxed);
  Unpin(*file);
  FIRN_RETURN_IF_ERROR(status);
  return Reserved{std::move(file), offset};
}

absl::StatusOr<std::shared_ptr<ValueFile>> ValueStore::CreateFile(io::Claimant claimant) {
  return files_.Create(options_.alignment_bytes, *options_.clock, *options_.random, claimant);
}

// The new file first: if there is no room for one, the old one goes on.
absl::Status ValueStore::ChangeFile(uint64_t padded_bytes) {
  std::shared_ptr<ValueFile> fresh = std::exchange(next_, nullptr);
  uint64_t claimed = next_claimed_;
  if (fresh == nullptr) {
    FIRN_ASSIGN_OR_RETURN(fresh, CreateFile());
    claimed = format::kBlockBytes;
  }
  if (next_state_ != Next::kDue) next_state_ = Next::kNotDue;
  const std::shared_ptr<ValueFile> left = std::exchange(active_, std::move(fresh));
  const uint64_t left_end = std::exchange(active_end_, format::kBlockBytes);
  active_claimed_ = claimed;
  // A few of what comes, if that is large; only one where the file's space comes back with its last extent.
  const uint64_t least = can_punch_ ? 4 * padded_bytes : active_->first_extent() + padded_bytes;
  active_limit_ = std::min(std::max(FileBytesMax(), least), options_.file_bytes_max);
  // Nothing is claimed once the file is written to, though more may live by now than when it was made.
  if (claimed >= kFileBytesMin && claimed >= least) active_limit_ = std::min(active_limit_, claimed);
  needs_fresh_file_ = false;
  next_made_.NotifyAll();
  if (left == nullptr) return absl::OkStatus();
  left->cut_to = left_end;
  Unpin(*left);
  return absl::OkStatus();
}

// Nothing more is added to the file. If all that it held is freed, it goes.
void ValueStore::Unpin(ValueFile& file) {
  file.pinned = false;
  files_.MarkUntidy(file);
}

void ValueStore::Discard(std::shared_ptr<ValueFile> file) {
  // Before the file may go: once it is no longer pinned, whoever frees removes it.
  const bool frees = free_mutex_.TryLock();
  Unpin(*file);
  if (!frees) return;
  base::IfMemoryPermits([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { GiveBack(*file); });  // else the next FreeDropped() does
  free_mutex_.Unlock();
}

absl::Status ValueStore::Claim(ValueFile& file, uint64_t end, uint64_t ahead_bytes, uint64_t* claimed) {
  FIRN_ASSIGN_OR_RETURN(const Handle handle, files_.Open(file));
  // From the claimed end on only: the holes before it stay holes.
  FIRN_ASSIGN_OR_RETURN(*claimed, room_.ClaimAhead(*handle, end, *claimed, ahead_bytes));
  return absl::OkStatus();
}

// Straight from the caller's memory, unless the device is to fetch it there and it is not aligned; the last block is
// padded with zeros.
absl::Status ValueStore::WriteBytes(io::File& file, uint64_t offset, base::Bytes value, io::Flush flush) {
  uint64_t at = 0;
  if (flush == io::Flush::kBehind || (options_.use_callers_memory && IsAligned(value))) {
    at = base::RoundDown(value.size(), format::kBlockBytes);
    FIRN_RETURN_IF_ERROR(file.Write(offset, value.first(at), flush));
  }
  if (at < value.size()) {
    BufferPool::Lease buffer(buffers_);
    while (at < value.size()) {
      const uint64_t size = std::min<uint64_t>(kPieceBytes, value.size() - at);
      const uint64_t padded_bytes = base::RoundUp(size, format::kBlockBytes);
      std::memcpy(buffer.bytes().data(), value.data() + at, size);
      std::memset(buffer.bytes().data() + size, 0, padded_bytes - size);
      FIRN_RETURN_IF_ERROR(file.Write(offset + at, buffer.bytes().first(padded_bytes), flush));
      at += size;
    }
  }
  written_bytes_.fetch_add(base::RoundUp(value.size(), format::kBlockBytes), std::memory_order_relaxed);
  return absl::OkStatus();
}

}  // namespace firn::values
