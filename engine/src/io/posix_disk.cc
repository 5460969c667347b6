#include "io/posix_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <utility>

#include "base/fork.h"
#include "io/file_lock.h"
#include "io/posix_file.h"
#include "io/shared_memory.h"

namespace firn::io {
namespace {

constexpr mode_t kFileMode = 0644;
constexpr mode_t kFolderMode = 0755;

bool StaysInside(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != name.npos) return false;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

int FlagsOf(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT | O_EXCL;
  }
  return O_RDONLY;
}

absl::StatusOr<FileDescriptor> OpenAt(const FileDescriptor& directory, const std::string& name, int flags,
                                      std::string_view operation) {
  const int fd =
      RetryInterrupted([&] { return ::openat(directory.get(), name.c_str(), flags | O_CLOEXEC, kFileMode); });
  if (fd < 0) return base::ErrnoStatus(errno, std::string(operation) + ' ' + name);
  return FileDescriptor(fd);
}

// Opening a pipe would wait for whoever writes to it, and what is wrong with a directory depends on the flags.
absl::Status RefuseOtherThanFile(const FileDescriptor& directory, const std::string& name) {
  struct stat status;
  if (::fstatat(directory.get(), name.c_str(), &status, 0) != 0 || S_ISREG(status.st_mode)) return absl::OkStatus();
  return base::InvalidArgument("open " + name + ": not a regular file");
}

std::string ParentOf(std::string_view name) {
  const size_t slash = name.rfind('/');
  return std::string(slash == name.npos ? std::string_view() : name.substr(0, slash));
}

}  // namespace

PosixDisk::PosixDisk(OpenedDirectory directory)
    : directory_(std::move(directory)), fork_generation_(base::ForkGeneration()) {}

absl::Status PosixDisk::CheckUse(std::string_view operation, std::string_view name) const {
  if (base::ForkGeneration() != fork_generation_) {
    return base::FailedPrecondition(std::string(operation) + ' ' + std::string(name) + ": " + directory_.path +
                                    " was opened by this process's parent before fork()");
  }
  if (!StaysInside(name)) {
    return base::InvalidArgument(std::string(operation) + " '" + std::string(name) +
                                 "': not a name inside the store's directory");
  }
  return absl::OkStatus();
}

absl::Status PosixDisk::CheckChange(std::string_view operation, std::string_view name) const {
  FIRN_RETURN_IF_ERROR(CheckUse(operation, name));
  if (!directory_.read_only) return absl::OkStatus();
  return base::FailedPrecondition(std::string(operation) + ' ' + std::string(name) + ": " + directory_.path +
                                  " is open read-only");
}

absl::StatusOr<std::unique_ptr<File>> PosixDisk::DoOpen(std::string_view name, OpenMode mode) {
  FIRN_RETURN_IF_ERROR(mode == OpenMode::kRead ? CheckUse("open", name) : CheckChange("open", name));
  const std::string path(name);
  if (mode != OpenMode::kCreate) FIRN_RETURN_IF_ERROR(RefuseOtherThanFile(directory_.fd, path));
  const int flags = FlagsOf(mode) | (directory_.direct_io ? O_DIRECT : 0);
  FIRN_ASSIGN_OR_RETURN(FileDescriptor fd,
                        OpenAt(directory_.fd, path, flags, mode == OpenMode::kCreate ? "create" : "open"));
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) {
    const int error = errno;
    // What was made and is not handed out would be in the way of whoever tries again.
    if (mode == OpenMode::kCreate) ::unlinkat(directory_.fd.get(), path.c_str(), 0);
    return base::ErrnoStatus(error, "stat " + path);
  }
  if (!S_ISREG(status.st_mode)) return base::InvalidArgument("open " + path + ": not a regular file");
  return MakeFile(path, std::move(fd), static_cast<uint64_t>(status.st_size));
}

std::unique_ptr<File> PosixDisk::MakeFile(std::string name, FileDescriptor fd, uint64_t size_bytes) {
  return std::make_unique<PosixFile>(std::move(name), counters_, std::move(fd), size_bytes);
}

absl::StatusOr<FileDescriptor> PosixDisk::OpenFolder(std::string_view folder) {
  const std::string path(folder.empty() ? std::string_view(".") : folder);
  if (!folder.empty()) {
    FIRN_RETURN_IF_ERROR(CheckUse("open", path));
  } else {
    FIRN_RETURN_IF_ERROR(CheckUse("open", "directory"));
  }
  return OpenAt(directory_.fd, path, O_RDONLY | O_DIRECTORY, "open folder");
}

