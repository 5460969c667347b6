#include <firn/db.h>

#include "peers/engine.h"

namespace firn::bench {
namespace {

class FirnClient final : public Client {
 public:
  FirnClient(DB& db, bool synced) : db_(db) {
    options_.durability = synced ? Durability::kSynced : Durability::kBuffered;
  }

  absl::Status Put(std::string_view key, std::string_view value) override {
    return db_.Put(key, value, options_).status();
  }
  absl::Status PutBatch(std::span<const Pair> pairs) override {
    Batch batch;
    for (const auto& [key, value] : pairs) batch.Put(key, value);
    return db_.Apply(batch, options_).status();
  }
  absl::Status PutSynced(std::string_view key, std::string_view value) override { return db_.Put(key, value).status(); }
  absl::Status Delete(std::string_view key) override { return db_.Delete(key, options_).status(); }
  absl::StatusOr<std::string_view> Get(std::string_view key) override {
    absl::StatusOr<PinnedValue> pinned = db_.GetPinned(key);
    if (!pinned.ok()) return pinned.status();
    pinned_ = *std::move(pinned);
    return pinned_.value();
  }
  absl::StatusOr<uint64_t> MultiGet(std::span<const std::string_view> keys) override {
    uint64_t bytes = 0;
    for (const auto& value : db_.MultiGetPinned(keys)) {
      if (!value.ok()) return value.status();
      Touch(value->value());
      bytes += value->value().size();
    }
    return bytes;
  }
  absl::StatusOr<Scanned> Scan(std::string_view from, uint64_t count) override {
    Scanned scanned;
    const std::unique_ptr<Iterator> iterator = db_.NewIterator();
    for (iterator->Seek(from); iterator->Valid() && scanned.pairs < count; iterator->Next()) {
      scanned.Add(iterator->key(), iterator->value());
    }
    if (!iterator->status().ok()) return iterator->status();
    return scanned;
  }

 private:
  DB& db_;
  PutOptions options_;
  PinnedValue pinned_;
};

class FirnEngine final : public PeerEngine {
 public:
  FirnEngine(std::unique_ptr<DB> db, bool synced) : db_(std::move(db)), synced_(synced) {}
  std::unique_ptr<Client> NewClient() override { return std::make_unique<FirnClient>(*db_, synced_); }
  absl::Status Sync() override { return db_->Sync(); }
  absl::Status Close() override { return db_->Close(); }

 private:
  const std::unique_ptr<DB> db_;
  const bool synced_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerEngine>> OpenFirn(const PeerSpec& spec) {
  Options options;
  options.memory_budget_bytes = spec.memory_bytes;
  auto db = DB::Open(options, spec.path);
  if (!db.ok()) return db.status();
  return std::make_unique<FirnEngine>(*std::move(db), spec.synced);
}

}  // namespace firn::bench
