// What a change is on its way through write.cc.
#pragma once

#include <optional>
#include <string>

#include "db/store.h"
#include "format/record.h"

namespace firn {

// A change on its way: what was asked, what the key is now, and the record it becomes.
struct Store::Planned {
  explicit Planned(const WriteOperation& asked) : operation(asked), key(asked.namespace_id, asked.key) {}

  WriteOperation operation;
  IndexKey key;
  std::optional<index::Entry> found;  // in the index, a tombstone too; under the key's lock nobody changes it
  std::optional<Version> current;     // visible before the change
  bool superseded = false;  // a later operation of the batch on the key counts; the condition still has to hold
  bool writes = false;      // as planned last, which is anew at each attempt
  format::Record record;
  uint64_t record_bytes = 0;
  index::Entry place;                          // of the record once it has one
  bool new_entry = false, new_expiry = false;  // has a place held for it
  // A value of its own extent: one reference, until the change is published.
  std::optional<values::Slot> slot;
  std::string pointer;  // encoded
};

}  // namespace firn
