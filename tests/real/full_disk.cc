// A store on an ext4 image and on a tmpfs of 64 MiB, filled to the last byte: by fresh keys, by overwrites, by large
// values and while reclaim runs, with a quota and without. Then deletes, and writes work again.
//
// The mounts live in a mount namespace of this process's own, so that whatever becomes of it they are gone with it.
#include <fcntl.h>
#include <firn/db.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/check.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

constexpr int kSkipped = 77;
constexpr uint64_t kDiskBytes = uint64_t{64} << 20;

bool Run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

#define DEMAND(condition, status)                                                                             \
  do {                                                                                                        \
    if (!(condition)) {                                                                                       \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, std::string((status)).c_str()); \
      return false;                                                                                           \
    }                                                                                                         \
  } while (false)

// A file system mounted for as long as this lives.
class Mounted {
 public:
  Mounted(const std::string& kind, const std::string& parent) : path_(parent + "/" + kind), image_(path_ + ".image") {
    if (!Run("mkdir -p " + path_)) return;
    const std::string size = std::to_string(kDiskBytes);
    if (kind == "tmpfs") {
      mounted_ = Run("mount -t tmpfs -o size=" + size + " tmpfs " + path_);
    } else {
      mounted_ = Run("truncate -s " + size + " " + image_) && Run("mkfs.ext4 -q -m 0 " + image_) &&
                 Run("mount -o loop " + image_ + " " + path_);
    }
  }
  ~Mounted() {
    if (mounted_) Run("umount " + path_ + " || umount -l " + path_);
    Run("rm -f " + image_);
  }
  bool ok() const { return mounted_; }
  const std::string& path() const { return path_; }
  uint64_t FreeBytes() const {
    struct statvfs status {};
    return ::statvfs(path_.c_str(), &status) == 0 ? static_cast<uint64_t>(status.f_bavail) * status.f_frsize : 0;
  }
  // Takes every block there is.
  bool TakeTheRest() const {
    const int fd = ::open((path_ + "/filler").c_str(), O_RDWR | O_CREAT, 0600);
    if (fd < 0) return false;
    off_t end = 0;
    for (off_t step = 1 << 20; step >= 4096;) {
      if (::fallocate(fd, 0, end, step) == 0) {
        end += step;
      } else {
        step /= 2;
      }
    }
    ::close(fd);
    return true;
  }
  void GiveItBack() const { ::unlink((path_ + "/filler").c_str()); }

 private:
  const std::string path_, image_;
  bool mounted_ = false;
};

struct Load {
  const char* name;
  size_t value_bytes;
  int keys;  // 0: always new ones
};
constexpr Load kLoads[] = {{"fresh keys", 2'000, 0}, {"overwrites", 2'000, 9'000}, {"large values", 100'000, 0}};

std::string KeyOf(int i) { return "key" + std::to_string(i); }
std::string ValueOf(const Load& load, int i) { return std::to_string(i) + std::string(load.value_bytes, 'v'); }

// Tells when there may be room: a segment has gone, or the store says so.
class RoomNews final : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    if (event.kind != EventKind::kSegmentRetired && event.kind != EventKind::kDiskRoom) return;
    const std::lock_guard lock(mutex_);
    ++news_;
    changed_.notify_all();
  }
  // For something that was not there at the last call; a second at most, as extents are freed without an event.
  void AwaitNews() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(1), [&] { return news_ != heard_; });
    heard_ = news_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t news_ = 0, heard_ = 0;
};

