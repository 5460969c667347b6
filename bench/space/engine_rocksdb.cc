// RocksDB with the settings that make the comparison fair; bench/README.md gives the reason of each.
#include <algorithm>
#include <thread>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include "space/engine.h"
#include "support/translated.h"

namespace firn::bench {
namespace {

// The same share of garbage that firn's ceiling of 1.5 allows.
constexpr double kBlobGarbageShareMax = 1.0 / 3;

rocksdb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

class RocksDbEngine : public Engine {
 public:
  explicit RocksDbEngine(rocksdb::DB* db) : db_(db) {}

  absl::Status Put(std::string_view key, std::string_view value) override {
    return Translated(db_->Put({}, SliceOf(key), SliceOf(value)));
  }
  absl::Status Get(std::string_view key, std::string* value) override {
    return Translated(db_->Get({}, SliceOf(key), value));
  }
  absl::Status Delete(std::string_view key) override { return Translated(db_->Delete({}, SliceOf(key))); }
  absl::Status Sync() override { return Translated(db_->FlushWAL(true)); }
  absl::Status Compact() override { return Translated(db_->CompactRange({}, nullptr, nullptr)); }
  absl::Status Close() override { return Translated(db_->Close()); }

  Figures OwnFigures() const override {
    Figures figures;
    for (const auto& [name, property] : {std::pair{"rocksdb_sst_bytes", "rocksdb.total-sst-files-size"},
                                         std::pair{"rocksdb_blob_bytes", "rocksdb.total-blob-file-size"},
                                         std::pair{"rocksdb_memtable_bytes", "rocksdb.size-all-mem-tables"}}) {
      uint64_t number = 0;
      if (db_->GetIntProperty(property, &number)) figures[name] = static_cast<double>(number);
    }
    return figures;
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
};

void UseBlobFiles(const EngineSpec& spec, rocksdb::Options* options) {
  options->enable_blob_files = true;
  options->min_blob_size = spec.value_bytes / 2;
  options->blob_file_size = std::max<uint64_t>(options->write_buffer_size, 2 * spec.value_bytes);
  options->enable_blob_garbage_collection = true;
  options->blob_garbage_collection_age_cutoff = 1.0;
  options->blob_garbage_collection_force_threshold = kBlobGarbageShareMax;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> OpenRocksDb(const EngineSpec& spec, const std::string& path) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.error_if_exists = true;
  options.compression = rocksdb::kNoCompression;
  options.use_direct_reads = true;
  options.use_direct_io_for_flush_and_compaction = true;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_background_jobs = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
  options.stats_dump_period_sec = 0;

  // Half the budget for two write buffers, half for the block cache; level 1 as large as level 0 gets.
  options.write_buffer_size = spec.memory_budget_bytes / 4;
  options.max_write_buffer_number = 2;
  options.target_file_size_base = options.write_buffer_size;
  options.max_bytes_for_level_base =
      options.write_buffer_size * static_cast<uint64_t>(options.level0_file_num_compaction_trigger);
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(spec.memory_budget_bytes / 2);
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (spec.kind == EngineKind::kRocksDbBlob) UseBlobFiles(spec, &options);

  rocksdb::DB* db = nullptr;
  if (const rocksdb::Status status = rocksdb::DB::Open(options, path, &db); !status.ok()) return Translated(status);
  return std::make_unique<RocksDbEngine>(db);
}

}  // namespace firn::bench
