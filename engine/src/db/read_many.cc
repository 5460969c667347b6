// Reads of many values at once: multi-gets, and what iterators read ahead.
#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/memory.h"
#include "db/store.h"

namespace firn {

using Part = memory::CacheKey::Part;

namespace {

// So many values before one is copied, memory is asked for it.
constexpr size_t kValuesAhead = 3;

// Of a value that will be copied, and that the lookup has not brought all of.
void PrefetchLines(const memory::Cached& found, size_t copied_bytes_max) {
  constexpr size_t kLineBytes = 64, kBytesMin = 256;
  const size_t size = found.value.size();
  if (found.chunk == nullptr || size < kBytesMin || size > copied_bytes_max) return;
  for (size_t at = 0; at < size; at += kLineBytes) __builtin_prefetch(found.value.data() + at);
}

}  // namespace

// What is not in memory. Requests of neighbours are one.
class Store::DiskReads {
 public:
  DiskReads(Store& store, Caching caching) : store_(store), caching_(caching) {}

  // May read those that were added before, if these would be too many bytes in flight.
  void Add(ManyRead& read);
  void Finish();

 private:
  static constexpr uint64_t kBytesInFlightMax = uint64_t{4} << 20;
  // Neighbours are read in one request with what lies between them, if that is no more than another request costs.
  static constexpr uint64_t kGapBytesMax = 8'192;
  static constexpr uint64_t kRequestBytesMax = uint64_t{512} << 10;

  struct Blocks {
    ManyRead* read;
    io::File* file;
    uint64_t begin, end;          // in the file, whole blocks
    const log::Segment* segment;  // of a record; it may have left the store since, and stays as long as the guard
    values::Handle value_file;    // of a separated value
  };

  void Take(Blocks blocks);
  void Alone(ManyRead& read);
  void TryAccept(const Blocks& blocks, const io::ReadRequest& request) noexcept;
  void Accept(const Blocks& blocks, const absl::Status& status, base::Bytes bytes);

