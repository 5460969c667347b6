// The superblock's two copies: made, read, checked, and one made good from the other.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/aligned_buffer.h"
#include "db/store.h"

namespace firn {
namespace {

constexpr size_t kCopies = 2;
static_assert(kCopies * format::kBlockBytes == format::kSuperblockFileBytes);
constexpr std::string_view kCopyNames[kCopies] = {"the first copy", "the second copy"};

using Copies = std::array<absl::StatusOr<format::Superblock>, kCopies>;

absl::StatusOr<Copies> ReadCopies(io::Disk& disk) {
  FIRN_ASSIGN_OR_RETURN(const auto file, disk.Open(kSuperblockFile, io::OpenMode::kRead));
  Copies copies;
  base::AlignedBuffer block(format::kBlockBytes);
  for (size_t i = 0; i < kCopies; ++i) {
    const uint64_t at = i * format::kBlockBytes;
    absl::Status status = base::DataLoss("the file is too short");
    if (at + format::kBlockBytes <= file->size_bytes()) status = file->Read(at, block.bytes());
    copies[i] = status.ok() ? format::DecodeSuperblock(block.bytes()) : absl::StatusOr<format::Superblock>(status);
  }
  return copies;
}

}  // namespace

// True if there is a store; its superblock is then in superblock_.
absl::StatusOr<bool> Store::LoadSuperblock() {
  const std::string path = std::string(disk_->path()) + "/" + std::string(kSuperblockFile) + ": ";
  const absl::StatusOr<Copies> copies = ReadCopies(*disk_);
  if (absl::IsNotFound(copies.status())) return false;
  if (!copies.ok()) return copies.status();
  const size_t good = (*copies)[0].ok() ? 0 : 1, other = 1 - good;
  if (!(*copies)[good].ok()) {
    absl::Status why = (*copies)[0].status();
    if ((*copies)[1].status().code() == absl::StatusCode::kFailedPrecondition) why = (*copies)[1].status();
    return base::MakeStatus(why.code(), path + std::string(why.message()));
  }
  superblock_ = *(*copies)[good];
  const absl::Status damage = (*copies)[other].status();
  if (damage.ok()) return true;
  std::string message = path + std::string(kCopyNames[other]) + " is damaged (" + std::string(damage.message()) +
                        "), " + std::string(kCopyNames[good]) + " is used";
  // A copy of a newer format is not ours to write over.
  if (!options_.read_only && damage.code() != absl::StatusCode::kFailedPrecondition) {
    const absl::Status repaired = RepairSuperblock(other);
    message += repaired.ok() ? "; the damaged one was written again"
                             : "; writing the damaged one again failed: " + std::string(repaired.message());
  }
  Emit(EventKind::kDamageFound, std::move(message));
  return true;
}

// The other copy is not touched: whatever becomes of this write, one verifies.
absl::Status Store::RepairSuperblock(size_t copy) {
  base::AlignedBuffer block(format::kBlockBytes);
  format::EncodeSuperblock(superblock_, block.bytes());
  FIRN_ASSIGN_OR_RETURN(const auto file, disk_->Open(kSuperblockFile, io::OpenMode::kReadWrite));
  FIRN_RETURN_IF_ERROR(file->Allocate(format::kSuperblockFileBytes));
  return file->Write(copy * format::kBlockBytes, block.bytes(), io::Flush::kData);
}

std::vector<Damage> Store::CheckSuperblock() {
  std::vector<Damage> damages;
  const std::string name = std::string(kSuperblockFile);
  const absl::StatusOr<Copies> copies = ReadCopies(*disk_);
  if (!copies.ok()) {
    damages.push_back({.file = name, .what = std::string(copies.status().message())});
    return damages;
  }
  for (size_t i = 0; i < kCopies; ++i) {
    const auto& copy = (*copies)[i];
    if (copy.ok() && *copy == superblock_) continue;
    damages.push_back({.file = name,
                       .offset = i * format::kBlockBytes,
                       .bytes = format::kBlockBytes,
                       .what = std::string(kCopyNames[i]) + " does not verify (" +
                               std::string(copy.ok() ? "it is another store's" : copy.status().message()) +
                               "); the next open for writing writes it again from the other"});
  }
  return damages;
}

// Of a directory without SUPERBLOCK: DataLoss if it belongs to a store, else whether the making of one was interrupted.
absl::StatusOr<bool> Store::CheckNoStore() {
  FIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, disk_->List(""));
  const bool unfinished = std::count(names.begin(), names.end(), std::string(kUnfinishedSuperblockFile)) != 0;
  if (unfinished) return true;
  const auto count_in = [&](std::string_view folder, std::string_view suffix) -> absl::StatusOr<size_t> {
    const absl::StatusOr<std::vector<std::string>> files = disk_->List(folder);
    if (absl::IsNotFound(files.status())) return size_t{0};
    if (!files.ok()) return files.status();
    return static_cast<size_t>(
        std::count_if(files->begin(), files->end(), [&](const std::string& file) { return file.ends_with(suffix); }));
  };
  FIRN_ASSIGN_OR_RETURN(const size_t segments, count_in(log::kLogFolder, ".seg"));
  FIRN_ASSIGN_OR_RETURN(const size_t value_files, count_in(values::kValuesFolder, ".val"));
  // TAIL alone may be what a power cut left of a store that was being made.
  if (segments == 0 && value_files == 0) return false;
  return base::DataLoss(std::string(disk_->path()) + ": SUPERBLOCK is missing, but there are other files of a store (" +
                        std::to_string(segments) + " segments, " + std::to_string(value_files) +
                        " value files). Bring back what is missing from a copy, or have 'firn salvage' make a new "
                        "store of what is left");
}

