// Opening a store, building its index from the segments' directories, and closing it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/memory.h"
#include "db/image_reader.h"
#include "db/store.h"
#include "log/recovery.h"

namespace firn {
namespace {

constexpr std::string_view kLockFile = "LOCK";
// Below this many keys footers are read about as fast as an index image.
constexpr uint64_t kImageKeysMin = 32'768;

absl::Status CheckOptions(const Options& options, uint64_t max_disk_bytes_min) {
  if (options.memory_budget_bytes < kMemoryBudgetBytesMin) {
    return base::InvalidArgument("memory_budget_bytes is " + std::to_string(options.memory_budget_bytes) +
                                 "; at least " + std::to_string(kMemoryBudgetBytesMin) + " are needed");
  }
  if (options.flush_interval_ms < kFlushIntervalMsMin || options.flush_interval_ms > kFlushIntervalMsMax) {
    return base::InvalidArgument("flush_interval_ms is " + std::to_string(options.flush_interval_ms) +
                                 "; allowed are " + std::to_string(kFlushIntervalMsMin) + " to " +
                                 std::to_string(kFlushIntervalMsMax));
  }
  const uint64_t threshold = options.value_separation_threshold_bytes;
  if (threshold != 0 && (threshold < kValueSeparationThresholdBytesMin || threshold > kValueBytesMax)) {
    return base::InvalidArgument("value_separation_threshold_bytes is " + std::to_string(threshold) +
                                 "; allowed are 0 (never) and " + std::to_string(kValueSeparationThresholdBytesMin) +
                                 " to " + std::to_string(kValueBytesMax));
  }
  const uint32_t alignment = options.value_alignment_bytes;
  if (!std::has_single_bit(alignment) || alignment < kValueAlignmentBytesMin || alignment > kValueAlignmentBytesMax) {
    return base::InvalidArgument("value_alignment_bytes is " + std::to_string(alignment) +
                                 "; allowed are the powers of two from " + std::to_string(kValueAlignmentBytesMin) +
                                 " to " + std::to_string(kValueAlignmentBytesMax));
  }
  // Written so that a NaN is refused too.
  if (!(options.max_space_amplification >= kSpaceAmplificationMin &&
        options.max_space_amplification <= kSpaceAmplificationMax)) {
    return base::InvalidArgument("max_space_amplification is " + std::to_string(options.max_space_amplification) +
                                 "; allowed are 1.1 to 10");
  }
  if (options.max_disk_bytes != 0 && options.max_disk_bytes < max_disk_bytes_min) {
    return base::InvalidArgument("max_disk_bytes is " + std::to_string(options.max_disk_bytes) +
                                 "; allowed are 0 (no quota) and at least " + std::to_string(max_disk_bytes_min));
  }
  if (options.read_only && options.error_if_exists) {
    return base::InvalidArgument(
        "read_only and error_if_exists contradict each other: a read-only open makes no store");
  }
  return absl::OkStatus();
}

}  // namespace

Store::Store(const Options& options, Environment environment)
    : options_(options),
      disk_(std::move(environment.disk)),
      clock_(*environment.clock),
      raw_clock_(*environment.clock),
      random_(*environment.random),
      replayable_(environment.replayable),
      segment_bytes_min_(environment.segment_bytes_min_for_test != 0 ? environment.segment_bytes_min_for_test
                                                                     : log::kSegmentBytesMin),
      ceiling_floor_segments_(environment.ceiling_floor_segments_for_test != 0
                                  ? environment.ceiling_floor_segments_for_test
                                  : reclaim::kCeilingFloorSegments),
      index_bytes_max_(environment.index_bytes_max_for_test != 0 ? environment.index_bytes_max_for_test
                                                                 : options.memory_budget_bytes - kBuffersBytes),
      succession_(environment.succession),
      value_hash_(environment.value_hash_for_test != nullptr ? environment.value_hash_for_test : &base::Hash128),
      read_ahead_(*disk_),
      pacer_(*environment.clock),
      image_keys_min_(environment.image_keys_min_for_test != 0 ? environment.image_keys_min_for_test : kImageKeysMin) {
  const uint64_t cache_bytes_max = std::min(options.memory_budget_bytes - kBuffersBytes, environment.cache_bytes_max);
  if (cache_bytes_max != 0) cache_ = std::make_unique<memory::ValueCache>(epochs_, cache_bytes_max);
  // Where memory is short huge pages would take too large a part of it.
  constexpr uint64_t kHugePagesBudgetBytesMin = uint64_t{64} << 20;
  const uint64_t heap_bytes =
      options_.memory_budget_bytes < kHugePagesBudgetBytesMin ? UINT64_MAX : index::Tree::kHeapBytes;
  tree_ = std::make_unique<index::Tree>(epochs_, heap_bytes);
  expiries_ = std::make_unique<index::Tree>(epochs_, heap_bytes);
}

void Store::Emit(EventKind kind, std::string message) const noexcept {
  if (options_.listener == nullptr) return;
  base::IfMemoryPermits([&] { options_.listener->OnEvent({kind, std::move(message)}); });
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const Options& options, Environment environment) {
  const uint64_t small_segment_bytes = environment.segment_bytes_min_for_test;
  const uint64_t max_disk_bytes_min =
      small_segment_bytes == 0 ? kMaxDiskBytesMin : log::kTailFileBytes + 12 * small_segment_bytes;
  FIRN_RETURN_IF_ERROR(CheckOptions(options, max_disk_bytes_min));
  std::unique_ptr<Store> store(new Store(options, std::move(environment)));
  const uint64_t began = store->raw_clock_.MonotonicNanos();
  const absl::Status opened = store->OpenFiles();
  // The caller's arguments were checked: it is the disk that met something it could do nothing with.
  if (absl::IsInvalidArgument(opened)) FIRN_RETURN_IF_ERROR(store->CheckKinds());
  FIRN_RETURN_IF_ERROR(opened);
  store->open_seconds_ = static_cast<double>(store->raw_clock_.MonotonicNanos() - began) / 1e9;
  store->open_read_bytes_ = store->disk_->counters().read_bytes.load();
  if (!options.read_only) {
    store->read_ahead_.Start();
    store->upkeep_ = base::Thread("firn-upkeep", [s = store.get()] { s->RunUpkeep(); });
  }
  return store;
}

// DataLoss where something else stands in the place of a file or a folder of the store.
absl::Status Store::CheckKinds() {
  const auto check = [this](std::string_view name, const absl::Status& opened, const char* kind) {
    if (!absl::IsInvalidArgument(opened)) return absl::OkStatus();
    return base::DataLoss(std::string(disk_->path()) + "/" + std::string(name) + " is not a " + kind +
                          ": what stands in its place has to be moved away first");
  };
  for (const std::string_view file : {kSuperblockFile, kLockFile, log::kTailFile}) {
    FIRN_RETURN_IF_ERROR(check(file, disk_->Open(file, io::OpenMode::kRead).status(), "regular file"));
  }
  for (const std::string_view folder : {log::kLogFolder, values::kValuesFolder}) {
    FIRN_RETURN_IF_ERROR(check(folder, disk_->List(folder).status(), "directory"));
  }
  return absl::OkStatus();
}

absl::Status Store::OpenFiles() {
  const std::string path(disk_->path());
  if (!disk_->fallback_reason().empty()) Emit(EventKind::kDiskFallback, std::string(disk_->fallback_reason()));
  // Locking makes a file: not in a directory that has no store and is to get none.
  const bool may_create = options_.create_if_missing && !options_.read_only;
  if (!may_create && absl::IsNotFound(disk_->Open(kSuperblockFile, io::OpenMode::kRead).status())) {
    FIRN_RETURN_IF_ERROR(CheckNoStore().status());
    return base::NotFound(path + ": there is no store here");
  }
  auto lock = disk_->Lock(kLockFile, !options_.read_only);
  if (absl::IsNotFound(lock.status()) && options_.read_only) {
    return base::FailedPrecondition(path +
                                    ": LOCK is missing beside SUPERBLOCK, so that nothing tells whether a process "
                                    "writes here; an open for writing makes it anew");
  }
  if (absl::IsNotFound(lock.status())) return base::NotFound(path + ": there is no store here");
  if (!lock.ok()) return lock.status();
  lock_ = *std::move(lock);

  FIRN_ASSIGN_OR_RETURN(const bool exists, LoadSuperblock());
  if (exists && options_.error_if_exists) {
    return base::FailedPrecondition(path + ": there is a store already, and error_if_exists is set");
  }
  if (!exists) {
    if (!may_create) return base::NotFound(path + ": there is no store here");
    FIRN_RETURN_IF_ERROR(PrepareFreshDirectory());
  }
  // A store whose maker died just before its last sync of the folder must not lose its name now.
  if (exists && !options_.read_only) FIRN_RETURN_IF_ERROR(disk_->SyncFolder(""));
  const auto on_event = [this](EventKind kind, std::string message) {
    Emit(kind, std::move(message));
    if (kind == EventKind::kSegmentSealed) WakeUpkeep();  // space has grown: reclaim may have to work
  };
  room_ = std::make_unique<io::Room>(
      *disk_,
      io::RoomOptions{.quota_bytes = options_.max_disk_bytes, .on_change = [this](bool full, std::string message) {
                        Emit(full ? EventKind::kDiskFull : EventKind::kDiskRoom, std::move(message));
                        if (full) WakeUpkeep();  // garbage becomes room
                      }});
  constexpr std::string_view kFolders[] = {"", log::kLogFolder, values::kValuesFolder};
  FIRN_RETURN_IF_ERROR(room_->Open(kFolders, options_.read_only));
  log::RecoveredLog recovered;
  absl::Status status = Recover(exists, on_event, recovered);
  if (!status.ok() && image_failed_) {
    // It may be wrong in a way that shows only when all of it has been read.
    IgnoreImage(std::string(status.message()));
    recovered = {};
    for (const NamespaceEntry& each : namespaces_.All()) namespaces_.Install(namespaces_.Without(each.id));
    status = Recover(exists, on_event, recovered);
  }
  FIRN_RETURN_IF_ERROR(status);
  const bool clean = recovered.clean;
  log::LogOptions log_options{.segment_bytes_min = segment_bytes_min_,
                              .flush_interval_ms = options_.flush_interval_ms,
                              .clock = &clock_,
                              .monotonic_clock = &raw_clock_,
                              .random = &random_,
                              .on_event = on_event,
                              // Rule 4: what a record points to is durable before the record can be.
                              .before_write = [this] { return values_->Sync(); },
                              .room = room_.get(),
                              .prepare = [this] { values_->PrepareNext(); }};
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
  FIRN_RETURN_IF_ERROR(values_->FinishRecovery(clean));
  if (image_ != nullptr) {
    NoteImage(image_->head(), image_->layout().file_bytes);
    open_image_records_ = image_->head().records;
    image_.reset();
  }
  FitCache(IndexMemoryBytes());
  if (!exists && !succession_.unfinished) FIRN_RETURN_IF_ERROR(FinishMaking());
  versions_ = std::make_unique<Versions>(*log_);
  return absl::OkStatus();
}

// What the files say: the log's end and its segments, the values, and the index of all that.
absl::Status Store::Recover(bool exists, const std::function<void(EventKind, std::string)>& on_event,
                            log::RecoveredLog& recovered) {
  FIRN_ASSIGN_OR_RETURN(values_, values::ValueStore::Open(*disk_, superblock_, epochs_,
                                                          {.alignment_bytes = options_.value_alignment_bytes,
                                                           .clock = &clock_,
                                                           .random = &random_,
                                                           .hash = value_hash_,
                                                           .read_only = options_.read_only,
                                                           .use_callers_memory = !replayable_,
                                                           .room = room_.get(),
                                                           .on_next_due = [this] { log_->KickPreparing(); }}));
  if (exists) OpenImage();
  FIRN_ASSIGN_OR_RETURN(
      recovered, log::RecoverLog(*disk_, superblock_, !exists,
                                 {.read_only = options_.read_only,
                                  .salvage = options_.salvage,
                                  .on_event = on_event,
                                  .believe_tail_unit = [this](base::Bytes payload) { return RestoreValues(payload); },
                                  .image = image_ == nullptr ? nullptr : &image_->head()}));
  found_clean_ = recovered.clean;
  found_closed_ = recovered.closed;
  if (options_.read_only) found_by_open_ = std::move(recovered.damages);
  clock_.Advance(std::max(recovered.time_ms, succession_.time_ms));
  recovered.next_namespace_id = std::max(recovered.next_namespace_id, succession_.next_namespace_id);
  FIRN_RETURN_IF_ERROR(AskImage(recovered));
  const absl::Status built = BuildIndex(recovered);
  image_failed_ = image_ != nullptr && absl::IsDataLoss(built);
  return built;
}

// One damage for each file, however many values are lost with it.
void Store::NoteLostValue(const format::ExtentName& pointer, std::string_view index_key, const absl::Status& why) {
  const std::string file = values::ValueFileName(pointer.file);
  auto damage =
      std::find_if(found_by_open_.begin(), found_by_open_.end(), [&](const Damage& each) { return each.file == file; });
  if (damage == found_by_open_.end()) {
    const std::string what = "values are lost; the first: " + std::string(why.message());
    found_by_open_.push_back({.file = file, .offset = pointer.offset, .bytes = pointer.length, .what = what});
    damage = found_by_open_.end() - 1;
  }
  const uint64_t end = std::max(damage->offset + damage->bytes, pointer.offset + pointer.length);
  damage->offset = std::min(damage->offset, pointer.offset);
  damage->bytes = end - damage->offset;
  ++damage->keys_in_all;
  if (damage->keys.size() >= kAffectedKeysMax) return;
  damage->keys.push_back({NamespaceNameOf(index_key), std::string(index_key.substr(kNamespacePrefixBytes))});
}

// Empty for the default one.
std::string Store::NamespaceNameOf(std::string_view index_key) const {
  for (const NamespaceEntry& each : namespaces_.All()) {
    if (each.id == NamespaceOf(index_key)) return each.name;
  }
  return {};
}

// Of a killed process's shared memory only: a power cut may have left the records and taken the values they point to.
absl::StatusOr<bool> Store::RestoreValues(base::Bytes payload) {
  bool any = false;
  for (size_t at = 0; at < payload.size();) {
    const auto decoded = format::ParseRecord(payload.subspan(at));
    if (!decoded) return false;
    at += decoded->size_bytes;
    if ((decoded->record.flags & format::record_flags::kValuePointer) == 0) continue;
    const auto pointer = format::DecodeValuePointer(decoded->record.value);
    if (!pointer) return false;
    const absl::StatusOr<bool> whole = values_->Restore(*pointer);
    if (options_.salvage && absl::IsDataLoss(whole.status())) return false;
    FIRN_RETURN_IF_ERROR(whole.status());
    if (!*whole) return false;
    any = true;
  }
  if (any && !options_.read_only) FIRN_RETURN_IF_ERROR(values_->Sync());
  return true;
}

Store::~Store() {
  base::IfMemoryPermits([this] { static_cast<void>(Close()); });
}

absl::Status Store::Close() {
  if (base::ForkGeneration() != fork_generation_) return CheckUsable();
  if (closed_.exchange(true)) return close_status_;
  if (upkeep_.joinable()) {
    {
      base::MutexLock lock(upkeep_mutex_);
      upkeep_stop_ = true;
      upkeep_wake_.NotifyAll();
      room_wake_.NotifyAll();
    }
    upkeep_.Join();
  }
  read_ahead_.Stop();
  absl::Status status = base::OrOutOfMemory([this]() -> absl::Status {
    if (log_ == nullptr) return absl::OkStatus();
    // Values first: an end that the log calls clean says that their newest file ends where it ends.
    if (!options_.read_only) {
      FIRN_RETURN_IF_ERROR(log_->health());
      FIRN_RETURN_IF_ERROR(log_->WaitDurable(log_->LastReserved()));
      values_->FreeDropped(log_->durable_revision());
      FIRN_RETURN_IF_ERROR(values_->Close());
    }
    return log_->Close();
  });
  if (status.ok() && log_ != nullptr) ImageAtClose();
  // However that ended: who opens the store next must not meet writes of ours.
  if (log_ != nullptr) log_->Stop();
  lock_.reset();
  return close_status_ = status;
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
