// A disk in front of another one, whose own allocations are not the engine's.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/async_reads.h"
#include "io/disk.h"
#include "support/uncounted.h"

namespace firn::test {

class UncountedFile final : public io::File {
 public:
  UncountedFile(std::string name, io::Counters& counters, std::unique_ptr<io::File> file)
      : File(std::move(name), counters), file_(std::move(file)) {}

  uint64_t size_bytes() const override { return file_->size_bytes(); }
  absl::StatusOr<uint64_t> Links() override {
    const Uncounted uncounted;
    return file_->Links();
  }
  absl::StatusOr<uint64_t> AllocatedBytes() override {
    const Uncounted uncounted;
    return file_->AllocatedBytes();
  }

 protected:
  absl::Status DoRead(uint64_t offset, base::MutableBytes out) override {
    const Uncounted uncounted;
    return file_->Read(offset, out);
  }
  absl::Status DoWrite(uint64_t offset, base::Bytes data, io::Flush flush) override {
    const Uncounted uncounted;
    return file_->Write(offset, data, flush);
  }
  absl::Status DoSync() override {
    const Uncounted uncounted;
    return file_->Sync();
  }
  absl::Status DoAllocate(uint64_t size_bytes, uint64_t from_bytes) override {
    const Uncounted uncounted;
    return file_->Allocate(size_bytes, from_bytes);
  }
  absl::Status DoTruncate(uint64_t size_bytes) override {
    const Uncounted uncounted;
    return file_->Truncate(size_bytes);
  }
  absl::Status DoPunchHole(uint64_t offset, uint64_t size_bytes) override {
    const Uncounted uncounted;
    return file_->PunchHole(offset, size_bytes);
  }

 private:
  const std::unique_ptr<io::File> file_;
};

class UncountedDisk final : public io::Disk {
 public:
  explicit UncountedDisk(std::unique_ptr<io::Disk> disk) : disk_(std::move(disk)) {}

  absl::StatusOr<std::vector<std::string>> List(std::string_view folder) override {
    const Uncounted uncounted;
    return disk_->List(folder);
  }
  absl::Status MakeFolder(std::string_view name) override {
    const Uncounted uncounted;
    return disk_->MakeFolder(name);
  }
  absl::Status SyncFolder(std::string_view folder) override {
    const Uncounted uncounted;
    return disk_->SyncFolder(folder);
  }
  absl::StatusOr<std::unique_ptr<io::FileLock>> Lock(std::string_view name, bool exclusive) override {
    const Uncounted uncounted;
    return disk_->Lock(name, exclusive);
  }
  absl::StatusOr<uint64_t> FreeBytes() override {
    const Uncounted uncounted;
    return disk_->FreeBytes();
  }
  absl::StatusOr<std::unique_ptr<io::AsyncReads>> NewAsyncReads(size_t depth) override {
    const Uncounted uncounted;
    return disk_->NewAsyncReads(depth);
  }
  std::string_view kind() const override { return disk_->kind(); }
  std::string_view fallback_reason() const override { return disk_->fallback_reason(); }
  std::string_view path() const override { return disk_->path(); }

 protected:
  absl::StatusOr<std::unique_ptr<io::File>> DoOpen(std::string_view name, io::OpenMode mode) override {
    const Uncounted uncounted;
    FIRN_ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk_->Open(name, mode));
    return std::make_unique<UncountedFile>(std::string(name), counters_, std::move(file));
  }
  absl::Status DoRemove(std::string_view name) override {
    const Uncounted uncounted;
    return disk_->Remove(name);
  }
  absl::Status DoRename(std::string_view from, std::string_view to) override {
    const Uncounted uncounted;
    return disk_->Rename(from, to);
  }
  absl::StatusOr<std::unique_ptr<io::SharedMemory>> DoMapShared(std::string_view name, uint64_t size_bytes) override {
    const Uncounted uncounted;
    return disk_->MapShared(name, size_bytes);
  }

 private:
  const std::unique_ptr<io::Disk> disk_;
};

}  // namespace firn::test
