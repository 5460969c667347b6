// RocksDB, plain and with blob files; bench/README.md gives the reason of each setting.
#include <algorithm>
#include <thread>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "peers/engine.h"
#include "support/translated.h"

namespace firn::bench {
namespace {

rocksdb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

class RocksDbClient final : public Client {
 public:
  RocksDbClient(rocksdb::DB& db, bool synced) : db_(db) {
    options_.sync = synced;
    synced_.sync = true;
  }

  absl::Status Put(std::string_view key, std::string_view value) override {
    return Translated(db_.Put(options_, SliceOf(key), SliceOf(value)));
  }
  absl::Status PutBatch(std::span<const Pair> pairs) override {
    rocksdb::WriteBatch batch;
    for (const auto& [key, value] : pairs) {
      if (const auto status = batch.Put(SliceOf(key), SliceOf(value)); !status.ok()) return Translated(status);
    }
    return Translated(db_.Write(options_, &batch));
  }
  absl::Status PutSynced(std::string_view key, std::string_view value) override {
    return Translated(db_.Put(synced_, SliceOf(key), SliceOf(value)));
  }
  absl::Status Delete(std::string_view key) override { return Translated(db_.Delete(options_, SliceOf(key))); }
  absl::StatusOr<std::string_view> Get(std::string_view key) override {
    value_.Reset();
    const rocksdb::Status status = db_.Get({}, db_.DefaultColumnFamily(), SliceOf(key), &value_);
    if (!status.ok()) return Translated(status);
    return std::string_view(value_.data(), value_.size());
  }
  absl::StatusOr<uint64_t> MultiGet(std::span<const std::string_view> keys) override {
    std::vector<rocksdb::Slice> slices;
    for (const std::string_view key : keys) slices.push_back(SliceOf(key));
    std::vector<rocksdb::PinnableSlice> values(keys.size());
    std::vector<rocksdb::Status> statuses(keys.size());
    rocksdb::ReadOptions options;
    options.async_io = true;
    db_.MultiGet(options, db_.DefaultColumnFamily(), keys.size(), slices.data(), values.data(), statuses.data());
    uint64_t bytes = 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!statuses[i].ok()) return Translated(statuses[i]);
      Touch(values[i].ToStringView());
      bytes += values[i].size();
    }
    return bytes;
  }
  absl::StatusOr<Scanned> Scan(std::string_view from, uint64_t count) override {
    Scanned scanned;
    rocksdb::ReadOptions options;
    if (count > 1'000) options.readahead_size = size_t{2} << 20;
    const std::unique_ptr<rocksdb::Iterator> iterator(db_.NewIterator(options));
    for (iterator->Seek(SliceOf(from)); iterator->Valid() && scanned.pairs < count; iterator->Next()) {
      scanned.Add(iterator->key().ToStringView(), iterator->value().ToStringView());
    }
    if (!iterator->status().ok()) return Translated(iterator->status());
    return scanned;
  }

 private:
  rocksdb::DB& db_;
  rocksdb::WriteOptions options_, synced_;
  rocksdb::PinnableSlice value_;
};

class RocksDbEngine final : public PeerEngine {
 public:
  RocksDbEngine(rocksdb::DB* db, bool synced) : db_(db), synced_(synced) {}
  std::unique_ptr<Client> NewClient() override { return std::make_unique<RocksDbClient>(*db_, synced_); }
  absl::Status Sync() override { return Translated(db_->FlushWAL(true)); }
  absl::Status Close() override { return Translated(db_->Close()); }

 private:
  const std::unique_ptr<rocksdb::DB> db_;
  const bool synced_;
};

absl::StatusOr<std::unique_ptr<PeerEngine>> Open(const PeerSpec& spec, bool blob_files) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.use_direct_reads = true;
  options.use_direct_io_for_flush_and_compaction = true;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_background_jobs = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
  options.stats_dump_period_sec = 0;
  options.max_open_files = -1;

  // An eighth of the memory for each of two write buffers, the rest for the block cache.
  options.write_buffer_size = std::min<uint64_t>(spec.memory_bytes / 8, uint64_t{64} << 20);
  options.max_write_buffer_number = 2;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(spec.memory_bytes - 2 * options.write_buffer_size);
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (blob_files) {
    options.enable_blob_files = true;
    options.min_blob_size = 1'024;
    options.blob_cache = table.block_cache;
    options.enable_blob_garbage_collection = true;
    options.blob_garbage_collection_age_cutoff = 1.0;
    options.blob_garbage_collection_force_threshold = 1.0 / 3;  // firn's ceiling of 1.5
  }
  rocksdb::DB* db = nullptr;
  if (const auto status = rocksdb::DB::Open(options, spec.path, &db); !status.ok()) return Translated(status);
  return std::make_unique<RocksDbEngine>(db, spec.synced);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PeerEngine>> OpenRocksDb(const PeerSpec& spec) { return Open(spec, false); }
absl::StatusOr<std::unique_ptr<PeerEngine>> OpenRocksDbBlob(const PeerSpec& spec) { return Open(spec, true); }

}  // namespace firn::bench
