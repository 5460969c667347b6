#include "support/tree_import.h"

#include <filesystem>
#include <string>
#include <system_error>

#include "support/tree_entry.h"

namespace firn::tools {
namespace {

constexpr int kReadAttemptsMax = 3;

class Importer {
 public:
  Importer(DB& db, const Namespace& space, const ImportOptions& options, const ImportCallbacks& callbacks)
      : db_(db), space_(space), options_(options), callbacks_(callbacks) {}

  absl::StatusOr<ImportCounts> Run(std::span<const TreeEntry> entries) {
    for (size_t i = 0; i < entries.size(); ++i) {
      absl::StatusOr<FileContent> content = Read(entries[i], i);
      if (!content.ok()) {
        callbacks_.on_left_out(i, content.status());
        continue;
      }
      if (absl::Status status = Add(entries[i], *content, i); !status.ok()) return status;
    }
    if (absl::Status status = Commit(entries.size()); !status.ok()) return status;
    return counts_;
  }

 private:
  absl::StatusOr<FileContent> Read(const TreeEntry& entry, size_t index) {
    if (entry.info.kind == FileKind::kDirectory) return FileContent{.info = entry.info};
    if (entry.info.kind == FileKind::kSymlink) {
      std::error_code error;
      std::string target = std::filesystem::read_symlink(entry.path, error).string();
      if (error) return absl::ErrnoToStatus(error.value(), "read link " + entry.path);
      return FileContent{.bytes = std::move(target), .info = entry.info};
    }
    absl::StatusOr<FileContent> content = ReadRegularFile(entry.path, kValueBytesMax);
    for (int attempt = 1; content.ok() && content->changed && attempt < kReadAttemptsMax; ++attempt) {
      content = ReadRegularFile(entry.path, kValueBytesMax);
    }
    if (content.ok() && content->changed) callbacks_.on_changed(index);
    return content;
  }

  absl::Status Add(const TreeEntry& entry, const FileContent& content, size_t index) {
    const std::string metadata = TreeMetadata(content.info);
    const uint64_t payload_bytes = entry.key.size() + metadata.size() + content.bytes.size();
    if (!batch_.empty() && batch_.payload_bytes() + payload_bytes > options_.batch_bytes) {
      if (absl::Status status = Commit(index); !status.ok()) return status;
    }
    PutOptions put;
    put.metadata = metadata;
    Count(content);
    if (payload_bytes <= options_.batch_bytes) {
      batch_.Put(entry.key, content.bytes, put, space_.id());
      return absl::OkStatus();
    }
    put.durability = options_.durability;
    if (absl::Status status = space_.Put(entry.key, content.bytes, put).status(); !status.ok()) return status;
    ++counts_.commits;
    callbacks_.on_committed(index + 1, counts_.bytes);
    return absl::OkStatus();
  }

  absl::Status Commit(size_t end_index) {
    if (!batch_.empty()) {
      WriteOptions write;
      write.durability = options_.durability;
      if (absl::Status status = db_.Apply(batch_, write).status(); !status.ok()) return status;
      ++counts_.commits;
      batch_.Clear();
    }
    callbacks_.on_committed(end_index, counts_.bytes);
    return absl::OkStatus();
  }

  void Count(const FileContent& content) {
    switch (content.info.kind) {
      case FileKind::kDirectory:
        ++counts_.directories;
        return;
      case FileKind::kSymlink:
        ++counts_.symlinks;
        return;
      default:
        ++counts_.files;
    }
    counts_.bytes += content.bytes.size();
  }

  DB& db_;
  Namespace space_;
  const ImportOptions& options_;
  const ImportCallbacks& callbacks_;
  Batch batch_;
  ImportCounts counts_;
};

}  // namespace

absl::StatusOr<ImportCounts> ImportEntries(DB& db, const Namespace& space, std::span<const TreeEntry> entries,
                                           const ImportOptions& options, const ImportCallbacks& callbacks) {
  return Importer(db, space, options, callbacks).Run(entries);
}

}  // namespace firn::tools
