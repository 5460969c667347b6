#include "io/room.h"

#include <algorithm>
#include <utility>

#include "base/memory.h"

namespace firn::io {
namespace {

// A reserve this many times as large as wanted is cut.
constexpr uint64_t kReserveExcess = 8;

uint64_t RoundUp(uint64_t bytes) { return base::RoundUp(bytes, File::kAlignmentBytes); }

uint64_t Below(uint64_t bytes, uint64_t limit) { return limit - std::min(limit, bytes); }

// What claiming [from, size) takes at most.
uint64_t NeededBytes(const File& file, uint64_t size_bytes, uint64_t from_bytes) {
  if (size_bytes <= from_bytes) return 0;
  return from_bytes != 0 ? RoundUp(size_bytes) - from_bytes : Below(file.counted_bytes(), RoundUp(size_bytes));
}

constexpr std::string_view kNoRoom = "no room: ";

}  // namespace

bool IsNoRoom(const absl::Status& status) {
  const std::string_view message(status.message().data(), status.message().size());
  return absl::IsResourceExhausted(status) && message.starts_with(kNoRoom);
}

absl::Status Room::Open(std::span<const std::string_view> folders, bool read_only) {
  base::MutexLock lock(mutex_);
  if (options_.quota_bytes != 0) FIRN_RETURN_IF_ERROR(disk_.CountFiles(folders));
  opened_with_bytes_ = used_bytes();
  auto found = disk_.Open(kReserveFile, read_only ? OpenMode::kRead : OpenMode::kReadWrite);
  if (absl::IsNotFound(found.status())) return absl::OkStatus();
  if (!found.ok()) return found.status();
  if (read_only) {
    reserve_bytes_ = (*found)->size_bytes();
    return absl::OkStatus();
  }
  reserve_ = *std::move(found);
  // A crash may have left it with holes, which nobody could spend.
  const uint64_t size_bytes = reserve_->size_bytes();
  const auto claimed = reserve_->AllocatedBytes();
  const bool has_holes = !claimed.ok() || *claimed < size_bytes;
  return has_holes ? SizeReserve(0) : SizeReserve(base::RoundDown(size_bytes, File::kAlignmentBytes));
}

void Room::KeepBack(const ReserveSizes& sizes) {
  base::MutexLock lock(mutex_);
  sizes_ = {RoundUp(sizes.deletes_bytes), RoundUp(sizes.reclaim_bytes), RoundUp(sizes.control_bytes)};
  wanted_bytes_ = sizes_.total_bytes();
  // A process that was killed on a full disk may have left it grown.
  const bool as_found = std::exchange(reserve_as_found_, false);
  if (as_found && reserve_bytes_ > wanted_bytes_) static_cast<void>(SizeReserve(wanted_bytes_));
  if (reserve_bytes_ > kReserveExcess * wanted_bytes_) static_cast<void>(SizeReserve(2 * wanted_bytes_));
}

uint64_t Room::FloorFor(Claimant claimant) const {
  switch (claimant) {
    case Claimant::kWrite:
      return UINT64_MAX;
    case Claimant::kDelete:
      return sizes_.reclaim_bytes + sizes_.control_bytes;
    case Claimant::kReclaim:
      return sizes_.control_bytes;
    case Claimant::kControl:
      return 0;
  }
  return UINT64_MAX;
}

// Of all files together. Under a quota that was lowered below what the store takes, only what brings it down may still
// claim: as much as a reserve would have held.
uint64_t Room::LimitFor(Claimant claimant) const {
  const uint64_t quota = options_.quota_bytes;
  if (quota == 0) return UINT64_MAX;
  uint64_t limit = Below(kClaimSlackBytes, quota);
  if (claimant == Claimant::kWrite) return limit;
  if (opened_with_bytes_ > quota) {
    const uint64_t kept_bytes = std::min(FloorFor(claimant), sizes_.total_bytes());
    limit = std::max(limit, opened_with_bytes_ + sizes_.total_bytes() - kept_bytes);
  }
  return std::max(limit, overdrawn_to_bytes_);
}

absl::Status Room::Allocate(File& file, uint64_t size_bytes, uint64_t from_bytes, Claimant claimant) {
  const uint64_t needed_bytes = NeededBytes(file, size_bytes, from_bytes);
  if (needed_bytes != 0 && used_bytes() + needed_bytes > LimitFor(claimant)) {
    return base::ResourceExhausted("max_disk_bytes is used up");
  }
  return file.Allocate(size_bytes, from_bytes);
}

absl::Status Room::ClaimLocked(File& file, uint64_t size_bytes, uint64_t from_bytes, Claimant claimant) {
  // What is free goes to the reserve first: else whoever takes little of the reserve would take what the others need.
  const absl::Status restored =
      reserve_ != nullptr || claimant == Claimant::kWrite ? RestoreLocked() : absl::OkStatus();
  if (!restored.ok() && (claimant == Claimant::kWrite || !absl::IsResourceExhausted(restored))) return restored;
  const bool beyond_quota = LimitFor(claimant) > LimitFor(Claimant::kWrite);
  const absl::Status status =
      restored.ok() || beyond_quota ? Allocate(file, size_bytes, from_bytes, claimant) : restored;
  if (!absl::IsResourceExhausted(status) || claimant == Claimant::kWrite) return status;
  const uint64_t needed_bytes = NeededBytes(file, size_bytes, from_bytes), floor_bytes = FloorFor(claimant);
  if (reserve_bytes_ < floor_bytes + needed_bytes) return status;
  const uint64_t given_bytes = std::min(needed_bytes + kClaimSlackBytes, reserve_bytes_ - floor_bytes);
  FIRN_RETURN_IF_ERROR(SizeReserve(reserve_bytes_ - given_bytes));
  const absl::Status claimed = Allocate(file, size_bytes, from_bytes, claimant);
  if (!absl::IsResourceExhausted(claimed)) return claimed;
  // A journal may hold freed blocks back until it is committed.
  FIRN_RETURN_IF_ERROR(reserve_->Sync());
  return Allocate(file, size_bytes, from_bytes, claimant);
}

absl::Status Room::OpenReserve() {
  if (reserve_ != nullptr) return absl::OkStatus();
  auto made = disk_.Open(kReserveFile, OpenMode::kCreate);
  // Making it may have failed half-way before.
  if (absl::IsAlreadyExists(made.status())) made = disk_.Open(kReserveFile, OpenMode::kReadWrite);
  if (!made.ok()) return made.status();
  reserve_ = *std::move(made);
  return disk_.SyncFolder("");
}

absl::Status Room::SizeReserve(uint64_t bytes) {
  if (reserve_ == nullptr) return absl::OkStatus();
  absl::Status status;
  if (reserve_->size_bytes() > bytes) status = reserve_->Truncate(bytes);
  if (status.ok()) reserve_bytes_ = bytes;
  return status;
}

// Takes what there is, even if it is not enough.
absl::Status Room::RestoreLocked() {
  const uint64_t wanted_bytes = wanted_bytes_;
  if (reserve_bytes_ >= wanted_bytes) {
    // Once it has come down below a lowered quota there is the reserve for what brought it down.
    if (used_bytes() <= LimitFor(Claimant::kWrite)) opened_with_bytes_ = 0;
    return absl::OkStatus();
  }
  FIRN_RETURN_IF_ERROR(OpenReserve());
  absl::Status status;
  for (uint64_t step_bytes = wanted_bytes - reserve_bytes_; reserve_bytes_ < wanted_bytes;) {
    const uint64_t held_bytes = reserve_bytes_, larger_bytes = std::min(held_bytes + step_bytes, wanted_bytes);
    const absl::Status grown = Allocate(*reserve_, larger_bytes, held_bytes, Claimant::kWrite);
    if (grown.ok()) {
      reserve_bytes_ = larger_bytes;
      continue;
    }
    if (status.ok()) status = grown;  // the first one says what the whole needed
    step_bytes = base::RoundDown(step_bytes / 2, File::kAlignmentBytes);
    if (!absl::IsResourceExhausted(grown) || step_bytes == 0) return status;
  }
  return absl::OkStatus();
}

absl::Status Room::Restore() {
  if (whole()) return absl::OkStatus();
  base::MutexLock lock(mutex_);
  return RestoreLocked();
}

void Room::GiveUpReserve() {
  base::MutexLock lock(mutex_);
  static_cast<void>(SizeReserve(0));  // what cannot be cut stays a reserve
}

absl::Status Room::Claim(File& file, uint64_t size_bytes, uint64_t from_bytes, Claimant claimant) {
  absl::Status status;
  {
    base::MutexLock lock(mutex_);
    status = ClaimLocked(file, size_bytes, from_bytes, claimant);
  }
  if (absl::IsResourceExhausted(status)) {
    status = Describe(status);
    if (claimant == Claimant::kWrite) refused_bytes_ = NeededBytes(file, size_bytes, from_bytes);
  }
  if (claimant == Claimant::kWrite && (status.ok() || absl::IsResourceExhausted(status))) {
    Note(status);
  }
  return status;
}

absl::StatusOr<uint64_t> Room::ClaimAhead(File& file, uint64_t size_bytes, uint64_t from_bytes, uint64_t ahead_bytes) {
  const uint64_t wanted_bytes = size_bytes + base::RoundDown(ahead_bytes, File::kAlignmentBytes);
  if (wanted_bytes > size_bytes) {
    absl::Status status;
    {
      base::MutexLock lock(mutex_);
      status = ClaimLocked(file, wanted_bytes, from_bytes, Claimant::kWrite);
    }
    if (status.ok()) {
      Note(status);
      return wanted_bytes;
    }
    if (!absl::IsResourceExhausted(status)) return status;
  }
  FIRN_RETURN_IF_ERROR(Claim(file, size_bytes, from_bytes, Claimant::kWrite));
  return size_bytes;
}

bool Room::HasRoomFor(uint64_t bytes) {
  absl::Status status;
  {
    base::MutexLock lock(mutex_);
    status = RestoreLocked();
    if (status.ok()) status = OpenReserve();
    const uint64_t held_bytes = reserve_bytes_;
    if (status.ok())
      status = Allocate(*reserve_, held_bytes + RoundUp(std::max<uint64_t>(bytes, refused_bytes_)), held_bytes,
                        Claimant::kWrite);
    if (status.ok()) status = SizeReserve(held_bytes);
  }
  if (status.ok()) Note(status);
  return status.ok();
}

void Room::Overdraw(uint64_t bytes) {
  base::MutexLock lock(mutex_);
  overdrawn_to_bytes_ = std::max(overdrawn_to_bytes_, used_bytes() + bytes);
}

uint64_t Room::FreeBytes() const {
  uint64_t bytes = disk_.FreeBytes().value_or(0);
  base::MutexLock lock(mutex_);
  bytes = std::min(bytes, Below(used_bytes(), LimitFor(Claimant::kWrite)));
  return Below(Below(reserve_bytes_, wanted_bytes_), bytes);
}

uint64_t Room::FreeBytesFor(Claimant claimant) const {
  uint64_t bytes = disk_.FreeBytes().value_or(0);
  base::MutexLock lock(mutex_);
  bytes = std::min(bytes, Below(used_bytes(), LimitFor(claimant)));
  return bytes + Below(FloorFor(claimant), reserve_bytes_);
}

absl::Status Room::Describe(const absl::Status& why) const {
  const std::string used = std::to_string(used_bytes()), kept = std::to_string(reserve_bytes());
  const std::string quota = std::to_string(options_.quota_bytes);
  if (options_.quota_bytes != 0 && why.message() == "max_disk_bytes is used up") {
    return base::ResourceExhausted(std::string(kNoRoom) + "the store's files take " + used +
                                   " of max_disk_bytes = " + quota + ", " + kept +
                                   " of them kept back for deletes and reclaim. Delete keys, or open the store with a "
                                   "larger max_disk_bytes");
  }
  return base::ResourceExhausted(std::string(kNoRoom) + "the disk that holds " + std::string(disk_.path()) +
                                 " is full (" + std::string(why.message()) + "). The store's files take " + used +
                                 " bytes, " + kept +
                                 " of them kept back for deletes and reclaim. Delete keys, or free space on the disk");
}

absl::Status Room::Refuse(const absl::Status& why) {
  const absl::Status status = Describe(why);
  refused_bytes_ = 0;  // all it lacked was the reserve: what another write wanted before says nothing of it
  Note(status);
  return status;
}

// Ok: a write was not refused.
void Room::Note(const absl::Status& refused) {
  const bool full = !refused.ok();
  if (full_.load(std::memory_order_relaxed) == full || full_.exchange(full) == full) return;
  if (!options_.on_change) return;
  base::IfMemoryPermits([&] {
    options_.on_change(
        full, full ? std::string(refused.message()) : std::string(disk_.path()) + ": there is room for writes again");
  });
}

}  // namespace firn::io
