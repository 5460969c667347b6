// Writes tree entries below a directory, and nowhere else: every component of a path is opened without
// following links, so that neither a link in the tree nor one that lies there already can lead outside.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "support/files.h"

namespace firn::tools {

struct TreeWriterOptions {
  bool overwrite = false;    // replaces files and links that exist; otherwise AlreadyExists
  bool keep_set_id = false;  // restores set-user-id and set-group-id bits
};

class TreeWriter {
 public:
  // `root` is created if missing (one level).
  static absl::StatusOr<TreeWriter> Open(const std::string& root, const TreeWriterOptions& options);

  // `key` passes IsSafeRelativePath, or is the root's key. Missing parents are made. `info` null: default
  // modes and the present time. InvalidArgument for a link whose target cannot be one.
  absl::Status Write(std::string_view key, std::string_view value, const FileInfo* info);
  // Gives directories their modes and times, which writing into them would have changed.
  absl::Status Finish();

 private:
  struct WrittenDirectory {
    std::string key;
    FileInfo info;
  };

  TreeWriter(std::string root, Descriptor root_fd, const TreeWriterOptions& options)
      : root_(std::move(root)), root_fd_(std::move(root_fd)), options_(options) {}

  absl::StatusOr<int> OpenParent(std::string_view parent_key);
  absl::Status WriteDirectory(int parent, const std::string& name, std::string_view key, const FileInfo& info);
  absl::Status WriteFile(int parent, const std::string& name, std::string_view key, std::string_view value,
                         const FileInfo* info);
  absl::Status WriteLink(int parent, const std::string& name, std::string_view key, std::string_view value,
                         const FileInfo& info);
  absl::Status SetModeAndTime(int fd, const FileInfo& info, std::string_view key) const;
  absl::Status Failed(const char* operation, std::string_view key) const;
  std::string Shown(std::string_view key) const;

  std::string root_;
  Descriptor root_fd_;
  TreeWriterOptions options_;
  // The directory written into last: neighbours in key order mostly share it.
  std::string parent_key_;
  Descriptor parent_fd_;
  std::vector<WrittenDirectory> directories_;
};

}  // namespace firn::tools