// A directory without a store, or with one whose making was interrupted.
absl::Status Store::PrepareFreshDirectory() {
  FIRN_ASSIGN_OR_RETURN(const bool unfinished, CheckNoStore());
  FIRN_RETURN_IF_ERROR(disk_->MakeFolder(log::kLogFolder));
  FIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, disk_->List(log::kLogFolder));
  if (!names.empty() && !unfinished) {
    return base::FailedPrecondition(std::string(disk_->path()) +
                                    ": log/ has files that are not firn's, no store is made");
  }
  if (unfinished) {
    for (const std::string_view folder : {log::kLogFolder, values::kValuesFolder}) {
      FIRN_RETURN_IF_ERROR(RemoveFilesIn(folder));
    }
    FIRN_RETURN_IF_ERROR(disk_->Remove(kUnfinishedSuperblockFile));
  }
  return WriteSuperblock();
}

absl::Status Store::RemoveFilesIn(std::string_view folder) {
  const absl::StatusOr<std::vector<std::string>> names = disk_->List(folder);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    FIRN_RETURN_IF_ERROR(disk_->Remove(std::string(folder) + "/" + name));
  }
  return absl::OkStatus();
}

absl::Status Store::FinishMaking() {
  FIRN_RETURN_IF_ERROR(disk_->Rename(kUnfinishedSuperblockFile, kSuperblockFile));
  return disk_->SyncFolder("");
}

absl::Status Store::WriteSuperblock() {
  for (size_t half = 0; half < 2; ++half) {
    base::StoreLe(superblock_.uuid.data() + 8 * half, random_.Next());
    base::StoreLe(superblock_.salt.data() + 8 * half, random_.Next());
  }
  superblock_.secret = random_.Next();
  superblock_.created_ms = clock_.NowMs();
  superblock_.revision_floor = succession_.revision_floor;
  base::AlignedBuffer blocks(format::kSuperblockFileBytes);
  format::EncodeSuperblock(superblock_, blocks.bytes().first(format::kBlockBytes));
  format::EncodeSuperblock(superblock_, blocks.bytes().last(format::kBlockBytes));
  FIRN_ASSIGN_OR_RETURN(const std::unique_ptr<io::File> file,
                        disk_->Open(kUnfinishedSuperblockFile, io::OpenMode::kCreate));
  FIRN_RETURN_IF_ERROR(file->Allocate(format::kSuperblockFileBytes));
  FIRN_RETURN_IF_ERROR(file->Write(0, blocks.bytes(), io::Flush::kData));
  return disk_->SyncFolder("");
}

}  // namespace firn
