// Opening a store, building its index from the segments' directories, and closing it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/directory_merge.h"
#include "db/store.h"
#include "log/recovery.h"

namespace firn {
namespace {

constexpr std::string_view kLockFile = "LOCK";

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

// The versions of one key as they come out of the directories, oldest first, boiled down to the newest state.
struct KeyState {
  log::Segment* put_segment = nullptr;  // null: absent
  Version version;
  log::Segment* change_segment = nullptr;
  std::string value_pointer;  // encoded; empty: the value is in the record

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
        value_pointer = record.value_pointer;
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
      pacer_(*environment.clock) {
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
  FIRN_ASSIGN_OR_RETURN(values_, values::ValueStore::Open(*disk_, superblock_, epochs_,
                                                          {.alignment_bytes = options_.value_alignment_bytes,
                                                           .clock = &clock_,
                                                           .random = &random_,
                                                           .hash = value_hash_,
                                                           .read_only = options_.read_only,
                                                           .use_callers_memory = !replayable_,
                                                           .room = room_.get(),
                                                           .on_next_due = [this] { log_->KickPreparing(); }}));
  FIRN_ASSIGN_OR_RETURN(
      log::RecoveredLog recovered,
      log::RecoverLog(*disk_, superblock_, !exists,
                      {.read_only = options_.read_only,
                       .salvage = options_.salvage,
                       .on_event = on_event,
                       .believe_tail_unit = [this](base::Bytes payload) { return RestoreValues(payload); }}));
  const bool clean = recovered.clean;
  found_clean_ = clean;
  found_closed_ = recovered.closed;
  if (options_.read_only) found_by_open_ = std::move(recovered.damages);
  clock_.Advance(std::max(recovered.time_ms, succession_.time_ms));
  recovered.next_namespace_id = std::max(recovered.next_namespace_id, succession_.next_namespace_id);
  FIRN_RETURN_IF_ERROR(BuildIndex(recovered.segments, recovered.next_namespace_id, clean));
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
  FitCache(IndexMemoryBytes());
  if (!exists && !succession_.unfinished) FIRN_RETURN_IF_ERROR(FinishMaking());
  versions_ = std::make_unique<Versions>(*log_);
  return absl::OkStatus();
}

// Merges the directories by key and loads the index with what is newest. The system namespace sorts first, so which
// namespaces exist is known before their keys come.
absl::Status Store::BuildIndex(std::vector<log::RecoveredSegment>& segments, uint32_t& next_namespace_id, bool clean) {
  index::Tree::BulkLoader entries(*tree_), expiries(*expiries_);
  const int64_t now_ms = clock_.NowMs();
  std::string index_key;
  for (const log::RecoveredSegment& each : segments) {
    each.segment->record_bytes = 0;
    if (options_.read_only || each.segment->filter != nullptr) continue;
    each.segment->filter = std::make_unique<base::KeyFilter>(each.directory.summary().records);
  }
  uint64_t filter_bytes = 0, adopted_values = 0;
  for (const log::RecoveredSegment& each : segments) {
    if (each.segment->filter != nullptr) filter_bytes += each.segment->filter->memory_bytes();
  }
  DirectoryMerge merge(segments);
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
    const uint64_t key_hash = base::Hash64(base::AsBytes(index_key));  // log::KeyHash() of the two
    for (; same_key(); merge.Next()) {
      state.Apply(merge.entry(), merge.segment());
      if (const auto pointer = format::DecodeValuePointer(base::AsBytes(merge.entry().value_pointer))) {
        values_->NoteFile(pointer->file);
      }
      merge.segment()->record_bytes += merge.entry().size;
      if (merge.segment()->filter != nullptr) merge.segment()->filter->Add(key_hash);
    }
    next_namespace_id = std::max(next_namespace_id, namespace_id + 1);
    if (namespace_id == format::kSystemNamespace) {
      const auto entry = ParseNamespaceRecordKey(std::string_view(index_key).substr(kNamespacePrefixBytes));
      if (!entry) continue;
      next_namespace_id = std::max(next_namespace_id, entry->id + 1);  // dropped ones too: an id is never used again
      if (state.put_segment != nullptr) {
        // Where salvage has lost the record of a drop, a name may come up again: the later namespace has it.
        if (const auto earlier = namespaces_.Find(entry->name)) namespaces_.Install(namespaces_.Without(*earlier));
        namespaces_.Install(namespaces_.With(*entry));
      }
    }
    if (state.put_segment == nullptr) continue;
    // After any other end all that is not named is given back. Salvaging may not know a namespace that was not dropped.
    const auto note_dead_value = [&] {
      if (!clean || options_.salvage) return;
      const auto pointer = format::DecodeValuePointer(base::AsBytes(state.value_pointer));
      if (pointer) values_->NoteDead(*pointer);
    };
    if (namespace_id != format::kSystemNamespace && !IsAlive(namespace_id)) {
      note_dead_value();
      continue;
    }
    const int64_t expires_at_ms = state.version.expiry.at_ms;
    if (expires_at_ms != 0 && expires_at_ms <= now_ms) {
      // Rule 2: from now on it is a tombstone for whatever older segments hold of the key.
      state.put_segment->tombstones.fetch_add(1, std::memory_order_relaxed);
      if (state.change_segment != nullptr) state.change_segment->tombstones.fetch_add(1, std::memory_order_relaxed);
      note_dead_value();
      continue;
    }
    if (!state.value_pointer.empty()) {
      FIRN_ASSIGN_OR_RETURN(const bool adopted, AdoptValue(state.value_pointer, index_key, state.version.entry));
      if (!adopted) continue;
      ++adopted_values;
    }
    entries.Add(index_key, state.version.entry);
    state.put_segment->live_records.fetch_add(1, std::memory_order_relaxed);
    state.put_segment->live_bytes.fetch_add(RecordBytes(state.version.entry), std::memory_order_relaxed);
    if ((state.version.entry.flags & entry_flags::kHasExpiry) != 0)
      expiries.Add(index_key, state.version.expiry.Pack());
    if (state.change_segment != nullptr) {
      state.change_segment->live_records.fetch_add(1, std::memory_order_relaxed);
      state.change_segment->live_bytes.fetch_add(state.version.expiry.change_size, std::memory_order_relaxed);
    }
    constexpr uint64_t kExtentBytes = 48;  // in the extent table
    side_memory_bytes_.store(filter_bytes + adopted_values * kExtentBytes, std::memory_order_relaxed);
    if (IndexMemoryBytes() > options_.memory_budget_bytes) break;
  }
  const bool whole = merge.done();
  entries.Finish();
  expiries.Finish();
  if (whole) return absl::OkStatus();
  return base::ResourceExhausted(std::string(disk_->path()) + ": the index does not fit into memory_budget_bytes = " +
                                 std::to_string(options_.memory_budget_bytes) + "; open with a larger budget");
}

// The extent gets its reference, and the entry its slot. False if it cannot be had and salvaging goes on without.
absl::StatusOr<bool> Store::AdoptValue(std::string_view encoded, std::string_view index_key, index::Entry& entry) {
  const auto pointer = format::DecodeValuePointer(base::AsBytes(encoded));
  absl::Status why = pointer ? absl::OkStatus() : base::DataLoss("a value pointer in a footer cannot be read");
  if (pointer) {
    const auto slot = values_->Adopt(*pointer);
    if (slot.ok()) {
      SetSeparated(entry, *slot);
      return true;
    }
    why = slot.status();
  }
  if (!absl::IsDataLoss(why)) return why;
  const std::string namespace_name = NamespaceNameOf(index_key);
  const std::string message =
      std::string(disk_->path()) + ": the value of key " +
      base::Quoted(base::AsBytes(index_key.substr(kNamespacePrefixBytes))) +
      (namespace_name.empty() ? "" : " in namespace " + base::Quoted(base::AsBytes(namespace_name))) +
      " is lost: " + std::string(why.message());
  if (!options_.salvage) {
    return base::DataLoss(message + ". Options::salvage (firn --salvage) opens the store without such keys");
  }
  Emit(EventKind::kDamageFound, message);
  if (options_.read_only) NoteLostValue(pointer.value_or(format::ValuePointer{}), index_key, why);
  return false;
}

// One damage for each file, however many values are lost with it.
void Store::NoteLostValue(const format::ValuePointer& pointer, std::string_view index_key, const absl::Status& why) {
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
