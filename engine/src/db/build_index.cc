// Building the index while a store opens: the records of all segments, as their directories and the index image tell
// them, merged by key. Parts of the keys are built side by side.
#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>

#include "base/memory.h"
#include "base/text.h"
#include "db/directory_merge.h"
#include "db/store.h"

namespace firn {
namespace {

constexpr size_t kThreads = 2;
// A thread is worth its start from here on.
constexpr uint64_t kRecordsPerThreadMin = 128;
// Between two looks at the memory budget.
constexpr uint64_t kKeysPerCheck = 64;
constexpr uint64_t kExtentBytes = 48;  // in the extent table

// The versions of one key as they come out of the directories, oldest first, boiled down to the newest state.
struct KeyState {
  static constexpr size_t kNone = SIZE_MAX;
  size_t put_segment = kNone;  // its place among the segments; kNone: absent
  Version version;
  size_t change_segment = kNone;
  bool separated = false;
  std::optional<format::ExtentName> extent;  // none of a separated value: its pointer cannot be read

  void Apply(const format::DirectoryEntry& record, uint32_t segment_id, size_t segment,
             const std::optional<format::ExtentName>& named) {
    switch (record.type) {
      case format::RecordType::kPut:
      case format::RecordType::kNamespaceCreate:
        put_segment = segment;
        change_segment = kNone;
        version.entry = {.segment = segment_id,
                         .offset = record.offset,
                         .size = record.size,
                         .flags = record.expires_at_ms != 0 ? entry_flags::kHasExpiry : 0,
                         .revision = record.revision};
        version.expiry = {.at_ms = record.expires_at_ms, .revision = record.revision};
        separated = named.has_value() || !record.value_pointer.empty();
        extent = named;
        break;
      case format::RecordType::kDelete:
      case format::RecordType::kNamespaceDrop:
        put_segment = kNone;
        change_segment = kNone;
        break;
      case format::RecordType::kExpiryChange:
        if (put_segment == kNone) break;
        change_segment = segment;
        version.entry.revision = record.revision;
        version.entry.flags = entry_flags::kHasExpiry | entry_flags::kExpiryChanged;
        version.expiry = {.at_ms = record.expires_at_ms,
                          .change_segment = segment_id,
                          .change_size = record.size,
                          .revision = record.revision};
        break;
      default:
        break;
    }
  }
};

bool IsTombstone(format::RecordType type) {
  return type == format::RecordType::kDelete || type == format::RecordType::kNamespaceDrop;
}

std::string IndexKeyOf(const format::KeyPlace& place) {
  return std::string(IndexKey(place.namespace_id, place.key).view());
}

}  // namespace

class Store::IndexBuild {
 public:
  IndexBuild(Store& store, log::RecoveredLog& recovered) : store_(store), recovered_(recovered) {}
  absl::Status Run();

 private:
  // What one thread counts for a segment.
  struct Counts {
    int64_t live_records = 0, live_bytes = 0, tombstones = 0;
    void AddLive(uint64_t bytes) {
      ++live_records;
      live_bytes += static_cast<int64_t>(bytes);
    }
  };
  // The keys of [low, high), or without an upper end.
  struct Part {
    Part(Store& store, size_t segments, format::KeyPlace from, std::optional<format::KeyPlace> to)
        : low(std::move(from)),
          high(std::move(to)),
          entries(*store.tree_, low == format::KeyPlace{} ? std::string() : IndexKeyOf(low)),
          expiries(*store.expiries_, low == format::KeyPlace{} ? std::string() : IndexKeyOf(low)),
          counts(segments) {}

    const format::KeyPlace low;
    const std::optional<format::KeyPlace> high;
    index::Tree::BulkLoader entries, expiries;
    std::vector<Counts> counts;
    uint32_t next_namespace_id = 0;
    absl::Status status;
  };

