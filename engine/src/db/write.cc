// All changes: check, lock, condition, reserve, encode, publish, wait.
#include <algorithm>
#include <bit>
#include <utility>

#include <absl/container/inlined_vector.h>

#include "base/hash.h"
#include "base/memory.h"
#include "db/planned.h"

namespace firn {
namespace {

using Kind = Batch::Operation::Kind;

absl::Status CheckKey(std::string_view key) {
  if (key.size() < kKeyBytesMin) return base::InvalidArgument("the key is empty; a key has 1 to 65535 bytes");
  if (key.size() > kKeyBytesMax) {
    return base::InvalidArgument("the key has " + std::to_string(key.size()) + " bytes; a key has 1 to 65535");
  }
  return absl::OkStatus();
}

absl::Status CheckOperation(const WriteOperation& operation) {
  FIRN_RETURN_IF_ERROR(CheckKey(operation.key));
  if (operation.value.size() > kValueBytesMax) {
    return base::InvalidArgument("the value has " + std::to_string(operation.value.size()) +
                                 " bytes; a value has at most " + std::to_string(kValueBytesMax));
  }
  if (operation.metadata.size() > kMetadataBytesMax) {
    return base::InvalidArgument("the metadata has " + std::to_string(operation.metadata.size()) + " bytes; at most " +
                                 std::to_string(kMetadataBytesMax) + " are allowed");
  }
  if (operation.expires_at_ms < 0 || operation.expires_at_ms > kExpiryMsMax) {
    return base::InvalidArgument("the expiry " + std::to_string(operation.expires_at_ms) +
                                 " is out of range; it is milliseconds since 1970, 0 (never) to " +
                                 std::to_string(kExpiryMsMax));
  }
  return absl::OkStatus();
}

format::RecordType TypeOf(Kind kind) {
  switch (kind) {
    case Kind::kPut:
      return format::RecordType::kPut;
    case Kind::kDelete:
      return format::RecordType::kDelete;
    case Kind::kSetExpiry:
      return format::RecordType::kExpiryChange;
  }
  return format::RecordType::kPadding;
}

// What makes room sooner or later goes on where there is none.
bool Frees(const WriteOperation& operation) {
  return operation.kind == Kind::kDelete || (operation.kind == Kind::kSetExpiry && operation.expires_at_ms != 0);
}

}  // namespace

base::Mutex& Store::StripeOf(std::string_view index_key) const {
  return stripes_[base::Hash64(base::AsBytes(index_key)) % kStripes];
}

absl::StatusOr<Revision> Store::Write(const WriteOperation& operation, Durability durability) {
  OperationTimer timer(operation.kind == Kind::kDelete ? deletes_ : puts_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckWritable());
  FIRN_RETURN_IF_ERROR(CheckOperation(operation));
  Planned planned(operation);
  return Commit({&planned, 1}, durability);
}

// What a write would be refused for at its end, as far as that can be told now.
absl::Status Store::CheckAhead(const WriteOperation& operation) const {
  FIRN_RETURN_IF_ERROR(CheckOperation(operation));
  Planned planned(operation);
  FIRN_RETURN_IF_ERROR(Plan(planned));
  return CheckRoom({&planned, 1});
}

// A put whose value came as a stream and lies in its extent already.
absl::StatusOr<Revision> Store::WriteStored(const WriteOperation& operation, const values::ValueStore::Stored& stored,
                                            uint64_t value_bytes, Durability durability) {
  OperationTimer timer(puts_, raw_clock_);
  std::optional<Planned> planned;
  const absl::StatusOr<Revision> revision = base::OrOutOfMemory([&]() -> absl::StatusOr<Revision> {
    planned.emplace(operation);
    planned->slot = stored.slot;
    planned->pointer = format::EncodeValuePointer(stored.pointer);
    const std::span<Planned> one(&*planned, 1);
    AwaitRunway(one);
    FIRN_RETURN_IF_ERROR(CheckOperation(operation));
    auto committed = CommitSeparated(one, durability);
    for (int waits = 0; io::IsNoRoom(committed.status()) && AwaitRoom(waits);) {
      committed = CommitSeparated(one, durability);
    }
    return committed;
  });
  if (!planned || planned->slot) ReleaseUnpublished(stored.slot);
  if (revision.ok()) user_bytes_written_.Add(value_bytes);
  unfreed_bytes_.fetch_add(value_bytes, std::memory_order_relaxed);
  if (!revision.ok() || planned->current) pacer_.Grew(value_bytes);
  return revision;
}

absl::StatusOr<Revision> Store::Apply(const Batch& batch, Durability durability) {
  OperationTimer timer(batches_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckWritable());
  if (batch.incomplete()) return base::OutOfMemory();  // while it was made
  if (batch.payload_bytes() > kBatchBytesMax) {
    return base::InvalidArgument("the batch has " + std::to_string(batch.payload_bytes()) +
                                 " bytes of keys, metadata and values; at most " + std::to_string(kBatchBytesMax) +
                                 " are allowed");
  }
  std::vector<Planned> planned;
  planned.reserve(batch.size());
  for (const Batch::Operation& o : batch.operations()) {
    const WriteOperation operation{.kind = o.kind,
                                   .namespace_id = o.namespace_id,
                                   .key = batch.key(o),
                                   .value = batch.value(o),
                                   .metadata = batch.metadata(o),
                                   .expires_at_ms = o.expires_at_ms,
                                   .condition = o.condition};
    FIRN_RETURN_IF_ERROR(CheckOperation(operation));
    planned.emplace_back(operation);
  }
  // The last operation on a key counts; an expiry change after a put of the same batch becomes part of the put.
  std::vector<Planned*> last(std::bit_ceil(2 * planned.size() + 1));  // by hash of the key, with linear probing
  for (Planned& each : planned) {
    const std::string_view key = each.key.view();
    size_t at = base::Hash64(base::AsBytes(key)) % last.size();
    while (last[at] != nullptr && last[at]->key.view() != key) at = (at + 1) % last.size();
    if (last[at] == nullptr) {
      last[at] = &each;
      continue;
    }
    Planned& earlier = *last[at];
    if (each.operation.kind == Kind::kSetExpiry && earlier.operation.kind == Kind::kDelete) {
      return base::NotFound("an expiry change follows the delete of the same key in the batch");
    }
    if (each.operation.kind == Kind::kSetExpiry && earlier.operation.kind == Kind::kPut) {
      earlier.operation.expires_at_ms = each.operation.expires_at_ms;
      each.superseded = true;
    } else {
      earlier.superseded = true;
      last[at] = &each;
    }
  }
  return Commit(planned, durability);
}

absl::StatusOr<Revision> Store::Commit(std::span<Planned> planned, Durability durability) {
  uint64_t bytes = 0;
  for (const Planned& each : planned) bytes += each.operation.key.size() + each.operation.value.size();
  Throttle(bytes);
  AwaitRunway(planned);
  const auto attempt = [&] {
    return base::OrOutOfMemory([&]() -> absl::StatusOr<Revision> {
      FIRN_RETURN_IF_ERROR(Separate(planned, durability));
      return CommitSeparated(planned, durability);
    });
  };
  auto revision = attempt();
  for (int waits = 0; io::IsNoRoom(revision.status()) && AwaitRoom(waits);) revision = attempt();
  // What was not published is nobody's.
  for (const Planned& each : planned) {
    if (each.slot) ReleaseUnpublished(*each.slot);
  }
  return revision;
}

// Of an extent whose record was not published. As long as the log is healthy no such record was written; else one may
// be on disk, and count at the next open: until then the extent stays.
void Store::ReleaseUnpublished(values::Slot extent) {
  constexpr uint64_t kNeverDurable = UINT64_MAX;
  values_->Release(extent, log_->health().ok() ? 0 : kNeverDurable);
}

void Store::Throttle(uint64_t bytes) {
  if (pacer_.Throttle(bytes) != 0) WakeUpkeep();  // which may not know yet how far writers have come
}

// Once for the whole, however much it writes.
void Store::AwaitRunway(std::span<const Planned> planned) {
  uint64_t waited_nanos = log_->AwaitRunway(), separated_bytes = 0;
  for (const Planned& each : planned) {
    const uint64_t size = each.operation.value.size();
    if (each.operation.kind == Kind::kPut && IsSeparate(size)) separated_bytes += size;
  }
  if (separated_bytes != 0 && log_->health().ok()) {
    waited_nanos += values_->AwaitRunway(separated_bytes, raw_clock_, log::Log::kRunwayWaitNanosMax);
  }
  if (waited_nanos != 0) runway_nanos_.fetch_add(waited_nanos, std::memory_order_relaxed);
}

// Large values go to their extents before any lock is taken.
absl::Status Store::Separate(std::span<Planned> planned, Durability durability) {
  // A lone value that is waited for goes straight to the device; others overlap with each other, or with the caller.
  const bool alone = durability == Durability::kSynced && planned.size() == 1;
  const io::Flush flush = alone ? io::Flush::kNone : io::Flush::kBehind;
  for (Planned& each : planned) {
    const uint64_t size = each.operation.value.size();
    if (each.superseded || each.slot || each.operation.kind != Kind::kPut || !IsSeparate(size)) continue;
    // A condition that does not hold now is not worth the writing, nor is a store that is poisoned or has no memory for
    // the key; all that is checked again under the lock.
    FIRN_RETURN_IF_ERROR(log_->health());
    FIRN_RETURN_IF_ERROR(Plan(each));
    FIRN_RETURN_IF_ERROR(CheckRoom({&each, 1}));
    FIRN_ASSIGN_OR_RETURN(values::ValueStore::Stored stored, values_->Put(base::AsBytes(each.operation.value), flush));
    each.slot = stored.slot;
    each.pointer = format::EncodeValuePointer(stored.pointer);
    unfreed_bytes_.fetch_add(size, std::memory_order_relaxed);
    if (each.current) pacer_.Grew(size);  // a new key raises the ceiling as well
  }
  // Overwriting frees as much as it writes: that must not wait for the next turn.
  constexpr uint64_t kWakeBytes = uint64_t{8} << 20;
  if (unfreed_bytes_.load(std::memory_order_relaxed) > kWakeBytes) {
    unfreed_bytes_.store(0, std::memory_order_relaxed);
    WakeUpkeep();
  }
  return absl::OkStatus();
}

bool Store::IsSeparate(uint64_t value_bytes) const {
  const uint64_t threshold = options_.value_separation_threshold_bytes, alignment = options_.value_alignment_bytes;
  if (threshold == 0 || value_bytes < threshold) return false;
  const uint64_t slack = base::RoundUp(value_bytes, alignment) - value_bytes;
  return alignment > kValueAlignmentBytesMin || slack <= value_bytes / 8;
}

absl::StatusOr<Revision> Store::CommitSeparated(std::span<Planned> planned, Durability durability) {
  absl::InlinedVector<base::Mutex*, 4> stripes;
  for (const Planned& each : planned) stripes.push_back(&StripeOf(each.key.view()));
  std::sort(stripes.begin(), stripes.end());
  stripes.erase(std::unique(stripes.begin(), stripes.end()), stripes.end());
  const auto locked_part = [&]() -> absl::StatusOr<Revision> {
    base::MutexesLock locks(stripes);
    for (Planned& each : planned) FIRN_RETURN_IF_ERROR(Plan(each));
    FIRN_RETURN_IF_ERROR(CheckRoom(planned));
    absl::InlinedVector<Planned*, 4> effective;
    for (Planned& each : planned) {
      if (each.writes) effective.push_back(&each);
    }
    // Nothing to write. The newest revision covers whatever made it so, such as another's delete of the key.
    if (effective.empty()) return log_->LastReserved();
    return Append(effective);
  };
  auto revision = locked_part();
  if (!revision.ok()) return revision;

  // Whoever was told of this write finds it in every later read, multi-key reads included.
  log_->published().WaitFor(*revision);
  uint64_t garbage_bytes = 0;  // what hides another record makes as much garbage, roughly, as it takes
  for (const Planned& each : planned) {
    if (!each.writes) continue;
    if (each.operation.kind == Kind::kDelete) EraseTombstone(each.key.view());
    if (each.current) garbage_bytes += each.record_bytes;
    CacheWritten(each);
  }
  pacer_.Grew(garbage_bytes);
  FIRN_RETURN_IF_ERROR(durability == Durability::kSynced ? log_->WaitDurable(*revision) : log_->CheckTail(*revision));
  return revision;
}

// The key's lock is held: looks at what is there and decides what to write.
absl::Status Store::Plan(Planned& planned) const {
  const WriteOperation& operation = planned.operation;
  if (!IsAlive(operation.namespace_id)) {
    return base::NotFound("namespace " + std::to_string(operation.namespace_id) + " does not exist (any more)");
  }
  base::EpochGuard guard(epochs_);
  planned.found = tree_->Find(planned.key.view());
  planned.current = planned.found ? LocateFrom(planned.key.view(), *planned.found, kNewest) : std::nullopt;
  if (!log_->health().ok()) {
    // What the next open may find otherwise refuses no write, nor does it make one needless.
    FIRN_RETURN_IF_ERROR(planned.current ? CheckServable(*planned.current) : CheckAbsenceServable(kNewest));
  }
  const bool present = planned.current.has_value();
  switch (operation.condition.kind()) {
    case Condition::Kind::kNone:
      break;
    case Condition::Kind::kAbsent:
      if (present) return base::FailedPrecondition("condition failed: the key is present");
      break;
    case Condition::Kind::kPresent:
      if (!present) return base::FailedPrecondition("condition failed: the key is absent");
      break;
    case Condition::Kind::kRevisionEquals:
      if (!present) return base::FailedPrecondition("condition failed: the key is absent");
      if (planned.current->entry.revision != operation.condition.revision()) {
        return base::FailedPrecondition("condition failed: the key's revision is " +
                                        std::to_string(planned.current->entry.revision) + ", not " +
                                        std::to_string(operation.condition.revision()));
      }
  }
  planned.writes = !planned.superseded;
  if (planned.superseded) return absl::OkStatus();
  if (operation.kind == Kind::kSetExpiry && !present)
    return base::NotFound("the key whose expiry is to change is absent");
  if (operation.kind == Kind::kDelete && !present) {
    // What has merely expired gets its tombstone: the time it expired by may not be recorded yet, and the next open may
    // find an earlier clock. What the sweep took out of the index had its time recorded.
    planned.writes = planned.found && (planned.found->flags & entry_flags::kTombstone) == 0;
  }

  planned.record = {.type = TypeOf(operation.kind),
                    .namespace_id = operation.namespace_id,
                    .expires_at_ms = operation.kind == Kind::kDelete ? 0 : operation.expires_at_ms,
                    .key = base::AsBytes(operation.key)};
  if (operation.kind == Kind::kPut) {
    planned.record.metadata = base::AsBytes(operation.metadata);
    planned.record.value = base::AsBytes(planned.slot ? std::string_view(planned.pointer) : operation.value);
    planned.record.flags = planned.slot ? format::record_flags::kValuePointer : uint8_t{0};
  }
  planned.record_bytes = format::RecordSize(planned.record);
  return absl::OkStatus();
}

// What the memory budget has to hold of everything that grows with the number of keys.
uint64_t Store::IndexMemoryBytes() const {
  return tree_->memory_bytes() + tree_->free_bytes() + expiries_->memory_bytes() + expiries_->free_bytes() +
         side_memory_bytes_.load(std::memory_order_relaxed);
}

// Room in the index for keys that are new, and for expiry times of keys that had none. All else needs none.
absl::Status Store::CheckRoom(std::span<const Planned> planned) const {
  uint64_t needed = 0;
  for (const Planned& each : planned) {
    constexpr uint64_t kEntryBytes = 96;  // with its share of a half-full node
    const uint64_t bytes = kEntryBytes + each.key.view().size();
    if (!each.writes || each.operation.kind == Kind::kDelete) continue;
    if (!each.current) needed += bytes;
    const bool had_expiry = each.current && (each.current->entry.flags & entry_flags::kHasExpiry) != 0;
    const bool gets_expiry = each.operation.kind == Kind::kSetExpiry || each.operation.expires_at_ms != 0;
    if (gets_expiry && !had_expiry) needed += bytes;
  }
  if (needed == 0) return absl::OkStatus();
  const uint64_t used = IndexMemoryBytes();
  if (used + needed <= index_bytes_max_) {
    FitCache(used + needed);
    return absl::OkStatus();
  }
  return base::ResourceExhausted(
      "the index takes " + std::to_string(used) +
      " bytes and has no room for a new key or expiry time; raise memory_budget_bytes (now " +
      std::to_string(options_.memory_budget_bytes) + ") or delete keys");
}

// Places in the index for what is about to be appended, which is all the memory that making it visible needs. They are
// given up unless everything was published. The keys' locks are held.
class Store::Places {
 public:
  Places(Store& store, std::span<Planned* const> effective) : store_(store), effective_(effective) {
    try {
      for (Planned* each : effective_) Hold(*each);
    } catch (const std::bad_alloc&) {
      GiveUp();
      throw;
    }
  }
  ~Places() { GiveUp(); }
  Places(const Places&) = delete;
  void Done() { effective_ = {}; }

