#include "io/uring_disk.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/fork.h"
#include "io/posix_file.h"
#include "io/transfer.h"
#include "io/uring_reads.h"

namespace firn::io {
namespace {

// A batch this small is read one after the other: it is one request.
constexpr size_t kRingReadsMin = 2;

// Writes whose fdatasync is linked to them.
class LinkedFile : public PosixFile {
 public:
  LinkedFile(std::string name, Counters& counters, FileDescriptor fd, uint64_t size_bytes,
             std::shared_ptr<RingPool> rings)
      : PosixFile(std::move(name), counters, std::move(fd), size_bytes), rings_(std::move(rings)) {}

 protected:
  absl::Status DoWrite(uint64_t offset, base::Bytes data, Flush flush) override;

 private:
  enum Tag : uint64_t { kWriteTag, kSyncTag };
  struct Results {
    int64_t written = -ECANCELED;
    int64_t synced = -ECANCELED;
    bool ring_usable = false;
  };
  Results WriteAndSync(Ring& ring, uint64_t offset, base::Bytes piece);

  const std::shared_ptr<RingPool> rings_;
};

LinkedFile::Results LinkedFile::WriteAndSync(Ring& ring, uint64_t offset, base::Bytes piece) {
  ring.QueueLinkedWrite(this->fd(), offset, piece, kWriteTag);
  ring.QueueDataSync(this->fd(), kSyncTag);
  Results results;
  results.ring_usable = ring.Submit(2);
  ring.ForEachCompletion([&](uint64_t tag, int64_t result) {
    if (tag == kWriteTag) {
      results.written = SeenResult(TransferKind::kWrite, result);
    } else {
      results.synced = SeenResult(TransferKind::kSync, result);
    }
  });
  // Submitted in two steps they were not linked: the sync may have run first, and only its failure means
  // anything.
  if (!ring.submitted_as_one() && results.synced >= 0) results.synced = -ECANCELED;
  return results;
}

absl::Status LinkedFile::DoWrite(uint64_t offset, base::Bytes data, Flush flush) {
  if (flush != Flush::kData) return PosixFile::DoWrite(offset, data, flush);
  FIRN_RETURN_IF_ERROR(CheckProcess());
  Ring* ring = rings_->OfThisThread();
  if (ring == nullptr) return PosixFile::DoWrite(offset, data, flush);

  Transfer transfer(TransferKind::kWrite, offset, data.size());
  bool synced = false;
  while (!transfer.ended()) {
    const base::Bytes piece =
        data.subspan(transfer.done_bytes(), PieceBytes(TransferKind::kWrite, transfer.rest_bytes()));
    const Results results = WriteAndSync(*ring, transfer.offset(), piece);
    if (!results.ring_usable) {
      rings_->DropOfThisThread();
      // The write, if it started at all, is over: the same bytes go to the same place once more.
      return PosixFile::DoWrite(transfer.offset(), data.subspan(transfer.done_bytes()), flush);
    }
    // A sync that failed is final even where the write has to go on. A short write cancels it: that is no
    // failure.
    if (results.synced != -ECANCELED) FIRN_RETURN_IF_ERROR(SyncStatus(results.synced, name()));
    synced = results.synced != -ECANCELED && results.written == static_cast<int64_t>(piece.size());
    transfer.Advance(results.written);
  }
  FIRN_RETURN_IF_ERROR(transfer.status(name()));
  GrewTo(offset + data.size());
  return synced ? absl::OkStatus() : SyncData(this->fd(), name());
}

// One ReadMany on one ring.
class BatchRead {
 public:
  BatchRead(Ring& ring, std::span<ReadRequest> requests, const Disk::Ended& ended)
      : ring_(ring), requests_(requests), ended_(ended) {
    transfers_.reserve(requests.size());
    unfinished_.reserve(requests.size());  // while anything is in flight nothing may fail
    for (const ReadRequest& request : requests) {
      transfers_.emplace_back(TransferKind::kRead, request.offset, request.out.size());
    }
  }

  // False when the ring gave up.
  bool Run() {
    while (next_ < requests_.size() || !unfinished_.empty() || in_flight_ > 0) {
      QueueUpToDepth();
      if (!ring_.Submit(Awaited())) {
        Reap();
        return false;
      }
      Reap();
    }
    return true;
  }

