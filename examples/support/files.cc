#include "support/files.h"

#include <cerrno>
#include <filesystem>
#include <optional>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace firn::tools {
namespace {

absl::Status ErrnoOf(const char* operation, const std::string& path) {
  return absl::ErrnoToStatus(errno, std::string(operation) + " " + path);
}

absl::Status TooLarge(const std::string& path, uint64_t bytes_max) {
  return absl::OutOfRangeError(path + " holds more than the " + std::to_string(bytes_max) + " bytes a value may have");
}

absl::StatusOr<std::string> ReadToEnd(int fd, uint64_t bytes_expected, uint64_t bytes_max, const std::string& path) {
  std::string bytes;
  size_t used = 0;
  bytes.resize(bytes_expected + 1);  // one more than expected, so that the end is seen without growing
  while (true) {
    const ssize_t count = read(fd, bytes.data() + used, bytes.size() - used);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoOf("read", path);
    if (count == 0) break;
    used += static_cast<size_t>(count);
    if (used > bytes_max) return TooLarge(path, bytes_max);
    if (used == bytes.size()) bytes.resize(used + InputPieces::kPieceBytes);
  }
  bytes.resize(used);
  return bytes;
}

// How much a regular file has left to read; nothing of what is none.
absl::StatusOr<std::optional<uint64_t>> BytesLeft(int fd, uint64_t bytes_max, const std::string& path) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) return ErrnoOf("stat", path);
  if (!S_ISREG(stat.st_mode)) return std::nullopt;
  // Who gives the standard input may have read some of it already.
  const off_t at = lseek(fd, 0, SEEK_CUR);
  if (at < 0) return ErrnoOf("seek in", path);
  const uint64_t bytes_left = stat.st_size > at ? static_cast<uint64_t>(stat.st_size - at) : 0;
  if (bytes_left > bytes_max) return TooLarge(path, bytes_max);
  return bytes_left;
}

absl::StatusOr<std::string> ReadFrom(int fd, uint64_t bytes_max, const std::string& path) {
  const absl::StatusOr<std::optional<uint64_t>> left = BytesLeft(fd, bytes_max, path);
  if (!left.ok()) return left.status();
  return ReadToEnd(fd, left->value_or(InputPieces::kPieceBytes), bytes_max, path);
}

}  // namespace

Descriptor::~Descriptor() { Close(); }

void Descriptor::Close() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

FileInfo InfoOf(const struct stat& stat) {
  FileInfo info;
  info.kind = S_ISREG(stat.st_mode)   ? FileKind::kRegular
              : S_ISDIR(stat.st_mode) ? FileKind::kDirectory
              : S_ISLNK(stat.st_mode) ? FileKind::kSymlink
                                      : FileKind::kSpecial;
  info.mode = stat.st_mode & 07777;
  info.mtime_seconds = stat.st_mtim.tv_sec;
  info.mtime_nanos = static_cast<uint32_t>(stat.st_mtim.tv_nsec);
  info.size_bytes = info.kind == FileKind::kRegular ? static_cast<uint64_t>(stat.st_size) : 0;
  return info;
}

absl::StatusOr<FileInfo> InfoOfPath(const std::string& path) {
  struct stat stat;
  if (lstat(path.c_str(), &stat) != 0) return ErrnoOf("stat", path);
  return InfoOf(stat);
}

uint64_t BlockBytesBelow(const std::string& directory) {
  constexpr uint64_t kStatBlockBytes = 512;
  uint64_t bytes = 0;
  std::error_code ignored;
  for (std::filesystem::recursive_directory_iterator at(directory, ignored), end; at != end; at.increment(ignored)) {
    struct stat stat;
    if (lstat(at->path().c_str(), &stat) == 0 && S_ISREG(stat.st_mode)) {
      bytes += static_cast<uint64_t>(stat.st_blocks) * kStatBlockBytes;
    }
  }
  return bytes;
}

absl::StatusOr<FileContent> ReadRegularFile(const std::string& path, uint64_t bytes_max) {
  // O_NONBLOCK: what was a file when the directory was listed may be a pipe by now, and must not hang the
  // walk.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file.valid()) return ErrnoOf("open", path);
  struct stat before;
  if (fstat(file.get(), &before) != 0) return ErrnoOf("stat", path);
  const FileInfo info_before = InfoOf(before);
  if (info_before.kind != FileKind::kRegular)
    return absl::FailedPreconditionError(path + " is no regular file any more");
  if (info_before.size_bytes > bytes_max) {
    return absl::OutOfRangeError(path + " has " + std::to_string(info_before.size_bytes) + " bytes, a value may have " +
                                 std::to_string(bytes_max));
  }
  absl::StatusOr<std::string> bytes = ReadToEnd(file.get(), info_before.size_bytes, bytes_max, path);
  if (!bytes.ok()) return std::move(bytes).status();
  struct stat after;
  if (fstat(file.get(), &after) != 0) return ErrnoOf("stat", path);
  FileContent content;
  content.bytes = *std::move(bytes);
  content.info = InfoOf(after);
  content.changed = content.info != info_before || content.info.size_bytes != content.bytes.size();
  return content;
}

absl::StatusOr<std::string> ReadInput(const std::string& path, uint64_t bytes_max) {
  if (path == "-") return ReadFrom(STDIN_FILENO, bytes_max, "the standard input");
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoOf("open", path);
  return ReadFrom(file.get(), bytes_max, path);
}

absl::StatusOr<InputPieces> InputPieces::Open(const std::string& path, uint64_t bytes_max) {
  InputPieces pieces(path == "-" ? "the standard input" : path);
  if (path != "-") {
    pieces.file_ = Descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!pieces.file_.valid()) return ErrnoOf("open", path);
  }
  const int fd = pieces.file_.valid() ? pieces.file_.get() : STDIN_FILENO;
  if (const auto left = BytesLeft(fd, bytes_max, pieces.name_); !left.ok()) return left.status();
  return pieces;
}

absl::StatusOr<std::string_view> InputPieces::Next() {
  const int fd = file_.valid() ? file_.get() : STDIN_FILENO;
  piece_.resize(InputPieces::kPieceBytes);
  size_t used = 0;
  while (used < piece_.size()) {
    const ssize_t count = read(fd, piece_.data() + used, piece_.size() - used);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoOf("read", name_);
    if (count == 0) break;
    used += static_cast<size_t>(count);
  }
  return std::string_view(piece_).substr(0, used);
}

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoOf("write", path);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1; }
bool StdoutIsTerminal() { return isatty(STDOUT_FILENO) == 1; }

}  // namespace firn::tools