bool Fill(const Mounted& disk, const Load& load, uint64_t quota_bytes) {
  RoomNews room;  // outlives the store
  Options options;
  options.listener = &room;
  options.max_disk_bytes = quota_bytes;
  auto db = DB::Open(options, disk.path() + "/store");
  DEMAND(db.ok(), db.status().ToString());
  std::map<std::string, std::string> expected;
  PutOptions buffered;
  buffered.durability = Durability::kBuffered;
  const auto put = [&](int i) {
    const std::string key = KeyOf(load.keys == 0 ? i : i % load.keys);
    const absl::Status status = (*db)->Put(key, ValueOf(load, i), buffered).status();
    if (status.ok()) expected[key] = ValueOf(load, i);
    return status;
  };
  absl::Status status;
  int written = 0;
  const int writes_max = load.keys == 0 ? 1'000'000 : 10 * load.keys;
  for (; written < writes_max; ++written) {
    status = put(written);
    if (!status.ok()) break;
    if (quota_bytes != 0 && written % 64 == 0) {
      const Stats stats = (*db)->GetStats();
      DEMAND(stats.quota_used_bytes <= quota_bytes, stats.ToString());
    }
  }
  // What fits is overwritten for ever; new keys end somewhere.
  DEMAND((load.keys != 0) == status.ok(), status.ToString() + "\n" + (*db)->GetStats().ToString());
  DEMAND(status.ok() || absl::IsResourceExhausted(status), status.ToString());
  // Others take what is left: to the last byte.
  DEMAND(disk.TakeTheRest(), "filler");
  std::atomic<bool> over{false};
  std::thread compacting([&] {
    while (!over) (*db)->Compact().IgnoreError();
  });
  for (int i = 0; i < 100; ++i) put(written + i).IgnoreError();
  bool deleted_all = true;
  std::string why;
  int deleted = 0;
  for (auto at = expected.begin(); at != expected.end() && deleted_all; ++deleted) {
    if (deleted % 3 == 0) {
      ++at;
      continue;
    }
    absl::Status gone;
    for (int turn = 0; turn < 50; ++turn) {
      gone = (*db)
                 ->Delete(at->first, {.durability = deleted % 8 == 1 ? Durability::kSynced : Durability::kBuffered})
                 .status();
      if (gone.ok()) break;
      room.AwaitNews();
    }
    deleted_all = gone.ok();
    why = gone.ToString();
    at = expected.erase(at);
  }
  over = true;
  compacting.join();
  DEMAND(deleted_all, why + "\n" + (*db)->GetStats().ToString());
  DEMAND((*db)->Sync().ok(), "sync");
  DEMAND((*db)->Flush().ok(), "flush");
  DEMAND(!(*db)->GetStats().poisoned, (*db)->GetStats().ToString());
  // On the still full disk what deletes gave back serves the next writes.
  for (int i = 0; i < 200; ++i) {
    for (int turn = 0; turn < 50; ++turn) {
      status = put(i);
      if (status.ok()) break;
      room.AwaitNews();
    }
    DEMAND(status.ok(), status.ToString() + "\n" + (*db)->GetStats().ToString());
  }
  const auto holds = [&](DB& store) {
    for (const auto& [key, value] : expected) {
      const auto found = store.Get(key);
      DEMAND(found.ok() && *found == value, key + ": " + found.status().ToString());
    }
    const auto verified = store.Verify();
    DEMAND(verified.ok() && verified->damages.empty(), "verify");
    DEMAND(store.GetStats().keys == expected.size(), store.GetStats().ToString());
    return true;
  };
  if (!holds(**db)) return false;
  const absl::Status closed = (*db)->Close();
  DEMAND(closed.ok(), closed.ToString());
  db = DB::Open(options, disk.path() + "/store");
  DEMAND(db.ok(), db.status().ToString());
  if (!holds(**db)) return false;
  disk.GiveItBack();
  for (int i = 0; i < 1'000 && load.keys == 0 && load.value_bytes < 10'000; ++i) {
    DEMAND(put(i).ok(), (*db)->GetStats().ToString());
  }
  DEMAND((*db)->Close().ok(), "close");
  return Run("rm -rf " + disk.path() + "/store");
}

int Main() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    std::printf("skipped: mounting is not permitted here\n");
    return kSkipped;
  }
  const testing::TempDir parent;
  bool any = false, all_well = true;
  for (const std::string kind : {"tmpfs", "ext4"}) {
    const Mounted disk(kind, parent.path());
    if (!disk.ok()) {
      std::printf("skipped: %s cannot be mounted here\n", kind.c_str());
      continue;
    }
    any = true;
    for (const Load& load : kLoads) {
      for (const uint64_t quota_bytes : {uint64_t{0}, uint64_t{40} << 20}) {
        const bool well = Fill(disk, load, quota_bytes);
        std::printf("%s: %s, %s, %s\n", well ? "ok" : "FAILED", kind.c_str(), load.name,
                    quota_bytes == 0 ? "no quota" : "a quota of 40 MiB");
        std::fflush(stdout);
        disk.GiveItBack();
        Run("rm -rf " + disk.path() + "/store");
        all_well = all_well && well;
      }
    }
  }
  if (!any) return kSkipped;
  return all_well ? 0 : 1;
}

}  // namespace
}  // namespace firn::test

int main() { return firn::test::Main(); }
