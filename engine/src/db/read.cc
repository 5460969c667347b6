// Point reads: index, then tail buffer or one disk read, then the check.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/memory.h"
#include "base/sync.h"
#include "db/store.h"

namespace firn {

using Part = memory::CacheKey::Part;

namespace {

// A record up to this size is read on the stack: a caller's string with room for the value alone is then enough.
constexpr size_t kSmallRecordBytes = 4'096;

}  // namespace

absl::Status Store::CheckReadKey(std::string_view key) {
  if (!key.empty() && key.size() <= kKeyBytesMax) return absl::OkStatus();
  return base::InvalidArgument("the key has " + std::to_string(key.size()) + " bytes; a key has 1 to 65535");
}

std::optional<Version> Store::Locate(std::string_view index_key, uint64_t revision) const {
  const auto entry = tree_->Find(index_key);
  if (!entry) return std::nullopt;
  return LocateFrom(index_key, *entry, revision);
}

std::optional<Version> Store::LocateFrom(std::string_view index_key, const index::Entry& newest,
                                         uint64_t revision) const {
  Version version{newest, {}};
  for (int turn = 0;; ++turn) {
    if (version.entry.revision > revision) {
      if ((version.entry.flags & entry_flags::kHasOlder) == 0) return std::nullopt;
      const auto older = versions_->Find(index_key, revision);
      if (!older) return std::nullopt;
      version = *older;
      break;
    }
    if ((version.entry.flags & entry_flags::kHasExpiry) == 0) break;
    const auto expiry = expiries_->Find(index_key);
    if (expiry && expiry->revision == version.entry.revision) {
      version.expiry = Expiry::Unpack(*expiry);
      break;
    }
    // A writer is between its two updates, or the entry is gone: look again.
    base::SpinPause(turn);
    const auto again = tree_->Find(index_key);
    if (!again) return std::nullopt;
    version.entry = *again;
  }
  if (version.is_tombstone()) return std::nullopt;
  if (version.expiry.at_ms != 0 && version.expiry.at_ms <= clock_.NowMs()) return std::nullopt;
  return version;
}

// Checks the record in `bytes` against what the index says it is.
absl::StatusOr<format::Record> Store::Verified(const log::Segment& segment, std::string_view index_key,
                                               const Version& version, base::Bytes bytes) {
  const auto decoded = format::DecodeRecord(bytes, segment.seed, version.entry.offset);
  const bool matches = decoded && decoded->size_bytes == RecordBytes(version.entry) &&
                       decoded->record.type == format::RecordType::kPut &&
                       IndexKey(decoded->record.namespace_id, base::AsText(decoded->record.key)).view() == index_key;
  const bool moved_expiry = (version.entry.flags & entry_flags::kExpiryChanged) != 0;
  if (matches && (decoded->record.revision == version.entry.revision ||
                  (moved_expiry && decoded->record.revision < version.entry.revision))) {
    return decoded->record;
  }
  return base::DataLoss(segment.file->name() + " at offset " + std::to_string(version.entry.offset) +
                        ": the record of " + std::to_string(RecordBytes(version.entry)) + " bytes does not verify");
}

absl::Status Store::ReadRecord(std::string_view index_key, const Version& version, std::string* value,
                               std::string* metadata, Caching caching) {
  if (!IsSeparated(version.entry)) return ReadInlineRecord(index_key, version, value, metadata, caching);
  if (metadata != nullptr) FIRN_RETURN_IF_ERROR(ReadInlineRecord(index_key, version, nullptr, metadata, caching));
  if (value == nullptr) return absl::OkStatus();
  if (memory::Cached found; FindCached(index_key, version.entry, Part::kSeparatedValue, found, caching)) {
    value->assign(base::AsText(found.value));
    return absl::OkStatus();
  }
  value->resize(values_->length(version.entry.size));
  FIRN_RETURN_IF_ERROR(
      values_->Read(version.entry.size, std::as_writable_bytes(std::span(value->data(), value->size()))));
  if (caching == Caching::kFill) KeepCached(index_key, version.entry, Part::kSeparatedValue, base::AsBytes(*value), {});
  return absl::OkStatus();
}

// The record itself; of a separated value `value` is the encoded pointer.
absl::Status Store::ReadInlineRecord(std::string_view index_key, const Version& version, std::string* value,
                                     std::string* metadata, Caching caching) {
  base::SchedulePoint();  // the segment may go here, unless the index named it inside the caller's epoch guard
  const index::Entry& entry = version.entry;
  if (memory::Cached found; FindCached(index_key, entry, Part::kRecord, found, caching)) {
    if (metadata != nullptr) metadata->assign(base::AsText(found.metadata));
    if (value != nullptr) value->assign(base::AsText(found.value));
    return absl::OkStatus();
  }
  const log::Segment* segment = log_->segments().Find(entry.segment);
  if (segment == nullptr) return base::NotFound("the segment of this version is not part of the store any more");
  const uint32_t record_bytes = RecordBytes(entry);
  // A large record is read to where its value will stand, so that the value moves once.
  std::byte small[kSmallRecordBytes];
  std::string own;
  std::string& large = value != nullptr ? *value : own;
  const bool is_small = record_bytes <= kSmallRecordBytes;
  if (!is_small) large.resize(record_bytes);
  const base::MutableBytes bytes = is_small ? base::MutableBytes(small, record_bytes)
                                            : std::as_writable_bytes(std::span(large.data(), large.size()));
  const bool resident = log_->ReadResident(entry.segment, entry.offset, bytes);
  if (!resident) FIRN_RETURN_IF_ERROR(log_->Read(entry.segment, entry.offset, bytes));
  const auto record = Verified(*segment, index_key, version, bytes);
  if (!record.ok()) {
    if (!is_small) large.clear();
    return record.status();
  }
  // What is still in the tail buffers was put into the cache when it was written, if it is to be there.
  if (!resident && caching == Caching::kFill)
    KeepCached(index_key, entry, Part::kRecord, record->value, record->metadata);
  if (metadata != nullptr) metadata->assign(base::AsText(record->metadata));
  if (is_small) {
    if (value != nullptr) value->assign(base::AsText(record->value));
    return absl::OkStatus();
  }
  const size_t value_bytes = record->value.size();
  std::memmove(bytes.data(), record->value.data(), value_bytes);
  large.resize(value_bytes);
  return absl::OkStatus();
}

// After a failed write nobody knows what of the newest changes will still be there at the next open.
absl::Status Store::CheckServable(const Version& version) const {
  if (version.entry.revision <= log_->durable_revision()) return absl::OkStatus();
  return log_->health();
}

// A delete that is not durable leaves nothing to tell it by, once its tombstone has left the index. So while there may
// be one, no key counts as absent.
absl::Status Store::CheckAbsenceServable(uint64_t revision) const {
  if (versions_->MayHaveLost(revision)) return base::OutOfMemory();  // of a version that the view needs
  const uint64_t durable = log_->durable_revision();
  if (std::min(revision, deleted_revision_.load(std::memory_order_acquire)) <= durable) return absl::OkStatus();
  return log_->health();
}

// Covers what made a key absent at `revision`, once the index was asked: a delete is in the index before its revision
// counts as published.
uint64_t Store::AbsenceRevision(uint64_t revision) const { return std::min(log_->LastReserved(), revision); }

absl::Status Store::AwaitDurable(uint64_t revision) {
  return options_.read_only ? absl::OkStatus() : log_->WaitDurable(revision);
}

absl::Status Store::Get(uint32_t namespace_id, std::string_view key, std::string* value, ValueInfo* info,
                        const ReadOptions& options) {
  OperationTimer timer(gets_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckUsable());
  FIRN_RETURN_IF_ERROR(CheckReadKey(key));
  if (!IsAlive(namespace_id)) return base::NotFound("no such namespace");
  const absl::Status status = GetRecord(IndexKey(namespace_id, key).view(), options, value, info);
  if (!status.ok()) value->clear();
  return status;
}

absl::Status Store::GetPinned(uint32_t namespace_id, std::string_view key, PinnedValue& value,
                              const ReadOptions& options) {
  OperationTimer timer(gets_, raw_clock_);
  FIRN_RETURN_IF_ERROR(CheckUsable());
  FIRN_RETURN_IF_ERROR(CheckReadKey(key));
  if (!IsAlive(namespace_id)) return base::NotFound("no such namespace");
  value.Release();
  return GetRecord(IndexKey(namespace_id, key).view(), options, &value.own_, nullptr, &value);
}

// With `pinned` the value may stay in the cache instead of going to `value`.
absl::Status Store::GetRecord(std::string_view index_key, const ReadOptions& options, std::string* value,
                              ValueInfo* info, PinnedValue* pinned) {
  uint64_t revision = 0;
  {
    base::EpochGuard guard(epochs_);
    const uint64_t at = options.snapshot != nullptr ? options.snapshot->revision() : kNewest;
    // While memory brings the index's leaf, the cache's entry is on its way as well.
    const uint64_t key_hash = cache_ != nullptr ? CacheHash(index_key) : 0;
    if (cache_ != nullptr) cache_->Prefetch(key_hash);
    index::Tree::Lookup lookup(*tree_, index_key);
    if (cache_ != nullptr) cache_->PrefetchEntry(key_hash);
    const auto newest = lookup.Get();
    const auto version = newest ? LocateFrom(index_key, *newest, at) : std::nullopt;
    revision = version ? version->entry.revision : AbsenceRevision(at);
    if (version) {
      FIRN_RETURN_IF_ERROR(CheckServable(*version));
      if (pinned == nullptr || !PinCached(key_hash, version->entry, *pinned)) {
        std::string* const metadata = info != nullptr ? &info->metadata : nullptr;
        FIRN_RETURN_IF_ERROR(ReadRecord(index_key, *version, value, metadata, Caching::kFill));
        if (pinned != nullptr) pinned->place_ = PinnedValue::Place::kOwn;
      }
      user_bytes_read_.Add(pinned != nullptr ? pinned->value().size() : value->size());
      if (info != nullptr) {
        info->revision = revision;
        info->expires_at_ms = version->expiry.at_ms;
        info->value_bytes = value->size();
      }
    } else {
      FIRN_RETURN_IF_ERROR(CheckAbsenceServable(at));
      if (!options.read_durable) return KeyNotFound();
      value = nullptr;
    }
  }
  if (options.read_durable) FIRN_RETURN_IF_ERROR(AwaitDurable(revision));
  return value != nullptr ? absl::OkStatus() : KeyNotFound();
}

absl::StatusOr<bool> Store::Exists(uint32_t namespace_id, std::string_view key, const ReadOptions& options) {
  FIRN_RETURN_IF_ERROR(CheckUsable());
  FIRN_RETURN_IF_ERROR(CheckReadKey(key));
  if (!IsAlive(namespace_id)) return base::NotFound("no such namespace");
  const IndexKey index_key(namespace_id, key);
  const uint64_t at = options.snapshot != nullptr ? options.snapshot->revision() : kNewest;
  std::optional<Version> version;
  {
    base::EpochGuard guard(epochs_);
    version = Locate(index_key.view(), at);
  }
  FIRN_RETURN_IF_ERROR(version ? CheckServable(*version) : CheckAbsenceServable(at));
  if (options.read_durable) {
    FIRN_RETURN_IF_ERROR(AwaitDurable(version ? version->entry.revision : AbsenceRevision(at)));
  }
  return version.has_value();
}

}  // namespace firn
