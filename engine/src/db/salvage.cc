#include <firn/salvage.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/memory.h"
#include "db/directory_merge.h"
#include "db/source_values.h"
#include "db/store.h"
#include "log/relocation.h"
#include "log/salvage.h"

namespace firn {
namespace {

// Revisions for the records that name namespaces anew.
constexpr uint64_t kOwnRevisions = uint64_t{1} << 20;
constexpr uint64_t kSegmentBytes = uint64_t{16} << 20;
constexpr uint64_t kSmallSegmentBytes = uint64_t{1} << 20;

constexpr const char* kNoSuperblock = "SUPERBLOCK is missing, or neither copy verifies; segments' headers have another";
constexpr const char* kOthersSuperblock =
    "SUPERBLOCK belongs to another store: no segment verifies with it; segments' headers have this one's";

// One record of a key, as a directory has it.
struct Known {
  log::Segment* segment;
  format::DirectoryEntry entry;  // without key
  std::string value_pointer;
};

// Of the new store: whatever is wrong there, no data of the source is lost by it.
absl::Status OfDestination(const absl::Status& status) {
  if (status.ok()) return status;
  const absl::StatusCode code = absl::IsDataLoss(status) ? absl::StatusCode::kFailedPrecondition : status.code();
  return base::MakeStatus(code, "destination: " + std::string(status.message()));
}

}  // namespace

// Copies what lives in the source to relocation segments of a fresh store, as reclaim would: each record under its own
// revision.
class Salvager {
 public:
  Salvager(std::unique_ptr<io::Disk> source, const SalvageOptions& options)
      : source_(std::move(source)), options_(options) {}

  absl::StatusOr<SalvageReport> Run(const std::function<absl::StatusOr<Environment>()>& destination);

 private:
  absl::Status LoadSuperblock();
  absl::StatusOr<bool> TakeSegmentsSuperblock(const char* why);
  absl::Status ScanSource();
  absl::Status OpenDestination(Environment environment);
  absl::Status CopyAll();
  absl::Status CopyNamespaces(DirectoryMerge& merge);
  absl::Status AddNamespace(uint32_t id, const std::string& name, uint64_t revision);
  absl::Status RenameNamespace(uint32_t id);
  absl::Status CopyKey(uint32_t namespace_id, std::string_view key, std::vector<Known>& versions);
  absl::StatusOr<bool> CopyPut(uint32_t namespace_id, std::string_view key, const Known& known, absl::Status& why);
  absl::StatusOr<bool> CopyRecord(const format::Record& record, absl::Status& why);
  absl::Status Append(const format::Record& record);
  absl::Status Adopt();
  void Lose(uint32_t namespace_id, std::string_view key, const Known& known, LostKey::Instead instead,
            const absl::Status& why);
  void FindBrokenBatches();
  void Conclude();
  std::vector<Known> VersionsOf(DirectoryMerge& merge, uint32_t namespace_id, const std::string& key);

  const std::unique_ptr<io::Disk> source_;
  const SalvageOptions& options_;
  SalvageReport report_;
  format::Superblock superblock_;
  log::SalvagedLog log_;
  std::optional<SourceValues> values_;
  std::unique_ptr<io::FileLock> lock_;

