// A store on a file system that cannot punch holes, nor claim space: ntfs-3g. Separated values are overwritten until
// most of what their files hold is dead; evacuation gives the space back, and nothing is lost.
#include <firn/db.h>

#include <cerrno>
#include <map>
#include <memory>

#include "real/mounted.h"
#include "support/rng.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

constexpr size_t kValueBytes = 60'000;
constexpr int kKeys = 150;
constexpr int kRounds = 8;  // of overwrites: in all as much as the disk holds

bool PunchesHoles(const std::string& path) {
  const std::string name = path + "/probe";
  const int fd = ::open(name.c_str(), O_RDWR | O_CREAT, 0600);
  const std::string bytes(8'192, 'x');
  const bool written = ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  const bool punched = written && ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4'096) == 0;
  ::close(fd);
  ::unlink(name.c_str());
  return punched;
}

std::string KeyOf(uint64_t i) { return "key" + std::to_string(i); }

bool Holds(const DB& db, const std::map<std::string, std::string>& expected) {
  for (const auto& [key, value] : expected) {
    const auto found = db.Get(key);
    DEMAND(found.ok() && *found == value, key + ": " + found.status().ToString());
  }
  const auto verified = db.Verify();
  DEMAND(verified.ok() && verified->damages.empty(), "verify");
  DEMAND(db.GetStats().keys == expected.size(), db.GetStats().ToString());
  return true;
}

bool Overwrite(const Mounted& disk) {
  Options options;
  const std::string path = disk.path() + "/store";
  auto db = DB::Open(options, path);
  DEMAND(db.ok(), db.status().ToString());
  std::map<std::string, std::string> expected;
  PutOptions buffered;
  buffered.durability = Durability::kBuffered;
  const auto put = [&](uint64_t key, int version) {
    const std::string value = std::to_string(version) + "/" + KeyOf(key) + std::string(kValueBytes, 'v');
    const absl::Status status = (*db)->Put(KeyOf(key), value, buffered).status();
    if (status.ok()) expected[KeyOf(key)] = value;
    return status;
  };
  for (int i = 0; i < kKeys; ++i) DEMAND(put(static_cast<uint64_t>(i), 0).ok(), (*db)->GetStats().ToString());
  Rng rng(1);
  for (int i = 0; i < kRounds * kKeys; ++i) {
    const absl::Status status = put(rng.Below(kKeys), i);
    DEMAND(status.ok(), status.ToString() + "\n" + (*db)->GetStats().ToString());
  }
  DEMAND((*db)->Sync().ok(), "sync");
  const absl::Status compacted = (*db)->Compact();
  const Stats stats = (*db)->GetStats();
  DEMAND(compacted.ok(), compacted.ToString() + "\n" + stats.ToString());
  DEMAND(stats.values_evacuated > 0, stats.ToString());
  // A quarter of a file may stay dead; and the file that is written to, what is claimed ahead.
  constexpr uint64_t kLiveBytes = kKeys * kValueBytes, kOpenFileBytes = uint64_t{6} << 20;
  DEMAND(stats.value_files_bytes <= kLiveBytes / 3 * 4 + kOpenFileBytes, stats.ToString());
  std::printf("%d values of %zu bytes overwritten %d times: value files of %.1f MiB, %llu values evacuated\n", kKeys,
              kValueBytes, kRounds, static_cast<double>(stats.value_files_bytes) / (1 << 20),
              static_cast<unsigned long long>(stats.values_evacuated));
  if (!Holds(**db, expected)) return false;
  DEMAND((*db)->Close().ok(), "close");
  const uint64_t taken_bytes = kDiskBytes - disk.FreeBytes();
  DEMAND(taken_bytes <= kLiveBytes / 3 * 4 + 2 * kOpenFileBytes, std::to_string(taken_bytes) + " bytes are taken");

  db = DB::Open(options, path);
  DEMAND(db.ok(), db.status().ToString());
  if (!Holds(**db, expected)) return false;
  for (int i = 0; i < kKeys; ++i) DEMAND((*db)->Delete(KeyOf(static_cast<uint64_t>(i))).ok(), "delete");
  expected.clear();
  DEMAND((*db)->Compact().ok(), "compact");
  DEMAND((*db)->GetStats().value_files_bytes <= kOpenFileBytes, (*db)->GetStats().ToString());
  if (!Holds(**db, expected)) return false;
  DEMAND((*db)->Close().ok(), "close");
  return true;
}

int Main() {
  if (!OwnMountNamespace()) return kSkipped;
  const testing::TempDir parent;
  const Mounted disk("ntfs", parent.path());
  if (!disk.ok()) {
    std::printf("skipped: ntfs cannot be mounted here; it takes the Debian package ntfs-3g and /dev/fuse\n");
    return kSkipped;
  }
  if (PunchesHoles(disk.path())) {
    std::printf("skipped: this ntfs-3g punches holes\n");
    return kSkipped;
  }
  const bool well = Overwrite(disk);
  std::printf("%s: ntfs\n", well ? "ok" : "FAILED");
  return well ? 0 : 1;
}

}  // namespace
}  // namespace firn::test

int main() { return firn::test::Main(); }
