#include "db/scrubber.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <tuple>

#include "base/text.h"
#include "db/image_reader.h"
#include "db/store.h"
#include "format/value_header.h"
#include "log/segment_scan.h"
#include "log/tail.h"

namespace firn {
namespace {

constexpr std::string_view kLogCursor = "log:";
constexpr std::string_view kValuesCursor = "values:";
// Pauses are cut to this, so that the callback is heard.
constexpr uint64_t kPauseNanosMax = 100'000'000;

std::optional<std::string> BytesOfHex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    unsigned byte = 0;
    const auto [end, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    if (error != std::errc() || end != hex.data() + i + 2) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

uint64_t StepBytes(uint64_t bytes_per_second, uint64_t step_bytes) {
  if (bytes_per_second == 0) return step_bytes;
  return std::clamp(base::RoundDown(bytes_per_second / 16, format::kBlockBytes), 4 * format::kBlockBytes, step_bytes);
}

// What the medium no longer has, as opposed to what keeps the check from being made.
bool IsLoss(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsOutOfRange(status) || absl::IsNotFound(status);
}

// Whether the key has kept this value: its record may have moved meanwhile.
bool IsSameValue(const std::optional<index::Entry>& now, const index::Entry& then) {
  return now && IsSeparated(*now) && now->size == then.size && now->revision == then.revision;
}

}  // namespace

std::string Damage::ToString() const { return file + " at offset " + std::to_string(offset) + ": " + what; }

absl::StatusOr<VerifyReport> Store::Scrub(const ScrubOptions& options) {
  FIRN_RETURN_IF_ERROR(CheckUsable());
  return Scrubber(*this, options, /*tell=*/true).Run();
}

absl::StatusOr<VerifyReport> Store::Verify(const ProgressCallback& progress) {
  FIRN_RETURN_IF_ERROR(CheckUsable());
  const ScrubOptions options{.bytes_per_second = 0, .from = {}, .progress = progress};
  auto report = Scrubber(*this, options, /*tell=*/false).Run();
  if (report.ok() && !report->cursor.empty()) {
    return base::MakeStatus(absl::StatusCode::kCancelled,
                            "verify was cancelled after " + std::to_string(report->bytes) + " bytes");
  }
  return report;
}

Scrubber::Scrubber(Store& store, const ScrubOptions& options, bool tell)
    : store_(store),
      options_(options),
      tell_(tell),
      step_bytes_(StepBytes(options.bytes_per_second, kStepBytes)),
      first_key_(index::Tree::kLowest),
      buffer_(step_bytes_) {}

absl::Status Scrubber::ParseCursor() {
  std::string_view rest = options_.from;
  if (rest.empty()) return absl::OkStatus();
  const auto invalid = [&] { return base::InvalidArgument("'" + options_.from + "' is no cursor of a scrub"); };
  if (rest.starts_with(kLogCursor)) {
    rest.remove_prefix(kLogCursor.size());
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), first_segment_);
    if (error != std::errc() || end != rest.data() + rest.size()) return invalid();
    // At most the one behind the newest, where only the values are left to do.
    const auto segments = store_.log_->segments().All();
    const bool is_reached = std::any_of(segments.begin(), segments.end(),
                                        [&](const auto& segment) { return first_segment_ <= segment->id + 1; });
    return is_reached ? absl::OkStatus() : invalid();
  }
  if (!rest.starts_with(kValuesCursor)) return invalid();
  auto key = BytesOfHex(rest.substr(kValuesCursor.size()));
  if (!key || key->size() > index::kIndexKeyBytesMax) return invalid();
  only_values_ = true;
  if (!key->empty()) first_key_ = *std::move(key);
  return absl::OkStatus();
}

