#include "demo/demo.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <span>

#include <firn/db.h>

#include "demo/import_process.h"
#include "demo/proofs.h"
#include "support/text.h"
#include "support/tree_import.h"

namespace firn::tools {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr uint64_t kBatchBytesMin = uint64_t{4} << 10;
constexpr uint64_t kBatchBytesLargest = uint64_t{4} << 20;
constexpr uint64_t kBatchesAimedAt = 100;
constexpr uint64_t kUpdatesMax = 5'000;
constexpr double kUpdateSecondsMax = 1.0;
constexpr size_t kDeleteEvery = 10;
constexpr const char* kCounterKey = "demo/counter";

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

std::string Fixed(double value, int digits) {
  char text[48];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

// The store's own account of its recovery, for the screen.
class RecoveryListener : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    const bool interesting = event.kind == EventKind::kRecovered || event.kind == EventKind::kDamageFound ||
                             event.kind == EventKind::kPoisoned || event.kind == EventKind::kDiskFull;
    if (interesting) std::printf("     store says: %s\n", event.message.c_str());
  }
};

class Demo {
 public:
  explicit Demo(const DemoConfig& config) : config_(config) { options_.listener = &listener_; }

  absl::Status Run() {
    using Step = absl::Status (Demo::*)();
    for (const Step step :
         {&Demo::ListFiles, &Demo::ImportAndKill, &Demo::Recover, &Demo::ProveAcknowledged, &Demo::Finish,
          &Demo::ScanByPrefix, &Demo::UpdateUnderCondition, &Demo::DeleteSome, &Demo::ReopenAndVerify}) {
      if (absl::Status status = (this->*step)(); !status.ok()) return status;
    }
    PrintTable();
    return absl::OkStatus();
  }

 private:
  void Say(const std::string& text) { std::printf("%2d.  %s\n", ++step_, text.c_str()); }
  void SayMore(const std::string& text) const { std::printf("     %s\n", text.c_str()); }

  absl::Status ListFiles() {
    for (const std::string& directory : config_.directories) {
      // Keys of several directories must not meet, so they carry the whole path.
      const std::string prefix = directory.substr(std::min(directory.find_first_not_of('/'), directory.size()));
      absl::StatusOr<std::vector<TreeEntry>> found =
          WalkTree(directory, prefix, [this](const std::string&, const absl::Status&) { ++unlisted_; });
      if (!found.ok()) return found.status();
      std::move(found->begin(), found->end(), std::back_inserter(entries_));
    }
    if (entries_.empty()) return absl::NotFoundError("there is nothing to import");
    total_bytes_ = TotalBytes(entries_);
    std::string names;
    for (const std::string& directory : config_.directories) names += " " + directory;
    Say("Found " + CountText(entries_.size()) + " files, directories and links with " + BytesText(total_bytes_) +
        " in" + names);
    if (unlisted_ > 0) SayMore("note: " + CountText(unlisted_) + " cannot be listed or are no files; left out");
    return absl::OkStatus();
  }

  absl::Status ImportAndKill() {
    batch_bytes_ = std::clamp(total_bytes_ / kBatchesAimedAt, kBatchBytesMin, kBatchBytesLargest);
    const uint64_t kill_after_bytes = total_bytes_ * static_cast<uint64_t>(config_.kill_at_percent) / 100;
    Say("A child process imports them in synced batches of " + BytesText(batch_bytes_) + " into " + config_.store_path);
    absl::StatusOr<KilledImport> outcome =
        ImportUntilKilled(config_.store_path, entries_, batch_bytes_, std::max<uint64_t>(kill_after_bytes, 1));
    if (!outcome.ok()) return outcome.status();
    killed_ = *std::move(outcome);
    Say("SIGKILL. It had acknowledged " + CountText(killed_.committed_end) + " entries, " +
        BytesText(killed_.committed_bytes) + ", in " + CountText(killed_.commits) + " commits");
    return absl::OkStatus();
  }

  absl::Status Recover() {
    const SteadyClock::time_point start = SteadyClock::now();
    absl::StatusOr<std::unique_ptr<DB>> db = DB::Open(options_, config_.store_path);
    if (!db.ok()) return db.status();
    recovery_seconds_ = SecondsSince(start);
    db_ = *std::move(db);
    Say("Reopened the store in " + Fixed(recovery_seconds_ * 1000, 1) + " ms; it holds " +
        CountText(db_->GetStats().keys) + " keys");
    return absl::OkStatus();
  }

