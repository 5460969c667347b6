// firn: an embeddable, log-structured key-value store.
//
//   absl::StatusOr<std::unique_ptr<firn::DB>> db = firn::DB::Open({}, "/tmp/my-store");
//   if (!db.ok()) return Fail(db.status());
//   (*db)->Put("answer", "42").status();             // durable when it returns OK
//   absl::StatusOr<std::string> value = (*db)->Get("answer");
//   (*db)->Close();
//
// Vocabulary: docs/glossary.md. Promises: docs/durability.md. Limits: firn/limits.h.
//
// Errors, for every operation:
//   InvalidArgument     a key, value, name or option outside its limits; nothing was done
//   NotFound            the key, namespace or store does not exist
//   AlreadyExists       CreateNamespace: the name is taken
//   FailedPrecondition  a condition did not hold; a store opened read-only, closed, or used by a forked child
//   OutOfRange          GetRange: the offset is beyond the value's end
//   ResourceExhausted   no room on disk, below max_disk_bytes or in the index; no descriptor or memory left. Of a
//                       write nothing was written; reads go on, and deletes, snapshots, Sync and Compact; puts too
//                       once there is room
//   DataLoss            bytes on disk do not verify, or cannot be read (EIO); other keys are still served
//   Unavailable         another process holds the store, or a failed write or flush stopped all further writes; after
//                       that, keys whose newest change is not durable answer this too
//   Cancelled           Compact, Verify: the callback said so (Scrub returns what it has)
// An error of the system on the way to the files keeps its meaning: PermissionDenied (EACCES, EPERM, EROFS),
// Unimplemented (EOPNOTSUPP, ENOSYS), Internal for those that have no word here. The message names operation and file.
//
// No function throws, and neither may what is passed to one (sources, sinks, listeners, callbacks), but for
// std::bad_alloc, which counts as the engine's own. Where memory cannot be had a call gives ResourceExhausted; one that
// returns no status gives nothing: null, or empty, as said with it. Nothing is half done by that, and the store works
// as before: docs/durability.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <firn/batch.h>
#include <firn/events.h>
#include <firn/inspect.h>
#include <firn/iterator.h>
#include <firn/limits.h>
#include <firn/options.h>
#include <firn/pinned_value.h>
#include <firn/stats.h>

namespace firn {

class Store;         // the engine behind a DB
struct Environment;  // what it runs on; tests bring their own

// A consistent view at one revision, for ReadOptions and IteratorOptions. Released when destroyed, which must happen
// before the DB is closed. Old versions it needs stay on disk and in memory until then. Where a writer has no memory to
// keep one, reads of what may have been lost give ResourceExhausted from then on.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  virtual Revision revision() const = 0;
};

struct ValueInfo {
  Revision revision = 0;      // of the last change, put or expiry
  int64_t expires_at_ms = 0;  // 0: never
  uint64_t value_bytes = 0;
  std::string metadata;
};

// The pieces of a streamed value, one call each. What a source returns must stay until it is called again or the stream
// has ended; what a sink is given stays until it returns.
using ValueSource = std::function<absl::StatusOr<std::string_view>()>;
using ValueSink = std::function<absl::Status(std::string_view piece)>;

// One key space of a store. A small handle, cheap to copy, valid until the DB is closed; after its namespace was
// dropped every operation gives NotFound. All operations are thread-safe, and readers take no lock, except to find an
// older version for a snapshot, for a moment to reach the file of a separated value, and after a write has failed.
class Namespace {
 public:
  // Writes. The result is the operation's revision.
  absl::StatusOr<Revision> Put(std::string_view key, std::string_view value, const PutOptions& options = {});
  // Deleting a key that is absent is OK and writes nothing; the revision is then the newest one.
  absl::StatusOr<Revision> Delete(std::string_view key, const WriteOptions& options = {});
  // Changes when `key` expires without rewriting its value; 0 keeps it for ever. NotFound if the key is absent.
  absl::StatusOr<Revision> SetExpiry(std::string_view key, int64_t expires_at_ms, const WriteOptions& options = {});

