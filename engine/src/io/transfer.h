// One read or write from its first byte to its last, however many pieces the kernel makes of it. The same
// rules serve system calls and ring operations:
//   - a short transfer goes on where it stopped;
//   - EINTR is tried again, EAGAIN a bounded number of times;
//   - a read that finds no more bytes is OutOfRange;
//   - anything else ends the transfer. A failed fdatasync is never tried again: the kernel may have dropped
//   the data.
// EFBIG (RLIMIT_FSIZE) is a status only in a process that ignores SIGXFSZ: the signal's default action kills
// the process, and a library does not change the process's signals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/coding.h"
#include "base/status.h"

namespace firn::io {

enum class TransferKind { kRead, kWrite, kSync };

// A test's hand between the transfers and the kernel.
class TransferFaults {
 public:
  virtual ~TransferFaults() = default;
  // How many of `size_bytes` the kernel is asked for: fewer makes a short transfer.
  virtual size_t Size(TransferKind, size_t size_bytes) { return size_bytes; }
  // What is seen in place of the kernel's `result`: a count of bytes (0 for a sync) or a negated errno.
  virtual int64_t Result(TransferKind, int64_t result) { return result; }
};
// Null takes it away. No transfer may be running.
void SetTransferFaultsForTest(TransferFaults* faults);

// How much of `size_bytes` to ask for in one piece, and what to make of its result.
size_t PieceBytes(TransferKind kind, size_t size_bytes);
int64_t SeenResult(TransferKind kind, int64_t result);

class Transfer {
 public:
  Transfer(TransferKind kind, uint64_t offset, size_t size_bytes)
      : kind_(kind), offset_(offset), size_bytes_(size_bytes) {}

  // Takes the result of one piece that began at offset(). True: another piece is needed.
  bool Advance(int64_t result);

  uint64_t offset() const { return offset_ + done_bytes_; }
  size_t done_bytes() const { return done_bytes_; }
  size_t rest_bytes() const { return size_bytes_ - done_bytes_; }
  bool ended() const { return ended_; }
  // It ended, and all bytes moved.
  bool is_whole() const { return ended_ && error_ == 0; }
  // OK when all bytes moved; else names the operation, the file and the place.
  absl::Status status(std::string_view file_name) const;

 private:
  static constexpr int kEndOfFile = -1;

  TransferKind kind_;
  uint64_t offset_;
  size_t size_bytes_;
  size_t done_bytes_ = 0;
  int error_ = 0;
  int refusals_ = 0;
  bool ended_ = false;
};

// Run a whole transfer, or what is left of one, over system calls.
absl::Status ReadWhole(int fd, std::string_view file_name, uint64_t offset, base::MutableBytes out);
absl::Status WriteWhole(int fd, std::string_view file_name, uint64_t offset, base::Bytes data);
// fdatasync, once.
absl::Status SyncData(int fd, std::string_view file_name);

absl::Status SyncStatus(int64_t result, std::string_view file_name);

}  // namespace firn::io