absl::StatusOr<VerifyReport> Scrubber::Run() {
  FIRN_RETURN_IF_ERROR(ParseCursor());
  if (options_.from.empty()) {
    report_.damages = store_.found_by_open_;  // whoever opened it was told
    for (Damage& damage : store_.CheckSuperblock()) Found(std::move(damage));
    if (store_.options_.read_only) {
      CheckTail();
      FIRN_RETURN_IF_ERROR(CheckImage());
    }
  }
  total_bytes_ = store_.values_->GetStats().live_bytes;
  due_nanos_ = store_.raw_clock_.MonotonicNanos();
  if (!only_values_) FIRN_RETURN_IF_ERROR(CheckSegments());
  if (!cancelled_) FIRN_RETURN_IF_ERROR(CheckValues());
  NameKeys();
  if (!cancelled_ && options_.progress) static_cast<void>(options_.progress(total_bytes_, total_bytes_));
  return std::move(report_);
}

size_t Scrubber::Found(Damage damage) {
  if (tell_) store_.Emit(EventKind::kDamageFound, std::string(store_.disk_->path()) + "/" + damage.ToString());
  report_.damages.push_back(std::move(damage));
  return report_.damages.size() - 1;
}

bool Scrubber::Ask() const {
  // What was written since the total was taken is checked, but beyond it.
  return !options_.progress || options_.progress(std::min(done_bytes_, total_bytes_), total_bytes_);
}

bool Scrubber::GoOn(uint64_t bytes) {
  done_bytes_ += bytes;
  if (options_.bytes_per_second == 0) return Ask();
  base::Clock& clock = store_.raw_clock_;
  // Time that was not used, as by a slow disk, is no credit.
  due_nanos_ = std::max(due_nanos_, clock.MonotonicNanos());
  due_nanos_ +=
      static_cast<uint64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(options_.bytes_per_second));
  for (;;) {
    if (!Ask()) return false;
    const uint64_t now = clock.MonotonicNanos();
    if (now >= due_nanos_) return true;
    base::MutexLock lock(mutex_);
    never_.WaitFor(mutex_, std::min(due_nanos_ - now, kPauseNanosMax));
  }
}

// An open for writing refuses a TAIL of another size. The mark of a clean close is what tells that the end of the log
// is there. While the store is written to, the next close makes another.
void Scrubber::CheckTail() {
  const auto file = store_.disk_->Open(log::kTailFile, io::OpenMode::kRead);
  if (absl::IsNotFound(file.status())) {
    if (store_.found_clean_) return;  // what was closed is whole without it
    Found({.file = std::string(log::kTailFile),
           .offset = 0,
           .bytes = log::kTailFileBytes,
           .what = "it is missing, and the store was not closed: if its last process was killed, buffered writes are "
                   "lost"});
    return;
  }
  absl::Status status = file.status();
  if (status.ok() && (*file)->size_bytes() != log::kTailFileBytes) {
    const uint64_t file_bytes = (*file)->size_bytes();
    Found({.file = std::string(log::kTailFile),
           .offset = std::min(file_bytes, log::kTailFileBytes),
           .bytes = std::max(file_bytes, log::kTailFileBytes) - std::min(file_bytes, log::kTailFileBytes),
           .what = "it has " + std::to_string(file_bytes) + " bytes, not " + std::to_string(log::kTailFileBytes) +
                   ": the next open for writing would refuse the store. If its last process was killed, buffered "
                   "writes are lost"});
    return;
  }
  if (status.ok()) status = (*file)->Read(0, buffer_.bytes().first(format::kBlockBytes));
  const bool damaged =
      !status.ok() || log::HasDamagedCloseMark(buffer_.bytes().first(format::kBlockBytes), store_.superblock_.secret);
  if (!damaged) return;
  Found({.file = std::string(log::kTailFile),
         .offset = log::kCloseMarkAt,
         .bytes = format::kBlockBytes - log::kCloseMarkAt,
         .what = "the mark of a clean close does not verify" +
                 (status.ok() ? std::string() : " (" + std::string(status.message()) + ")") +
                 "; nothing is lost by that, but it no longer vouches for the end of the log"});
}

