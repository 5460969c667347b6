#include "demo/proofs.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>

#include "support/text.h"
#include "support/tree_entry.h"

namespace firn::tools {
namespace {

enum class Verdict { kSame, kMovedOn, kDifferent };

Verdict CompareLink(const TreeEntry& entry, const std::string& value) {
  std::error_code error;
  const std::string target = std::filesystem::read_symlink(entry.path, error).string();
  if (error) return Verdict::kMovedOn;
  return target == value ? Verdict::kSame : Verdict::kDifferent;
}

Verdict CompareFile(const TreeEntry& entry, const std::string& value, const FileInfo& stored) {
  const absl::StatusOr<FileContent> file = ReadRegularFile(entry.path, kValueBytesMax);
  if (!file.ok() || file->changed) return Verdict::kMovedOn;
  if (file->bytes == value) return Verdict::kSame;
  const bool touched = file->info.mtime_seconds != stored.mtime_seconds || file->info.mtime_nanos != stored.mtime_nanos;
  return touched ? Verdict::kMovedOn : Verdict::kDifferent;
}

// Empty when all is well.
std::string CheckEntry(const DB& db, const TreeEntry& entry, std::string* value, ValueInfo* info, ProofResult* result) {
  const std::string name = Escaped(entry.key);
  if (absl::Status status = db.GetInto(entry.key, value, info); !status.ok()) return name + ": " + MessageOf(status);
  const std::optional<FileInfo> stored = ParseTreeMetadata(info->metadata);
  if (!stored) return name + ": its metadata is '" + Escaped(info->metadata) + "'";
  const Verdict verdict = stored->kind != entry.info.kind           ? Verdict::kDifferent
                          : entry.info.kind == FileKind::kDirectory ? Verdict::kSame
                          : entry.info.kind == FileKind::kSymlink   ? CompareLink(entry, *value)
                                                                    : CompareFile(entry, *value, *stored);
  if (verdict == Verdict::kDifferent) return name + ": the store and " + entry.path + " differ";
  if (verdict == Verdict::kMovedOn) {
    ++result->moved_on;
  } else {
    ++result->same;
    result->same_bytes += value->size();
  }
  return {};
}

}  // namespace

ProofResult CompareWithFiles(const DB& db, std::span<const TreeEntry> entries, std::span<const size_t> left_out) {
  ProofResult result;
  std::string value;
  ValueInfo info;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (std::binary_search(left_out.begin(), left_out.end(), i)) continue;
    std::string failure = CheckEntry(db, entries[i], &value, &info, &result);
    if (failure.empty()) continue;
    ++result.failed;
    if (result.failures.size() < ProofResult::kFailuresMax) result.failures.push_back(std::move(failure));
  }
  return result;
}

}  // namespace firn::tools