 private:
  void Hold(Planned& planned) {
    const std::string_view key = planned.key.view();
    if (!planned.found) {
      store_.tree_->Upsert(key, kPlaceholder);
      planned.new_entry = true;
    }
    const WriteOperation& operation = planned.operation;
    const bool had_expiry = planned.found && (planned.found->flags & entry_flags::kHasExpiry) != 0;
    const bool gets_expiry =
        operation.kind == Kind::kSetExpiry || (operation.kind == Kind::kPut && operation.expires_at_ms != 0);
    if (gets_expiry && !had_expiry) {
      store_.expiries_->Upsert(key, kPlaceholder);
      planned.new_expiry = true;
    }
  }
  void GiveUp() {
    for (Planned* each : effective_) {
      if (std::exchange(each->new_entry, false)) store_.tree_->Erase(each->key.view());
      if (std::exchange(each->new_expiry, false)) store_.expiries_->Erase(each->key.view());
    }
  }

  Store& store_;
  std::span<Planned* const> effective_;
};

absl::StatusOr<Revision> Store::Append(std::span<Planned* const> effective) {
  uint64_t bytes = 0, key_bytes = 0, user_bytes = 0;
  bool frees = true;
  for (const Planned* each : effective) {
    frees = frees && Frees(each->operation);
    bytes += each->record_bytes;
    key_bytes += each->operation.key.size() + each->pointer.size();
    user_bytes += each->operation.key.size() + each->operation.value.size() + each->record.metadata.size();
  }
  Places places(*this, effective);
  FIRN_ASSIGN_OR_RETURN(const log::Log::Slot slot,
                        log_->Reserve(bytes, static_cast<uint32_t>(effective.size()), key_bytes,
                                      frees ? io::Claimant::kDelete : io::Claimant::kWrite));
  // From here on the revision is drawn: it must be published whatever happens, and nothing may ask for memory that
  // cannot do without.
  const bool keep = versions_->AnyView();
  uint64_t at = 0;
  for (Planned* each : effective) {
    each->record.revision = slot.revision;
    if (each != effective.back()) each->record.flags |= format::record_flags::kInBatch;
    const auto offset = static_cast<uint32_t>(slot.offset + at);
    format::EncodeRecord(each->record, *slot.seed, offset, slot.memory + at);
    each->place = {.segment = slot.segment,
                   .offset = offset,
                   .size = static_cast<uint32_t>(each->record_bytes),
                   .revision = slot.revision};
    at += each->record_bytes;
    if (each->operation.kind == Kind::kDelete) {
      slot.owner->tombstones.fetch_add(1, std::memory_order_relaxed);
    } else {
      slot.owner->live_records.fetch_add(1, std::memory_order_relaxed);
      slot.owner->live_bytes.fetch_add(static_cast<int64_t>(each->record_bytes), std::memory_order_relaxed);
    }
  }
  log_->Complete(slot);
  if (slot.publish_after_write) {
    if (absl::Status status = log_->WaitWritten(slot.revision); !status.ok()) {
      log_->published().Publish(slot.revision);
      return status;
    }
  }
  for (Planned* each : effective) Publish(*each, slot.revision, keep);
  places.Done();
  log_->published().Publish(slot.revision);
  user_bytes_written_.Add(user_bytes);
  return slot.revision;
}

// Makes the change visible. What it replaces is kept for views, or its record is dead from here on.
void Store::Publish(Planned& planned, uint64_t revision, bool keep) noexcept {
  const std::string_view key = planned.key.view();
  std::optional<Version> old;
  if (planned.found) {
    old = Version{*planned.found, {}};
    if ((planned.found->flags & entry_flags::kHasExpiry) != 0) {
      if (const auto expiry = expiries_->Find(key)) old->expiry = Expiry::Unpack(*expiry);
    }
  }
  index::Entry entry = planned.place;
  Expiry expiry{.at_ms = planned.operation.expires_at_ms, .revision = revision};
  switch (planned.operation.kind) {
    case Kind::kPut:
      if (expiry.at_ms != 0) entry.flags |= entry_flags::kHasExpiry;
      if (planned.slot) SetSeparated(entry, *std::exchange(planned.slot, std::nullopt));
      break;
    case Kind::kDelete:
      entry.flags |= entry_flags::kTombstone;
      RaiseTo(deleted_revision_, revision);
      break;
    case Kind::kSetExpiry:
      // The value stays where it is; the change's own record must live as long as the value does.
      expiry.change_segment = entry.segment;
      expiry.change_size = entry.size;
      entry = planned.current->entry;
      entry.revision = revision;
      entry.flags &= entry_flags::kPlaceFlags;
      entry.flags |= entry_flags::kHasExpiry | entry_flags::kExpiryChanged;
      AddReference(entry.segment, RecordBytes(entry));
      if (IsSeparated(entry)) values_->AddReference(entry.size);
  }
  const bool kept = old && keep && versions_->Keep(key, *old, planned.operation.kind == Kind::kSetExpiry, revision);
  if (old && (keep || (old->entry.flags & entry_flags::kHasOlder) != 0)) entry.flags |= entry_flags::kHasOlder;
  planned.place.flags = entry.flags;

  // Readers match the two tables by revision and look again while they disagree.
  const bool has_expiry = (entry.flags & entry_flags::kHasExpiry) != 0;
  if (has_expiry) expiries_->Update(key, expiry.Pack());
  tree_->Update(key, entry);
  if (!has_expiry && old && (old->entry.flags & entry_flags::kHasExpiry) != 0) expiries_->Erase(key);
  if (old && !kept) DropVersion(*old, revision);
}

}  // namespace firn
