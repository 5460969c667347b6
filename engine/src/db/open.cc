// Opening a store, building its index from the segments' directories, and closing it.
#include <algorithm>
#include <cstring>
#include <tuple>

#include "base/aligned_buffer.h"
#include "db/store.h"
#include "log/recovery.h"

namespace firn {
namespace {

constexpr std::string_view kSuperblockFile = "SUPERBLOCK";
// Under this name until the store has its first segment, so that a SUPERBLOCK always belongs to a whole store.
constexpr std::string_view kUnfinishedSuperblockFile = "SUPERBLOCK.new";
constexpr std::string_view kLockFile = "LOCK";

absl::Status CheckOptions(const Options& options) {
  if (options.memory_budget_bytes < kMemoryBudgetBytesMin) {
    return base::InvalidArgument("memory_budget_bytes is " + std::to_string(options.memory_budget_bytes) +
                                 "; at least " + std::to_string(kMemoryBudgetBytesMin) + " are needed");
  }
  if (options.flush_interval_ms < kFlushIntervalMsMin || options.flush_interval_ms > kFlushIntervalMsMax) {
    return base::InvalidArgument("flush_interval_ms is " + std::to_string(options.flush_interval_ms) +
                                 "; allowed are " + std::to_string(kFlushIntervalMsMin) + " to " +
                                 std::to_string(kFlushIntervalMsMax));
  }
  if (options.read_only && options.error_if_exists) {
    return base::InvalidArgument(
        "read_only and error_if_exists contradict each other: a read-only open makes no store");
  }
  return absl::OkStatus();
}

// The versions of one key as they come out of the directories, oldest first, boiled down to the newest state.
struct KeyState {
  log::Segment* put_segment = nullptr;  // null: absent
  Version version;
  log::Segment* change_segment = nullptr;

  void Apply(const format::DirectoryEntry& record, log::Segment* segment) {
    switch (record.type) {
      case format::RecordType::kPut:
      case format::RecordType::kNamespaceCreate:
        put_segment = segment;
        change_segment = nullptr;
        version.entry = {.segment = segment->id,
                         .offset = record.offset,
                         .size = record.size,
                         .flags = record.expires_at_ms != 0 ? entry_flags::kHasExpiry : 0,
                         .revision = record.revision};
        version.expiry = {.at_ms = record.expires_at_ms, .revision = record.revision};
        break;
      case format::RecordType::kDelete:
      case format::RecordType::kNamespaceDrop:
        put_segment = nullptr;
        change_segment = nullptr;
        segment->tombstones.fetch_add(1, std::memory_order_relaxed);
        break;
      case format::RecordType::kExpiryChange:
        if (put_segment == nullptr) break;
        change_segment = segment;
        version.entry.revision = record.revision;
        version.entry.flags = entry_flags::kHasExpiry | entry_flags::kExpiryChanged;
        version.expiry = {.at_ms = record.expires_at_ms,
                          .change_segment = segment->id,
                          .change_size = record.size,
                          .revision = record.revision};
        break;
      default:
        break;
    }
  }
};

// Walks all directories at once, in the order of (namespace, key, revision).
class Merge {
 public:
  explicit Merge(std::vector<log::RecoveredSegment>& segments) : sources_(segments.size()) {
    for (size_t i = 0; i < segments.size(); ++i) {
      sources_[i].recovered = &segments[i];
      Advance(i);
    }
    std::make_heap(heap_.begin(), heap_.end(), Later{this});
  }

  bool done() const { return heap_.empty(); }
  const format::DirectoryEntry& entry() const { return sources_[heap_.front()].entry; }
  log::Segment* segment() const { return sources_[heap_.front()].recovered->segment.get(); }

  void Next() {
    std::pop_heap(heap_.begin(), heap_.end(), Later{this});
    const size_t source = heap_.back();
    heap_.pop_back();
    if (Advance(source)) std::push_heap(heap_.begin(), heap_.end(), Later{this});
  }

 private:
  struct Source {
    log::RecoveredSegment* recovered = nullptr;
    format::DirectoryEntry entry;
  };
  struct Later {
    const Merge* merge;
    bool operator()(size_t a, size_t b) const {
      const format::DirectoryEntry& x = merge->sources_[a].entry;
      const format::DirectoryEntry& y = merge->sources_[b].entry;
      return std::tie(x.namespace_id, x.key, x.revision) > std::tie(y.namespace_id, y.key, y.revision);
    }
  };

