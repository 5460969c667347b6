// A directory over plain system calls: everything about names, locks and mappings, and files that read and
// write with pread and pwrite. The io_uring disk differs only in its files and in ReadMany.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/disk.h"
#include "io/file_descriptor.h"

namespace firn::io {

// What OpenDisk found out about a directory.
struct OpenedDirectory {
  FileDescriptor fd;
  std::string path;
  bool read_only = false;
  bool direct_io = false;
  std::string fallback_reason;
};

class PosixDisk : public Disk {
 public:
  explicit PosixDisk(OpenedDirectory directory);

  absl::StatusOr<std::vector<std::string>> List(std::string_view folder) override;
  absl::Status MakeFolder(std::string_view name) override;
  absl::Status SyncFolder(std::string_view folder) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(std::string_view name, bool exclusive) override;
  absl::StatusOr<uint64_t> FreeBytes() override;

  std::string_view kind() const override { return "pread"; }
  std::string_view fallback_reason() const override { return directory_.fallback_reason; }
  std::string_view path() const override { return directory_.path; }

 protected:
  absl::StatusOr<std::unique_ptr<File>> DoOpen(std::string_view name, OpenMode mode) override;
  absl::Status DoRemove(std::string_view name) override;
  absl::Status DoRename(std::string_view from, std::string_view to) override;
  absl::StatusOr<std::unique_ptr<SharedMemory>> DoMapShared(std::string_view name, uint64_t size_bytes) override;

  virtual std::unique_ptr<File> MakeFile(std::string name, FileDescriptor fd, uint64_t size_bytes);

 private:
  // In the process that opened the disk, and with a name inside the directory.
  absl::Status CheckUse(std::string_view operation, std::string_view name) const;
  absl::Status CheckChange(std::string_view operation, std::string_view name) const;
  absl::StatusOr<FileDescriptor> OpenFolder(std::string_view folder);
  absl::Status CreateMapping(const std::string& name, uint64_t size_bytes);

  const OpenedDirectory directory_;
  const uint64_t fork_generation_;
};

}  // namespace firn::io
