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

absl::Status KeyNotFound() { return base::NotFound("no such key"); }

// Checks the record in `bytes` against what the index says it is.
absl::StatusOr<format::Record> Verified(const log::Segment& segment, std::string_view index_key, const Version& version,
                                        base::Bytes bytes) {
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

absl::Status Store::ReadRecord(std::string_view index_key, const Version& version, std::string* value,
                               std::string* metadata, Caching caching) {
  if (!IsSeparated(version.entry)) return ReadInlineRecord(index_key, version, value, metadata, caching);
  if (metadata != nullptr) FIRN_RETURN_IF_ERROR(ReadInlineRecord(index_key, version, nullptr, metadata, caching));
  if (value == nullptr) return absl::OkStatus();
  if (memory::Cached found; FindCached(version.entry, Part::kSeparatedValue, found, caching)) {
    value->assign(base::AsText(found.value));
    return absl::OkStatus();
  }
  value->resize(values_->length(version.entry.size));
  FIRN_RETURN_IF_ERROR(
      values_->Read(version.entry.size, std::as_writable_bytes(std::span(value->data(), value->size()))));
  if (caching == Caching::kFill) KeepCached(version.entry, Part::kSeparatedValue, base::AsBytes(*value), {});
  return absl::OkStatus();
}

// The record itself; of a separated value `value` is the encoded pointer.
absl::Status Store::ReadInlineRecord(std::string_view index_key, const Version& version, std::string* value,
                                     std::string* metadata, Caching caching) {
  base::SchedulePoint();  // the segment may go here, unless the index named it inside the caller's epoch guard
  const index::Entry& entry = version.entry;
  if (memory::Cached found; FindCached(entry, Part::kRecord, found, caching)) {
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
  if (!resident && caching == Caching::kFill) KeepCached(entry, Part::kRecord, record->value, record->metadata);
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
  return GetRecord(IndexKey(namespace_id, key).view(), options, &value.own_, nullptr, &value);
}

// With `pinned` the value may stay in the cache instead of going to `value`.
absl::Status Store::GetRecord(std::string_view index_key, const ReadOptions& options, std::string* value,
                              ValueInfo* info, PinnedValue* pinned) {
  uint64_t revision = 0;
  {
    base::EpochGuard guard(epochs_);
    const uint64_t at = options.snapshot != nullptr ? options.snapshot->revision() : kNewest;
    const auto version = Locate(index_key, at);
    revision = version ? version->entry.revision : AbsenceRevision(at);
    if (version) {
      FIRN_RETURN_IF_ERROR(CheckServable(*version));
      if (pinned == nullptr || !PinCached(version->entry, *pinned)) {
        std::string* const metadata = info != nullptr ? &info->metadata : nullptr;
        FIRN_RETURN_IF_ERROR(ReadRecord(index_key, *version, value, metadata, Caching::kFill));
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

std::vector<absl::StatusOr<std::string>> Store::MultiGet(uint32_t namespace_id, std::span<const std::string_view> keys,
                                                         const ReadOptions& options) {
  OperationTimer timer(multi_gets_, raw_clock_);
  multi_get_keys_.Add(keys.size());
  std::vector<absl::StatusOr<std::string>> results(keys.size(), KeyNotFound());
  const auto fail_all = [&](const absl::Status& status) {
    std::fill(results.begin(), results.end(), status);
    return std::move(results);
  };
  if (absl::Status status = CheckUsable(); !status.ok()) return fail_all(status);
  if (!IsAlive(namespace_id)) return fail_all(base::NotFound("no such namespace"));
  if (keys.size() > kMultiGetKeysMax) {
    return fail_all(base::InvalidArgument("MultiGet of " + std::to_string(keys.size()) + " keys; at most " +
                                          std::to_string(kMultiGetKeysMax) + " at once"));
  }

  std::optional<base::EpochGuard> guard(std::in_place, epochs_);
  std::vector<std::optional<Version>> found(keys.size());
  std::vector<IndexKey> index_keys;
  index_keys.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const absl::Status valid = CheckReadKey(keys[i]);
    if (!valid.ok()) results[i] = valid;
    index_keys.emplace_back(namespace_id, valid.ok() ? keys[i] : std::string_view("\0", 1));
  }

  // The newest entries are the state at `revision` if none of them is newer and no tombstone newer than it has left the
  // index meanwhile. Busy keys may need a few turns; then a view settles it.
  constexpr int kOptimisticTurns = 4;
  uint64_t revision = options.snapshot != nullptr ? options.snapshot->revision() : 0;
  std::optional<View> view;
  for (int turn = 0;; ++turn) {
    const bool last_turn = turn == kOptimisticTurns;
    if (options.snapshot == nullptr) {
      if (last_turn) view.emplace(*this);
      revision = view ? view->revision() : log_->published().Get();
    }
    bool consistent = true;
    const bool has_snapshot = view || options.snapshot != nullptr;
    for (size_t i = 0; i < keys.size() && (consistent || has_snapshot); ++i) {
      if (absl::IsInvalidArgument(results[i].status())) continue;
      const auto entry = tree_->Find(index_keys[i].view());
      found[i] = entry ? LocateFrom(index_keys[i].view(), *entry, revision) : std::nullopt;
      if (!entry) continue;
      // Finding out about an expiry may have gone on to a newer entry.
      const bool has_expiry = (entry->flags & entry_flags::kHasExpiry) != 0;
      if (entry->revision > revision || (has_expiry && tree_->Find(index_keys[i].view()) != entry)) consistent = false;
    }
    consistent = consistent && erased_revision_.load(std::memory_order_seq_cst) <= revision;
    if (consistent || has_snapshot) break;
  }
  // Keys that went with their namespace are no state at any revision.
  if (!IsAlive(namespace_id)) return fail_all(base::NotFound("no such namespace"));

  std::vector<io::ReadRequest> reads;
  struct Reading {
    size_t key;
    values::Handle value_file;  // of a separated value
    base::AlignedBuffer blocks;
  };
  std::vector<Reading> readings;  // of each request
  const auto finish_reads = [&] {
    if (reads.empty()) return;
    disk_->ReadMany(reads);
    for (size_t r = 0; r < reads.size(); ++r) {
      const size_t i = readings[r].key;
      const Version& version = *found[i];
      if (const absl::Status& status = reads[r].status; !status.ok()) {
        // A file that ends before what is in it has lost it.
        results[i] = absl::IsOutOfRange(status) ? base::DataLoss(std::string(status.message())) : status;
        continue;
      }
      if (readings[r].value_file != nullptr) {
        const base::Bytes value = base::Bytes(reads[r].out).first(values_->length(version.entry.size));
        const absl::Status valid = values_->Verify(version.entry.size, value);
        results[i] = valid.ok() ? absl::StatusOr<std::string>(base::AsText(value)) : valid;
        if (valid.ok()) KeepCached(version.entry, Part::kSeparatedValue, value, {});
        continue;
      }
      const log::Segment* segment = log_->segments().Find(version.entry.segment);
      const base::Bytes bytes =
          base::Bytes(reads[r].out).subspan(version.entry.offset - reads[r].offset, version.entry.size);
      const auto record = Verified(*segment, index_keys[i].view(), version, bytes);
      if (record.ok()) {
        results[i] = std::string(base::AsText(record->value));
        KeepCached(version.entry, Part::kRecord, record->value, record->metadata);
      } else {
        results[i] = record.status();
      }
    }
    reads.clear();
    readings.clear();
  };
  constexpr uint64_t kBytesInFlightMax = uint64_t{4} << 20;
  uint64_t bytes_in_flight = 0;
  const auto add_read = [&](size_t key, io::File& file, uint64_t offset, uint64_t size, values::Handle value_file) {
    if (bytes_in_flight + size > kBytesInFlightMax) {
      finish_reads();
      bytes_in_flight = 0;
    }
    readings.push_back({key, std::move(value_file), base::AlignedBuffer(size)});
    reads.push_back({&file, offset, readings.back().blocks.bytes().first(size), {}});
    bytes_in_flight += size;
  };
  // Where many are asked for, memory answers many at a time.
  for (const Ahead ahead : {Ahead::kFew, Ahead::kSoon}) {
    for (const std::optional<Version>& version : found) {
      if (version) PrefetchCached(version->entry, ahead);
    }
  }
  uint64_t newest = std::min(revision, log_->published().Get());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!found[i]) {
      if (absl::Status status = CheckAbsenceServable(revision); absl::IsNotFound(results[i].status()) && !status.ok())
        results[i] = status;
      continue;
    }
    const Version& version = *found[i];
    if (absl::Status status = CheckServable(version); !status.ok()) {
      results[i] = status;
      continue;
    }
    const Part part = IsSeparated(version.entry) ? Part::kSeparatedValue : Part::kRecord;
    if (memory::Cached cached; FindCached(version.entry, part, cached, Caching::kFill)) {
      results[i] = std::string(base::AsText(cached.value));
      continue;
    }
    const log::Segment* segment = log_->segments().Find(version.entry.segment);
    // Larger ones are read in pieces, several at once.
    if (IsSeparated(version.entry) && values_->length(version.entry.size) <= kBytesInFlightMax) {
      auto blocks = values_->BlocksOf(version.entry.size);
      if (blocks.ok()) {
        io::File& file = *blocks->file;
        add_read(i, file, blocks->offset, blocks->size_bytes, std::move(blocks->file));
      } else {
        results[i] = blocks.status();
      }
      continue;
    }
    const bool separated = IsSeparated(version.entry);
    std::string record_bytes(separated ? 0 : version.entry.size, '\0');
    const base::MutableBytes out = std::as_writable_bytes(std::span(record_bytes.data(), record_bytes.size()));
    if (separated || segment == nullptr || !segment->overlays.empty() ||
        log_->ReadResident(version.entry.segment, version.entry.offset, out)) {
      std::string value;
      const absl::Status status = ReadRecord(index_keys[i].view(), version, &value, nullptr, Caching::kFill);
      if (status.ok()) {
        results[i] = std::move(value);
      } else {
        results[i] = status;
      }
      continue;
    }
    const uint64_t begin = base::RoundDown(version.entry.offset, io::File::kAlignmentBytes);
    const uint64_t end = base::RoundUp(uint64_t{version.entry.offset} + version.entry.size, io::File::kAlignmentBytes);
    add_read(i, *segment->file, begin, end - begin, nullptr);
  }
  finish_reads();
  guard.reset();
  view.reset();
  if (options.read_durable) {
    if (absl::Status status = AwaitDurable(newest); !status.ok()) return fail_all(status);
  }
  for (const auto& result : results) {
    if (result.ok()) user_bytes_read_.Add(result->size());
  }
  return results;
}

}  // namespace firn
