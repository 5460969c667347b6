// One file per value, the way to do without an engine: a put writes a new file directly and unlinks the one before.
// There is no index on disk beside the directories; it forgets its keys when it is closed.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <unordered_map>

#include <fcntl.h>
#include <unistd.h>

#include "space/engine.h"

namespace firn::bench {
namespace {

constexpr size_t kAlignment = 4'096;
constexpr unsigned kFolders = 256;

struct FreeDeleter {
  void operator()(char* memory) const { std::free(memory); }
};

class File {
 public:
  File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  File(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

class FilePerValueEngine : public Engine {
 public:
  FilePerValueEngine(std::string path, size_t value_bytes)
      : path_(std::move(path)),
        buffer_bytes_((value_bytes + kAlignment - 1) / kAlignment * kAlignment),
        buffer_(static_cast<char*>(std::aligned_alloc(kAlignment, buffer_bytes_))) {}

  absl::Status Put(std::string_view key, std::string_view value) override {
    if (value.size() != buffer_bytes_) return absl::InvalidArgumentError("values must fill whole blocks");
    std::memcpy(buffer_.get(), value.data(), value.size());
    const std::string path = PathOf(next_file_);
    {
      const File file(path, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT);
      if (file.fd() < 0) return absl::ErrnoToStatus(errno, "create " + path);
      if (::write(file.fd(), buffer_.get(), buffer_bytes_) != static_cast<ssize_t>(buffer_bytes_)) {
        return absl::ErrnoToStatus(errno, "write " + path);
      }
    }
    const auto [entry, fresh] = file_of_key_.try_emplace(std::string(key), next_file_++);
    if (fresh) return absl::OkStatus();
    const uint64_t before = std::exchange(entry->second, next_file_ - 1);
    return Unlink(before);
  }

  absl::Status Get(std::string_view key, std::string* value) override {
    const auto entry = file_of_key_.find(std::string(key));
    if (entry == file_of_key_.end()) return absl::NotFoundError("no such key");
    const std::string path = PathOf(entry->second);
    const File file(path, O_RDONLY | O_DIRECT);
    if (file.fd() < 0) return absl::ErrnoToStatus(errno, "open " + path);
    const ssize_t count = ::read(file.fd(), buffer_.get(), buffer_bytes_);
    if (count < 0) return absl::ErrnoToStatus(errno, "read " + path);
    value->assign(buffer_.get(), static_cast<size_t>(count));
    return absl::OkStatus();
  }

  absl::Status Delete(std::string_view key) override {
    const auto entry = file_of_key_.find(std::string(key));
    if (entry == file_of_key_.end()) return absl::OkStatus();
    const uint64_t file = entry->second;
    file_of_key_.erase(entry);
    return Unlink(file);
  }

  absl::Status Sync() override {
    const File directory(path_, O_RDONLY | O_DIRECTORY);
    if (directory.fd() < 0 || ::syncfs(directory.fd()) != 0) return absl::ErrnoToStatus(errno, "sync " + path_);
    return absl::OkStatus();
  }

  absl::Status Compact() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }
  Figures OwnFigures() const override { return {}; }

 private:
  std::string PathOf(uint64_t file) const {
    return path_ + "/" + std::to_string(file % kFolders) + "/" + std::to_string(file);
  }
  absl::Status Unlink(uint64_t file) {
    const std::string path = PathOf(file);
    if (::unlink(path.c_str()) != 0) return absl::ErrnoToStatus(errno, "unlink " + path);
    return absl::OkStatus();
  }

  std::string path_;
  size_t buffer_bytes_;
  std::unique_ptr<char, FreeDeleter> buffer_;
  uint64_t next_file_ = 0;
  std::unordered_map<std::string, uint64_t> file_of_key_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> OpenFilePerValue(const EngineSpec& spec, const std::string& path) {
  std::error_code error;
  for (unsigned folder = 0; folder < kFolders; ++folder) {
    std::filesystem::create_directories(path + "/" + std::to_string(folder), error);
    if (error) return absl::ErrnoToStatus(error.value(), "create " + path);
  }
  return std::make_unique<FilePerValueEngine>(path, spec.value_bytes);
}

}  // namespace firn::bench
