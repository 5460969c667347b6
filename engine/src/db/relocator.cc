#include "db/relocator.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/hash.h"
#include "db/store.h"

namespace firn {
namespace {

// Live records read, sorted and copied at once: a round, unless it is a single victim with more.
constexpr size_t kBatchBytes = size_t{16} << 20;
constexpr size_t kBatchRecords = kBatchBytes / 256;
// Reads across a gap of garbage up to this rather than in two.
constexpr uint64_t kGapBytesMax = uint64_t{64} << 10;
constexpr uint64_t kReadBytesMax = uint64_t{1} << 18;
// In flight together.
constexpr uint64_t kReadAtOnceBytes = uint64_t{1} << 21;

bool IsTombstone(format::RecordType type) {
  return type == format::RecordType::kDelete || type == format::RecordType::kNamespaceDrop;
}

}  // namespace

Relocator::Relocator(Store& store, std::vector<log::SegmentId> victims, std::function<bool()> keep_going,
                     std::optional<uint32_t> value_file, std::vector<log::SegmentId> next)
    : store_(store),
      log_(*store.log_),
      victims_(std::move(victims)),
      keep_going_(std::move(keep_going)),
      value_file_(value_file),
      next_(std::move(next)) {}

Relocator::~Relocator() {
  // Not adopted, as far as this process will ever know.
  for (const Move& move : moves_) {
    if (move.new_extent != values::kNoSlot) store_.ReleaseUnpublished(move.new_extent);
  }
  if (unplaced_extent_ != values::kNoSlot) store_.ReleaseUnpublished(unplaced_extent_);
}

void Relocator::ReleaseExtent(values::Slot slot, uint64_t revision) {
  if (slot != values::kNoSlot) store_.values_->Release(slot, revision);
}

absl::StatusOr<Relocator::Result> Relocator::Run() {
  uint64_t live_bytes = 0;
  {
    base::EpochGuard guard(store_.epochs_);
    for (const log::SegmentId id : victims_) {
      const log::Segment* victim = log_.segments().Find(id);
      if (victim == nullptr) continue;
      generation_ = std::max(generation_, victim->header.generation + 1);
      live_bytes += static_cast<uint64_t>(std::max<int64_t>(0, victim->live_bytes.load(std::memory_order_relaxed)));
    }
  }
  segment_bytes_ = std::clamp(live_bytes + live_bytes / 4, store_.segment_bytes_min_, store_.CopySegmentBytes());
  // The victims were chosen to fit.
  const uint64_t room_bytes = store_.room_->FreeBytesFor(io::Claimant::kReclaim);
  if (room_bytes < segment_bytes_) segment_bytes_ = base::RoundDown(room_bytes, format::kBlockBytes);
  for (const log::SegmentId id : victims_) FIRN_RETURN_IF_ERROR(Evacuate(id));
  if (!stopped_) FIRN_RETURN_IF_ERROR(CopyBatch(/*last=*/true));
  FIRN_RETURN_IF_ERROR(AdoptCopies());
  if (stopped_) return result_;

  // A writer may still be on its way with a reference it took before: then the next round retires the segment.
  std::vector<log::SegmentId> empty;
  for (const log::SegmentId id : victims_) {
    base::EpochGuard guard(store_.epochs_);
    const log::Segment* victim = log_.segments().Find(id);
    if (victim == nullptr || victim->live_records.load(std::memory_order_acquire) != 0) continue;
    empty.push_back(id);
    result_.freed_bytes += victim->file->size_bytes();
  }
  if (empty.empty()) return result_;
  // A tombstone may have been left out because what it hides lies in another victim: they go together, or not at all.
  if (empty.size() != victims_.size()) return result_;
  FIRN_RETURN_IF_ERROR(log_.Retire(empty));
  result_.retired = empty.size();
  return result_;
}

// Adds what is to be copied to the batch.
absl::Status Relocator::Evacuate(log::SegmentId id) {
  stopped_ = stopped_ || !keep_going_();
  if (stopped_) return absl::OkStatus();
  auto loaded = log_.LoadDirectory(id);
  if (!loaded.ok()) return Unreadable(id, loaded.status());
  format::FooterReader& directory = *loaded;
  format::DirectoryEntry entry;
  while (!stopped_ && directory.Next(entry)) {
    const IndexKey key(entry.namespace_id, entry.key);
    const Fate fate = FateOf(id, entry, key.view());
    if (fate == Fate::kGarbage) continue;
    Item item{std::string(key.view()), entry.type, {id, entry.offset}, entry.size, entry.revision, fate};
    if (fate == Fate::kMove && value_file_) item.extent = ExtentToMove(item);
    batch_bytes_ += item.key.size() + (fate == Fate::kMove ? entry.size : 0);
    if (item.extent != values::kNoSlot) batch_bytes_ += store_.values_->length(item.extent);
    batch_.push_back(std::move(item));
    if (batch_bytes_ >= kBatchBytes || batch_.size() >= kBatchRecords) FIRN_RETURN_IF_ERROR(CopyBatch(/*last=*/false));
  }
  return absl::OkStatus();
}

Relocator::Fate Relocator::FateOf(log::SegmentId victim, const format::DirectoryEntry& entry,
                                  std::string_view index_key) {
  if (entry.namespace_id != format::kSystemNamespace && !store_.IsAlive(entry.namespace_id)) return Fate::kGarbage;
  const format::Position place{victim, entry.offset};
  const auto current = store_.tree_->Find(index_key);
  if (IsTombstone(entry.type)) {
    if (current && current->revision > entry.revision) return Fate::kGarbage;
  } else {
    if (current && format::Position{current->segment, current->offset} == place) return Fate::kMove;
    if (entry.type == format::RecordType::kExpiryChange) {
      const auto expiry = store_.expiries_->Find(index_key);
      const bool names_it = expiry && expiry->revision == entry.revision && expiry->segment == victim;
      if (names_it && current && current->revision == entry.revision) return Fate::kMove;
    }
    // Looked for after the index: a writer keeps the old version before it puts the new one there.
    if (store_.versions_->Names(index_key, place, entry.revision)) {
      kept_copies_.insert(base::Hash64(base::AsBytes(index_key)));
      return Fate::kMove;
    }
    const bool hidden = current && current->revision > entry.revision;
    const bool expired = entry.expires_at_ms != 0 && entry.expires_at_ms <= store_.clock_.NowMs();
    if (hidden || !expired) return Fate::kGarbage;
  }
  // Rule 2. A version kept for a view may move to a relocation segment of this round, and the view end before its
  // tombstone is looked at: the copy stays, and needs the tombstone as any older record does.
  const uint64_t hash = base::Hash64(base::AsBytes(index_key));
  if (store_.versions_->Keeps(index_key) || kept_copies_.contains(hash)) return Fate::kTombstone;
  base::EpochGuard guard(store_.epochs_);
  const bool needed = log_.segments().MayHoldOlder(hash, entry.revision, victims_);
  return needed ? Fate::kTombstone : Fate::kGarbage;
}

// The extent of a live record, if it lies in the file that is evacuated.
values::Slot Relocator::ExtentToMove(const Item& item) const {
  const auto current = store_.tree_->Find(item.key);
  std::optional<index::Entry> named = current;
  if (!current || format::Position{current->segment, current->offset} != item.place) {
    named = store_.versions_->EntryAt(item.key, item.place);
  }
  const bool in_file = named && IsSeparated(*named) && store_.values_->FileOf(named->size) == *value_file_;
  return in_file ? named->size : values::kNoSlot;
}

// What is wrong with a victim itself, and not with its copies.
absl::Status Relocator::Unreadable(log::SegmentId victim, const absl::Status& status) {
  last_victim_ = victim;
  found_damage_ = found_damage_ || absl::IsDataLoss(status);
  return status;
}

absl::Status Relocator::CopyBatch(bool last) {
  FIRN_RETURN_IF_ERROR(ReadBatch());
  if (last) BeginNext();
  std::sort(batch_.begin(), batch_.end(),
            [](const Item& a, const Item& b) { return a.key != b.key ? a.key < b.key : a.revision > b.revision; });
  for (const Item& item : batch_) FIRN_RETURN_IF_ERROR(CopyRecord(item));
  batch_.clear();
  batch_bytes_ = 0;
  stopped_ = stopped_ || !keep_going_();
  return absl::OkStatus();
}

// Only this thread retires segments: a victim stays without a guard, which a whole evacuation must not hold.
const log::Segment& Relocator::Victim(log::SegmentId id) const {
  base::EpochGuard guard(store_.epochs_);
  return *log_.segments().Find(id);
}

// Reads the batch's live records into bytes_, in the order of their places on disk.
absl::Status Relocator::ReadBatch() {
  std::vector<Item*> by_place;
  size_t total = 0;
  for (Item& item : batch_) {
    if (item.fate != Fate::kMove) continue;
    item.at = total;
    total += item.size;
    by_place.push_back(&item);
  }
  bytes_.resize(total);
  std::sort(by_place.begin(), by_place.end(), [](const Item* a, const Item* b) { return a->place < b->place; });
  for (std::span<Item* const> rest = by_place; !rest.empty();) {
    std::vector<Span> spans;
    size_t bytes = 0;
    while (!rest.empty() && (spans.empty() || bytes < kReadAtOnceBytes)) {
      const Span span = NextSpan(rest);
      rest = rest.subspan(span.items.size());
      const base::Bytes ahead = store_.read_ahead_.Find(span.victim, span.begin, span.size);
      if (!ahead.empty()) {
        CopyItems(span, ahead);
        for (const Item* item : span.items) result_.read_ahead_bytes += item->size;
        continue;
      }
      spans.push_back(span);
      bytes += span.size;
    }
    FIRN_RETURN_IF_ERROR(ReadSpans(spans));
  }
  return absl::OkStatus();
}

void Relocator::BeginNext() {
  std::vector<std::shared_ptr<log::Segment>> segments;
  for (const log::SegmentId id : next_) {
    if (auto segment = log_.segments().Get(id)) segments.push_back(std::move(segment));
  }
  if (!segments.empty()) store_.read_ahead_.Begin(std::move(segments));
}

// The first items that are near each other.
Relocator::Span Relocator::NextSpan(std::span<Item* const> by_place) {
  const log::SegmentId victim = by_place[0]->place.segment;
  const uint64_t begin = base::RoundDown(by_place[0]->place.offset, io::File::kAlignmentBytes);
  uint64_t end = uint64_t{by_place[0]->place.offset} + by_place[0]->size;
  size_t count = 1;
  for (; count < by_place.size(); ++count) {
    const format::Position next = by_place[count]->place;
    const uint64_t next_end = uint64_t{next.offset} + by_place[count]->size;
    if (next.segment != victim || next.offset > end + kGapBytesMax || next_end > begin + kReadBytesMax) break;
    end = next_end;
  }
  return {by_place.first(count), victim, begin, base::RoundUp(end, io::File::kAlignmentBytes) - begin};
}

// All at once, so that the device is never idle in between.
absl::Status Relocator::ReadSpans(std::span<const Span> spans) {
  size_t total = 0;
  for (const Span& span : spans) total += span.size;
  if (read_buffer_.size() < total) read_buffer_ = base::AlignedBuffer(total);
  std::vector<io::ReadRequest> reads;
  size_t at = 0;
  for (const Span& span : spans) {
    reads.push_back({.file = Victim(span.victim).file.get(),
                     .offset = span.begin,
                     .out = read_buffer_.bytes().subspan(at, span.size),
                     .status = absl::OkStatus()});
    at += span.size;
  }
  store_.disk_->ReadMany(reads);
  for (size_t i = 0; i < spans.size(); ++i) {
    absl::Status& status = reads[i].status;
    if (absl::IsOutOfRange(status)) status = base::DataLoss(std::string(status.message()));
    if (!status.ok()) return Unreadable(spans[i].victim, status);
    CopyItems(spans[i], reads[i].out);
  }
  return absl::OkStatus();
}

void Relocator::CopyItems(const Span& span, base::Bytes from) {
  for (const Item* item : span.items) {
    std::memcpy(bytes_.data() + item->at, from.data() + (item->place.offset - span.begin), item->size);
  }
}

absl::Status Relocator::CopyRecord(const Item& item) {
  last_victim_ = item.place.segment;
  format::Record record;
  values::ValueStore::Stored moved;
  std::string pointer_bytes;
  if (item.fate == Fate::kMove) {
    const log::Segment& victim = Victim(item.place.segment);
    const base::Bytes bytes = base::AsBytes(std::string_view(bytes_).substr(item.at, item.size));
    const auto decoded = format::DecodeRecord(bytes, victim.seed, item.place.offset);
    if (!decoded || decoded->size_bytes != item.size || decoded->record.revision != item.revision ||
        IndexKey(decoded->record.namespace_id, base::AsText(decoded->record.key)).view() != item.key) {
      return Unreadable(victim.id,
                        base::DataLoss(victim.file->name() + " at offset " + std::to_string(item.place.offset) +
                                       ": a live record does not verify; its segment is left as it is"));
    }
    record = decoded->record;
    record.flags &= static_cast<uint8_t>(~format::record_flags::kInBatch);
    if (item.extent != values::kNoSlot) {
      auto pointer = format::DecodeValuePointer(record.value);
      if (!pointer) return base::DataLoss(victim.file->name() + ": a value pointer cannot be read");
      FIRN_ASSIGN_OR_RETURN(moved, store_.values_->CopyOut(item.extent, std::move(pointer->piece_checksums)));
      unplaced_extent_ = moved.slot;
      pointer_bytes = format::EncodeValuePointer(moved.pointer);
      record.value = base::AsBytes(pointer_bytes);
    }
  } else {
    const uint32_t namespace_id = NamespaceOf(item.key);
    record = {.revision = item.revision,
              .type = item.type == format::RecordType::kNamespaceDrop ? item.type : format::RecordType::kDelete,
              .namespace_id = namespace_id,
              .key = base::AsBytes(std::string_view(item.key).substr(kNamespacePrefixBytes))};
  }
  const uint64_t size = format::RecordSize(record);
  const bool has_pointer = (record.flags & format::record_flags::kValuePointer) != 0;
  const uint64_t key_bytes = record.key.size() + (has_pointer ? record.value.size() : 0);  // in the directory
  if (writer_ != nullptr && !writer_->Fits(size, key_bytes)) FIRN_RETURN_IF_ERROR(AdoptCopies());
  if (writer_ == nullptr) {
    // A record larger than the segment gets one of its own size.
    const uint64_t bytes = std::max(segment_bytes_, log::RelocationWriter::BytesForOne(size, key_bytes));
    FIRN_ASSIGN_OR_RETURN(writer_, log_.BeginRelocation(bytes, generation_));
  }
  FIRN_ASSIGN_OR_RETURN(const format::Position to, writer_->Append(record));
  moves_.push_back({.key_at = static_cast<uint32_t>(move_keys_.size()),
                    .key_size = static_cast<uint32_t>(item.key.size()),
                    .type = record.type,
                    .from = item.place,
                    .to = to,
                    .from_size = item.size,
                    .size = static_cast<uint32_t>(size),
                    .revision = item.revision,
                    .old_extent = item.extent,
                    .new_extent = moved.slot});
  unplaced_extent_ = values::kNoSlot;
  move_keys_ += item.key;
  result_.records += 1;
  result_.bytes += size;
  return absl::OkStatus();
}

// What has been copied becomes part of the store, and then what the index names.
absl::Status Relocator::AdoptCopies() {
  if (writer_ == nullptr) return absl::OkStatus();
  // Rule 4, and early: once the adoption is in the tail buffers it outlives a kill, and nothing would verify what the
  // copies point to.
  if (value_file_) FIRN_RETURN_IF_ERROR(store_.values_->Sync());
  FIRN_RETURN_IF_ERROR(writer_->Finish());
  result_.copies.reserve(result_.copies.size() + 1);  // once they are adopted nothing may fail
  FIRN_ASSIGN_OR_RETURN(log::Segment * copies, log_.Adopt(std::move(writer_)));
  MoveReferences(*copies);
  moves_.clear();
  move_keys_.clear();
  result_.copies.push_back(copies->id);
  result_.copies_bytes += copies->file->size_bytes();
  log_.SettleRelocation(copies->id);
  return absl::OkStatus();
}

void Relocator::MoveReferences(log::Segment& copies) noexcept {
  for (const Move& move : moves_) {
    const std::string_view key = std::string_view(move_keys_).substr(move.key_at, move.key_size);
    if (IsTombstone(move.type)) {
      copies.tombstones.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    const auto took_over = [&] {
      copies.live_records.fetch_add(1, std::memory_order_relaxed);
      copies.live_bytes.fetch_add(move.size, std::memory_order_relaxed);
      store_.DropReference(move.from.segment, move.from_size);
      if (move.new_extent == values::kNoSlot) return;
      store_.values_->AddReference(move.new_extent);
      store_.values_->Release(move.old_extent, log_.LastReserved());
    };
    base::MutexLock stripe(store_.StripeOf(key));
    if (move.type == format::RecordType::kExpiryChange) {
      const auto packed = store_.expiries_->Find(key);
      if (packed && packed->revision == move.revision && packed->segment == move.from.segment) {
        Expiry expiry = Expiry::Unpack(*packed);
        expiry.change_segment = copies.id;
        store_.expiries_->Update(key, expiry.Pack());
        took_over();
      }
    } else if (auto entry = store_.tree_->Find(key);
               entry && format::Position{entry->segment, entry->offset} == move.from) {
      entry->segment = move.to.segment;
      entry->offset = move.to.offset;
      SetRecordBytes(*entry, move.size);
      if (move.new_extent != values::kNoSlot) entry->size = move.new_extent;
      store_.tree_->Update(key, *entry);
      store_.CacheMoved(key, move.from, move.to, move.new_extent != values::kNoSlot);
      took_over();
    }
    const std::optional<uint32_t> extent =
        move.new_extent != values::kNoSlot ? std::optional(move.new_extent) : std::nullopt;
    store_.versions_->Move(key, move.from, {move.to, move.size, extent}, move.revision, std::ref(took_over));
    ReleaseExtent(move.new_extent, log_.LastReserved());
  }
}

}  // namespace firn