  Store& store_;
  const Caching caching_;
  std::vector<Blocks> blocks_;
  uint64_t bytes_ = 0;
  bool out_of_memory_ = false;
};

void Store::DiskReads::Add(ManyRead& read) {
  const index::Entry& entry = read.version.entry;
  if (IsSeparated(entry)) {
    // Larger ones are read in pieces, several at once.
    if (store_.values_->length(entry.size) > kBytesInFlightMax) return Alone(read);
    auto place = store_.values_->BlocksOf(entry.size);
    if (!place.ok()) {
      read.status = place.status();
      return;
    }
    io::File* const file = place->file.get();
    return Take({&read, file, place->offset, place->offset + place->size_bytes, nullptr, std::move(place->file)});
  }
  base::SchedulePoint();  // the segment may go here, unless the index named it inside the caller's epoch guard
  const log::Segment* segment = store_.log_->segments().Find(entry.segment);
  if (segment == nullptr || !segment->overlays.empty() || entry.size > kBytesInFlightMax ||
      store_.log_->IsResident(entry.segment, entry.offset)) {
    return Alone(read);
  }
  Take({&read, segment->file.get(), base::RoundDown(entry.offset, io::File::kAlignmentBytes),
        base::RoundUp(uint64_t{entry.offset} + entry.size, io::File::kAlignmentBytes), segment, nullptr});
}

void Store::DiskReads::Take(Blocks blocks) {
  const uint64_t bytes = blocks.end - blocks.begin;
  if (bytes_ + bytes > kBytesInFlightMax) Finish();
  blocks_.push_back(std::move(blocks));
  bytes_ += bytes;
}

void Store::DiskReads::Alone(ManyRead& read) {
  const bool separated = IsSeparated(read.version.entry);
  read.status =
      store_.ReadRecord(read.index_key, read.version, &read.value.own_, separated ? nullptr : &read.metadata, caching_);
  read.value.place_ = PinnedValue::Place::kOwn;
}

void Store::DiskReads::Finish() {
  std::sort(blocks_.begin(), blocks_.end(),
            [](const Blocks& a, const Blocks& b) { return a.file != b.file ? a.file < b.file : a.begin < b.begin; });
  std::vector<io::ReadRequest> requests;
  struct Range {
    uint64_t begin, end;  // in the file
    size_t first, last;   // of the blocks
  };
  std::vector<Range> ranges;  // of requests
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Blocks& blocks = blocks_[i];
    const bool joins = !requests.empty() && requests.back().file == blocks.file &&
                       blocks.begin <= ranges.back().end + kGapBytesMax &&
                       std::max(blocks.end, ranges.back().end) - ranges.back().begin <= kRequestBytesMax;
    if (joins) {
      ranges.back().end = std::max(blocks.end, ranges.back().end);
      ranges.back().last = i;
    } else {
      requests.push_back({.file = blocks.file, .offset = blocks.begin, .out = {}, .status = {}});
      ranges.push_back({blocks.begin, blocks.end, i, i});
    }
  }
  uint64_t bytes = 0;
  for (const Range& range : ranges) bytes += range.end - range.begin;
  const base::AlignedBuffer memory(bytes);
  uint64_t at = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const uint64_t size = ranges[i].end - ranges[i].begin;
    requests[i].out = memory.bytes().subspan(at, size);
    at += size;
  }
  // What has come is looked at while the disk reads the others.
  store_.disk_->ReadMany(requests, [&](const io::ReadRequest& request) {
    const Range& range = ranges[static_cast<size_t>(&request - requests.data())];
    const bool several = range.last > range.first;
    if (several && !request.status.ok()) return;
    for (size_t i = range.first; i <= range.last; ++i) TryAccept(blocks_[i], request);
  });
  // What one of several could not be read for is not the others' failure.
  for (size_t r = 0; r < requests.size(); ++r) {
    io::ReadRequest& request = requests[r];
    if (request.status.ok() || ranges[r].last == ranges[r].first) continue;
    for (size_t i = ranges[r].first; i <= ranges[r].last; ++i) {
      const Blocks& blocks = blocks_[i];
      request.status = blocks.file->Read(blocks.begin,
                                         request.out.subspan(blocks.begin - request.offset, blocks.end - blocks.begin));
      TryAccept(blocks, request);
    }
  }
  blocks_.clear();
  bytes_ = 0;
  if (std::exchange(out_of_memory_, false)) throw std::bad_alloc();
}

// `request` has read the blocks, and perhaps others. Whoever calls this cannot do with an exception.
void Store::DiskReads::TryAccept(const Blocks& blocks, const io::ReadRequest& request) noexcept {
  const base::Bytes own = request.out.subspan(blocks.begin - request.offset, blocks.end - blocks.begin);
  if (!base::IfMemoryPermits([&] { Accept(blocks, request.status, own); })) out_of_memory_ = true;
}

void Store::DiskReads::Accept(const Blocks& blocks, const absl::Status& status, base::Bytes bytes) {
  ManyRead& read = *blocks.read;
  const index::Entry& entry = read.version.entry;
  // A file that ends before what is in it has lost it.
  read.status = absl::IsOutOfRange(status) ? base::DataLoss(std::string(status.message())) : status;
  if (!read.status.ok()) return;
  if (blocks.value_file != nullptr) {
    const base::Bytes value = bytes.first(store_.values_->length(entry.size));
    read.status = store_.values_->Verify(entry.size, value);
    if (!read.status.ok()) return;
    read.value.Copy(base::AsText(value));
    if (caching_ == Caching::kFill) store_.KeepCached(read.index_key, entry, Part::kSeparatedValue, value, {});
    return;
  }
  const auto record =
      Verified(*blocks.segment, read.index_key, read.version, bytes.subspan(entry.offset - blocks.begin, entry.size));
  if (!record.ok()) {
    read.status = record.status();
    return;
  }
  read.value.Copy(base::AsText(record->value));
  read.metadata.assign(base::AsText(record->metadata));
  if (caching_ == Caching::kFill)
    store_.KeepCached(read.index_key, entry, Part::kRecord, record->value, record->metadata);
}

