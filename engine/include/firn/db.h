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
//   FailedPrecondition  a condition did not hold; a store opened read-only, closed, or used by a forked child
//   ResourceExhausted   no room on disk or in the index; nothing was written, reads go on
//   DataLoss            bytes on disk do not verify; other keys are still served
//   Unavailable         another process holds the store, or a failed write or flush stopped all further writes; after
//                       that, keys whose newest change is not durable answer this too
#pragma once

#include <cstdint>
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
#include <firn/stats.h>

namespace firn {

class Store;         // the engine behind a DB
struct Environment;  // what it runs on; tests bring their own

// A consistent view at one revision, for ReadOptions and IteratorOptions. Released when destroyed, which must happen
// before the DB is closed. Old versions it needs stay on disk and in memory until then.
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

// One key space of a store. A small handle, cheap to copy, valid until the DB is closed; after its namespace was
// dropped every operation gives NotFound. All operations are thread-safe, and readers take no lock, except to find an
// older version for a snapshot, and after a write has failed.
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
  // All keys at one revision, disk reads in flight together. At most kMultiGetKeysMax keys.
  std::vector<absl::StatusOr<std::string>> MultiGet(std::span<const std::string_view> keys,
                                                    const ReadOptions& options = {}) const;
  // From the index alone, no disk is read.
  absl::StatusOr<bool> Exists(std::string_view key, const ReadOptions& options = {}) const;

  // Never null; a failure (store closed, namespace dropped) shows in its status().
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
  // directory, options out of range), FailedPrecondition (options contradict the store; newer format version),
  // PermissionDenied, Unavailable (opened elsewhere), DataLoss (acknowledged data is damaged: names file, offset, what
  // is lost, and how to open anyway).
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
  std::vector<absl::StatusOr<std::string>> MultiGet(std::span<const std::string_view> keys,
                                                    const ReadOptions& options = {}) const {
    return root().MultiGet(keys, options);
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
  std::vector<std::string> ListNamespaces() const;                       // sorted, without the default one
  // Costs the same for one key and for a million. Snapshots and iterators inside it end with NotFound. Durable when it
  // returns.
  absl::Status DropNamespace(std::string_view name);

  std::shared_ptr<const Snapshot> GetSnapshot();

  // Returns when everything written before the call is durable.
  absl::Status Sync();
  // Sync, and seals the active segment, so that a copy of the directory needs no scan to open.
  absl::Status Flush();
  // Everything up to this revision is durable.
  Revision DurableRevision() const;

  Stats GetStats() const;
  // Reads and checks every record of every segment. Damage is reported, not returned as a status.
  absl::StatusOr<VerifyReport> Verify(const ProgressCallback& progress = {}) const;

  // Makes everything durable, seals, and lets go of the directory. No other call may be running or follow; later
  // calls give FailedPrecondition. A second Close is OK.
  absl::Status Close();

 private:
  friend absl::StatusOr<std::unique_ptr<DB>> OpenOn(const Options& options, Environment environment);
  explicit DB(std::unique_ptr<Store> store);
  std::unique_ptr<Store> store_;
};

}  // namespace firn
