#include "support/tree_walk.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <system_error>

#include "support/tree_entry.h"

namespace firn::tools {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::vector<std::string>> SortedNames(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return absl::ErrnoToStatus(error.value(), "list " + directory);
  std::sort(names.begin(), names.end());
  return names;
}

std::string Joined(const std::string& directory, const std::string& name) {
  return directory.ends_with('/') ? directory + name : directory + "/" + name;
}

}  // namespace

absl::StatusOr<std::vector<TreeEntry>> WalkTree(const std::string& root, const std::string& key_prefix,
                                                const ProblemCallback& on_problem) {
  // An empty name and a slash would be the root of everything.
  if (root.empty()) return absl::InvalidArgumentError("the directory's name is empty");
  // The slash makes a link to a directory count as the directory.
  absl::StatusOr<FileInfo> root_info = InfoOfPath(Joined(root, ""));
  if (!root_info.ok()) return std::move(root_info).status();

  std::vector<TreeEntry> entries;
  // Last in, first out; names are pushed in reverse, so that entries come out in order.
  std::vector<TreeEntry> pending;
  pending.push_back({key_prefix.empty() ? std::string(kTreeRootKey) : key_prefix, root, *root_info});
  while (!pending.empty()) {
    TreeEntry entry = std::move(pending.back());
    pending.pop_back();
    if (entry.info.kind == FileKind::kSpecial) {
      on_problem(entry.path, absl::UnimplementedError(entry.path + " is a device, socket or pipe; left out"));
      continue;
    }
    if (entry.info.kind == FileKind::kDirectory) {
      absl::StatusOr<std::vector<std::string>> names = SortedNames(entry.path);
      if (!names.ok()) {
        on_problem(entry.path, names.status());
        names = std::vector<std::string>();
      }
      const std::string key_base = entry.key == kTreeRootKey ? std::string() : entry.key + "/";
      for (auto name = names->rbegin(); name != names->rend(); ++name) {
        const std::string path = Joined(entry.path, *name);
        absl::StatusOr<FileInfo> info = InfoOfPath(path);
        if (!info.ok()) {
          on_problem(path, info.status());
          continue;
        }
        pending.push_back({key_base + *name, path, *info});
      }
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

uint64_t TotalBytes(const std::vector<TreeEntry>& entries) {
  return std::accumulate(entries.begin(), entries.end(), uint64_t{0},
                         [](uint64_t sum, const TreeEntry& entry) { return sum + entry.info.size_bytes; });
}

}  // namespace firn::tools
