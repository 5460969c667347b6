#include "support/tree_writer.h"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/text.h"
#include "support/tree_entry.h"

namespace firn::tools {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr mode_t kDirectoryModeWhileWriting = 0700;
constexpr mode_t kSetIdBits = 06000;

std::array<timespec, 2> TimesOf(const FileInfo& info) {
  const timespec mtime = {static_cast<time_t>(info.mtime_seconds), static_cast<long>(info.mtime_nanos)};
  return {timespec{0, UTIME_OMIT}, mtime};
}

}  // namespace

absl::StatusOr<TreeWriter> TreeWriter::Open(const std::string& root, const TreeWriterOptions& options) {
  if (mkdir(root.c_str(), 0777) != 0 && errno != EEXIST) return absl::ErrnoToStatus(errno, "create " + root);
  Descriptor fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "open " + root);
  return TreeWriter(root, std::move(fd), options);
}

absl::Status TreeWriter::Write(std::string_view key, std::string_view value, const FileInfo* info) {
  if (key == kTreeRootKey && info != nullptr && info->kind == FileKind::kDirectory) {
    directories_.push_back({std::string(key), *info});
    return absl::OkStatus();
  }
  if (!IsSafeRelativePath(key)) {
    return absl::InvalidArgumentError(
        "the key is no path below the directory: absolute, or with an empty, \".\" or "
        "\"..\" component");
  }
  const size_t slash = key.rfind('/');
  const bool has_parent = slash != std::string_view::npos;
  absl::StatusOr<int> parent = OpenParent(has_parent ? key.substr(0, slash) : std::string_view());
  if (!parent.ok()) return std::move(parent).status();
  const std::string name(has_parent ? key.substr(slash + 1) : key);
  if (info != nullptr && info->kind == FileKind::kDirectory) return WriteDirectory(*parent, name, key, *info);
  if (info != nullptr && info->kind == FileKind::kSymlink) return WriteLink(*parent, name, key, value, *info);
  return WriteFile(*parent, name, key, value, info);
}

absl::StatusOr<int> TreeWriter::OpenParent(std::string_view parent_key) {
  if (parent_key.empty()) return root_fd_.get();
  if (parent_fd_.valid() && parent_key == parent_key_) return parent_fd_.get();
  Descriptor current;
  for (size_t begin = 0; begin < parent_key.size();) {
    const size_t end = std::min(parent_key.find('/', begin), parent_key.size());
    const std::string name(parent_key.substr(begin, end - begin));
    const int above = current.valid() ? current.get() : root_fd_.get();
    if (mkdirat(above, name.c_str(), 0777) != 0 && errno != EEXIST) return Failed("create", parent_key.substr(0, end));
    Descriptor next(openat(above, name.c_str(), kOpenDirectory));
    if (!next.valid()) return Failed("open directory", parent_key.substr(0, end));
    current = std::move(next);
    begin = end + 1;
  }
  parent_fd_ = std::move(current);
  parent_key_ = parent_key;
  return parent_fd_.get();
}

absl::Status TreeWriter::WriteDirectory(int parent, const std::string& name, std::string_view key,
                                        const FileInfo& info) {
  if (mkdirat(parent, name.c_str(), kDirectoryModeWhileWriting) != 0) {
    if (errno != EEXIST) return Failed("create", key);
    const Descriptor existing(openat(parent, name.c_str(), kOpenDirectory));
    if (!existing.valid()) return Failed("open directory", key);
  }
  directories_.push_back({std::string(key), info});
  return absl::OkStatus();
}

absl::Status TreeWriter::WriteFile(int parent, const std::string& name, std::string_view key, std::string_view value,
                                   const FileInfo* info) {
  if (options_.overwrite && unlinkat(parent, name.c_str(), 0) != 0 && errno != ENOENT) return Failed("replace", key);
  const mode_t mode = info != nullptr ? 0600 : 0666;
  Descriptor file(openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file.valid()) return Failed("create", key);
  if (absl::Status status = WriteAll(file.get(), value, Shown(key)); !status.ok()) return status;
  return info != nullptr ? SetModeAndTime(file.get(), *info, key) : absl::OkStatus();
}

absl::Status TreeWriter::WriteLink(int parent, const std::string& name, std::string_view key, std::string_view value,
                                   const FileInfo& info) {
  const std::string target(value);
  if (target.empty() || target.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("the link's target is empty or has a NUL byte");
  }
  if (options_.overwrite && unlinkat(parent, name.c_str(), 0) != 0 && errno != ENOENT) return Failed("replace", key);
  if (symlinkat(target.c_str(), parent, name.c_str()) != 0) return Failed("create link", key);
  const std::array<timespec, 2> times = TimesOf(info);
  if (utimensat(parent, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) return Failed("set time of", key);
  return absl::OkStatus();
}

absl::Status TreeWriter::Finish() {
  absl::Status first_failure;
  // Deepest first: a directory without write permission must not keep its children from getting theirs.
  for (auto directory = directories_.rbegin(); directory != directories_.rend(); ++directory) {
    absl::StatusOr<int> fd = OpenParent(directory->key == kTreeRootKey ? std::string_view() : directory->key);
    absl::Status status = fd.ok() ? SetModeAndTime(*fd, directory->info, directory->key) : std::move(fd).status();
    if (first_failure.ok()) first_failure = std::move(status);
  }
  directories_.clear();
  return first_failure;
}

absl::Status TreeWriter::SetModeAndTime(int fd, const FileInfo& info, std::string_view key) const {
  const mode_t mode = options_.keep_set_id ? info.mode : info.mode & ~kSetIdBits;
  if (fchmod(fd, mode) != 0) return Failed("set mode of", key);
  const std::array<timespec, 2> times = TimesOf(info);
  if (futimens(fd, times.data()) != 0) return Failed("set time of", key);
  return absl::OkStatus();
}

absl::Status TreeWriter::Failed(const char* operation, std::string_view key) const {
  const int error = errno;
  return absl::ErrnoToStatus(error, std::string(operation) + " " + Shown(key));
}

// For messages: a key is arbitrary bytes, a terminal obeys some of them.
std::string TreeWriter::Shown(std::string_view key) const { return Escaped(root_ + "/" + std::string(key)); }

}  // namespace firn::tools
