#include "log/segment.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/check.h"

namespace firn::log {

std::string SegmentFileName(SegmentId id) {
  char name[32];
  std::snprintf(name, sizeof(name), "log/%010u.seg", id);
  return name;
}

uint64_t KeyHash(uint32_t namespace_id, std::string_view key) {
  thread_local std::string joined;
  joined.resize(sizeof(namespace_id));
  const uint32_t big_endian = __builtin_bswap32(namespace_id);
  std::memcpy(joined.data(), &big_endian, sizeof(big_endian));
  joined += key;
  return base::Hash64(base::AsBytes(joined));
}

bool HoldsOperations(base::Bytes payload) {
  bool goes_on = false;
  while (!payload.empty()) {
    const auto decoded = format::ParseRecord(payload);
    if (!decoded) return false;
    goes_on = (decoded->record.flags & format::record_flags::kInBatch) != 0;
    payload = payload.subspan(decoded->size_bytes);
  }
  return !goes_on;
}

void NoteUnit(Segment& segment, base::Bytes payload, uint32_t payload_offset) {
  size_t at = 0;
  while (at < payload.size()) {
    const auto decoded = format::ParseRecord(payload.subspan(at));
    FIRN_CHECK(decoded.has_value());
    const format::Record& record = decoded->record;
    segment.last_revision = std::max(segment.last_revision, record.revision);
    switch (record.type) {
      case format::RecordType::kLiveIds:
        segment.live_ids = format::DecodeLiveIds(record.value).value_or(format::LiveIds{});
        break;
      case format::RecordType::kRetire:
        for (SegmentId id : format::DecodeRetireList(record.value).value_or(std::vector<SegmentId>{})) {
          segment.retired.push_back(id);
        }
        break;
      case format::RecordType::kCut:
        for (Position cut : format::DecodeCutList(record.value).value_or(std::vector<Position>{})) {
          segment.cuts.push_back(cut);
        }
        break;
      case format::RecordType::kAdopt:
        for (Position end : format::DecodeAdoptList(record.value).value_or(std::vector<Position>{})) {
          segment.adopted.push_back(end);
        }
        break;
      default: {
        if (segment.directory == nullptr) break;
        const bool has_pointer = (record.flags & format::record_flags::kValuePointer) != 0;
        segment.record_bytes += decoded->size_bytes;
        segment.directory->Add({.namespace_id = record.namespace_id,
                                .key = base::AsText(record.key),
                                .type = record.type,
                                .flags = record.flags,
                                .offset = payload_offset + static_cast<uint32_t>(at),
                                .size = static_cast<uint32_t>(decoded->size_bytes),
                                .revision = record.revision,
                                .expires_at_ms = record.expires_at_ms,
                                .value_pointer = has_pointer ? base::AsText(record.value) : std::string_view()});
      }
    }
    at += decoded->size_bytes;
  }
}

std::string FinishFooter(Segment& segment) {
  // Whoever asked twice would get a footer that verifies and knows of nothing.
  const std::unique_ptr<format::FooterBuilder> directory = std::move(segment.directory);
  FIRN_CHECK(directory != nullptr);
  segment.filter = std::make_unique<base::KeyFilter>(directory->entries());
  directory->ForEachKey(
      [&segment](uint32_t namespace_id, std::string_view key) { segment.filter->Add(KeyHash(namespace_id, key)); });
  segment.revision_min.store(directory->revision_min(), std::memory_order_relaxed);
  segment.records = directory->entries();
  // A relocation segment's header was written before anybody knew what would be in it. A forged one may say anything.
  const bool relocated = segment.header.generation > 0 && directory->entries() > 0;
  const uint64_t first_revision = std::min(segment.header.first_revision, directory->revision_min());
  return directory->Finish({.segment = segment.id,
                            .units_end = segment.units_end.load(std::memory_order_relaxed),
                            .records = directory->entries(),
                            .first_revision = relocated ? directory->revision_min() : first_revision,
                            .last_revision = segment.last_revision,
                            .time_ms_max = segment.time_ms_max,
                            .live_ids = segment.live_ids,
                            .retired = segment.retired,
                            .cuts = segment.cuts,
                            .adopted = segment.adopted},
                           segment.seed);
}

absl::Status WriteFooter(io::Room& room, Segment& segment, std::string_view footer) {
  const uint32_t units_end = segment.units_end.load(std::memory_order_relaxed);
  const uint64_t file_bytes = units_end + footer.size();
  io::File& file = *segment.file;
  // Beyond what was claimed only if the segment was recovered: without room it stays unsealed and is scanned at open.
  if (file.size_bytes() < file_bytes) {
    FIRN_RETURN_IF_ERROR(room.Claim(file, file_bytes, file.size_bytes(), io::Claimant::kDelete));
  }
  base::AlignedBuffer aligned(footer.size());
  std::memcpy(aligned.data(), footer.data(), footer.size());
  FIRN_RETURN_IF_ERROR(file.Write(units_end, aligned.bytes().first(footer.size()), io::Flush::kNone));
  if (file.size_bytes() > file_bytes) FIRN_RETURN_IF_ERROR(file.Truncate(file_bytes));
  return file.Sync();
}

absl::Status ReadSegmentBytes(const Segment& segment, uint64_t offset, base::MutableBytes out) {
  for (const Segment::Overlay& overlay : segment.overlays) {
    if (offset >= overlay.offset && offset + out.size() <= overlay.offset + overlay.size) {
      std::memcpy(out.data(), overlay.bytes.data() + (offset - overlay.offset), out.size());
      return absl::OkStatus();
    }
  }
  const uint64_t begin = base::RoundDown(offset, io::File::kAlignmentBytes);
  const uint64_t end = base::RoundUp(offset + out.size(), io::File::kAlignmentBytes);
  // A thread's scratch is kept for the next read, up to a size that covers ordinary values.
  constexpr size_t kScratchBytes = size_t{256} * 1024;
  thread_local base::AlignedBuffer scratch;
  base::AlignedBuffer large;
  if (end - begin > kScratchBytes) {
    large = base::AlignedBuffer(end - begin);
  } else if (scratch.size() == 0) {
    scratch = base::AlignedBuffer(kScratchBytes);
  }
  const base::MutableBytes block = (end - begin > kScratchBytes ? large : scratch).bytes().first(end - begin);
  const absl::Status status = segment.file->Read(begin, block);
  // A file that ends before what is in it has lost it.
  if (absl::IsOutOfRange(status)) return base::DataLoss(std::string(status.message()));
  FIRN_RETURN_IF_ERROR(status);
  std::memcpy(out.data(), block.data() + (offset - begin), out.size());
  return absl::OkStatus();
}

Segment* SegmentTable::Find(SegmentId id) const {
  const Map& map = *map_.load(std::memory_order_acquire);
  const auto at = std::lower_bound(map.begin(), map.end(), id,
                                   [](const auto& segment, SegmentId wanted) { return segment->id < wanted; });
  return at != map.end() && (*at)->id == id ? at->get() : nullptr;
}

std::shared_ptr<Segment> SegmentTable::Get(SegmentId id) const {
  base::MutexLock lock(mutex_);
  const Map& map = *map_.load(std::memory_order_relaxed);
  const auto at = std::find_if(map.begin(), map.end(), [id](const auto& s) { return s->id == id; });
  return at == map.end() ? nullptr : *at;
}

bool SegmentTable::MayHoldOlder(uint64_t key_hash, uint64_t revision, std::span<const SegmentId> except) const {
  for (const auto& segment : *map_.load(std::memory_order_acquire)) {
    if (segment->revision_min.load(std::memory_order_relaxed) >= revision || !segment->MayHold(key_hash)) continue;
    if (std::find(except.begin(), except.end(), segment->id) == except.end()) return true;
  }
  return false;
}

SegmentTable::Room::Room(const SegmentTable& table, size_t insertions_between)
    : map_(std::make_unique<Map>()), promise_(table.epochs_, 1) {
  map_->reserve(table.size() + insertions_between + 1);
}

void SegmentTable::Insert(std::shared_ptr<Segment> segment, Room room) {
  base::MutexLock lock(mutex_);
  Replace(room, map_.load(std::memory_order_relaxed)->size() + 1, [&](Map& map) {
    const auto at = std::lower_bound(map.begin(), map.end(), segment->id,
                                     [](const auto& s, SegmentId wanted) { return s->id < wanted; });
    map.insert(at, std::move(segment));
  });
}

void SegmentTable::Remove(std::span<const SegmentId> ids, Room room) {
  base::MutexLock lock(mutex_);
  Replace(room, map_.load(std::memory_order_relaxed)->size(), [&](Map& map) {
    std::erase_if(map, [&](const auto& s) { return std::find(ids.begin(), ids.end(), s->id) != ids.end(); });
  });
}

template <typename Change>
void SegmentTable::Replace(Room& room, size_t size_max, const Change& change) {
  room.map_->reserve(size_max);  // in vain but where there were more insertions than was said
  *room.map_ = *map_.load(std::memory_order_relaxed);
  change(*room.map_);
  Map* const old = map_.exchange(room.map_.release(), std::memory_order_acq_rel);
  room.promise_.Retire([old] { delete old; });
}

std::vector<std::shared_ptr<Segment>> SegmentTable::All() const {
  base::MutexLock lock(mutex_);
  return *map_.load(std::memory_order_relaxed);
}

size_t SegmentTable::size() const {
  base::MutexLock lock(mutex_);
  return map_.load(std::memory_order_relaxed)->size();
}

}  // namespace firn::log
