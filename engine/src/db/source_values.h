// The separated values of a store that is salvaged: each is checked as it is read, and its file needs no header.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <firn/limits.h>

#include "base/aligned_buffer.h"
#include "base/hash.h"
#include "base/status.h"
#include "format/record.h"
#include "format/superblock.h"
#include "format/value_header.h"
#include "io/disk.h"
#include "values/value_file.h"

namespace firn {

// The value files of the source, by the ids that pointers give.
class SourceValues {
 public:
  SourceValues(io::Disk& disk, const format::Superblock& superblock) : disk_(disk), superblock_(superblock) {}

  // Comes first. What a lost folder held is missing to Read().
  absl::Status FindFiles() {
    const auto names = disk_.List(values::kValuesFolder);
    if (absl::IsNotFound(names.status()) || absl::IsDataLoss(names.status())) return absl::OkStatus();
    if (!names.ok()) return names.status();
    base::AlignedBuffer block(format::kBlockBytes);
    std::map<uint32_t, std::string> by_header;
    for (const std::string& name : *names) {
      if (!name.ends_with(".val")) continue;
      const std::string path = std::string(values::kValuesFolder) + "/" + name;
      names_[static_cast<uint32_t>(std::strtoul(name.c_str(), nullptr, 10))] = path;
      const auto file = disk_.Open(path, io::OpenMode::kRead);
      if (!file.ok() || !(*file)->Read(0, block.bytes()).ok()) continue;
      const auto header = format::DecodeValueHeader(block.bytes(), superblock_.secret, superblock_.uuid);
      if (header.ok()) by_header[header->file] = path;
    }
    for (auto& [id, path] : by_header) names_[id] = std::move(path);
    return absl::OkStatus();
  }

  // Valid until the next call. DataLoss says what is wrong.
  absl::StatusOr<base::Bytes> Read(const format::ValuePointer& pointer) {
    const std::string where = values::ValueFileName(pointer.file) + " at offset " + std::to_string(pointer.offset);
    const auto lost = [&](const std::string& what) {
      return base::DataLoss("its value of " + std::to_string(pointer.length) + " bytes, " + where + ", " + what);
    };
    if (pointer.length == 0 || pointer.length > kValueBytesMax || pointer.offset % format::kBlockBytes != 0) {
      return lost("cannot be");
    }
    FIRN_ASSIGN_OR_RETURN(io::File * file, Open(pointer.file));
    if (file == nullptr) return lost("is missing with its file");
    const uint64_t padded_bytes = base::RoundUp(pointer.length, format::kBlockBytes);
    if (pointer.offset > file->size_bytes() || padded_bytes > file->size_bytes() - pointer.offset) {
      return lost("lies beyond the end of its file");
    }
    if (buffer_.size() < padded_bytes) buffer_ = base::AlignedBuffer(padded_bytes);
    const absl::Status status = file->Read(pointer.offset, buffer_.bytes().first(padded_bytes));
    if (!status.ok()) {
      if (!absl::IsDataLoss(status) && !absl::IsOutOfRange(status)) return status;
      return lost("cannot be read (" + std::string(status.message()) + ")");
    }
    const base::Bytes value = base::Bytes(buffer_.bytes()).first(pointer.length);
    const base::Hash128Value hash{pointer.hash_low, pointer.hash_high};
    if (base::Hash128(value, superblock_.secret) != hash) return lost("does not match its hash");
    return value;
  }

 private:
  // Null if there is none.
  absl::StatusOr<io::File*> Open(uint32_t id) {
    constexpr size_t kOpenFilesMax = 128;
    const auto open = files_.find(id);
    if (open != files_.end()) return open->second.get();
    const auto name = names_.find(id);
    if (name == names_.end()) return nullptr;
    if (files_.size() >= kOpenFilesMax) files_.clear();
    auto file = disk_.Open(name->second, io::OpenMode::kRead);
    if (absl::IsNotFound(file.status()) || absl::IsDataLoss(file.status())) return nullptr;
    if (!file.ok()) return file.status();
    return (files_[id] = *std::move(file)).get();
  }

  io::Disk& disk_;
  const format::Superblock& superblock_;
  std::map<uint32_t, std::string> names_;
  std::map<uint32_t, std::unique_ptr<io::File>> files_;
  base::AlignedBuffer buffer_;
};

}  // namespace firn
