// Ordered walks over a namespace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <firn/options.h>

namespace firn {

struct IteratorOptions {
  // Keys in [lower, upper), bytewise; no value means no bound. A prefix narrows the bounds further.
  std::optional<std::string> lower;
  std::optional<std::string> upper;
  std::string prefix;
  // value() and metadata() are empty; no disk is read at all.
  bool keys_only = false;
  // Reads the state at this snapshot, which may be let go before the iterator is.
  const Snapshot* snapshot = nullptr;
};

// Sees one revision: the snapshot's, or the newest at creation. Writes that come later are invisible, entries that
// expire on the way disappear. It starts unpositioned. Both directions may be mixed.
//
// When a value cannot be read (DataLoss) the iterator stands still on that key: Valid() stays true, value() is empty,
// status() tells; Next() and Prev() step past it and clear the status. So it is after a failed write with an entry that
// is not durable (Unavailable). Where such a store has deletes that are not durable, no walk is possible that sees
// them: Valid() is false, status() is Unavailable.
//
// Where memory ends Valid() is false and status() ResourceExhausted, or value() is empty with that status; the iterator
// can be positioned, or the value be asked for, again.
//
// Not thread-safe; may be moved between threads. Views from key() and value() live until the next call. An iterator
// keeps the versions it sees in memory, so do not keep one for hours. It must be destroyed before the DB is closed.
class Iterator {
 public:
  virtual ~Iterator() = default;

  virtual void SeekToFirst() = 0;
  virtual void SeekToLast() = 0;
  virtual void Seek(std::string_view key) = 0;         // the first key at or after `key`
  virtual void SeekForPrev(std::string_view key) = 0;  // the last key at or before `key`
  virtual void Next() = 0;                             // only when Valid()
  virtual void Prev() = 0;                             // only when Valid()

  virtual bool Valid() const = 0;
  virtual std::string_view key() const = 0;
  // Read on first use; where the entry has an expiry, when the iterator comes to it.
  virtual std::string_view value() = 0;
  virtual std::string_view metadata() = 0;
  virtual Revision revision() const = 0;
  virtual int64_t expires_at_ms() const = 0;  // 0: never
  virtual absl::Status status() const = 0;
};

}  // namespace firn
