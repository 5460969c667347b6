#include "io/disk.h"

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "base/memory.h"
#include "io/async_reads.h"

namespace firn::io {
namespace {

constexpr uint64_t kOffsetMax = std::numeric_limits<int64_t>::max();

std::string Context(std::string_view operation, const File& file, uint64_t offset, size_t size_bytes) {
  std::string text(operation);
  text += ' ';
  text += file.name();
  text += " at ";
  text += std::to_string(offset);
  text += ", ";
  text += std::to_string(size_bytes);
  text += " bytes: ";
  return text;
}

absl::Status CheckPlace(std::string_view operation, const File& file, uint64_t offset, const std::byte* data,
                        size_t size_bytes) {
  constexpr uint64_t kMask = File::kAlignmentBytes - 1;
  std::string_view what;
  if ((offset & kMask) != 0) what = "the offset";
  if ((size_bytes & kMask) != 0) what = "the size";
  if ((reinterpret_cast<uintptr_t>(data) & kMask) != 0) what = "the buffer's address";
  if (!what.empty()) {
    return base::InvalidArgument(Context(operation, file, offset, size_bytes) + std::string(what) +
                                 " is not a multiple of " + std::to_string(File::kAlignmentBytes));
  }
  if (offset > kOffsetMax || size_bytes > kOffsetMax - offset) {
    return base::InvalidArgument(Context(operation, file, offset, size_bytes) + "beyond the largest file");
  }
  return absl::OkStatus();
}

void CountRead(Counters& counters, size_t size_bytes) {
  counters.reads.fetch_add(1, std::memory_order_relaxed);
  counters.read_bytes.fetch_add(size_bytes, std::memory_order_relaxed);
}

}  // namespace

absl::Status File::CheckRead(uint64_t offset, base::MutableBytes out) const {
  FIRN_RETURN_IF_ERROR(CheckPlace("read", *this, offset, out.data(), out.size()));
  const uint64_t size_bytes = this->size_bytes();
  if (offset + out.size() <= size_bytes) return absl::OkStatus();
  return base::MakeStatus(absl::StatusCode::kOutOfRange, Context("read", *this, offset, out.size()) +
                                                             "the file ends at " + std::to_string(size_bytes));
}

absl::Status File::Read(uint64_t offset, base::MutableBytes out) {
  FIRN_RETURN_IF_ERROR(CheckRead(offset, out));
  if (out.empty()) return absl::OkStatus();
  FIRN_RETURN_IF_ERROR(DoRead(offset, out));
  CountRead(counters_, out.size());
  return absl::OkStatus();
}

absl::Status File::Write(uint64_t offset, base::Bytes data, Flush flush) {
  const std::byte* const address = flush == Flush::kBehind ? nullptr : data.data();
  FIRN_RETURN_IF_ERROR(CheckPlace("write", *this, offset, address, data.size()));
  if (data.empty()) return flush == Flush::kData ? Sync() : absl::OkStatus();
  FIRN_RETURN_IF_ERROR(DoWrite(offset, data, flush));
  counters_.writes.fetch_add(1, std::memory_order_relaxed);
  counters_.written_bytes.fetch_add(data.size(), std::memory_order_relaxed);
  if (flush == Flush::kData) counters_.syncs.fetch_add(1, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status File::Sync() {
  FIRN_RETURN_IF_ERROR(DoSync());
  counters_.syncs.fetch_add(1, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status File::Allocate(uint64_t size_bytes, uint64_t from_bytes) {
  if (size_bytes > kOffsetMax) {
    return base::InvalidArgument("allocate " + name_ + ": " + std::to_string(size_bytes) +
                                 " bytes is beyond the largest file");
  }
  if (size_bytes <= from_bytes) return absl::OkStatus();
  const absl::Status status = DoAllocate(size_bytes, from_bytes);
  Settle();
  return status;
}

absl::Status File::Truncate(uint64_t size_bytes) {
  if (const uint64_t current_bytes = this->size_bytes(); size_bytes > current_bytes) {
    return base::InvalidArgument("truncate " + name_ + " to " + std::to_string(size_bytes) +
                                 ": it only cuts, and the file has " + std::to_string(current_bytes) + " bytes");
  }
  const absl::Status status = DoTruncate(size_bytes);
  Settle();
  return status;
}

absl::Status File::PunchHole(uint64_t offset, uint64_t size_bytes) {
  FIRN_RETURN_IF_ERROR(CheckPlace("punch", *this, offset, nullptr, size_bytes));
  if (size_bytes == 0) return absl::OkStatus();
  const absl::Status status = DoPunchHole(offset, size_bytes);
  Settle();
  return status;
}

void File::Settle() {
  // What was done is done: an account that cannot be settled for want of memory is settled by the next operation.
  if (account_ == nullptr) return;
  base::IfMemoryPermits([this] { ledger_->Settle(*account_, [this] { return AllocatedBytes(); }); });
}

absl::StatusOr<std::unique_ptr<File>> Disk::Open(std::string_view name, OpenMode mode) {
  FIRN_ASSIGN_OR_RETURN(std::unique_ptr<File> file, DoOpen(name, mode));
  file->ledger_ = &ledger_;
  file->account_ = ledger_.Join(name, [&file] { return file->AllocatedBytes(); });
  return file;
}

absl::Status Disk::Remove(std::string_view name) {
  const absl::Status status = DoRemove(name);
  if (status.ok() || absl::IsNotFound(status)) ledger_.Remove(name);
  return status;
}

absl::Status Disk::Rename(std::string_view from, std::string_view to) {
  std::string new_name(to);
  FIRN_RETURN_IF_ERROR(DoRename(from, to));
  ledger_.Rename(from, std::move(new_name));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SharedMemory>> Disk::MapShared(std::string_view name, uint64_t size_bytes) {
  FIRN_ASSIGN_OR_RETURN(std::unique_ptr<SharedMemory> memory, DoMapShared(name, size_bytes));
  ledger_.Join(name, [size_bytes] { return size_bytes; });
  return memory;
}

absl::Status Disk::CountFiles(std::span<const std::string_view> folders) {
  for (const std::string_view folder : folders) {
    const auto names = List(folder);
    if (absl::IsNotFound(names.status())) continue;
    FIRN_RETURN_IF_ERROR(names.status());
    for (const std::string& name : *names) {
      const std::string path = folder.empty() ? name : std::string(folder) + "/" + name;
      if (!ledger_.Has(path)) FIRN_RETURN_IF_ERROR(Open(path, OpenMode::kRead).status());
    }
  }
  return absl::OkStatus();
}

void Disk::ReadMany(std::span<ReadRequest> requests, const Ended& ended) {
  const auto needs_reading = [&](ReadRequest& request) {
    const bool is_ours = request.file != nullptr && &request.file->counters_ == &counters_;
    request.status = is_ours ? request.file->CheckRead(request.offset, request.out)
                             : base::InvalidArgument("read of a file that is not one of this disk's");
    const bool needed = request.status.ok() && !request.out.empty();
    if (!needed && ended) ended(request);
    return needed;
  };
  // Requests stay where the caller put them, so a bad one between good ones splits the batch.
  size_t begin = 0;
  for (size_t i = 0; i <= requests.size(); ++i) {
    if (i < requests.size() && needs_reading(requests[i])) continue;
    if (i > begin) DoReadMany(requests.subspan(begin, i - begin), ended);
    begin = i + 1;
  }
  for (const ReadRequest& request : requests) {
    if (request.status.ok() && !request.out.empty()) CountRead(counters_, request.out.size());
  }
}

void Disk::DoReadMany(std::span<ReadRequest> requests, const Ended& ended) {
  for (ReadRequest& request : requests) {
    request.status = DoReadOf(*request.file, request.offset, request.out);
    if (ended) ended(request);
  }
}

absl::StatusOr<std::unique_ptr<AsyncReads>> Disk::NewAsyncReads(size_t depth) {
  FIRN_ASSIGN_OR_RETURN(WakeDescriptor wake, WakeDescriptor::Create());
  return std::make_unique<ReadsInTurn>(counters_, depth, std::move(wake));
}

}  // namespace firn::io
