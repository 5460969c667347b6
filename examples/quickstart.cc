// A tour of the API in one page. Usage: firn-quickstart [DIRECTORY]; the store is made there, or in a
// temporary place.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include <firn/db.h>

namespace {

// Every call that can fail returns an absl::Status or absl::StatusOr; nothing throws.
absl::Status Tour(const std::string& path) {
  absl::StatusOr<std::unique_ptr<firn::DB>> opened = firn::DB::Open({}, path);
  if (!opened.ok()) return opened.status();
  firn::DB& db = **opened;

  // A write is durable when it returns, unless it is asked to be quick.
  absl::StatusOr<firn::Revision> revision = db.Put("colour/sky", "blue");
  if (!revision.ok()) return revision.status();
  firn::PutOptions quick;
  quick.durability = firn::Durability::kBuffered;
  if (absl::Status s = db.Put("colour/grass", "green", quick).status(); !s.ok()) return s;

  // Only if nobody changed it since.
  firn::PutOptions unchanged;
  unchanged.condition = firn::Condition::RevisionEquals(*revision);
  if (absl::Status s = db.Put("colour/sky", "grey", unchanged).status(); !s.ok()) return s;
  if (!absl::IsFailedPrecondition(db.Put("colour/sky", "pink", unchanged).status())) {
    return absl::InternalError("a stale update went through");
  }

  // All or nothing, also across namespaces.
  absl::StatusOr<firn::Namespace> people = db.OpenNamespace("people");
  if (absl::IsNotFound(people.status())) people = db.CreateNamespace("people");
  if (!people.ok()) return people.status();
  firn::Batch batch;
  batch.Put("ada", "1815", {}, people->id());
  batch.Put("grace", "1906", {}, people->id());
  batch.Delete("colour/grass");
  if (absl::Status s = db.Apply(batch).status(); !s.ok()) return s;

  // A snapshot goes on seeing what was.
  {
    const std::shared_ptr<const firn::Snapshot> snapshot = db.GetSnapshot();
    if (absl::Status s = people->Delete("ada").status(); !s.ok()) return s;
    firn::ReadOptions then;
    then.snapshot = snapshot.get();
    absl::StatusOr<std::string> year = people->Get("ada", then);
    if (!year.ok()) return year.status();
    std::printf("ada, in the snapshot: %s; now: %s\n", year->c_str(), people->Get("ada").ok() ? "there" : "gone");
  }

  // Gone in a minute.
  firn::PutOptions brief;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  brief.expires_at_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count() + 60'000;
  if (absl::Status s = db.Put("session/1", "token", brief).status(); !s.ok()) return s;

  // In order, by prefix.
  firn::IteratorOptions colours;
  colours.prefix = "colour/";
  {
    const std::unique_ptr<firn::Iterator> it = db.NewIterator(colours);
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      std::printf("%s = %s\n", std::string(it->key()).c_str(), std::string(it->value()).c_str());
    }
    if (!it->status().ok()) return it->status();
  }
  std::printf("%s", db.GetStats().ToString().c_str());
  return db.Close();
}

}  // namespace

int main(int argc, char** argv) {
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error) / "firn-quickstart";
  const absl::Status status = Tour(argc > 1 ? argv[1] : temporary.string());
  if (status.ok()) return 0;
  std::fprintf(stderr, "firn-quickstart: %s\n", status.ToString().c_str());
  return 1;
}