  std::vector<format::KeyPlace> ChooseSplits() const;
  absl::Status LoadPart(Part& part);
  absl::Status LoadKey(Part& part, DirectoryMerge& merge, std::string& index_key);
  std::optional<format::ExtentName> NoteExtent(const DirectoryMerge& merge);
  void NoteNamespace(Part& part, std::string_view key, bool is_there);
  absl::StatusOr<bool> Adopt(const KeyState& state, std::string_view index_key, index::Entry& entry);
  absl::Status CheckMemory();

  Store& store_;
  log::RecoveredLog& recovered_;
  uint64_t filter_bytes_ = 0;
  base::Mutex values_mutex_;  // recovery of the value store is for one thread at a time, and so is what is told of it
  std::atomic<uint64_t> adopted_values_{0};
  std::atomic<bool> failed_{false};
};

absl::Status Store::BuildIndex(log::RecoveredLog& recovered) { return IndexBuild(*this, recovered).Run(); }

absl::Status Store::IndexBuild::Run() {
  const std::vector<log::RecoveredSegment>& segments = recovered_.segments;
  for (const log::RecoveredSegment& each : segments) {
    if (each.segment->filter != nullptr) filter_bytes_ += each.segment->filter->memory_bytes();
  }
  // The system namespace sorts first, so which namespaces exist is known before their keys come.
  std::vector<format::KeyPlace> lows = ChooseSplits();
  lows.insert(lows.begin(), {{}, {format::kSystemNamespace + 1, {}}});
  std::deque<Part> parts;
  for (size_t i = 0; i < lows.size(); ++i) {
    parts.emplace_back(store_, segments.size(), lows[i],
                       i + 1 < lows.size() ? std::optional(lows[i + 1]) : std::nullopt);
  }
  const auto load = [this](Part& part) {
    part.status = base::OrOutOfMemory([&] { return LoadPart(part); });
    if (!part.status.ok()) failed_ = true;
  };
  load(parts[0]);
  std::vector<base::Thread> threads;
  threads.reserve(parts.size());
  size_t begun = 2;
  // A helper that cannot be had is done without.
  base::IfMemoryPermits([&] {
    for (; begun < parts.size(); ++begun) {
      threads.emplace_back("firn-recover", [&load, &part = parts[begun]] { load(part); });
    }
  });
  load(parts[1]);
  for (; begun < parts.size(); ++begun) load(parts[begun]);
  for (base::Thread& thread : threads) thread.Join();

  for (Part& part : parts) {
    FIRN_RETURN_IF_ERROR(part.status);
    recovered_.next_namespace_id = std::max(recovered_.next_namespace_id, part.next_namespace_id);
    for (size_t i = 0; i < segments.size(); ++i) {
      log::Segment& segment = *segments[i].segment;
      segment.live_records.fetch_add(part.counts[i].live_records, std::memory_order_relaxed);
      segment.live_bytes.fetch_add(part.counts[i].live_bytes, std::memory_order_relaxed);
      segment.tombstones.fetch_add(part.counts[i].tombstones, std::memory_order_relaxed);
    }
    if (&part == &parts[0]) continue;
    parts[0].entries.Join(part.entries);
    parts[0].expiries.Join(part.expiries);
  }
  parts[0].entries.Finish();
  parts[0].expiries.Finish();
  return absl::OkStatus();
}

// Keys between which about equally many records lie, by a sample.
std::vector<format::KeyPlace> Store::IndexBuild::ChooseSplits() const {
  struct Sample {
    format::KeyPlace key;
    uint64_t records;  // up to the next one
  };
  std::vector<Sample> samples;
  uint64_t records = 0;
  for (const log::RecoveredSegment& each : recovered_.segments) {
    if (!each.directory) continue;
    records += each.directory->summary().records;
    for (format::KeyPlace& key : each.directory->SampleKeys()) {
      samples.push_back({std::move(key), format::FooterReader::kKeysApart});
    }
  }
  if (store_.image_ != nullptr) {
    const format::ImageHead& head = store_.image_->head();
    records += head.records;
    for (const format::KeyPlace& key : head.first_keys) {
      samples.push_back({key, head.records / head.first_keys.size()});
    }
  }
  std::erase_if(samples, [](const Sample& each) { return each.key.namespace_id == format::kSystemNamespace; });
  const size_t parts = std::min<uint64_t>(kThreads, records / kRecordsPerThreadMin);
  std::sort(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) { return a.key < b.key; });
  uint64_t sampled = 0;
  for (const Sample& each : samples) sampled += each.records;
  std::vector<format::KeyPlace> splits;
  uint64_t before = 0;
  for (const Sample& each : samples) {
    const bool due = splits.size() + 1 < parts && before * parts >= sampled * (splits.size() + 1);
    if (due && (splits.empty() || splits.back() < each.key)) splits.push_back(each.key);
    before += each.records;
  }
  return splits;
}