  // Reads. NotFound when the key is absent or expired.
  absl::StatusOr<std::string> Get(std::string_view key, const ReadOptions& options = {}) const;
  // As Get, into memory of the caller's: no allocation when `value` has the capacity for the value, or, where key,
  // metadata and value pass 4 KiB together, for all three. `info` may be null.
  absl::Status GetInto(std::string_view key, std::string* value, ValueInfo* info = nullptr,
                       const ReadOptions& options = {}) const;
  // The value where it lies, if it is in the value cache: nothing is allocated, and nothing but a small value copied.
  // Else as Get, and the next call is likely to find it there.
  absl::StatusOr<PinnedValue> GetPinned(std::string_view key, const ReadOptions& options = {}) const;
  // `length` bytes of the value from `offset` on, cut to its end. Of a separated value only the 64 KiB pieces that are
  // needed are read and checked. OutOfRange when `offset` is beyond the end.
  absl::StatusOr<std::string> GetRange(std::string_view key, uint64_t offset, uint64_t length,
                                       const ReadOptions& options = {}) const;
  // Values up to kValueBytesMax in bounded memory: about 3 MiB, whatever the pieces' sizes. A value that is not
  // separated is in memory whole, up to three times: below the threshold, where that is above 1 MiB, and with
  // separation off. `source` gives piece after piece and an empty one at the end; its failure is returned, and nothing
  // is written. All else is checked before it is asked, and the condition again at the end. `sink` gets piece after
  // piece; its failure is returned. Pieces handed to `sink` have been verified; the last may be followed by a DataLoss,
  // or by NotFound when the value expires meanwhile. An empty value has no piece: OK, and `sink` was not called.
  absl::StatusOr<Revision> PutStream(std::string_view key, const ValueSource& source, const PutOptions& options = {});
  absl::Status GetStream(std::string_view key, const ValueSink& sink, const ReadOptions& options = {}) const;
  // All keys at one revision, disk reads in flight together. At most kMultiGetKeysMax keys. As many results as keys;
  // none at all where there is no memory even for these.
  std::vector<absl::StatusOr<std::string>> MultiGet(std::span<const std::string_view> keys,
                                                    const ReadOptions& options = {}) const;
  // As MultiGet; the values as GetPinned has them.
  std::vector<absl::StatusOr<PinnedValue>> MultiGetPinned(std::span<const std::string_view> keys,
                                                          const ReadOptions& options = {}) const;
  // From the index alone, no disk is read.
  absl::StatusOr<bool> Exists(std::string_view key, const ReadOptions& options = {}) const;

  // A failure (store closed, namespace dropped) shows in its status(). Null only where there is no memory for it.
  std::unique_ptr<Iterator> NewIterator(IteratorOptions options = {}) const;

  uint32_t id() const { return id_; }

 private:
  friend class DB;
  Namespace(Store* store, uint32_t id) : store_(store), id_(id) {}

  Store* store_;
  uint32_t id_;
};

// An open store. Thread-safe. Destroying it closes it; call Close() to learn whether that worked.
class DB {
 public:
  // `path` is a directory, created if missing (one level) when the options permit. NotFound, InvalidArgument (not a
  // directory, options out of range), FailedPrecondition (options contradict the store; newer format version; no LOCK
  // to open it for reading with), PermissionDenied, Unavailable (opened elsewhere; a write of its own failed),
  // ResourceExhausted (the index does not fit into memory_budget_bytes; the disk has no block for what an open writes;
  // more files than descriptors), DataLoss (acknowledged data is damaged: names file, offset, what is lost, and how to
  // open anyway). To write, it installs a handler for SIGBUS, once in a process, which passes on what is not a store's
  // own (docs/limitations.md).
  static absl::StatusOr<std::unique_ptr<DB>> Open(const Options& options, std::string_view path);
  ~DB();
  DB(const DB&) = delete;

