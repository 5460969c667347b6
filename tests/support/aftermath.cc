#include "support/aftermath.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <utility>

#include "db/open.h"
#include "support/contents.h"
#include "support/model.h"

namespace firn::test {
namespace {

class DamageListener final : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    const std::lock_guard lock(mutex_);
    if (event.kind == EventKind::kDamageFound || event.kind == EventKind::kPoisoned) damage_ += event.message + "\n";
  }
  std::string TakeDamage() {
    const std::lock_guard lock(mutex_);
    return std::exchange(damage_, "");
  }

 private:
  std::mutex mutex_;
  std::string damage_;
};

// Outlives every store that is opened here.
DamageListener& Listener() {
  static DamageListener listener;
  return listener;
}

void LookAtSpace(const Namespace& space, std::map<std::string, Entry>& entries) {
  const std::unique_ptr<Iterator> iterator = space.NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    Entry entry;
    entry.revision = iterator->revision();
    entry.expires_at_ms = iterator->expires_at_ms();
    entry.value = LabelOf(iterator->value());
    entry.metadata = iterator->metadata();
    const std::string key(iterator->key());
    if (!iterator->status().ok()) throw Violation(key + " cannot be read: " + iterator->status().ToString());
    if (!entries.emplace(key, std::move(entry)).second) throw Violation("an iterator shows " + key + " twice");
  }
  if (!iterator->status().ok()) throw Violation("a scan failed: " + iterator->status().ToString());
  for (const auto& [key, entry] : entries) {
    std::string value;
    ValueInfo info;
    const absl::Status status = space.GetInto(key, &value, &info);
    if (absl::IsNotFound(status) && entry.expires_at_ms != 0) continue;
    if (!status.ok() || LabelOf(value) != entry.value || info.revision != entry.revision ||
        info.metadata != entry.metadata || info.expires_at_ms != entry.expires_at_ms) {
      throw Violation("a get differs from the scan: " + key + ", " + status.ToString());
    }
  }
}

Found Look(DB& db, CallLog& log) {
  Found found;
  found.window = log.LookBegins();
  LookAtSpace(db.root(), found.entries[""]);
  for (const std::string& name : db.ListNamespaces()) {
    const absl::StatusOr<Namespace> space = db.OpenNamespace(name);
    if (!space.ok()) throw Violation("the namespace " + name + " is listed and not there");
    found.spaces[name] = space->id();
    LookAtSpace(*space, found.entries[name]);
  }
  log.LookEnds(found.window);
  return found;
}

void CheckInside(DB& db) {
  const auto verified = db.Verify();
  if (!verified.ok()) throw Violation("Verify failed: " + verified.status().ToString());
  if (!verified->damages.empty()) throw Violation("Verify finds damage: " + verified->damages.front().ToString());
  if (const std::string wrong = CheckReferences(db); !wrong.empty()) {
    throw Violation("references are not exact: " + wrong);
  }
  if (const std::string damage = Listener().TakeDamage(); !damage.empty()) throw Violation(damage);
}

uint64_t BytesOnDisk(const std::string& path) {
  uint64_t bytes = 0;
  for (const auto& each : std::filesystem::recursive_directory_iterator(path)) {
    struct stat info = {};
    // Reclaim may have removed it meanwhile.
    if (::stat(each.path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    }
  }
  return bytes;
}

}  // namespace

std::unique_ptr<DB> OpenAfterCrash(const Options& options, const std::string& path) {
  Options heard = options;
  heard.listener = &Listener();
  auto db = DB::Open(heard, path);
  const std::string damage = Listener().TakeDamage();
  if (!db.ok()) throw Violation("the store cannot be opened: " + db.status().ToString() + "\n" + damage);
  if (!damage.empty()) throw Violation("on opening: " + damage);
  // Nothing that a crash left behind is lost. A file system counts the blocks of a file's extent tree to the file; the
  // simulated disk, which has none, is held to the byte.
  constexpr uint64_t kTreeBytesPerFile = 32 * 1024;
  const uint64_t lost = UnexplainedValueBytes(**db);
  if (lost > kTreeBytesPerFile * (*db)->GetStats().value_files) {
    throw Violation("after opening, value files take " + std::to_string(lost) + " bytes that nothing accounts for");
  }
  return *std::move(db);
}

// Reclaim may be at work: its copies are on disk before they are part of the store. It is given the time of a durable
// write for each turn.
void CheckSpace(DB& db, const std::string& path) {
  constexpr int kTurnsMax = 20'000;
  uint64_t bytes = 0, said = 0;
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    bytes = BytesOnDisk(path);
    said = db.GetStats().disk_bytes;
    const uint64_t difference = bytes > said ? bytes - said : said - bytes;
    if (difference * 100 <= said) return;
    const bool written = db.Put("pace", "").ok() && db.Delete("pace").ok();
    if (!written) throw Violation("a write failed while space was to come to rest");
  }
  throw Violation("the files take " + std::to_string(bytes) + " bytes, Stats.disk_bytes says " + std::to_string(said) +
                  "\n" + db.GetStats().ToString());
}

Aftermath::Aftermath(CallLog& log) : log_(log) {
  Space root;
  root.id = Batch::kDefaultNamespaceId;
  spaces_.push_back(std::move(root));
}

void Aftermath::BeginLife() { log_.BeginLife(spaces_); }

Aftermath::Life Aftermath::Judge(DB& db, Promise promise) {
  History history = log_.Read();
  history.base = std::move(base_);
  history.base_revision = base_revision_;
  Life life;
  life.calls = log_.calls();
  for (const WriteCall& call : history.writes) {
    if (call.outcome != WriteCall::Outcome::kDone) continue;
    ++life.acknowledged;
    if (call.synced) ++life.synced;
  }
  Model model(history);
  model.CheckReads();
  Recovered recovered = CheckRecovered(model, Look(db, log_), promise, EverPut());
  CheckInside(db);
  life.lost = recovered.lost_writes;
  life.unanswered_found = recovered.unanswered_found;
  life.entries = recovered.base.size();
  base_ = std::move(recovered.base);
  base_revision_ = recovered.base_revision;
  spaces_ = std::move(recovered.spaces);
  return life;
}

}  // namespace firn::test