  bool Advance(size_t i) {
    if (!sources_[i].recovered->directory.Next(sources_[i].entry)) return false;
    heap_.push_back(i);
    return true;
  }

  std::vector<Source> sources_;
  std::vector<size_t> heap_;
};

}  // namespace

Store::Store(const Options& options, Environment environment)
    : options_(options),
      disk_(std::move(environment.disk)),
      clock_(*environment.clock),
      raw_clock_(*environment.clock),
      random_(*environment.random),
      segment_bytes_min_(environment.segment_bytes_min_for_test != 0 ? environment.segment_bytes_min_for_test
                                                                     : log::kSegmentBytesMin) {
  tree_ = std::make_unique<index::Tree>(epochs_);
  expiries_ = std::make_unique<index::Tree>(epochs_);
}

void Store::Emit(EventKind kind, std::string message) const {
  if (options_.listener != nullptr) options_.listener->OnEvent({kind, std::move(message)});
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const Options& options, Environment environment) {
  FIRN_RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<Store> store(new Store(options, std::move(environment)));
  const uint64_t began = store->raw_clock_.MonotonicNanos();
  FIRN_RETURN_IF_ERROR(store->OpenFiles());
  store->open_seconds_ = static_cast<double>(store->raw_clock_.MonotonicNanos() - began) / 1e9;
  store->open_read_bytes_ = store->disk_->counters().read_bytes.load();
  if (!options.read_only) {
    store->upkeep_ = base::Thread("firn-upkeep", [s = store.get()] { s->RunUpkeep(); });
  }
  return store;
}

absl::Status Store::OpenFiles() {
  const std::string path(disk_->path());
  if (!disk_->fallback_reason().empty()) Emit(EventKind::kDiskFallback, std::string(disk_->fallback_reason()));
  // Locking makes a file: not in a directory that has no store and is to get none.
  if (!options_.create_if_missing && absl::IsNotFound(disk_->Open(kSuperblockFile, io::OpenMode::kRead).status())) {
    return base::NotFound(path + ": there is no store here");
  }
  auto lock = disk_->Lock(kLockFile, !options_.read_only);
  if (absl::IsNotFound(lock.status())) return base::NotFound(path + ": there is no store here");
  if (!lock.ok()) return lock.status();
  lock_ = *std::move(lock);

  FIRN_ASSIGN_OR_RETURN(const bool exists, LoadSuperblock());
  if (exists && options_.error_if_exists) {
    return base::FailedPrecondition(path + ": there is a store already, and error_if_exists is set");
  }
  if (!exists) {
    if (options_.read_only || !options_.create_if_missing) return base::NotFound(path + ": there is no store here");
    FIRN_RETURN_IF_ERROR(PrepareFreshDirectory());
  }
  // A store whose maker died just before its last sync of the folder must not lose its name now.
  if (exists && !options_.read_only) FIRN_RETURN_IF_ERROR(disk_->SyncFolder(""));
  const auto on_event = [this](EventKind kind, std::string message) { Emit(kind, std::move(message)); };
  FIRN_ASSIGN_OR_RETURN(
      log::RecoveredLog recovered,
      log::RecoverLog(*disk_, superblock_, !exists,
                      {.read_only = options_.read_only, .salvage = options_.salvage, .on_event = on_event}));
  clock_.Advance(recovered.time_ms);
  FIRN_RETURN_IF_ERROR(BuildIndex(recovered.segments, recovered.next_namespace_id));
  log::LogOptions log_options{.segment_bytes_min = segment_bytes_min_,
                              .flush_interval_ms = options_.flush_interval_ms,
                              .clock = &clock_,
                              .monotonic_clock = &raw_clock_,
                              .random = &random_,
                              .on_event = on_event};
  if (options_.read_only) {
    log_ = log::Log::StartReadOnly(*disk_, superblock_, epochs_, std::move(log_options), std::move(recovered));
  } else {
    FIRN_ASSIGN_OR_RETURN(log_,
                          log::Log::Start(*disk_, superblock_, epochs_, std::move(log_options), std::move(recovered)));
    if (!log_->tail_locked()) {
      Emit(EventKind::kTailNotLocked,
           path + "/TAIL: RLIMIT_MEMLOCK does not permit locking the tail buffers in memory");
    }
  }
  if (!exists) {
    FIRN_RETURN_IF_ERROR(disk_->Rename(kUnfinishedSuperblockFile, kSuperblockFile));
    FIRN_RETURN_IF_ERROR(disk_->SyncFolder(""));
  }
  versions_ = std::make_unique<Versions>(*log_);
  return absl::OkStatus();
}

// True if there is a store; its superblock is then in superblock_.
absl::StatusOr<bool> Store::LoadSuperblock() {
  const std::string path = std::string(disk_->path()) + "/" + std::string(kSuperblockFile);
  auto file = disk_->Open(kSuperblockFile, io::OpenMode::kRead);
  if (absl::IsNotFound(file.status())) return false;
  if (!file.ok()) return file.status();
  base::AlignedBuffer blocks(format::kSuperblockFileBytes);
  std::memset(blocks.data(), 0, blocks.size());
  const uint64_t readable =
      std::min<uint64_t>(base::RoundDown((*file)->size_bytes(), format::kBlockBytes), blocks.size());
  absl::Status first_error = base::DataLoss("the file is too short");
  for (uint64_t at = 0; at < readable; at += format::kBlockBytes) {
    const base::MutableBytes block = blocks.bytes().subspan(at, format::kBlockBytes);
    absl::Status status = (*file)->Read(at, block);
    if (status.ok()) {
      const auto superblock = format::DecodeSuperblock(block);
      if (superblock.ok()) {
        superblock_ = *superblock;
        if (at != 0) Emit(EventKind::kDamageFound, path + ": the first copy is damaged, the second is used");
        return true;
      }
      status = superblock.status();
    }
    if (at == 0 || status.code() == absl::StatusCode::kFailedPrecondition) first_error = status;
  }
  return base::MakeStatus(first_error.code(), path + ": " + std::string(first_error.message()));
}

// A directory without a store, or with one whose making was interrupted.
absl::Status Store::PrepareFreshDirectory() {
  FIRN_RETURN_IF_ERROR(disk_->MakeFolder(log::kLogFolder));
  FIRN_ASSIGN_OR_RETURN(const std::vector<std::string> names, disk_->List(""));
  const bool unfinished = std::count(names.begin(), names.end(), std::string(kUnfinishedSuperblockFile)) != 0;
  FIRN_ASSIGN_OR_RETURN(const std::vector<std::string> segments, disk_->List(log::kLogFolder));
  if (!segments.empty() && !unfinished) {
    return base::DataLoss(
        std::string(disk_->path()) + ": log/ has " + std::to_string(segments.size()) +
        " files but SUPERBLOCK is missing; without it nothing can be verified. Bring it back from a copy");
  }
  for (const std::string& name : segments) {
    FIRN_RETURN_IF_ERROR(disk_->Remove(std::string(log::kLogFolder) + "/" + name));
  }
  if (unfinished) FIRN_RETURN_IF_ERROR(disk_->Remove(kUnfinishedSuperblockFile));
  return WriteSuperblock();
}

absl::Status Store::WriteSuperblock() {
  for (size_t half = 0; half < 2; ++half) {
    base::StoreLe(superblock_.uuid.data() + 8 * half, random_.Next());
    base::StoreLe(superblock_.salt.data() + 8 * half, random_.Next());
  }
  superblock_.secret = random_.Next();
  superblock_.created_ms = clock_.NowMs();
  base::AlignedBuffer blocks(format::kSuperblockFileBytes);
  format::EncodeSuperblock(superblock_, blocks.bytes().first(format::kBlockBytes));
  format::EncodeSuperblock(superblock_, blocks.bytes().last(format::kBlockBytes));
  FIRN_ASSIGN_OR_RETURN(const std::unique_ptr<io::File> file,
                        disk_->Open(kUnfinishedSuperblockFile, io::OpenMode::kCreate));
  FIRN_RETURN_IF_ERROR(file->Allocate(format::kSuperblockFileBytes));
  FIRN_RETURN_IF_ERROR(file->Write(0, blocks.bytes(), io::Flush::kData));
  return disk_->SyncFolder("");
}

// Merges the directories by key and loads the index with what is newest. The system namespace sorts first, so which
// namespaces exist is known before their keys come.
absl::Status Store::BuildIndex(std::vector<log::RecoveredSegment>& segments, uint32_t& next_namespace_id) {
  index::Tree::BulkLoader entries(*tree_), expiries(*expiries_);
  const int64_t now_ms = clock_.NowMs();
  std::string index_key;
  Merge merge(segments);
  while (!merge.done()) {
    const uint32_t namespace_id = merge.entry().namespace_id;
    index_key.resize(kNamespacePrefixBytes);
    StoreNamespacePrefix(index_key.data(), namespace_id);
    index_key += merge.entry().key;
    const auto same_key = [&] {
      return !merge.done() && merge.entry().namespace_id == namespace_id &&
             merge.entry().key == std::string_view(index_key).substr(kNamespacePrefixBytes);
    };
    KeyState state;
    for (; same_key(); merge.Next()) state.Apply(merge.entry(), merge.segment());
    next_namespace_id = std::max(next_namespace_id, namespace_id + 1);
    if (namespace_id == format::kSystemNamespace) {
      const auto entry = ParseNamespaceRecordKey(std::string_view(index_key).substr(kNamespacePrefixBytes));
      if (!entry) continue;
      next_namespace_id = std::max(next_namespace_id, entry->id + 1);  // dropped ones too: an id is never used again
      if (state.put_segment != nullptr) {
        // Where salvage has lost the record of a drop, a name may come up again: the later namespace has it.
        if (const auto earlier = namespaces_.Find(entry->name)) namespaces_.Remove(*earlier);
        namespaces_.Add(*entry);
      }
    }
    if (state.put_segment == nullptr) continue;
    if (namespace_id != format::kSystemNamespace && !IsAlive(namespace_id)) {
      continue;
    }
    const int64_t expires_at_ms = state.version.expiry.at_ms;
    if (expires_at_ms != 0 && expires_at_ms <= now_ms) {
      // Rule 2: from now on it is a tombstone for whatever older segments hold of the key.
      state.put_segment->tombstones.fetch_add(1, std::memory_order_relaxed);
      if (state.change_segment != nullptr) state.change_segment->tombstones.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    entries.Add(index_key, state.version.entry);
    state.put_segment->live_records.fetch_add(1, std::memory_order_relaxed);
    state.put_segment->live_bytes.fetch_add(state.version.entry.size, std::memory_order_relaxed);
    if ((state.version.entry.flags & entry_flags::kHasExpiry) != 0)
      expiries.Add(index_key, state.version.expiry.Pack());
    if (state.change_segment != nullptr) {
      state.change_segment->live_records.fetch_add(1, std::memory_order_relaxed);
      state.change_segment->live_bytes.fetch_add(state.version.expiry.change_size, std::memory_order_relaxed);
    }
    if (tree_->memory_bytes() + expiries_->memory_bytes() > options_.memory_budget_bytes) break;
  }
  const bool whole = merge.done();
  entries.Finish();
  expiries.Finish();
  if (whole) return absl::OkStatus();
  return base::ResourceExhausted(std::string(disk_->path()) + ": the index does not fit into memory_budget_bytes = " +
                                 std::to_string(options_.memory_budget_bytes) + "; open with a larger budget");
}

Store::~Store() { static_cast<void>(Close()); }

absl::Status Store::Close() {
  if (base::ForkGeneration() != fork_generation_) return CheckUsable();
  if (closed_.exchange(true)) return absl::OkStatus();
  if (upkeep_.joinable()) {
    {
      base::MutexLock lock(upkeep_mutex_);
      upkeep_stop_ = true;
      upkeep_wake_.NotifyAll();
    }
    upkeep_.Join();
  }
  const absl::Status status = log_ != nullptr ? log_->Close() : absl::OkStatus();
  lock_.reset();
  return status;
}

absl::Status Store::CheckUsable() const {
  if (base::ForkGeneration() != fork_generation_) {
    return base::FailedPrecondition(
        "this process is a fork of the one that opened the store; open it anew after fork()");
  }
  if (closed_.load(std::memory_order_acquire)) return base::FailedPrecondition("the store is closed");
  return absl::OkStatus();
}

absl::Status Store::CheckWritable() const {
  FIRN_RETURN_IF_ERROR(CheckUsable());
  if (options_.read_only) return base::FailedPrecondition("the store is open for reading only");
  return absl::OkStatus();
}

}  // namespace firn
