#include "db/directory_merge.h"

#include <tuple>

namespace firn {

bool DirectoryMerge::ComesLater(size_t a, size_t b) const {
  const format::DirectoryEntry &x = sources_[a].entry, &y = sources_[b].entry;
  const log::SegmentId in_a = SegmentOf(a).id, in_b = SegmentOf(b).id;
  return std::tie(x.namespace_id, x.key, x.revision, in_a) > std::tie(y.namespace_id, y.key, y.revision, in_b);
}

}  // namespace firn