  absl::Status ProveAcknowledged() {
    return Prove(std::span(entries_).first(killed_.committed_end), "acknowledged before the kill");
  }

  absl::Status Prove(std::span<const TreeEntry> entries, const std::string& which) {
    const ProofResult proof = CompareWithFiles(*db_, entries, killed_.left_out);
    for (const std::string& failure : proof.failures) SayMore("FAILED: " + failure);
    if (proof.failed > 0) {
      return absl::DataLossError(CountText(proof.failed) + " of " + CountText(entries.size()) + " entries " + which +
                                 " are missing or differ");
    }
    Say("Compared with the real files: all " + CountText(proof.same) + " entries " + which + ", " +
        BytesText(proof.same_bytes) + ", are there byte for byte");
    if (proof.moved_on > 0) SayMore("note: " + CountText(proof.moved_on) + " files changed or vanished meanwhile");
    return absl::OkStatus();
  }

  absl::Status Finish() {
    ImportOptions options;
    options.batch_bytes = batch_bytes_;
    ImportCallbacks callbacks;
    callbacks.on_left_out = [this](size_t i, const absl::Status&) {
      killed_.left_out.push_back(killed_.committed_end + i);
    };
    callbacks.on_changed = [](size_t) {};
    callbacks.on_committed = [](size_t, uint64_t) {};
    const auto rest = std::span(entries_).subspan(killed_.committed_end);
    // The killed process may have read further than it had acknowledged, and left out what is tried again
    // here.
    std::erase_if(killed_.left_out, [this](size_t i) { return i >= killed_.committed_end; });
    const SteadyClock::time_point start = SteadyClock::now();
    const absl::StatusOr<ImportCounts> counts = ImportEntries(*db_, db_->root(), rest, options, callbacks);
    if (!counts.ok()) return counts.status();
    const double seconds = SecondsSince(start);
    import_bytes_per_second_ = static_cast<double>(counts->bytes) / std::max(seconds, 1e-9);
    Say("Finished the import: " + CountText(rest.size()) + " more entries, " +
        BytesText(static_cast<uint64_t>(import_bytes_per_second_)) + "/s");
    if (!killed_.left_out.empty()) SayMore("note: " + CountText(killed_.left_out.size()) + " could not be read");
    index_bytes_per_key_ = db_->GetStats().index_bytes_per_key;
    return Prove(entries_, "of the import");
  }

  absl::Status ScanByPrefix() {
    const std::string& root_key = entries_.front().key;
    IteratorOptions options;
    options.prefix = root_key;
    options.keys_only = true;
    const SteadyClock::time_point start = SteadyClock::now();
    uint64_t found = 0;
    const std::unique_ptr<Iterator> it = db_->NewIterator(options);
    for (it->SeekToFirst(); it->Valid(); it->Next()) ++found;
    if (!it->status().ok()) return it->status();
    uint64_t expected = 0;
    for (size_t i = 0; i < entries_.size(); ++i) {
      const bool left_out = std::binary_search(killed_.left_out.begin(), killed_.left_out.end(), i);
      expected += entries_[i].key.starts_with(root_key) && !left_out;
    }
    Say("Scanned the prefix '" + Escaped(root_key) + "': " + CountText(found) + " keys in order in " +
        Fixed(SecondsSince(start) * 1000, 1) + " ms");
    if (found != expected) return absl::DataLossError("the scan should have found " + CountText(expected) + " keys");
    return absl::OkStatus();
  }

  // A counter that is only ever written over the revision it was read at: no update can be lost.
  absl::Status UpdateUnderCondition() {
    absl::StatusOr<Revision> revision = db_->Put(kCounterKey, "0");
    if (!revision.ok()) return revision.status();
    const Revision first_revision = *revision;
    const uint64_t commits_before = db_->GetStats().commits;
    const SteadyClock::time_point start = SteadyClock::now();
    uint64_t updates = 0;
    while (updates < kUpdatesMax && SecondsSince(start) < kUpdateSecondsMax) {
      PutOptions options;
      options.condition = Condition::RevisionEquals(*revision);
      revision = db_->Put(kCounterKey, std::to_string(++updates), options);
      if (!revision.ok()) return revision.status();
    }
    const double seconds = SecondsSince(start);
    commits_per_second_ = static_cast<double>(db_->GetStats().commits - commits_before) / std::max(seconds, 1e-9);
    Say("Updated one key " + CountText(updates) +
        " times, synced, each under the condition that its revision is known");

    PutOptions stale;
    stale.condition = Condition::RevisionEquals(first_revision);
    const absl::StatusOr<Revision> refused = db_->Put(kCounterKey, "lost update", stale);
    if (!absl::IsFailedPrecondition(refused.status())) return absl::DataLossError("a stale update was not refused");
    SayMore("a stale one was refused: " + MessageOf(refused.status()));
    const absl::StatusOr<std::string> value = db_->Get(kCounterKey);
    if (!value.ok()) return value.status();
    if (*value != std::to_string(updates)) return absl::DataLossError("the counter reads '" + *value + "'");
    return db_->Delete(kCounterKey).status();
  }

