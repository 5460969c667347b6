#include "io/transfer.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>

namespace firn::io {
namespace {

// A multiple of every alignment, and below what one system call moves at most (2 GiB less a page).
constexpr size_t kPieceBytesMax = size_t{1} << 30;
constexpr int kRefusalsMax = 1'000;

std::atomic<TransferFaults*> test_faults{nullptr};

std::string_view Verb(TransferKind kind) { return kind == TransferKind::kRead ? "read" : "write"; }

template <typename Piece>
absl::Status RunWhole(TransferKind kind, std::string_view file_name, uint64_t offset, size_t size_bytes, Piece piece) {
  Transfer transfer(kind, offset, size_bytes);
  int64_t result = 0;
  do {
    const int64_t moved =
        piece(transfer.done_bytes(), PieceBytes(kind, transfer.rest_bytes()), static_cast<off_t>(transfer.offset()));
    result = SeenResult(kind, moved < 0 ? -errno : moved);
  } while (transfer.Advance(result));
  return transfer.status(file_name);
}

}  // namespace

void SetTransferFaultsForTest(TransferFaults* faults) { test_faults.store(faults, std::memory_order_release); }

size_t PieceBytes(TransferKind kind, size_t size_bytes) {
  const size_t piece_bytes = std::min(size_bytes, kPieceBytesMax);
  TransferFaults* faults = test_faults.load(std::memory_order_acquire);
  return faults == nullptr ? piece_bytes : std::min(piece_bytes, faults->Size(kind, piece_bytes));
}

int64_t SeenResult(TransferKind kind, int64_t result) {
  TransferFaults* faults = test_faults.load(std::memory_order_acquire);
  return faults == nullptr ? result : faults->Result(kind, result);
}

bool Transfer::Advance(int64_t result) {
  if (result > 0) {
    done_bytes_ += std::min(static_cast<size_t>(result), rest_bytes());
    refusals_ = 0;
    ended_ = rest_bytes() == 0;
    return !ended_;
  }
  if (result == -EINTR) return true;
  if (result == -EAGAIN && ++refusals_ < kRefusalsMax) {
    sched_yield();
    return true;
  }
  ended_ = true;
  // A direct read that was cut short at an odd byte has met the end of the file; the kernel then refuses the
  // odd offset instead of saying so.
  const bool odd_end = result == -EINVAL && done_bytes_ % 512 != 0;
  if (kind_ == TransferKind::kRead && (result == 0 || odd_end)) {
    error_ = kEndOfFile;
  } else {
    error_ = result == 0 ? EIO : static_cast<int>(-result);
  }
  return false;
}

absl::Status Transfer::status(std::string_view file_name) const {
  if (error_ == 0) return absl::OkStatus();
  std::string context(Verb(kind_));
  context += ' ';
  context += file_name;
  context += " at " + std::to_string(offset());
  if (error_ == kEndOfFile) {
    return base::MakeStatus(absl::StatusCode::kOutOfRange, context + ": the file ends here");
  }
  return base::ErrnoStatus(error_, context);
}

absl::Status ReadWhole(int fd, std::string_view file_name, uint64_t offset, base::MutableBytes out) {
  return RunWhole(TransferKind::kRead, file_name, offset, out.size(),
                  [&](size_t done, size_t size, off_t at) { return ::pread(fd, out.data() + done, size, at); });
}

absl::Status WriteWhole(int fd, std::string_view file_name, uint64_t offset, base::Bytes data) {
  return RunWhole(TransferKind::kWrite, file_name, offset, data.size(),
                  [&](size_t done, size_t size, off_t at) { return ::pwrite(fd, data.data() + done, size, at); });
}

absl::Status SyncData(int fd, std::string_view file_name) {
  const int64_t result = ::fdatasync(fd) == 0 ? 0 : -errno;
  return SyncStatus(SeenResult(TransferKind::kSync, result), file_name);
}

absl::Status SyncStatus(int64_t result, std::string_view file_name) {
  if (result >= 0) return absl::OkStatus();
  return base::ErrnoStatus(static_cast<int>(-result), "fdatasync " + std::string(file_name));
}

}  // namespace firn::io