// Those that are in the cache are done, and no longer to be found.
void Store::FindManyCached(std::span<ManyRead> reads, Caching caching, size_t copied_bytes_max) {
  constexpr size_t kGroup = 64;
  std::array<ManyRead*, kGroup> asked;
  std::array<memory::Cached, kGroup> found;
  absl::InlinedVector<memory::CacheKey, kGroup> keys;
  const auto take = [&] {
    cache_->FindMany(keys, found, caching == Caching::kFill);
    size_t hits = 0;
    for (size_t i = 0; i < std::min(kValuesAhead, keys.size()); ++i) PrefetchLines(found[i], copied_bytes_max);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (i + kValuesAhead < keys.size()) PrefetchLines(found[i + kValuesAhead], copied_bytes_max);
      if (found[i].chunk == nullptr) continue;
      ++hits;
      asked[i]->found = false;
      asked[i]->status = absl::OkStatus();
      Pin(found[i], asked[i]->value, copied_bytes_max);
      if (!found[i].metadata.empty()) asked[i]->metadata.assign(base::AsText(found[i].metadata));
    }
    if (caching == Caching::kFill) {
      cache_hits_.Add(hits);
      cache_misses_.Add(keys.size() - hits);
    }
    keys.clear();
  };
  for (ManyRead& read : reads) {
    const index::Entry& entry = read.version.entry;
    if (!read.found || !MayBeCached(entry.segment)) continue;
    asked[keys.size()] = &read;
    keys.push_back(CacheKeyOf(read.index_key, entry, IsSeparated(entry) ? Part::kSeparatedValue : Part::kRecord));
    if (keys.size() == kGroup) take();
  }
  take();
}

size_t Store::ReadMany(std::span<ManyRead> reads, Caching caching, size_t copied_bytes_max, size_t reads_max) {
  if (cache_ != nullptr && caching != Caching::kFromDisk) FindManyCached(reads, caching, copied_bytes_max);
  DiskReads disk_reads(*this, caching);
  size_t count = 0;
  for (ManyRead& read : reads) {
    if (count == reads_max) break;
    if (!std::exchange(read.found, false)) continue;
    disk_reads.Add(read);
    ++count;
  }
  if (count > 0) disk_reads.Finish();
  return count;
}

// The versions at `revision`. Nothing if they are not known to be the state at it: some are newer, or have gone
// meanwhile; `is_settled` says that a view keeps them.
bool Store::LocateMany(std::span<const std::string_view> index_keys, uint64_t revision, bool is_settled,
                       std::span<ManyRead> reads) const {
  std::vector<std::optional<index::Entry>> entries(reads.size());
  tree_->FindMany(index_keys, entries);
  for (size_t i = 0; i < reads.size(); ++i) {
    ManyRead& read = reads[i];
    if (absl::IsInvalidArgument(read.status)) continue;
    const std::optional<index::Entry>& entry = entries[i];
    const auto version = entry ? LocateFrom(read.index_key, *entry, revision) : std::nullopt;
    read.found = version.has_value();
    if (version) read.version = *version;
    if (!entry || is_settled) continue;
    // Finding out about an expiry may have gone on to a newer entry.
    const bool has_expiry = (entry->flags & entry_flags::kHasExpiry) != 0;
    if (entry->revision > revision || (has_expiry && tree_->Find(read.index_key) != entry)) return false;
  }
  return is_settled || erased_revision_.load(std::memory_order_seq_cst) <= revision;
}