  absl::Status DeleteSome() {
    Batch batch;
    for (size_t i = 0; i < entries_.size(); i += kDeleteEvery) batch.Delete(entries_[i].key);
    if (absl::Status status = db_->Apply(batch).status(); !status.ok()) return status;
    Say("Deleted every tenth entry, " + CountText(batch.size()) + " of them, in one atomic batch");
    return CheckDeleted();
  }

  absl::Status CheckDeleted() {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (std::binary_search(killed_.left_out.begin(), killed_.left_out.end(), i)) continue;
      const absl::StatusOr<bool> exists = db_->Exists(entries_[i].key);
      if (!exists.ok()) return exists.status();
      if (*exists == (i % kDeleteEvery == 0)) {
        return absl::DataLossError(Escaped(entries_[i].key) + (*exists ? " is still there" : " is gone"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReopenAndVerify() {
    if (absl::Status status = db_->Close(); !status.ok()) return status;
    db_.reset();
    const SteadyClock::time_point start = SteadyClock::now();
    absl::StatusOr<std::unique_ptr<DB>> db = DB::Open(options_, config_.store_path);
    if (!db.ok()) return db.status();
    clean_open_seconds_ = SecondsSince(start);
    db_ = *std::move(db);
    if (absl::Status status = CheckDeleted(); !status.ok()) return status;
    const absl::StatusOr<VerifyReport> report = db_->Verify();
    if (!report.ok()) return report.status();
    for (const Damage& damage : report->damages) SayMore("FAILED: " + damage.ToString());
    if (!report->damages.empty()) return absl::DataLossError("verify found damage");
    Say("Closed, opened again in " + Fixed(clean_open_seconds_ * 1000, 1) + " ms, and verified every record: " +
        CountText(report->records) + " in " + CountText(report->segments) + " segments");
    return db_->Close();
  }

  void PrintTable() const {
    const auto row = [](const char* name, const std::string& value, const std::string& remark) {
      std::printf("     %-22s %14s  %s\n", name, value.c_str(), remark.c_str());
    };
    const auto files = std::count_if(entries_.begin(), entries_.end(),
                                     [](const TreeEntry& entry) { return entry.info.kind == FileKind::kRegular; });
    std::printf("\n");
    row("files", CountText(static_cast<uint64_t>(files)),
        "and " + CountText(entries_.size() - static_cast<uint64_t>(files)) + " directories and links");
    row("bytes", BytesText(total_bytes_), "");
    row("throughput", BytesText(static_cast<uint64_t>(import_bytes_per_second_)) + "/s",
        "reading the files, synced batches");
    row("killed at",
        Fixed(100.0 * static_cast<double>(killed_.committed_bytes) /
                  static_cast<double>(std::max<uint64_t>(total_bytes_, 1)),
              0) +
            " %",
        "acknowledged bytes lost: 0");
    row("recovery", Fixed(recovery_seconds_ * 1000, 1) + " ms", "after the kill");
    row("clean open", Fixed(clean_open_seconds_ * 1000, 1) + " ms", "all keys, from footers or the index image");
    row("index", Fixed(index_bytes_per_key_, 1), "bytes per key, whole paths as keys");
    row("commits per second", CountText(static_cast<uint64_t>(commits_per_second_)),
        "synced, one thread, one key each");
  }

  const DemoConfig& config_;
  RecoveryListener listener_;
  Options options_;
  std::unique_ptr<DB> db_;
  int step_ = 0;

  std::vector<TreeEntry> entries_;
  uint64_t total_bytes_ = 0, unlisted_ = 0, batch_bytes_ = 0;
  KilledImport killed_;

  double recovery_seconds_ = 0, clean_open_seconds_ = 0;
  double import_bytes_per_second_ = 0, index_bytes_per_key_ = 0, commits_per_second_ = 0;
};

}  // namespace

absl::Status RunDemo(const DemoConfig& config) { return Demo(config).Run(); }

}  // namespace firn::tools