absl::StatusOr<std::vector<std::string>> PosixDisk::List(std::string_view folder) {
  FIRN_ASSIGN_OR_RETURN(FileDescriptor fd, OpenFolder(folder));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (stream == nullptr) return base::ErrnoStatus(errno, "list " + std::string(folder));
  fd.Release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    bool regular = entry->d_type == DT_REG;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat status;
      regular =
          ::fstatat(::dirfd(stream.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode);
    }
    if (regular) names.emplace_back(entry->d_name);
  }
  if (errno != 0) return base::ErrnoStatus(errno, "list " + std::string(folder));
  return names;
}

absl::Status PosixDisk::DoRemove(std::string_view name) {
  FIRN_RETURN_IF_ERROR(CheckChange("remove", name));
  const std::string path(name);
  if (::unlinkat(directory_.fd.get(), path.c_str(), 0) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, "remove " + path);
}

absl::Status PosixDisk::DoRename(std::string_view from, std::string_view to) {
  FIRN_RETURN_IF_ERROR(CheckChange("rename", from));
  FIRN_RETURN_IF_ERROR(CheckChange("rename", to));
  const std::string old_path(from);
  const std::string new_path(to);
  const int directory = directory_.fd.get();
  if (::renameat(directory, old_path.c_str(), directory, new_path.c_str()) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, "rename " + old_path + " to " + new_path);
}

absl::Status PosixDisk::MakeFolder(std::string_view name) {
  FIRN_RETURN_IF_ERROR(CheckChange("make folder", name));
  const std::string path(name);
  if (::mkdirat(directory_.fd.get(), path.c_str(), kFolderMode) == 0) return absl::OkStatus();
  const int error = errno;
  struct stat status;
  if (error == EEXIST && ::fstatat(directory_.fd.get(), path.c_str(), &status, 0) == 0 && S_ISDIR(status.st_mode)) {
    return absl::OkStatus();
  }
  return base::ErrnoStatus(error, "make folder " + path);
}

absl::Status PosixDisk::SyncFolder(std::string_view folder) {
  FIRN_ASSIGN_OR_RETURN(FileDescriptor fd, OpenFolder(folder));
  if (::fsync(fd.get()) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, "fsync folder " + std::string(folder.empty() ? path() : folder));
}

absl::StatusOr<std::unique_ptr<FileLock>> PosixDisk::Lock(std::string_view name, bool exclusive) {
  FIRN_RETURN_IF_ERROR(exclusive ? CheckChange("lock", name) : CheckUse("lock", name));
  const std::string file_name(name);
  FIRN_RETURN_IF_ERROR(RefuseOtherThanFile(directory_.fd, file_name));
  FIRN_ASSIGN_OR_RETURN(FileDescriptor fd,
                        OpenAt(directory_.fd, file_name, exclusive ? O_RDWR | O_CREAT : O_RDONLY, "lock"));
  return LockFile(std::move(fd), exclusive, directory_.path + '/' + file_name);
}

absl::StatusOr<std::unique_ptr<SharedMemory>> PosixDisk::DoMapShared(std::string_view name, uint64_t size_bytes) {
  FIRN_RETURN_IF_ERROR(CheckChange("map", name));
  if (size_bytes == 0 || size_bytes % File::kAlignmentBytes != 0) {
    return base::InvalidArgument("map " + std::string(name) + ": " + std::to_string(size_bytes) +
                                 " bytes is not a multiple of " + std::to_string(File::kAlignmentBytes));
  }
  const std::string path(name);
  auto fd = OpenAt(directory_.fd, path, O_RDWR, "map");
  if (absl::IsNotFound(fd.status())) {
    FIRN_RETURN_IF_ERROR(CreateMapping(path, size_bytes));
    fd = OpenAt(directory_.fd, path, O_RDWR, "map");
  }
  if (!fd.ok()) return fd.status();
  return MapFile(*fd, size_bytes, path);
}

// Under another name until it is whole and durable: a crash half-way must not leave a file of the wrong size.
absl::Status PosixDisk::CreateMapping(const std::string& name, uint64_t size_bytes) {
  const std::string temporary_name = name + ".new";
  absl::Status status;
  {
    FIRN_ASSIGN_OR_RETURN(FileDescriptor fd,
                          OpenAt(directory_.fd, temporary_name, O_RDWR | O_CREAT | O_TRUNC, "create"));
    status = FillNewMapping(fd, size_bytes, name);
  }
  if (status.ok()) status = DoRename(temporary_name, name);
  if (status.ok()) return SyncFolder(ParentOf(name));
  static_cast<void>(::unlinkat(directory_.fd.get(), temporary_name.c_str(), 0));
  return status;
}

absl::StatusOr<uint64_t> PosixDisk::FreeBytes() {
  struct statvfs status;
  if (::fstatvfs(directory_.fd.get(), &status) != 0) {
    return base::ErrnoStatus(errno, "statvfs " + directory_.path);
  }
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace firn::io
