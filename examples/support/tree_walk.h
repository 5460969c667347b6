// Lists a directory tree in a fixed order: names sorted bytewise, a directory before what is in it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "support/files.h"

namespace firn::tools {

struct TreeEntry {
  std::string key;
  std::string path;  // on this machine
  FileInfo info;     // when it was listed
};

// What could not be taken along, and why. A special file (device, socket, pipe) is Unimplemented.
using ProblemCallback = std::function<void(const std::string& path, const absl::Status& why)>;

// `root` is a directory or a link to one; links below it are listed, never followed. The root's key is "."
// when `key_prefix` is empty, else the prefix, to which "/name" is added. InvalidArgument for an empty `root`.
absl::StatusOr<std::vector<TreeEntry>> WalkTree(const std::string& root, const std::string& key_prefix,
                                                const ProblemCallback& on_problem);

uint64_t TotalBytes(const std::vector<TreeEntry>& entries);

}  // namespace firn::tools
