// What can be set. The defaults are safe and meant to be left alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <firn/limits.h>

namespace firn {

class EventListener;
class Snapshot;

// Orders all committed operations of a store. Unique, increasing, and kept across restarts. 0 is before everything.
using Revision = uint64_t;

enum class Durability {
  // OK means durable: the write survives any crash or power cut. Concurrent writes share one flush.
  kSynced,
  // OK means the write survives the death of the process; it survives the machine's once `flush_interval_ms` has
  // passed or Sync() has returned. Makes no system call per write.
  kBuffered,
};

struct Options {
  bool create_if_missing = true;
  bool error_if_exists = false;  // FailedPrecondition when there is a store already
  // Nothing is written, nothing is created; several read-only opens may share a store, but not with a writer.
  bool read_only = false;
  // Opens a store whose acknowledged data is damaged: what still verifies is served, the rest is reported as an
  // event and lost. Without it such a store is refused with DataLoss.
  bool salvage = false;

  // One number for everything the store holds in memory: index, buffers, recovery. When the index has no room for a
  // new key the put fails with ResourceExhausted. At least kMemoryBudgetBytesMin.
  uint64_t memory_budget_bytes = uint64_t{1} << 30;
  // Buffered writes are made durable at least this often.
  uint32_t flush_interval_ms = 1'000;

  // False: pread and pwrite at once. True: io_uring where the kernel permits it, else pread and pwrite.
  bool use_io_uring = true;

  // Called from the store's threads; outlives the store. Null: nobody listens.
  EventListener* listener = nullptr;
};

// A write happens only if its condition holds. It is checked under the key's lock, together with the write: there is
// no lost update, and a condition that does not hold writes nothing (FailedPrecondition).
class Condition {
 public:
  enum class Kind : uint8_t { kNone, kAbsent, kPresent, kRevisionEquals };

  constexpr Condition() = default;
  static constexpr Condition Absent() { return Condition(Kind::kAbsent, 0); }
  static constexpr Condition Present() { return Condition(Kind::kPresent, 0); }
  // The key's last change (put or expiry change) has this revision.
  static constexpr Condition RevisionEquals(Revision revision) { return Condition(Kind::kRevisionEquals, revision); }

  constexpr Kind kind() const { return kind_; }
  constexpr Revision revision() const { return revision_; }

 private:
  constexpr Condition(Kind kind, Revision revision) : kind_(kind), revision_(revision) {}
  Kind kind_ = Kind::kNone;
  Revision revision_ = 0;
};

struct WriteOptions {
  Durability durability = Durability::kSynced;
  Condition condition;
};

struct PutOptions : WriteOptions {
  int64_t expires_at_ms = 0;  // absolute; 0: never. Once passed, the entry is gone at once.
  std::string_view metadata;  // 0..kMetadataBytesMax bytes kept beside the value
};

struct ReadOptions {
  // Reads the state at this snapshot instead of the newest.
  const Snapshot* snapshot = nullptr;
  // Waits until what is returned is durable. Without it a read may see a write that a power cut could still undo.
  bool read_durable = false;
};

}  // namespace firn