std::vector<Store::ManyRead> Store::MultiGetReads(uint32_t namespace_id, std::span<const std::string_view> keys,
                                                  const ReadOptions& options) {
  OperationTimer timer(multi_gets_, raw_clock_);
  multi_get_keys_.Add(keys.size());
  std::vector<ManyRead> reads(keys.size());
  const auto fail_all = [&](const absl::Status& status) {
    for (ManyRead& read : reads) read.status = status;
    return std::move(reads);
  };
  if (absl::Status status = CheckUsable(); !status.ok()) return fail_all(status);
  if (!IsAlive(namespace_id)) return fail_all(base::NotFound("no such namespace"));
  if (keys.size() > kMultiGetKeysMax) {
    return fail_all(base::InvalidArgument("MultiGet of " + std::to_string(keys.size()) + " keys; at most " +
                                          std::to_string(kMultiGetKeysMax) + " at once"));
  }

  size_t keys_bytes = 0;
  for (const std::string_view key : keys) keys_bytes += kNamespacePrefixBytes + std::max<size_t>(key.size(), 1);
  std::string index_key_bytes;
  index_key_bytes.reserve(keys_bytes);
  std::vector<std::string_view> index_keys(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    reads[i].status = CheckReadKey(keys[i]);
    const size_t begin = index_key_bytes.size();
    index_key_bytes.resize(begin + kNamespacePrefixBytes);
    StoreNamespacePrefix(index_key_bytes.data() + begin, namespace_id);
    index_key_bytes.append(reads[i].status.ok() ? keys[i] : std::string_view("\0", 1));
    reads[i].index_key = index_keys[i] = std::string_view(index_key_bytes).substr(begin);
  }

  std::optional<base::EpochGuard> guard(std::in_place, epochs_);
  // The newest entries are the state at `revision` if none of them is newer and no tombstone newer than it has left the
  // index meanwhile. Busy keys may need a few turns; then a view settles it.
  constexpr int kOptimisticTurns = 4;
  uint64_t revision = options.snapshot != nullptr ? options.snapshot->revision() : 0;
  std::optional<View> view;
  for (int turn = 0;; ++turn) {
    if (options.snapshot == nullptr) {
      if (turn == kOptimisticTurns) view.emplace(*this);
      revision = view ? view->revision() : log_->published().Get();
    }
    if (LocateMany(index_keys, revision, view || options.snapshot != nullptr, reads)) break;
  }
  // Keys that went with their namespace are no state at any revision.
  if (!IsAlive(namespace_id)) return fail_all(base::NotFound("no such namespace"));

  const absl::Status absence = CheckAbsenceServable(revision);
  const uint64_t newest = std::min(revision, log_->published().Get());
  for (ManyRead& read : reads) {
    if (!read.status.ok()) continue;
    if (!read.found) {
      read.status = absence.ok() ? KeyNotFound() : absence;
    } else {
      read.status = CheckServable(read.version);
      read.found = read.status.ok();
    }
  }
  ReadMany(reads, Caching::kFill, PinnedValue::kSmallBytesMax, reads.size());
  guard.reset();
  view.reset();
  if (options.read_durable) {
    if (absl::Status status = AwaitDurable(newest); !status.ok()) return fail_all(status);
  }
  uint64_t bytes = 0;
  for (const ManyRead& read : reads) bytes += read.status.ok() ? read.value.value().size() : 0;
  user_bytes_read_.Add(bytes);
  return reads;
}

std::vector<absl::StatusOr<std::string>> Store::MultiGet(uint32_t namespace_id, std::span<const std::string_view> keys,
                                                         const ReadOptions& options) {
  std::vector<absl::StatusOr<std::string>> results;
  results.reserve(keys.size());
  for (ManyRead& read : MultiGetReads(namespace_id, keys, options)) {
    if (read.status.ok()) {
      results.emplace_back(std::move(read.value).TakeString());
    } else {
      results.emplace_back(std::move(read.status));
    }
  }
  return results;
}

std::vector<absl::StatusOr<PinnedValue>> Store::MultiGetPinned(uint32_t namespace_id,
                                                               std::span<const std::string_view> keys,
                                                               const ReadOptions& options) {
  std::vector<absl::StatusOr<PinnedValue>> results;
  results.reserve(keys.size());
  for (ManyRead& read : MultiGetReads(namespace_id, keys, options)) {
    if (read.status.ok()) {
      results.emplace_back(std::move(read.value));
    } else {
      results.emplace_back(std::move(read.status));
    }
  }
  return results;
}

}  // namespace firn