  // The default namespace's operations; see Namespace.
  Namespace root() const;
  absl::StatusOr<Revision> Put(std::string_view key, std::string_view value, const PutOptions& options = {}) {
    return root().Put(key, value, options);
  }
  absl::StatusOr<Revision> Delete(std::string_view key, const WriteOptions& options = {}) {
    return root().Delete(key, options);
  }
  absl::StatusOr<Revision> SetExpiry(std::string_view key, int64_t expires_at_ms, const WriteOptions& options = {}) {
    return root().SetExpiry(key, expires_at_ms, options);
  }
  absl::StatusOr<std::string> Get(std::string_view key, const ReadOptions& options = {}) const {
    return root().Get(key, options);
  }
  absl::Status GetInto(std::string_view key, std::string* value, ValueInfo* info = nullptr,
                       const ReadOptions& options = {}) const {
    return root().GetInto(key, value, info, options);
  }
  absl::StatusOr<PinnedValue> GetPinned(std::string_view key, const ReadOptions& options = {}) const {
    return root().GetPinned(key, options);
  }
  std::vector<absl::StatusOr<std::string>> MultiGet(std::span<const std::string_view> keys,
                                                    const ReadOptions& options = {}) const {
    return root().MultiGet(keys, options);
  }
  std::vector<absl::StatusOr<PinnedValue>> MultiGetPinned(std::span<const std::string_view> keys,
                                                          const ReadOptions& options = {}) const {
    return root().MultiGetPinned(keys, options);
  }
  absl::StatusOr<std::string> GetRange(std::string_view key, uint64_t offset, uint64_t length,
                                       const ReadOptions& options = {}) const {
    return root().GetRange(key, offset, length, options);
  }
  absl::StatusOr<Revision> PutStream(std::string_view key, const ValueSource& source, const PutOptions& options = {}) {
    return root().PutStream(key, source, options);
  }
  absl::Status GetStream(std::string_view key, const ValueSink& sink, const ReadOptions& options = {}) const {
    return root().GetStream(key, sink, options);
  }
  absl::StatusOr<bool> Exists(std::string_view key, const ReadOptions& options = {}) const {
    return root().Exists(key, options);
  }
  std::unique_ptr<Iterator> NewIterator(IteratorOptions options = {}) const {
    return root().NewIterator(std::move(options));
  }

  // Commits a batch whole, under one revision. The conditions of its operations must all hold. An empty batch is OK.
  // Conditions in WriteOptions are not used here.
  absl::StatusOr<Revision> Apply(const Batch& batch, const WriteOptions& options = {});

  // Names are 1..64 of A-Z a-z 0-9 _ -. AlreadyExists; ResourceExhausted beyond kNamespacesMax.
  absl::StatusOr<Namespace> CreateNamespace(std::string_view name);
  absl::StatusOr<Namespace> OpenNamespace(std::string_view name) const;  // NotFound
  // Sorted, without the default one. Empty without memory.
  std::vector<std::string> ListNamespaces() const;
  // Costs the same for one key and for a million. Snapshots and iterators inside it end with NotFound. Durable when it
  // returns.
  absl::Status DropNamespace(std::string_view name);

  // Null only where there is no memory for it.
  std::shared_ptr<const Snapshot> GetSnapshot();

  // Returns when everything written before the call is durable.
  absl::Status Sync();
  // Sync, and seals the active segment, so that a copy of the directory needs no scan to open. ResourceExhausted where
  // there is no room for that: everything is durable then, and what is not sealed will be scanned.
  absl::Status Flush();
  // Everything up to this revision is durable.
  Revision DurableRevision() const;

  // Moves what lives out of every segment that has garbage worth the work, and gives the space back, which otherwise
  // happens by itself when space is needed. Returns when it is done; writers go on meanwhile. `progress` is told bytes
  // of garbage, and cancels by returning false (Cancelled; what was moved stays moved).
  absl::Status Compact(const ProgressCallback& progress = {});
  // Each segment: age, live fraction, temperature. Empty without memory.
  std::vector<SegmentReport> GcReport() const;

  Stats GetStats() const;  // all zero without memory
  // Reads and checks every live byte (firn/inspect.h), as fast as it goes. Damage is reported, not returned as a
  // status: that is for a check that could not be made. `progress` cancels by returning false (Cancelled).
  absl::StatusOr<VerifyReport> Verify(const ProgressCallback& progress = {}) const;
  // The same at a given pace, for a store that is at work. Reads past every cache, holds no lock, and holds up neither
  // writers nor reclaim: a segment that is retired, or a value that is changed, meanwhile is left out, and never
  // reported. Each damage is an event (kDamageFound) as well, when it is found. Cancelling is no error: the report has
  // a cursor. InvalidArgument for a cursor that is none.
  absl::StatusOr<VerifyReport> Scrub(const ScrubOptions& options = {}) const;

  // Makes everything durable, seals where there is room, and lets go of the directory, which it does in any case: after
  // a failure the next open recovers what was durable. No other call may be running. Later calls give
  // FailedPrecondition, a second Close what the first one gave.
  absl::Status Close();

 private:
  friend class AsyncContext;
  friend absl::StatusOr<std::unique_ptr<DB>> OpenOn(const Options& options, Environment environment);
  friend std::string CheckReferences(DB& db);
  friend uint64_t UnexplainedValueBytes(DB& db);
  explicit DB(std::unique_ptr<Store> store);
  std::unique_ptr<Store> store_;
};

}  // namespace firn
