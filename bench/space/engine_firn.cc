#include <algorithm>

#include <firn/db.h>

#include "space/engine.h"

namespace firn::bench {
namespace {

template <typename O>
void SetSeparationThreshold(O& options, uint64_t bytes) {
  if constexpr (HasValueSeparation<O>) options.value_separation_threshold_bytes = bytes;
}

class FirnEngine : public Engine {
 public:
  explicit FirnEngine(std::unique_ptr<DB> db) : db_(std::move(db)) {
    put_.durability = Durability::kBuffered;
    delete_.durability = Durability::kBuffered;
  }

  absl::Status Put(std::string_view key, std::string_view value) override {
    return db_->Put(key, value, put_).status();
  }
  absl::Status PutSynced(std::string_view key, std::string_view value) override {
    return db_->Put(key, value).status();
  }
  absl::Status Get(std::string_view key, std::string* value) override { return db_->GetInto(key, value); }
  absl::Status Delete(std::string_view key) override { return db_->Delete(key, delete_).status(); }
  absl::Status Sync() override { return db_->Sync(); }
  absl::Status Compact() override {
    if (absl::Status status = db_->Flush(); !status.ok()) return status;
    return db_->Compact();
  }
  absl::Status Close() override { return db_->Close(); }

  Figures OwnFigures() const override {
    const Stats stats = db_->GetStats();
    uint64_t largest_segment_bytes = 0;
    for (const SegmentReport& segment : db_->GcReport()) {
      largest_segment_bytes = std::max(largest_segment_bytes, segment.file_bytes);
    }
    return {{"firn_write_amplification", stats.write_amplification},
            {"firn_space_amplification", stats.space_amplification},
            {"firn_disk_bytes", static_cast<double>(stats.disk_bytes)},
            {"firn_device_bytes", static_cast<double>(stats.device_written_bytes)},
            {"firn_segments", static_cast<double>(stats.segments)},
            {"firn_value_files", static_cast<double>(stats.value_files)},
            {"firn_segment_bytes_max", static_cast<double>(largest_segment_bytes)},
            {"firn_spare_bytes", static_cast<double>(stats.spare_bytes)},
            {"firn_index_bytes_per_key", stats.index_bytes_per_key},
            {"firn_relocated_records", static_cast<double>(stats.relocated_records)},
            {"firn_relocated_bytes", static_cast<double>(stats.relocated_bytes)},
            {"firn_throttled_seconds", static_cast<double>(stats.throttled_ns) * 1e-9},
            {"firn_reclaim_debt", stats.reclaim_debt}};
  }

 private:
  std::unique_ptr<DB> db_;
  PutOptions put_;
  WriteOptions delete_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> OpenFirn(const EngineSpec& spec, const std::string& path) {
  Options options;
  options.error_if_exists = true;
  options.memory_budget_bytes = spec.memory_budget_bytes;
  if (spec.separation_threshold_bytes) SetSeparationThreshold(options, *spec.separation_threshold_bytes);
  absl::StatusOr<std::unique_ptr<DB>> db = DB::Open(options, path);
  if (!db.ok()) return db.status();
  return std::make_unique<FirnEngine>(*std::move(db));
}

}  // namespace firn::bench