  // Those that are not whole, whose texts need memory. What no ring has finished is read by system calls.
  void Finish() {
    for (size_t i = 0; i < requests_.size(); ++i) {
      ReadRequest& request = requests_[i];
      const std::string& name = request.file->name();
      const Transfer& transfer = transfers_[i];
      if (transfer.is_whole()) continue;
      End(request, transfer.ended()
                       ? transfer.status(name)
                       : ReadWhole(FdOf(request), name, transfer.offset(), request.out.subspan(transfer.done_bytes())));
    }
  }

 private:
  // How many completions to wait for. A queue that is to stay full is refilled when a quarter of it has come back. The
  // last ones come together; or, where something is to be done with each, some at a time, to be done beside the others.
  unsigned Awaited() const {
    if (next_ < requests_.size()) return Ring::kDepth / 4;
    return ended_ ? (in_flight_ + 3) / 4 : in_flight_;
  }

  void End(ReadRequest& request, absl::Status status) {
    request.status = std::move(status);
    if (ended_) ended_(request);
  }

  static int FdOf(const ReadRequest& request) { return static_cast<PosixFile*>(request.file)->fd(); }

  void QueueUpToDepth() {
    while (in_flight_ < Ring::kDepth && (next_ < requests_.size() || !unfinished_.empty())) {
      size_t index = next_;
      if (unfinished_.empty()) {
        ++next_;
      } else {
        index = unfinished_.back();
        unfinished_.pop_back();
      }
      const ReadRequest& request = requests_[index];
      const Transfer& transfer = transfers_[index];
      const size_t piece_bytes = PieceBytes(TransferKind::kRead, transfer.rest_bytes());
      ring_.QueueRead(FdOf(request), transfer.offset(), request.out.subspan(transfer.done_bytes(), piece_bytes), index);
      ++in_flight_;
      // The device begins with these while the kernel takes the next ones.
      if (ring_.queued() == Ring::kHandedOverAtOnce) ring_.TrySubmit();
    }
  }

  void Reap() {
    ring_.ForEachCompletion([this](uint64_t index, int64_t result) {
      --in_flight_;
      Transfer& transfer = transfers_[index];
      if (transfer.Advance(SeenResult(TransferKind::kRead, result))) {
        unfinished_.push_back(index);
      } else if (transfer.is_whole()) {
        End(requests_[index], absl::OkStatus());
      }
    });
  }

  Ring& ring_;
  const std::span<ReadRequest> requests_;
  const Disk::Ended& ended_;
  std::vector<Transfer> transfers_;
  std::vector<size_t> unfinished_;  // short or interrupted: to be queued again
  size_t next_ = 0;
  unsigned in_flight_ = 0;
};

}  // namespace

UringDisk::UringDisk(OpenedDirectory directory, const RingFeatures& features, SyncedWrite synced_write)
    : PosixDisk(std::move(directory)), rings_(std::make_shared<RingPool>(features)), synced_write_(synced_write) {}

std::unique_ptr<File> UringDisk::MakeFile(std::string name, FileDescriptor fd, uint64_t size_bytes) {
  if (synced_write_ == SyncedWrite::kCalls) return PosixDisk::MakeFile(std::move(name), std::move(fd), size_bytes);
  return std::make_unique<LinkedFile>(std::move(name), counters_, std::move(fd), size_bytes, rings_);
}

void UringDisk::DoReadMany(std::span<ReadRequest> requests, const Ended& ended) {
  Ring* ring = requests.size() < kRingReadsMin ? nullptr : rings_->OfThisThread();
  if (ring == nullptr) return PosixDisk::DoReadMany(requests, ended);
  BatchRead batch(*ring, requests, ended);
  if (!batch.Run()) rings_->DropOfThisThread();
  batch.Finish();
}

absl::StatusOr<std::unique_ptr<AsyncReads>> UringDisk::NewAsyncReads(size_t depth) {
  auto reads = UringReads::Create(counters_, depth, rings_->features());
  if (!reads.ok()) return PosixDisk::NewAsyncReads(depth);  // descriptors or memory are used up
  return *std::move(reads);
}

}  // namespace firn::io
