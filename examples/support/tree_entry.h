// How a directory tree is kept in a namespace: one key per file, directory or symbolic link.
//
//   key       the path relative to the tree's root, components separated by '/'; the root itself is "."
//   value     a file's bytes; a link's target; empty for a directory
//   metadata  "tree:1 KIND MODE SECONDS.NANOSECONDS", e.g. "tree:1 file 0644 1700000000.123456789"
//
// KIND is file, dir or link; MODE is four octal digits; the time is the last modification's, since 1970-01-01
// UTC. Owners, hard links, sparse regions and extended attributes are not kept.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "support/files.h"

namespace firn::tools {

inline constexpr std::string_view kTreeRootKey = ".";

// Kind, mode and time; `info.size_bytes` is not part of it.
std::string TreeMetadata(const FileInfo& info);
// No value when the text is not what TreeMetadata writes.
std::optional<FileInfo> ParseTreeMetadata(std::string_view text);

// Whether a key may become a path below a directory: relative, no NUL, no empty, "." or ".." component. The
// root's key is no such path.
bool IsSafeRelativePath(std::string_view key);

}  // namespace firn::tools