// An open for writing has read it, or removed it.
absl::Status Scrubber::CheckImage() {
  const auto image = ImageReader::Open(*store_.disk_, store_.superblock_);
  if (absl::IsNotFound(image.status())) return absl::OkStatus();
  const absl::Status checked = image.ok() ? (*image)->Check() : image.status();
  if (checked.ok() || !IsLoss(checked)) return checked;
  Found({.file = std::string(format::kImageFile),
         .what = "it does not verify (" + std::string(checked.message()) +
                 "); nothing is lost by that, but the next open reads footers"});
  return absl::OkStatus();
}

absl::Status Scrubber::CheckSegments() {
  // By id: whoever held the segments would hold the blocks of those that are retired meanwhile.
  std::vector<Part> parts;
  for (const auto& segment : store_.log_->segments().All()) {
    if (segment->id < first_segment_) continue;
    parts.push_back({segment->id, segment->written_end.load(std::memory_order_acquire)});
    total_bytes_ += parts.back().end;
  }
  for (const Part& part : parts) {
    for (uint64_t at = 0; at != kDone;) {
      // What is left of one that is retired counts as done.
      FIRN_ASSIGN_OR_RETURN(const uint64_t next, CheckSegment(part, at));
      if (!GoOn((next == kDone ? std::max<uint64_t>(at, part.end) : next) - at)) {
        cancelled_ = true;
        report_.cursor = std::string(kLogCursor) + std::to_string(next == kDone ? part.id + 1 : part.id);
        return absl::OkStatus();
      }
      at = next;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Scrubber::CheckSegment(const Part& part, uint64_t at) {
  // Under the guard it does not go, and its file is not used again.
  base::EpochGuard guard(store_.epochs_);
  const log::Segment* const segment = store_.log_->segments().Find(part.id);
  if (segment == nullptr) {
    ++report_.segments_skipped;
    return kDone;
  }
  if (at == 0) {
    FIRN_RETURN_IF_ERROR(CheckHeader(*segment));
    at = log::kFirstUnitOffset;
  }
  FIRN_ASSIGN_OR_RETURN(at, CheckUnits(*segment, at, part.end));
  if (at < part.end) return at;
  // An open for writing has footers that do not verify written again; one for reading scans their segments.
  const bool had_footer = store_.options_.read_only && store_.found_closed_;
  if (had_footer || segment->sealed.load(std::memory_order_acquire)) CheckFooter(*segment);
  ++report_.segments;
  return kDone;
}

absl::Status Scrubber::CheckHeader(const log::Segment& segment) {
  const base::MutableBytes block = buffer_.bytes().first(format::kBlockBytes);
  absl::Status status = segment.file->Read(0, block);
  if (!status.ok() && !IsLoss(status)) return status;
  if (status.ok()) {
    const auto header = format::DecodeSegmentHeader(block, store_.superblock_.secret, store_.superblock_.uuid);
    if (header.ok() && *header == segment.header) return absl::OkStatus();
    status = header.ok() ? base::DataLoss("it is another segment's") : header.status();
  }
  Found({.file = segment.file->name(),
         .offset = 0,
         .bytes = format::kBlockBytes,
         .what = "the segment's header does not verify (" + std::string(status.message()) +
                 "); the next open would refuse the store"});
  return absl::OkStatus();
}

// Whole units, each record in them by itself as well, for one step.
absl::StatusOr<uint64_t> Scrubber::CheckUnits(const log::Segment& segment, uint64_t at, uint64_t end) {
  log::SegmentScanner scanner(segment, step_bytes_);
  const uint64_t begin = at;
  while (at < end && at - begin < step_bytes_) {
    const auto unit = scanner.UnitAt(at);
    if (!unit) {
      const uint64_t next = scanner.FindUnit(at + format::kBlockBytes, end).value_or(end);
      const absl::Status& status = scanner.read_error();
      if (!status.ok() && !IsLoss(status)) return status;
      const size_t damage = Found({.file = segment.file->name(),
                                   .offset = at,
                                   .bytes = next - at,
                                   .what = std::to_string(next - at) + " bytes of commit units do not verify" +
                                           (status.ok() ? "" : " (" + std::string(status.message()) + ")")});
      log_places_.push_back({segment.id, at, next, damage});
      at = next;
      continue;
    }
    const uint64_t payload_at = at + format::kUnitHeaderBytes;
    const uint64_t bytes = uint64_t{unit->header.blocks} * format::kBlockBytes;
    for (size_t done = 0; done < unit->payload.size();) {
      const auto record = format::DecodeRecord(unit->payload.subspan(done), segment.seed, payload_at + done);
      if (!record) {
        const size_t damage = Found({.file = segment.file->name(),
                                     .offset = payload_at + done,
                                     .bytes = bytes - format::kUnitHeaderBytes - done,
                                     .what = "a record does not verify in a unit that does"});
        log_places_.push_back({segment.id, payload_at + done, at + bytes, damage});
        break;
      }
      ++report_.records;
      done += record->size_bytes;
    }
    report_.bytes += bytes;
    at += bytes;
  }
  return at;
}

void Scrubber::CheckFooter(const log::Segment& segment) {
  const uint32_t end = segment.units_end.load(std::memory_order_relaxed);
  const auto footer = log::LoadFooter(segment);
  if (footer && footer->summary().units_end == end) return;
  const uint64_t file_bytes = segment.file->size_bytes();
  Found({.file = segment.file->name(),
         .offset = end,
         .bytes = file_bytes - std::min<uint64_t>(file_bytes, end),
         .what = "the footer does not verify; opening will scan the segment"});
}

// Every extent that the index names, once, and the headers of their files.
absl::Status Scrubber::CheckValues() {
  absl::Status status;
  store_.tree_->ForEachPage(first_key_, [&](const index::Tree::Page& page) {
    for (size_t i = 0; i < page.size() && status.ok() && !cancelled_; ++i) {
      if (!IsSeparated(page.entry(i)) || page.key(i) < first_key_) continue;
      const std::string key(page.key(i));
      status = CheckValue(key);
      if (cancelled_) report_.cursor = std::string(kValuesCursor) + base::Hex(base::AsBytes(key));
    }
    return status.ok() && !cancelled_;
  });
  return status;
}

absl::Status Scrubber::CheckValue(const std::string& index_key) {
  base::Hasher128 hasher(store_.superblock_.secret);
  index::Entry entry;
  uint64_t length = 0;
  {
    base::EpochGuard guard(store_.epochs_);
    const auto found = store_.tree_->Find(index_key);
    if (!found || !IsSeparated(*found) || seen_values_.contains(found->size)) return absl::OkStatus();
    entry = *found;
    length = store_.values_->length(entry.size);
  }
  for (uint64_t at = 0; at < length;) {
    FIRN_ASSIGN_OR_RETURN(const bool there, CheckPiece(index_key, entry, at, length, hasher));
    const uint64_t size = store_.value_hash_ == &base::Hash128 ? std::min(step_bytes_, length - at) : length;
    at = there ? at + size : length;
    if (!GoOn(size)) {
      cancelled_ = true;
      return absl::OkStatus();
    }
    if (!there) return absl::OkStatus();
  }
  seen_values_.insert(entry.size);
  ++report_.values;
  report_.bytes += length;
  return absl::OkStatus();
}

// One step of a value. False if it need not go on: the key has changed, which its revision tells, or damage is found.
absl::StatusOr<bool> Scrubber::CheckPiece(const std::string& index_key, const index::Entry& entry, uint64_t at,
                                          uint64_t length, base::Hasher128& hasher) {
  base::EpochGuard guard(store_.epochs_);
  // The same entry has kept its reference all the time, so the slot is that of the same bytes.
  if (!IsSameValue(store_.tree_->Find(index_key), entry)) return false;
  values::ValueStore& values = *store_.values_;
  const auto blocks = values.BlocksOf(entry.size);
  absl::Status status = blocks.status();
  if (status.ok() && at == 0 && seen_files_.insert(blocks->file->name()).second) {
    FIRN_RETURN_IF_ERROR(CheckValueFile(*blocks->file));
  }
  const bool at_once = store_.value_hash_ != &base::Hash128;  // a test's, which wants all of it
  if (status.ok() && at_once) {
    std::string value(length, '\0');
    status = values.Read(entry.size, std::as_writable_bytes(std::span(value.data(), value.size())));
  } else if (status.ok()) {
    const uint64_t size = std::min(step_bytes_, length - at);
    status = blocks->file->Read(blocks->offset + at, buffer_.bytes().first(base::RoundUp(size, format::kBlockBytes)));
    hasher.Add(buffer_.bytes().first(size));
    if (status.ok() && at + size == length && hasher.Get() != values.HashOf(entry.size)) {
      status = base::DataLoss("a value of " + std::to_string(length) + " bytes does not match its hash");
    }
  }
  if (status.ok()) return true;
  if (!IsLoss(status)) return status;
  const values::ValueStore::PlaceInFile place = values.PlaceInFileOf(entry.size);
  seen_values_.insert(entry.size);
  value_places_[{place.file, place.offset}] =
      Found({.file = place.file, .offset = place.offset, .bytes = length, .what = std::string(status.message())});
  return false;
}

absl::Status Scrubber::CheckValueFile(io::File& file) {
  const base::MutableBytes block = buffer_.bytes().first(format::kBlockBytes);
  absl::Status status = file.Read(0, block);
  if (!status.ok() && !IsLoss(status)) return status;
  if (status.ok()) {
    status = format::DecodeValueHeader(block, store_.superblock_.secret, store_.superblock_.uuid).status();
  }
  if (status.ok()) return absl::OkStatus();
  Found({.file = file.name(),
         .offset = 0,
         .bytes = format::kBlockBytes,
         .what = "the header does not verify (" + std::string(status.message()) +
                 "); its values are read all the same, and none is added"});
  return absl::OkStatus();
}

// Of each damage the keys that cannot be read because of it, by one walk through the index.
void Scrubber::NameKeys() {
  if (log_places_.empty() && value_places_.empty()) return;
  std::map<uint32_t, std::string> names;
  for (const NamespaceEntry& each : store_.namespaces_.All()) names[each.id] = each.name;
  const auto name_key = [&](size_t damage, std::string_view index_key) {
    Damage& found = report_.damages[damage];
    ++found.keys_in_all;
    if (found.keys.size() >= kAffectedKeysMax) return;
    found.keys.push_back({names[NamespaceOf(index_key)], std::string(index_key.substr(kNamespacePrefixBytes))});
  };
  const auto look = [&](std::string_view index_key) {
    base::EpochGuard guard(store_.epochs_);
    const auto entry = store_.tree_->Find(index_key);
    if (!entry || (entry->flags & entry_flags::kTombstone) != 0) return;
    if (IsSeparated(*entry)) {
      const auto place = store_.values_->PlaceInFileOf(entry->size);
      const auto damaged = value_places_.find({place.file, place.offset});
      if (damaged != value_places_.end()) name_key(damaged->second, index_key);
      return;
    }
    for (const LogPlace& place : log_places_) {
      if (entry->segment != place.segment || entry->offset < place.begin || entry->offset >= place.end) continue;
      std::string value;
      if (!store_.ReadInlineRecord(index_key, {*entry, {}}, &value, nullptr, Store::Caching::kFromDisk).ok())
        name_key(place.damage, index_key);
    }
  };
  store_.tree_->ForEachPage(index::Tree::kLowest, [&](const index::Tree::Page& page) {
    for (size_t i = 0; i < page.size(); ++i) {
      if (NamespaceOf(page.key(i)) != format::kSystemNamespace) look(page.key(i));
    }
    return true;
  });
}

}  // namespace firn
