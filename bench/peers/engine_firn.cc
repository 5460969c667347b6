#include <firn/async.h>
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
  absl::StatusOr<uint64_t> GetsInFlight(size_t in_flight, const std::function<Key()>& next) override {
    return Turn(in_flight, [&] {
      const auto done = [this](const AsyncValue& value) {
        if (value.ok()) {
          Touch(*value);
        } else {
          failure_ = value.status();
        }
      };
      return context_->Get(next(), done).status();
    });
  }
  absl::StatusOr<uint64_t> SyncedPutsInFlight(size_t in_flight, const std::function<Pair()>& next) override {
    return Turn(in_flight, [&] {
      const auto [key, value] = next();
      return context_->Put(key, value, [this](const AsyncRevision& put) { failure_.Update(put.status()); }).status();
    });
  }

 private:
  template <typename Begin>
  absl::StatusOr<uint64_t> Turn(size_t in_flight, const Begin& begin) {
    if (context_ == nullptr) {
      auto context = AsyncContext::Create(db_);
      if (!context.ok()) return context.status();
      context_ = *std::move(context);
    }
    while (context_->in_flight() < in_flight) {
      if (absl::Status status = begin(); !status.ok()) return status;
    }
    const uint64_t ended = context_->Wait();
    if (!failure_.ok()) return failure_;
    return ended;
  }

  DB& db_;
  PutOptions options_;
  PinnedValue pinned_;
  absl::Status failure_;  // of an operation that was in flight
  std::unique_ptr<AsyncContext> context_;
};

class FirnEngine final : public PeerEngine {
 public:
  FirnEngine(std::unique_ptr<DB> db, bool synced) : db_(std::move(db)), synced_(synced) {}
  std::unique_ptr<Client> NewClient() override { return std::make_unique<FirnClient>(*db_, synced_); }
  bool asynchronous() const override { return true; }
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
