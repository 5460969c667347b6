// The public face: each call goes to the Store behind it, and none throws.
#include <firn/db.h>

#include <utility>

#include "base/memory.h"
#include "db/cursor.h"
#include "db/open.h"
#include "db/store.h"

namespace firn {

using base::IfMemoryPermits;
using base::OrOutOfMemory;

namespace {

class StoreSnapshot final : public Snapshot {
 public:
  // Of a store that cannot be used there is nothing to see: every read says so.
  explicit StoreSnapshot(Store& store) : store_(store), revision_(store.IsUsable() ? store.AcquireView() : 0) {}
  ~StoreSnapshot() override {
    if (store_.IsUsable()) store_.ReleaseView(revision_);
  }
  Revision revision() const override { return revision_; }

 private:
  Store& store_;
  const uint64_t revision_;
};

}  // namespace

absl::StatusOr<Revision> Namespace::Put(std::string_view key, std::string_view value, const PutOptions& options) {
  return OrOutOfMemory([&] {
    return store_->Write({.kind = Batch::Operation::Kind::kPut,
                          .namespace_id = id_,
                          .key = key,
                          .value = value,
                          .metadata = options.metadata,
                          .expires_at_ms = options.expires_at_ms,
                          .condition = options.condition},
                         options.durability);
  });
}

absl::StatusOr<Revision> Namespace::Delete(std::string_view key, const WriteOptions& options) {
  return OrOutOfMemory([&] {
    return store_->Write(
        {.kind = Batch::Operation::Kind::kDelete, .namespace_id = id_, .key = key, .condition = options.condition},
        options.durability);
  });
}

absl::StatusOr<Revision> Namespace::SetExpiry(std::string_view key, int64_t expires_at_ms,
                                              const WriteOptions& options) {
  return OrOutOfMemory([&] {
    return store_->Write({.kind = Batch::Operation::Kind::kSetExpiry,
                          .namespace_id = id_,
                          .key = key,
                          .expires_at_ms = expires_at_ms,
                          .condition = options.condition},
                         options.durability);
  });
}

absl::StatusOr<std::string> Namespace::Get(std::string_view key, const ReadOptions& options) const {
  std::string value;
  if (absl::Status status = GetInto(key, &value, nullptr, options); !status.ok()) return status;
  return value;
}

absl::Status Namespace::GetInto(std::string_view key, std::string* value, ValueInfo* info,
                                const ReadOptions& options) const {
  absl::Status status = OrOutOfMemory([&] { return store_->Get(id_, key, value, info, options); });
  if (!status.ok()) value->clear();
  return status;
}

absl::StatusOr<PinnedValue> Namespace::GetPinned(std::string_view key, const ReadOptions& options) const {
  PinnedValue value;
  FIRN_RETURN_IF_ERROR(OrOutOfMemory([&] { return store_->GetPinned(id_, key, value, options); }));
  return value;
}

absl::StatusOr<std::string> Namespace::GetRange(std::string_view key, uint64_t offset, uint64_t length,
                                                const ReadOptions& options) const {
  return OrOutOfMemory([&] { return store_->GetRange(id_, key, offset, length, options); });
}

absl::StatusOr<Revision> Namespace::PutStream(std::string_view key, const ValueSource& source,
                                              const PutOptions& options) {
  return OrOutOfMemory([&] {
    return store_->PutStream({.kind = Batch::Operation::Kind::kPut,
                              .namespace_id = id_,
                              .key = key,
                              .metadata = options.metadata,
                              .expires_at_ms = options.expires_at_ms,
                              .condition = options.condition},
                             source, options.durability);
  });
}

absl::Status Namespace::GetStream(std::string_view key, const ValueSink& sink, const ReadOptions& options) const {
  return OrOutOfMemory([&] { return store_->GetStream(id_, key, sink, options); });
}

namespace {

// As many results as keys, or none at all.
template <typename Value, typename Call>
std::vector<absl::StatusOr<Value>> ManyOrOutOfMemory(size_t keys, const Call& call) {
  std::vector<absl::StatusOr<Value>> results;
  if (IfMemoryPermits([&] { results = call(); })) return results;
  results.clear();
  IfMemoryPermits([&] {
    results.reserve(keys);
    for (size_t i = 0; i < keys; ++i) results.emplace_back(base::OutOfMemory());
  });
  return results;
}

}  // namespace

std::vector<absl::StatusOr<std::string>> Namespace::MultiGet(std::span<const std::string_view> keys,
                                                             const ReadOptions& options) const {
  return ManyOrOutOfMemory<std::string>(keys.size(), [&] { return store_->MultiGet(id_, keys, options); });
}

std::vector<absl::StatusOr<PinnedValue>> Namespace::MultiGetPinned(std::span<const std::string_view> keys,
                                                                   const ReadOptions& options) const {
  return ManyOrOutOfMemory<PinnedValue>(keys.size(), [&] { return store_->MultiGetPinned(id_, keys, options); });
}

absl::StatusOr<bool> Namespace::Exists(std::string_view key, const ReadOptions& options) const {
  return OrOutOfMemory([&] { return store_->Exists(id_, key, options); });
}

std::unique_ptr<Iterator> Namespace::NewIterator(IteratorOptions options) const {
  std::unique_ptr<Iterator> iterator;
  IfMemoryPermits([&] { iterator = std::make_unique<Cursor>(*store_, id_, std::move(options)); });
  return iterator;
}

DB::DB(std::unique_ptr<Store> store) : store_(std::move(store)) {}

DB::~DB() {
  if (store_->BelongsToParent()) static_cast<void>(store_.release());
}

absl::StatusOr<std::unique_ptr<DB>> DB::Open(const Options& options, std::string_view path) {
  return OrOutOfMemory([&]() -> absl::StatusOr<std::unique_ptr<DB>> {
    FIRN_ASSIGN_OR_RETURN(std::unique_ptr<io::Disk> disk,
                          io::OpenDisk(path, {.create_if_missing = options.create_if_missing && !options.read_only,
                                              .read_only = options.read_only,
                                              .use_io_uring = options.use_io_uring}));
    return OpenOn(options, {.disk = std::move(disk)});
  });
}

absl::StatusOr<std::unique_ptr<DB>> OpenOn(const Options& options, Environment environment) {
  return OrOutOfMemory([&]() -> absl::StatusOr<std::unique_ptr<DB>> {
    FIRN_ASSIGN_OR_RETURN(std::unique_ptr<Store> store, Store::Open(options, std::move(environment)));
    return std::unique_ptr<DB>(new DB(std::move(store)));
  });
}

Namespace DB::root() const { return Namespace(store_.get(), Batch::kDefaultNamespaceId); }

absl::StatusOr<Revision> DB::Apply(const Batch& batch, const WriteOptions& options) {
  return OrOutOfMemory([&] { return store_->Apply(batch, options.durability); });
}

absl::StatusOr<Namespace> DB::CreateNamespace(std::string_view name) {
  const auto id = OrOutOfMemory([&] { return store_->CreateNamespace(name); });
  if (!id.ok()) return id.status();
  return Namespace(store_.get(), *id);
}

absl::StatusOr<Namespace> DB::OpenNamespace(std::string_view name) const {
  const auto id = OrOutOfMemory([&] { return store_->FindNamespace(name); });
  if (!id.ok()) return id.status();
  return Namespace(store_.get(), *id);
}

std::vector<std::string> DB::ListNamespaces() const {
  std::vector<std::string> names;
  IfMemoryPermits([&] { names = store_->ListNamespaces(); });
  return names;
}

absl::Status DB::DropNamespace(std::string_view name) {
  return OrOutOfMemory([&] { return store_->DropNamespace(name); });
}

std::shared_ptr<const Snapshot> DB::GetSnapshot() {
  std::shared_ptr<const Snapshot> snapshot;
  IfMemoryPermits([&] { snapshot = std::make_shared<StoreSnapshot>(*store_); });
  return snapshot;
}

absl::Status DB::Sync() {
  return OrOutOfMemory([&] { return store_->Sync(); });
}

absl::Status DB::Flush() {
  return OrOutOfMemory([&] { return store_->Flush(); });
}

Revision DB::DurableRevision() const { return store_->DurableRevision(); }

absl::Status DB::Compact(const ProgressCallback& progress) {
  return OrOutOfMemory([&] { return store_->Compact(progress); });
}

std::vector<SegmentReport> DB::GcReport() const {
  std::vector<SegmentReport> reports;
  IfMemoryPermits([&] { reports = store_->GcReport(); });
  return reports;
}

Stats DB::GetStats() const {
  Stats stats;
  IfMemoryPermits([&] { stats = store_->GetStats(); });
  return stats;
}

absl::StatusOr<VerifyReport> DB::Verify(const ProgressCallback& progress) const {
  return OrOutOfMemory([&] { return store_->Verify(progress); });
}

absl::StatusOr<VerifyReport> DB::Scrub(const ScrubOptions& options) const {
  return OrOutOfMemory([&] { return store_->Scrub(options); });
}

absl::Status DB::Close() {
  return OrOutOfMemory([&] { return store_->Close(); });
}

}  // namespace firn
