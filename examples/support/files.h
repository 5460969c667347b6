// The tools' seam to the file system, for what std::filesystem cannot do: nanosecond times, modes as numbers,
// opens that never follow a symbolic link, and the errno of what failed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

struct stat;

namespace firn::tools {

// A file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

enum class FileKind { kRegular, kDirectory, kSymlink, kSpecial };

struct FileInfo {
  FileKind kind = FileKind::kRegular;
  uint32_t mode = 0;  // permission, set-id and sticky bits: 0..07777
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanos = 0;
  uint64_t size_bytes = 0;

  bool operator==(const FileInfo&) const = default;
};

FileInfo InfoOf(const struct stat& stat);

// Of the link itself, where `path` is one.
absl::StatusOr<FileInfo> InfoOfPath(const std::string& path);

// What the files of a directory and its subdirectories take, in whole blocks, as du counts; of what can be seen.
uint64_t BlockBytesBelow(const std::string& directory);

struct FileContent {
  std::string bytes;
  FileInfo info;         // as it was after the last byte was read
  bool changed = false;  // size or time moved while it was being read
};

// FailedPrecondition if `path` is no regular file any more, OutOfRange if it holds more than `bytes_max`.
absl::StatusOr<FileContent> ReadRegularFile(const std::string& path, uint64_t bytes_max);

// Everything there is to read; "-" is the standard input. OutOfRange beyond `bytes_max`.
absl::StatusOr<std::string> ReadInput(const std::string& path, uint64_t bytes_max);

// What there is to read, a piece at a time; "-" is the standard input.
class InputPieces {
 public:
  static constexpr size_t kPieceBytes = size_t{1} << 20;

  // OutOfRange for a regular file that holds more than `bytes_max`.
  static absl::StatusOr<InputPieces> Open(const std::string& path, uint64_t bytes_max);
  // Valid until the next call. Less than kPieceBytes at the end, or nothing.
  absl::StatusOr<std::string_view> Next();

 private:
  explicit InputPieces(std::string name) : name_(std::move(name)) {}

  std::string name_;
  Descriptor file_;  // none: the standard input
  std::string piece_;
};

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& path);

bool StderrIsTerminal();
bool StdoutIsTerminal();

}  // namespace firn::tools
