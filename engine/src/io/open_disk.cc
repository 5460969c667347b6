#include "io/open_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "base/aligned_buffer.h"

namespace firn::io {
namespace {

constexpr mode_t kFolderMode = 0755;

void AddReason(std::string& reasons, std::string_view reason) {
  if (!reasons.empty()) reasons += "; ";
  reasons += reason;
}

absl::StatusOr<FileDescriptor> OpenDirectoryFd(const std::string& path) {
  const int fd = RetryInterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd >= 0) return FileDescriptor(fd);
  if (errno == ENOTDIR) return base::InvalidArgument("open " + path + ": it is not a directory");
  return base::ErrnoStatus(errno, "open directory " + path);
}

// Makes `path` and its entry in the parent durable.
absl::Status MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), kFolderMode) != 0) {
    return errno == EEXIST ? absl::OkStatus() : base::ErrnoStatus(errno, "make directory " + path);
  }
  const std::string trimmed = path.substr(0, path.find_last_not_of('/') + 1);
  const size_t slash = trimmed.rfind('/');
  const std::string parent = slash == trimmed.npos ? "." : trimmed.substr(0, slash + 1);
  FIRN_ASSIGN_OR_RETURN(const FileDescriptor fd, OpenDirectoryFd(parent));
  if (::fsync(fd.get()) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, "fsync folder " + parent);
}

// A file to try direct I/O with: nameless where the file system can do that, an existing one where nothing
// may be made. -EINVAL when the file system refuses O_DIRECT.
int OpenProbeFile(int directory, bool read_only) {
  const auto open_at = [directory](const char* name, int flags) {
    const int fd = RetryInterrupted([&] { return ::openat(directory, name, flags | O_DIRECT | O_CLOEXEC, 0600); });
    return fd < 0 ? -errno : fd;
  };
  if (read_only) {
    const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(copy < 0 ? nullptr : ::fdopendir(copy), ::closedir);
    while (const dirent* entry = stream == nullptr ? nullptr : ::readdir(stream.get())) {
      if (entry->d_type == DT_REG) return open_at(entry->d_name, O_RDONLY);
    }
    return -ENOENT;
  }
  constexpr char kProbeName[] = ".direct_io_probe";
  int fd = open_at(".", O_TMPFILE | O_RDWR);
  if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT) {
    fd = open_at(kProbeName, O_CREAT | O_RDWR);
    ::unlinkat(directory, kProbeName, 0);
  }
  return fd;
}

// False only when the file system says so. Anything else that goes wrong (a full disk, a directory that is
// not ours to write) is for the operation that meets it.
bool TakesDirectIo(int directory, bool read_only) {
  const int result = OpenProbeFile(directory, read_only);
  if (result < 0) return result != -EINVAL;
  const FileDescriptor fd(result);
  const base::AlignedBuffer block(File::kAlignmentBytes);
  std::memset(block.data(), 0, block.size());
  if (!read_only && ::pwrite(fd.get(), block.data(), block.size(), 0) < 0 && errno == EINVAL) return false;
  return ::pread(fd.get(), block.data(), block.size(), 0) >= 0 || errno != EINVAL;
}

}  // namespace

absl::StatusOr<OpenedDirectory> OpenDirectory(std::string_view path, const DiskOptions& options) {
  OpenedDirectory directory{.path = std::string(path), .read_only = options.read_only};
  auto fd = OpenDirectoryFd(directory.path);
  if (absl::IsNotFound(fd.status()) && options.create_if_missing && !options.read_only && !path.empty()) {
    FIRN_RETURN_IF_ERROR(MakeDirectory(directory.path));
    fd = OpenDirectoryFd(directory.path);
  }
  if (!fd.ok()) return fd.status();
  directory.fd = *std::move(fd);
  const int access = X_OK | R_OK | (options.read_only ? 0 : W_OK);
  if (::faccessat(directory.fd.get(), ".", access, AT_EACCESS) != 0) {
    return base::ErrnoStatus(errno, "open directory " + directory.path);
  }
  if (options.use_direct_io) {
    directory.direct_io = TakesDirectIo(directory.fd.get(), options.read_only);
    if (!directory.direct_io) {
      AddReason(directory.fallback_reason, "the file system refuses O_DIRECT: the page cache is used");
    }
  }
  return directory;
}

absl::StatusOr<std::unique_ptr<Disk>> OpenDisk(std::string_view path, const DiskOptions& options,
                                               SyncedWrite synced_write) {
  FIRN_ASSIGN_OR_RETURN(OpenedDirectory directory, OpenDirectory(path, options));
  if (!options.use_io_uring) {
    AddReason(directory.fallback_reason, "io_uring is switched off by the options");
    return std::make_unique<PosixDisk>(std::move(directory));
  }
  const auto features = Ring::Probe();
  if (!features.ok()) {
    AddReason(directory.fallback_reason, std::string(features.status().message()));
    return std::make_unique<PosixDisk>(std::move(directory));
  }
  return std::make_unique<UringDisk>(std::move(directory), *features, synced_write);
}

absl::StatusOr<bool> LiesIn(std::string_view path, std::string_view directory) {
  std::error_code error;
  const auto resolve = [&error](std::string_view name) {
    const std::filesystem::path whole = std::filesystem::absolute(name, error);
    return error ? whole : std::filesystem::weakly_canonical(whole, error);
  };
  const std::filesystem::path target = resolve(directory);
  if (error) return base::ErrnoStatus(error.value(), "resolve " + std::string(directory));
  std::filesystem::path place = resolve(path);
  if (error) return base::ErrnoStatus(error.value(), "resolve " + std::string(path));
  // By device and inode too, as a directory may be mounted in two places.
  for (; place != target && !std::filesystem::equivalent(place, target, error); place = place.parent_path()) {
    if (place == place.root_path()) return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<Disk>> OpenDisk(std::string_view path, const DiskOptions& options) {
  return OpenDisk(path, options, SyncedWrite::kCalls);
}

}  // namespace firn::io
