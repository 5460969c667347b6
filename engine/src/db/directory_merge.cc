#include "db/directory_merge.h"

#include <algorithm>
#include <tuple>

namespace firn {
namespace {

uint64_t HeadOf(std::string_view key) {
  uint64_t head = 0;
  std::memcpy(&head, key.data(), std::min(key.size(), sizeof(head)));
  return __builtin_bswap64(head);
}

}  // namespace

DirectoryMerge::DirectoryMerge(const std::vector<log::RecoveredSegment>& segments, const ImageReader* image,
                               const format::KeyPlace& low, const std::optional<format::KeyPlace>& high)
    : segments_(segments), high_(high) {
  sources_.reserve(segments.size() + 1);
  for (size_t i = 0; i < segments.size(); ++i) {
    if (!segments[i].directory) continue;
    Source& source = sources_.emplace_back();
    source.directory = segments[i].directory;
    source.index = i;
    source.directory->Seek(low);
  }
  if (image != nullptr) cursor_.emplace(*image, low);
  if (image != nullptr || sources_.empty()) sources_.emplace_back();
  for (Source& source : sources_) Advance(source);

  // Each source plays its way up until it meets one that has been there.
  constexpr size_t kNobody = SIZE_MAX;
  losers_.assign(sources_.size(), kNobody);
  for (size_t i = 0; i < sources_.size(); ++i) {
    size_t player = i;
    size_t at = (i + sources_.size()) / 2;
    for (; at > 0; at /= 2) {
      if (losers_[at] == kNobody) {
        losers_[at] = player;
        break;
      }
      if (ComesFirst(losers_[at], player)) std::swap(losers_[at], player);
    }
    if (at == 0) winner_ = player;
  }
}

void DirectoryMerge::Advance(Source& source) {
  const bool there = source.directory ? source.directory->Next(source.entry) : NextOfImage(source);
  const format::DirectoryEntry& entry = source.entry;
  const bool beyond =
      there && high_ &&
      (entry.namespace_id != high_->namespace_id ? entry.namespace_id > high_->namespace_id : entry.key >= high_->key);
  source.rank = !there || beyond ? kDone : entry.namespace_id;
  if (source.rank != kDone) source.head = HeadOf(entry.key);
}

// Rule 7: what names a segment that is gone is dropped. It was superseded, or copied to one that the image knows not
// of.
bool DirectoryMerge::NextOfImage(Source& source) {
  format::ImageRecord record;
  while (cursor_ && cursor_->Next(record)) {
    const std::optional<size_t> index = cursor_->reader().IndexOf(record.segment);
    if (!index) continue;
    source.index = *index;
    source.extent = record.extent;
    source.entry = {.namespace_id = record.namespace_id,
                    .key = record.key,
                    .type = record.type,
                    .offset = record.offset,
                    .size = record.size,
                    .revision = record.revision,
                    .expires_at_ms = record.expires_at_ms};
    return true;
  }
  return false;
}

bool DirectoryMerge::ComesFirst(size_t a, size_t b) const {
  const Source &x = sources_[a], &y = sources_[b];
  if (x.rank != y.rank) return x.rank < y.rank;
  if (x.rank == kDone) return a < b;
  if (x.head != y.head) return x.head < y.head;
  if (const int order = x.entry.key.compare(y.entry.key); order != 0) return order < 0;
  return std::tuple(x.entry.revision, segments_[x.index].segment->id) <
         std::tuple(y.entry.revision, segments_[y.index].segment->id);
}

void DirectoryMerge::Replay(size_t source) {
  size_t player = source;
  for (size_t at = (source + sources_.size()) / 2; at > 0; at /= 2) {
    if (ComesFirst(losers_[at], player)) std::swap(losers_[at], player);
  }
  winner_ = player;
}

}  // namespace firn
