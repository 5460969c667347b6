#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include <algorithm>

#include "peers/engine.h"
#include "support/translated.h"

namespace firn::bench {
namespace {

leveldb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ViewOf(const leveldb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

class LevelDbClient final : public Client {
 public:
  LevelDbClient(leveldb::DB& db, bool synced) : db_(db) {
    options_.sync = synced;
    synced_.sync = true;
  }

  absl::Status Put(std::string_view key, std::string_view value) override {
    return Translated(db_.Put(options_, SliceOf(key), SliceOf(value)));
  }
  absl::Status PutBatch(std::span<const Pair> pairs) override {
    leveldb::WriteBatch batch;
    for (const auto& [key, value] : pairs) batch.Put(SliceOf(key), SliceOf(value));
    return Translated(db_.Write(options_, &batch));
  }
  absl::Status PutSynced(std::string_view key, std::string_view value) override {
    return Translated(db_.Put(synced_, SliceOf(key), SliceOf(value)));
  }
  absl::Status Delete(std::string_view key) override { return Translated(db_.Delete(options_, SliceOf(key))); }
  absl::StatusOr<std::string_view> Get(std::string_view key) override {
    if (const auto status = db_.Get({}, SliceOf(key), &value_); !status.ok()) return Translated(status);
    return std::string_view(value_);
  }
  absl::StatusOr<Scanned> Scan(std::string_view from, uint64_t count) override {
    Scanned scanned;
    const std::unique_ptr<leveldb::Iterator> iterator(db_.NewIterator({}));
    for (iterator->Seek(SliceOf(from)); iterator->Valid() && scanned.pairs < count; iterator->Next()) {
      scanned.Add(ViewOf(iterator->key()), ViewOf(iterator->value()));
    }
    if (!iterator->status().ok()) return Translated(iterator->status());
    return scanned;
  }

 private:
  leveldb::DB& db_;
  leveldb::WriteOptions options_, synced_;
  std::string value_;
};

class LevelDbEngine final : public PeerEngine {
 public:
  LevelDbEngine(const PeerSpec& spec) : filter_(leveldb::NewBloomFilterPolicy(10)), synced_(spec.synced) {
    options_.create_if_missing = true;
    options_.compression = leveldb::kNoCompression;
    options_.write_buffer_size = std::min<uint64_t>(spec.memory_bytes / 8, uint64_t{64} << 20);
    options_.max_open_files = 10'000;
    cache_.reset(leveldb::NewLRUCache(spec.memory_bytes - 2 * options_.write_buffer_size));
    options_.block_cache = cache_.get();
    options_.filter_policy = filter_.get();
  }
  absl::Status Open(const std::string& path) {
    leveldb::DB* db = nullptr;
    const leveldb::Status status = leveldb::DB::Open(options_, path, &db);
    db_.reset(db);
    return Translated(status);
  }
  std::unique_ptr<Client> NewClient() override { return std::make_unique<LevelDbClient>(*db_, synced_); }
  // It has no call for this: a synced write makes those before it durable.
  absl::Status Sync() override {
    leveldb::WriteOptions synced;
    synced.sync = true;
    leveldb::WriteBatch nothing;
    return Translated(db_->Write(synced, &nothing));
  }
  absl::Status Close() override {
    db_.reset();
    return absl::OkStatus();
  }

 private:
  leveldb::Options options_;
  const std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<leveldb::DB> db_;
  const bool synced_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerEngine>> OpenLevelDb(const PeerSpec& spec) {
  auto engine = std::make_unique<LevelDbEngine>(spec);
  if (const absl::Status status = engine->Open(spec.path); !status.ok()) return status;
  return engine;
}

}  // namespace firn::bench