absl::Status Store::IndexBuild::LoadPart(Part& part) {
  DirectoryMerge merge(recovered_.segments, store_.image_.get(), part.low, part.high);
  std::string index_key;
  for (uint64_t keys = 0; !merge.done() && !failed_.load(std::memory_order_relaxed); ++keys) {
    FIRN_RETURN_IF_ERROR(LoadKey(part, merge, index_key));
    if (keys % kKeysPerCheck == 0) FIRN_RETURN_IF_ERROR(CheckMemory());
  }
  FIRN_RETURN_IF_ERROR(merge.status());
  return CheckMemory();
}

absl::Status Store::IndexBuild::CheckMemory() {
  store_.side_memory_bytes_.store(filter_bytes_ + adopted_values_.load(std::memory_order_relaxed) * kExtentBytes,
                                  std::memory_order_relaxed);
  if (store_.IndexMemoryBytes() <= store_.options_.memory_budget_bytes) return absl::OkStatus();
  return base::ResourceExhausted(std::string(store_.disk_->path()) +
                                 ": the index does not fit into memory_budget_bytes = " +
                                 std::to_string(store_.options_.memory_budget_bytes) + "; open with a larger budget");
}

// All records of one key.
absl::Status Store::IndexBuild::LoadKey(Part& part, DirectoryMerge& merge, std::string& index_key) {
  const uint32_t namespace_id = merge.entry().namespace_id;
  index_key.resize(kNamespacePrefixBytes);
  StoreNamespacePrefix(index_key.data(), namespace_id);
  index_key += merge.entry().key;
  const std::string_view key = std::string_view(index_key).substr(kNamespacePrefixBytes);
  KeyState state;
  do {
    const format::DirectoryEntry& entry = merge.entry();
    const bool separated = merge.extent().has_value() || !entry.value_pointer.empty();
    state.Apply(entry, merge.segment()->id, merge.index(), separated ? NoteExtent(merge) : std::nullopt);
    if (IsTombstone(entry.type)) ++part.counts[merge.index()].tombstones;
    merge.Next();
  } while (!merge.done() && merge.entry().namespace_id == namespace_id && merge.entry().key == key);
  part.next_namespace_id = std::max(part.next_namespace_id, namespace_id + 1);
  const bool is_there = state.put_segment != KeyState::kNone;
  if (namespace_id == format::kSystemNamespace) {
    if (!ParseNamespaceRecordKey(key)) return absl::OkStatus();
    NoteNamespace(part, key, is_there);
  }
  if (!is_there) return absl::OkStatus();
  // After any other end all that is not named is given back. Salvaging may not know a namespace that was not dropped.
  const auto note_dead_value = [&] {
    if (!recovered_.clean || store_.options_.salvage || !state.extent) return;
    base::MutexLock lock(values_mutex_);
    store_.values_->NoteDead(*state.extent);
  };
  if (namespace_id != format::kSystemNamespace && !store_.IsAlive(namespace_id)) {
    note_dead_value();
    return absl::OkStatus();
  }
  Counts& put = part.counts[state.put_segment];
  Counts* const change = state.change_segment == KeyState::kNone ? nullptr : &part.counts[state.change_segment];
  const int64_t expires_at_ms = state.version.expiry.at_ms;
  if (expires_at_ms != 0 && expires_at_ms <= store_.clock_.NowMs()) {
    // Rule 2: from now on it is a tombstone for whatever older segments hold of the key.
    ++put.tombstones;
    if (change != nullptr) ++change->tombstones;
    note_dead_value();
    return absl::OkStatus();
  }
  if (state.separated) {
    FIRN_ASSIGN_OR_RETURN(const bool adopted, Adopt(state, index_key, state.version.entry));
    if (!adopted) return absl::OkStatus();
  }
  part.entries.Add(index_key, state.version.entry);
  put.AddLive(RecordBytes(state.version.entry));
  if ((state.version.entry.flags & entry_flags::kHasExpiry) != 0)
    part.expiries.Add(index_key, state.version.expiry.Pack());
  if (change != nullptr) change->AddLive(state.version.expiry.change_size);
  return absl::OkStatus();
}

