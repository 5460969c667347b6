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
  // passed or Sync() has returned. Makes no system call, unless reclaim holds writers back.
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

  // What grows with the number of keys: index, key filters, the table of separated values; 4 MiB for buffers; and the
  // value cache, which has what is left and gives way. A put of a new key that does not fit even without a cache fails
  // with ResourceExhausted. On top come, for a time, the footers that Open reads,
  // older versions that snapshots hold, and buffers of large values. At least kMemoryBudgetBytesMin.
  uint64_t memory_budget_bytes = uint64_t{1} << 30;
  // Buffered writes are made durable at least this often.
  uint32_t flush_interval_ms = 1'000;

  // All files together take at most this many times the bytes of live keys, metadata and values: reclaim keeps it, and
  // slows writers smoothly where it must. 1.1 to 10. It counts above 16 MiB; what snapshots pin comes on top; and with
  // records so small that what they need themselves comes near it, it is a quarter above that need (docs/space.md).
  double max_space_amplification = 1.5;

  // All files of the store together never take more of the disk than this; 0: what the disk has. At least
  // kMaxDiskBytesMin. It is as if the disk ended there: without room puts get ResourceExhausted, while reads, deletes
  // and reclaim go on, from a reserve that both a quota and a disk leave to them; writes work again as soon as there is
  // room. A store that takes more when it is opened refuses puts until it has been brought down (docs/space.md).
  uint64_t max_disk_bytes = 0;

  // Values of at least this many bytes are written once, beside the log, and never moved where holes can be
  // punched; equal ones are stored once. 0: never; else 4 KiB to 1 GiB. (docs/space.md; why this default:
  // docs/decisions/0004-value-threshold.md)
  uint64_t value_separation_threshold_bytes = uint64_t{32} << 10;
  // Where such values begin: a power of two, 4 KiB to 128 KiB. With the smallest, a value that would waste more than an
  // eighth of its size stays in the log.
  uint32_t value_alignment_bytes = 4'096;
  // For stores of 128 KiB blocks, as of a GlideFS: threshold and alignment are 128 KiB.
  static Options GlideFs() {
    Options options;
    options.value_separation_threshold_bytes = uint64_t{128} << 10;
    options.value_alignment_bytes = 128 * 1024;
    return options;
  }

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