  std::unique_ptr<Store> store_;  // the destination
  std::unique_ptr<log::RelocationWriter> writer_;
  uint64_t segment_bytes_ = kSegmentBytes;
  uint64_t next_own_revision_ = 0;
  std::map<uint32_t, std::string> names_;  // of namespaces in the destination
  std::set<uint32_t> dropped_;
  std::string record_bytes_;
  std::map<log::Segment*, std::set<uint64_t>> lost_revisions_;
  uint64_t done_bytes_ = 0, total_bytes_ = 0;
};

absl::Status Salvager::LoadSuperblock() {
  const auto file = source_->Open(kSuperblockFile, io::OpenMode::kRead);
  if (!file.ok() && !absl::IsNotFound(file.status()) && !absl::IsDataLoss(file.status())) return file.status();
  base::AlignedBuffer block(format::kBlockBytes);
  for (uint64_t at = 0; file.ok() && at < format::kSuperblockFileBytes; at += format::kBlockBytes) {
    if (!(*file)->Read(at, block.bytes()).ok()) continue;
    const auto superblock = format::DecodeSuperblock(block.bytes());
    if (absl::IsFailedPrecondition(superblock.status())) return superblock.status();
    if (!superblock.ok()) continue;
    superblock_ = *superblock;
    report_.superblock_from = std::string(kSuperblockFile);
    if (at > 0)
      report_.notes.emplace_back("SUPERBLOCK at offset 0: the first copy does not verify; the second one does");
    return absl::OkStatus();
  }
  FIRN_ASSIGN_OR_RETURN(const bool found, TakeSegmentsSuperblock(kNoSuperblock));
  if (found) return absl::OkStatus();
  return base::DataLoss(std::string(source_->path()) +
                        ": no copy of the superblock is left, in SUPERBLOCK or in any segment's header; without it "
                        "nothing can be verified");
}

// The copy that most segments' headers have. False if none has one, or it is the one that is taken already.
absl::StatusOr<bool> Salvager::TakeSegmentsSuperblock(const char* why) {
  const auto superblock = log::SuperblockFromSegments(*source_);
  if (!superblock.ok() && !absl::IsNotFound(superblock.status())) return superblock.status();
  if (!superblock.ok() || *superblock == superblock_) return false;
  superblock_ = *superblock;
  report_.superblock_from = "a segment's header";
  report_.notes = {why};
  return true;
}

absl::Status Salvager::ScanSource() {
  FIRN_ASSIGN_OR_RETURN(log_, log::SalvageLog(*source_, superblock_));
  if (log_.segments.empty()) {
    FIRN_ASSIGN_OR_RETURN(const bool is_another, TakeSegmentsSuperblock(kOthersSuperblock));
    if (is_another) {
      FIRN_ASSIGN_OR_RETURN(log_, log::SalvageLog(*source_, superblock_));
    }
  }
  values_.emplace(*source_, superblock_);
  FIRN_RETURN_IF_ERROR(values_->FindFiles());
  for (log::LostRange& range : log_.lost) {
    report_.lost_bytes += range.bytes;
    report_.lost.push_back(
        {.file = std::move(range.file), .offset = range.offset, .bytes = range.bytes, .what = std::move(range.what)});
  }
  report_.missing_segments = log_.missing_segments;
  report_.segments_in_doubt = log_.segments_in_doubt;
  report_.incomplete_batches = log_.incomplete_batches;
  report_.notes.insert(report_.notes.end(), log_.notes.begin(), log_.notes.end());
  report_.segments = log_.segments.size();
  for (const log::RecoveredSegment& each : log_.segments) total_bytes_ += each.segment->units_end.load();
  segment_bytes_ = std::clamp(total_bytes_, kSmallSegmentBytes, kSegmentBytes);
  next_own_revision_ = log_.last_revision + 1;
  return absl::OkStatus();
}

// A store like any other, but that nobody reclaims in: its index knows nothing of what is put there.
absl::Status Salvager::OpenDestination(Environment environment) {
  if (!absl::IsNotFound(environment.disk->Open(kSuperblockFile, io::OpenMode::kRead).status())) {
    return base::FailedPrecondition(std::string(environment.disk->path()) + ": there is a store already");
  }
  Options options;
  options.error_if_exists = true;
  options.use_io_uring = options_.use_io_uring;
  environment.succession = {.revision_floor = log_.last_revision + kOwnRevisions,
                            .next_namespace_id = log_.next_namespace_id,
                            .time_ms = log_.time_ms,
                            .unfinished = true};
  for (const log::RecoveredSegment& each : log_.segments) {
    format::FooterReader directory = *each.directory;
    for (format::DirectoryEntry entry; directory.Next(entry);) {
      uint32_t& next = environment.succession.next_namespace_id;
      next = std::max(next, entry.namespace_id + 1);
      if (const auto named = ParseNamespaceRecordKey(entry.key);
          entry.namespace_id == format::kSystemNamespace && named) {
        next = std::max(next, named->id + 1);
      }
    }
  }
  store_.reset(new Store(options, std::move(environment)));
  return store_->OpenFiles();
}

absl::StatusOr<SalvageReport> Salvager::Run(const std::function<absl::StatusOr<Environment>()>& destination) {
  auto lock = source_->Lock("LOCK", /*exclusive=*/false);
  if (!lock.ok() && !absl::IsNotFound(lock.status())) return lock.status();
  if (lock.ok()) lock_ = *std::move(lock);
  FIRN_RETURN_IF_ERROR(LoadSuperblock());
  FIRN_RETURN_IF_ERROR(ScanSource());
  if (log_.segments.empty()) {
    if (log_.files == 0) report_.notes.emplace_back("log/ has no segment");
    return std::move(report_);
  }
  absl::StatusOr<Environment> environment = destination();
  if (!environment.ok()) return OfDestination(environment.status());
  FIRN_RETURN_IF_ERROR(OfDestination(OpenDestination(*std::move(environment))));
  // What the source has lost is in the report, and no status.
  if (const absl::Status copied = CopyAll(); !copied.ok()) {
    return absl::IsDataLoss(copied) ? OfDestination(copied) : copied;
  }
  FIRN_RETURN_IF_ERROR(OfDestination(Adopt()));
  FIRN_RETURN_IF_ERROR(OfDestination(store_->FinishMaking()));
  FIRN_RETURN_IF_ERROR(OfDestination(store_->Close()));
  FindBrokenBatches();
  Conclude();
  return std::move(report_);
}

std::vector<Known> Salvager::VersionsOf(DirectoryMerge& merge, uint32_t namespace_id, const std::string& key) {
  std::vector<Known> versions;
  for (; !merge.done() && merge.entry().namespace_id == namespace_id && merge.entry().key == key; merge.Next()) {
    versions.push_back({merge.segment(), merge.entry(), std::string(merge.entry().value_pointer)});
    versions.back().entry.key = {};
    versions.back().entry.value_pointer = {};
    done_bytes_ += merge.entry().size;
  }
  return versions;
}

absl::Status Salvager::CopyAll() {
  DirectoryMerge merge(log_.segments);
  FIRN_RETURN_IF_ERROR(CopyNamespaces(merge));
  // Reclaim forgets that a namespace was dropped while records of its are still about. Where every record is known, one
  // that nobody names is such a namespace; else its name may be what is lost.
  const bool all_known = log_.lost.empty() && log_.missing_segments.empty();
  while (!merge.done()) {
    const uint32_t namespace_id = merge.entry().namespace_id;
    const std::string key(merge.entry().key);
    std::vector<Known> versions = VersionsOf(merge, namespace_id, key);
    if (dropped_.contains(namespace_id)) continue;
    const bool has_name = namespace_id == format::kDefaultNamespace || names_.contains(namespace_id);
    if (!has_name && all_known) continue;
    if (!has_name) FIRN_RETURN_IF_ERROR(RenameNamespace(namespace_id));
    FIRN_RETURN_IF_ERROR(CopyKey(namespace_id, key, versions));
    if (options_.progress && !options_.progress(std::min(done_bytes_, total_bytes_), total_bytes_)) {
      return base::MakeStatus(absl::StatusCode::kCancelled,
                              "salvage was cancelled; what is in the destination is not all");
    }
  }
  return absl::OkStatus();
}

// The system namespace sorts first. Ids and names are all in the directory.
absl::Status Salvager::CopyNamespaces(DirectoryMerge& merge) {
  struct Found {
    uint32_t id;
    uint64_t revision;
  };
  std::map<std::string, Found> by_name;
  std::vector<uint32_t> nameless;
  while (!merge.done() && merge.entry().namespace_id == format::kSystemNamespace) {
    const std::string key(merge.entry().key);
    const std::vector<Known> versions = VersionsOf(merge, format::kSystemNamespace, key);
    const auto named = ParseNamespaceRecordKey(key);
    if (!named) continue;
    const Known& newest = versions.back();
    if (newest.entry.type == format::RecordType::kNamespaceDrop) {
      dropped_.insert(named->id);
      continue;
    }
    // A name comes up again only once its namespace was dropped: the record of that is lost. The later one has it.
    const auto before = by_name.find(named->name);
    if (before != by_name.end()) nameless.push_back(before->second.id);
    by_name[named->name] = {named->id, newest.entry.revision};
  }
  for (const auto& [name, found] : by_name) FIRN_RETURN_IF_ERROR(AddNamespace(found.id, name, found.revision));
  for (const uint32_t id : nameless) FIRN_RETURN_IF_ERROR(RenameNamespace(id));
  return absl::OkStatus();
}

absl::Status Salvager::AddNamespace(uint32_t id, const std::string& name, uint64_t revision) {
  names_[id] = name;
  ++report_.namespaces;
  const std::string key = NamespaceRecordKey(id, name);
  return Append({.revision = revision,
                 .type = format::RecordType::kNamespaceCreate,
                 .namespace_id = format::kSystemNamespace,
                 .key = base::AsBytes(key)});
}

// Its keys are there, and what it was called is not.
absl::Status Salvager::RenameNamespace(uint32_t id) {
  std::string name = "lost-" + std::to_string(id);
  const auto is_taken = [&] {
    return std::any_of(names_.begin(), names_.end(), [&](const auto& each) { return each.second == name; });
  };
  for (int i = 2; is_taken(); ++i) name = "lost-" + std::to_string(id) + "-" + std::to_string(i);
  report_.renamed_namespaces.push_back({id, name});
  return AddNamespace(id, name, next_own_revision_++);
}

void Salvager::Lose(uint32_t namespace_id, std::string_view key, const Known& known, LostKey::Instead instead,
                    const absl::Status& why) {
  lost_revisions_[known.segment].insert(known.entry.revision);
  ++report_.lost_keys_in_all;
  if (report_.lost_keys.size() >= kLostKeysMax) return;
  report_.lost_keys.push_back({.namespace_name = namespace_id == format::kDefaultNamespace ? "" : names_[namespace_id],
                               .key = std::string(key),
                               .revision = known.entry.revision,
                               .instead = instead,
                               .why = std::string(why.message())});
}

// `versions` are in the order of revisions; of copies of one record the youngest segment's is the last.
absl::Status Salvager::CopyKey(uint32_t namespace_id, std::string_view key, std::vector<Known>& versions) {
  const Known* change = nullptr;
  const Known* lost = nullptr;  // the newest version, if it is
  absl::Status why_lost;
  // The engine gives the value of a key back once its time has come: that is no loss, and no older version shows again.
  const auto has_expired = [&] {
    const Known* const newest = change != nullptr ? change : lost;
    return newest->entry.expires_at_ms != 0 && newest->entry.expires_at_ms <= store_->NowMs();
  };
  for (size_t i = versions.size(); i-- > 0;) {
    const Known& known = versions[i];
    if (known.entry.type == format::RecordType::kDelete) break;
    if (known.entry.type == format::RecordType::kExpiryChange) {
      // One of a version that is lost says nothing of an older one.
      if (change == nullptr && lost == nullptr) change = &known;
      continue;
    }
    const bool is_copy =
        lost != nullptr && lost->entry.revision == known.entry.revision && lost->segment != known.segment;
    if (lost != nullptr && !is_copy && (!options_.older_versions || has_expired())) break;
    absl::Status why;
    FIRN_ASSIGN_OR_RETURN(const bool copied, CopyPut(namespace_id, key, known, why));
    if (!copied) {
      if (lost == nullptr) why_lost = why;
      if (lost == nullptr) lost = &known;
      continue;
    }
    uint64_t revision = known.entry.revision;
    if (change != nullptr && (lost == nullptr || is_copy)) {
      revision = change->entry.revision;
      FIRN_RETURN_IF_ERROR(Append({.revision = revision,
                                   .type = format::RecordType::kExpiryChange,
                                   .namespace_id = namespace_id,
                                   .expires_at_ms = change->entry.expires_at_ms,
                                   .key = base::AsBytes(key)}));
    }
    ++report_.keys;
    report_.keys_possibly_stale += revision < log_.lost_revision_max ? 1 : 0;
    report_.bytes += key.size();
    if (lost != nullptr && !is_copy) Lose(namespace_id, key, *lost, LostKey::Instead::kOlderVersion, why_lost);
    return absl::OkStatus();
  }
  if ((lost != nullptr || change != nullptr) && has_expired()) return absl::OkStatus();
  if (lost != nullptr) {
    Lose(namespace_id, key, *lost, LostKey::Instead::kNothing, why_lost);
  } else if (change != nullptr) {
    Lose(namespace_id, key, *change, LostKey::Instead::kNothing,
         base::DataLoss("only a change of its expiry is left; the put it belongs to is not"));
  }
  return absl::OkStatus();
}

// False if the record or its value is not there any more; `why` says so.
absl::StatusOr<bool> Salvager::CopyPut(uint32_t namespace_id, std::string_view key, const Known& known,
                                       absl::Status& why) {
  record_bytes_.resize(known.entry.size);
  const base::MutableBytes bytes = std::as_writable_bytes(std::span(record_bytes_));
  const std::string where = known.segment->file->name() + " at offset " + std::to_string(known.entry.offset);
  absl::Status status = log::ReadSegmentBytes(*known.segment, known.entry.offset, bytes);
  const bool is_loss = absl::IsDataLoss(status) || absl::IsOutOfRange(status) || absl::IsFailedPrecondition(status);
  if (!status.ok() && !is_loss) return status;
  if (status.ok()) {
    const auto decoded = format::DecodeRecord(bytes, known.segment->seed, known.entry.offset);
    const bool matches = decoded && decoded->size_bytes == known.entry.size &&
                         decoded->record.type == format::RecordType::kPut &&
                         decoded->record.namespace_id == namespace_id && base::AsText(decoded->record.key) == key &&
                         decoded->record.revision == known.entry.revision;
    if (matches) return CopyRecord(decoded->record, why);
  }
  why = base::DataLoss("its record, " + where + ", does not verify");
  if (known.value_pointer.empty()) return false;
  // The footer has all of the record but its metadata.
  format::Record record{.revision = known.entry.revision,
                        .type = format::RecordType::kPut,
                        .flags = format::record_flags::kValuePointer,
                        .namespace_id = namespace_id,
                        .expires_at_ms = known.entry.expires_at_ms,
                        .key = base::AsBytes(key),
                        .metadata = {},
                        .value = base::AsBytes(known.value_pointer)};
  const bool had_metadata = format::RecordSize(record) != known.entry.size;
  FIRN_ASSIGN_OR_RETURN(const bool copied, CopyRecord(record, why));
  if (copied && had_metadata) {
    Lose(namespace_id, key, known, LostKey::Instead::kWithoutMetadata,
         base::DataLoss("its record, " + where + ", does not verify; the value was had through the footer"));
  }
  return copied;
}

absl::StatusOr<bool> Salvager::CopyRecord(const format::Record& record, absl::Status& why) {
  format::Record copy = record;
  std::string pointer_bytes;
  uint64_t value_bytes = record.value.size();
  if ((record.flags & format::record_flags::kValuePointer) != 0) {
    const auto pointer = format::DecodeValuePointer(record.value);
    const auto value = pointer ? values_->Read(*pointer) : base::DataLoss("its value pointer cannot be read");
    if (!value.ok()) {
      why = value.status();
      if (absl::IsDataLoss(why)) return false;
      return why;
    }
    FIRN_ASSIGN_OR_RETURN(const values::ValueStore::Stored stored, store_->values_->Put(*value, io::Flush::kBehind));
    pointer_bytes = format::EncodeValuePointer(stored.pointer);
    copy.value = base::AsBytes(pointer_bytes);
    value_bytes = value->size();
    ++report_.values;
  }
  FIRN_RETURN_IF_ERROR(Append(copy));
  report_.bytes += copy.metadata.size() + value_bytes;
  return true;
}

absl::Status Salvager::Append(const format::Record& record) {
  const uint64_t size = format::RecordSize(record);
  const bool has_pointer = (record.flags & format::record_flags::kValuePointer) != 0;
  const uint64_t key_bytes = record.key.size() + (has_pointer ? record.value.size() : 0);
  if (writer_ != nullptr && !writer_->Fits(size, key_bytes)) FIRN_RETURN_IF_ERROR(Adopt());
  if (writer_ == nullptr) {
    const uint64_t bytes = std::max(segment_bytes_, log::RelocationWriter::BytesForOne(size, key_bytes));
    FIRN_ASSIGN_OR_RETURN(writer_, store_->log_->BeginRelocation(bytes, /*generation=*/1));
  }
  return writer_->Append(record).status();
}

// The segment stays unsettled: so nobody in this process takes it for one that nothing needs.
absl::Status Salvager::Adopt() {
  if (writer_ == nullptr) return absl::OkStatus();
  FIRN_RETURN_IF_ERROR(store_->values_->Sync());  // rule 4
  FIRN_RETURN_IF_ERROR(writer_->Finish());
  return store_->log_->Adopt(std::move(writer_)).status();
}

// Where a lost record shares its revision with others of its segment, it was a part of a batch.
void Salvager::FindBrokenBatches() {
  for (log::RecoveredSegment& each : log_.segments) {
    const auto lost = lost_revisions_.find(each.segment.get());
    if (lost == lost_revisions_.end() || each.segment->header.generation > 0) continue;
    std::map<uint64_t, int> records;
    each.directory->Rewind();
    for (format::DirectoryEntry entry; each.directory->Next(entry);) {
      if (lost->second.contains(entry.revision)) ++records[entry.revision];
    }
    for (const auto& [revision, count] : records) {
      if (count > 1) report_.incomplete_batches.push_back(revision);
    }
  }
  auto& batches = report_.incomplete_batches;
  std::sort(batches.begin(), batches.end());
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
}

void Salvager::Conclude() {
  const bool whole = report_.lost.empty() && report_.missing_segments.empty() && report_.lost_keys_in_all == 0 &&
                     report_.incomplete_batches.empty() && report_.renamed_namespaces.empty() &&
                     report_.segments_in_doubt.empty();
  report_.outcome = whole ? SalvageReport::Outcome::kWhole : SalvageReport::Outcome::kPartly;
}

absl::StatusOr<SalvageReport> SalvageOn(std::unique_ptr<io::Disk> source,
                                        const std::function<absl::StatusOr<Environment>()>& destination,
                                        const SalvageOptions& options) {
  return base::OrOutOfMemory([&] { return Salvager(std::move(source), options).Run(destination); });
}

absl::StatusOr<SalvageReport> Salvage(std::string_view source, std::string_view destination,
                                      const SalvageOptions& options) {
  return base::OrOutOfMemory([&]() -> absl::StatusOr<SalvageReport> {
    FIRN_ASSIGN_OR_RETURN(const bool lies_in_source, io::LiesIn(destination, source));
    if (lies_in_source) {
      return base::InvalidArgument("the destination lies in the source, which is not written to");
    }
    FIRN_ASSIGN_OR_RETURN(std::unique_ptr<io::Disk> from,
                          io::OpenDisk(source, {.read_only = true, .use_io_uring = options.use_io_uring}));
    return SalvageOn(
        std::move(from),
        [&]() -> absl::StatusOr<Environment> {
          FIRN_ASSIGN_OR_RETURN(
              std::unique_ptr<io::Disk> disk,
              io::OpenDisk(destination, {.create_if_missing = true, .use_io_uring = options.use_io_uring}));
          return Environment{.disk = std::move(disk)};
        },
        options);
  });
}

}  // namespace firn