// What the record names; nothing if it cannot be read. Its file's id is never given to another, whoever has it now.
std::optional<format::ExtentName> Store::IndexBuild::NoteExtent(const DirectoryMerge& merge) {
  std::optional<format::ExtentName> extent = merge.extent();
  if (!extent) {
    const auto pointer = format::DecodeValuePointer(base::AsBytes(merge.entry().value_pointer));
    if (pointer) extent = values::NameOf(*pointer);
  }
  if (extent) {
    base::MutexLock lock(values_mutex_);
    store_.values_->NoteFile(extent->file);
  }
  return extent;
}

void Store::IndexBuild::NoteNamespace(Part& part, std::string_view key, bool is_there) {
  const NamespaceEntry entry = *ParseNamespaceRecordKey(key);
  // Dropped ones too: an id is never used again.
  part.next_namespace_id = std::max(part.next_namespace_id, entry.id + 1);
  if (!is_there) return;
  // Where salvage has lost the record of a drop, a name may come up again: the later namespace has it.
  Namespaces& namespaces = store_.namespaces_;
  if (const auto earlier = namespaces.Find(entry.name)) namespaces.Install(namespaces.Without(*earlier));
  namespaces.Install(namespaces.With(entry));
}

// The extent gets its reference, and the entry its slot. False if it cannot be had and salvaging goes on without.
absl::StatusOr<bool> Store::IndexBuild::Adopt(const KeyState& state, std::string_view index_key, index::Entry& entry) {
  base::MutexLock lock(values_mutex_);
  absl::Status why = state.extent ? absl::OkStatus() : base::DataLoss("a value pointer in a footer cannot be read");
  if (state.extent) {
    const auto slot = store_.values_->Adopt(*state.extent);
    if (slot.ok()) {
      SetSeparated(entry, *slot);
      adopted_values_.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    why = slot.status();
  }
  if (!absl::IsDataLoss(why)) return why;
  const std::string namespace_name = store_.NamespaceNameOf(index_key);
  const std::string message =
      std::string(store_.disk_->path()) + ": the value of key " +
      base::Quoted(base::AsBytes(index_key.substr(kNamespacePrefixBytes))) +
      (namespace_name.empty() ? "" : " in namespace " + base::Quoted(base::AsBytes(namespace_name))) +
      " is lost: " + std::string(why.message());
  if (!store_.options_.salvage) {
    return base::DataLoss(message + ". Options::salvage (firn --salvage) opens the store without such keys");
  }
  store_.Emit(EventKind::kDamageFound, message);
  if (store_.options_.read_only) {
    store_.NoteLostValue(state.extent.value_or(format::ExtentName{}), index_key, why);
  }
  return false;
}

}  // namespace firn
