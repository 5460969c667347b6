// Who may claim what is left of the disk, or of the store's quota.
//
// Space is claimed before anything is promised that needs it, and all of it is claimed here. Where none is left, writes
// are refused; deletes, reclaim and the log's own records go on from a reserve: the file RESERVE, blocks without
// content that were claimed while there was room. Claimants are in an order, and each leaves to those after it what
// they need:
//
//   kWrite    takes nothing of the reserve, and makes it whole before it takes anything of the disk
//   kDelete   leaves what reclaim and the log's records need
//   kReclaim  leaves what the log's records need
//   kControl  takes what there is
//
// So a quota and a full disk are the same to everything above.
//
// Thread-safe. The mutex is held during the claim itself: nobody gets between the reserve and whom it was given up for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/sync.h"
#include "io/disk.h"

namespace firn::io {

inline constexpr std::string_view kReserveFile = "RESERVE";

// What the file system may take beside the blocks of a claim, to find them; known only afterwards.
inline constexpr uint64_t kClaimSlackBytes = uint64_t{16} << 10;

enum class Claimant : uint8_t { kWrite, kDelete, kReclaim, kControl };
inline constexpr size_t kClaimants = 4;

// What is kept back for each.
struct ReserveSizes {
  uint64_t deletes_bytes = 0;
  uint64_t reclaim_bytes = 0;
  uint64_t control_bytes = 0;
  uint64_t total_bytes() const { return deletes_bytes + reclaim_bytes + control_bytes; }
};

struct RoomOptions {
  uint64_t quota_bytes = 0;  // of all files; 0: none
  // Told when a write is refused, and when there is room again; holding nothing of the room's.
  std::function<void(bool full, std::string message)> on_change;
};

// Whether the status is a claim that found no room, as opposed to something else that is exhausted.
bool IsNoRoom(const absl::Status& status);

class Room {
 public:
  Room(Disk& disk, RoomOptions options) : disk_(disk), options_(std::move(options)) {}
  Room(const Room&) = delete;

  // Finds the reserve of the last process. With a quota, counts all files of the store. Before anything is claimed.
  absl::Status Open(std::span<const std::string_view> folders, bool read_only = false);
  // To be called as the store grows and shrinks.
  void KeepBack(const ReserveSizes& sizes);

  // As File::Allocate. ResourceExhausted says what is full, what it holds, and what to do.
  absl::Status Claim(File& file, uint64_t size_bytes, uint64_t from_bytes, Claimant claimant);
  // For a write that will be followed by others: up to `size_bytes`, and `ahead_bytes` more where there is room.
  // Returns how far.
  absl::StatusOr<uint64_t> ClaimAhead(File& file, uint64_t size_bytes, uint64_t from_bytes, uint64_t ahead_bytes);
  // Makes the reserve whole, if there is room.
  absl::Status Restore();
  // For a store that has nothing to reclaim or to delete. The next write that claims anything makes it whole again.
  void GiveUpReserve();
  // For a write that Restore() left without room: says what is full, and notes it.
  absl::Status Refuse(const absl::Status& why);
  bool whole() const { return reserve_bytes() >= wanted_bytes_.load(std::memory_order_relaxed); }
  // Whether a write could claim `bytes`, and what was refused last, found out by trying. Tells the listener if there is
  // room again.
  bool HasRoomFor(uint64_t bytes);
  // An open store needs a segment to write to: where even the reserve is gone, as it may be under a quota that was
  // lowered, the log's own records may go this far beyond the quota.
  void Overdraw(uint64_t bytes);

  // A write was refused, and there has been no room since.
  bool full() const { return full_.load(std::memory_order_acquire); }
  uint64_t quota_bytes() const { return options_.quota_bytes; }
  uint64_t used_bytes() const { return disk_.ledger().used_bytes(); }
  uint64_t reserve_bytes() const { return reserve_bytes_.load(std::memory_order_relaxed); }
  // What writes could still claim, about: of the quota, and of the disk.
  uint64_t FreeBytes() const;
  // What `claimant` could still claim, about, with its part of the reserve.
  uint64_t FreeBytesFor(Claimant claimant) const;

 private:
  uint64_t FloorFor(Claimant claimant) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t LimitFor(Claimant claimant) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Allocate(File& file, uint64_t size_bytes, uint64_t from_bytes, Claimant claimant)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ClaimLocked(File& file, uint64_t size_bytes, uint64_t from_bytes, Claimant claimant)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RestoreLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status OpenReserve() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status SizeReserve(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Describe(const absl::Status& why) const;
  void Note(const absl::Status& refused);

  Disk& disk_;
  const RoomOptions options_;

  mutable base::Mutex mutex_;
  std::unique_ptr<File> reserve_ ABSL_GUARDED_BY(mutex_);  // null until there is one
  ReserveSizes sizes_ ABSL_GUARDED_BY(mutex_);
  bool reserve_as_found_ ABSL_GUARDED_BY(mutex_) = true;  // since the last process
  // What all files took; 0 once they have come below the quota.
  uint64_t opened_with_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t overdrawn_to_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> reserve_bytes_{0}, wanted_bytes_{0};
  std::atomic<uint64_t> refused_bytes_{0};  // that the last write wanted that was refused
  std::atomic<bool> full_{false};
};

}  // namespace firn::io
