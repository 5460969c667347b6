// For tests: the references that extents count against what names them, and the bytes of the files against what lies in
// them.
#include <algorithm>

#include "values/value_store.h"

namespace firn::values {
namespace {

// Ranges of one file, none of which may touch another's bytes.
class Ranges {
 public:
  // False if the range overlaps an earlier one.
  bool Add(uint64_t begin, uint64_t end) {
    const auto after = by_begin_.lower_bound(begin);
    const bool clear = (after == by_begin_.end() || after->first >= end) &&
                       (after == by_begin_.begin() || std::prev(after)->second <= begin);
    by_begin_[begin] = end;
    bytes_ += end - begin;
    return clear;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  std::map<uint64_t, uint64_t> by_begin_;
  uint64_t bytes_ = 0;
};

}  // namespace

std::string ValueStore::CheckReferences(const std::map<Slot, uint64_t>& names) {
  base::MutexLock lock(free_mutex_);
  std::string wrong;
  const auto say = [&](const Place& place, const std::string& what) {
    wrong += ValueFileName(files_.At(place.file).id) + " at " + std::to_string(place.offset) + ": " + what + "; ";
  };
  std::map<uint32_t, Ranges> taken;
  uint64_t named = 0;
  table_.ForEach([&](Slot slot, uint32_t references) {
    const Place place = table_.PlaceOf(slot);
    const auto name = names.find(slot);
    const uint64_t expected = name == names.end() ? 0 : name->second;
    named += name != names.end() ? 1 : 0;
    if (references != expected) {
      say(place, "an extent counts " + std::to_string(references) + " references and has " + std::to_string(expected));
    }
    const uint64_t end = files_.At(place.file).ExtentEnd(place.offset, place.length);
    if (!taken[place.file].Add(place.offset, end)) say(place, "two extents in one place");
  });
  if (named != names.size()) {
    wrong += std::to_string(names.size() - named) + " extents are named and are gone; ";
  }
  for (const std::shared_ptr<ValueFile>& file : files_.All()) {
    for (const auto& [begin, end] : file->free_ranges) {
      if (!taken[file->slot].Add(begin, end)) say({file->slot, begin, 0}, "space that is given back is in use");
    }
  }
  return wrong;
}

uint64_t ValueStore::UnexplainedBytes() {
  base::MutexLock preparing(prepare_mutex_);  // the next file is there, or it is not
  base::MutexLock lock(free_mutex_);
  std::map<uint32_t, uint64_t> explained;
  table_.ForEach(
      [&](Slot slot, uint32_t) { explained[table_.PlaceOf(slot).file] += TakenBytes(table_.PlaceOf(slot)); });
  uint64_t bytes = 0;
  base::MutexLock append_lock(append_mutex_);
  for (const std::shared_ptr<ValueFile>& file : files_.All()) {
    uint64_t known = file->first_extent() + explained[file->slot] + file->free_bytes;
    if (file == active_) known += active_claimed_ - std::min(active_claimed_, active_end_);
    if (IsDead(*file)) continue;  // the next FreeDropped() removes it
    if (file == next_) known += next_claimed_ - std::min(next_claimed_, file->first_extent());
    if (const uint64_t end = file->cut_to; end != 0) {  // the next FreeDropped() cuts it
      const auto handle = files_.Open(*file);
      if (handle.ok()) known += (*handle)->size_bytes() - std::min((*handle)->size_bytes(), end);
    }
    const uint64_t allocated = files_.AllocatedBytes(*file);
    bytes += allocated - std::min(allocated, known);
  }
  return bytes;
}

}  // namespace firn::values
