// A store on an ext4 image and on a tmpfs of 64 MiB, filled to the last byte: by fresh keys, by overwrites, by large
// values and while reclaim runs, with a quota and without. Then deletes, and writes work again.
#include <firn/db.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "real/mounted.h"
#include "support/rng.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

struct Load {
  const char* name;
  size_t value_bytes;
  // Of the disk, or of the quota, is filled with live values; then they are overwritten at random until writes have
  // been refused. 0: new keys until one is refused.
  double live_part;
};
constexpr Load kLoads[] = {{"fresh keys", 2'000, 0},
                           {"overwrites", 2'000, 0.6},
                           {"large values", 100'000, 0},
                           {"overwrites of large values", 100'000, 0.6}};

std::string KeyOf(int i) { return "key" + std::to_string(i); }
std::string ValueOf(const Load& load, int i) { return std::to_string(i) + std::string(load.value_bytes, 'v'); }

// Tells when there may be room: a segment has gone, or the store says so. Counts how often there was none.
class RoomNews final : public EventListener {
 public:
  uint64_t times_full() {
    const std::lock_guard lock(mutex_);
    return times_full_;
  }
  void OnEvent(const Event& event) override {
    if (event.kind == EventKind::kDiskFull) {
      const std::lock_guard lock(mutex_);
      ++times_full_;
    }
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
  uint64_t news_ = 0, heard_ = 0, times_full_ = 0;
};

// Each overwrite is done or refused, and then it has changed nothing; the full disk is met again and again.
bool OverwriteUntilFull(const DB& db, const Load& load, int keys, const std::function<bool()>& within_quota,
                        RoomNews& room, const std::map<std::string, std::string>& expected,
                        const std::function<absl::Status(const std::string&, int)>& put) {
  constexpr uint64_t kTimesFullMin = 3;
  Rng rng(1);
  uint64_t done = 0, refused = 0;
  for (int i = 0; i < 10 * keys && (room.times_full() < kTimesFullMin || i < 2 * keys); ++i) {
    const std::string key = KeyOf(static_cast<int>(rng.Below(static_cast<uint64_t>(keys))));
    const absl::Status status = put(key, keys + i);
    DEMAND(status.ok() || absl::IsResourceExhausted(status), status.ToString() + "\n" + db.GetStats().ToString());
    ++(status.ok() ? done : refused);
    if (!status.ok() || i % 64 == 0) {
      const auto found = db.Get(key);
      DEMAND(found.ok() && *found == expected.at(key), key + ": " + found.status().ToString());
      DEMAND(within_quota(), db.GetStats().ToString());
    }
  }
  std::printf("%s: %d live keys, %llu overwrites done, %llu refused, the disk was full %llu times\n", load.name, keys,
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(refused),
              static_cast<unsigned long long>(room.times_full()));
  // Large values may give their space back as fast as it is wanted.
  if (load.value_bytes < 10'000) DEMAND(room.times_full() > 0, db.GetStats().ToString());
  DEMAND(done > 0, db.GetStats().ToString());
  return true;
}

bool Fill(const Mounted& disk, const Load& load, uint64_t quota_bytes) {
  RoomNews room;  // outlives the store
  Options options;
  options.listener = &room;
  options.max_disk_bytes = quota_bytes;
  // Nothing is reclaimed before the disk is full: it is the disk that overwrites meet, not the ceiling.
  if (load.live_part > 0) options.max_space_amplification = 10;
  auto db = DB::Open(options, disk.path() + "/store");
  DEMAND(db.ok(), db.status().ToString());
  std::map<std::string, std::string> expected;
  PutOptions buffered;
  buffered.durability = Durability::kBuffered;
  const auto put = [&](const std::string& key, int i) {
    const absl::Status status = (*db)->Put(key, ValueOf(load, i), buffered).status();
    if (status.ok()) expected[key] = ValueOf(load, i);
    return status;
  };
  const auto within_quota = [&] { return quota_bytes == 0 || (*db)->GetStats().quota_used_bytes <= quota_bytes; };
  absl::Status status;
  int written = 0;
  const uint64_t room_bytes = quota_bytes == 0 ? kDiskBytes : quota_bytes;
  const auto live_keys = static_cast<int>(load.live_part * static_cast<double>(room_bytes / load.value_bytes));
  while (live_keys == 0 || written < live_keys) {
    status = put(KeyOf(written), written);
    if (!status.ok()) break;
    ++written;
    if (written % 64 == 0) DEMAND(within_quota(), (*db)->GetStats().ToString());
  }
  if (live_keys == 0) {
    DEMAND(absl::IsResourceExhausted(status), status.ToString() + "\n" + (*db)->GetStats().ToString());
  } else {
    DEMAND(status.ok() && room.times_full() == 0, status.ToString() + "\n" + (*db)->GetStats().ToString());
    if (!OverwriteUntilFull(**db, load, live_keys, within_quota, room, expected, put)) return false;
    written = 20 * live_keys;
  }
  // Others take what is left: to the last byte.
  DEMAND(disk.TakeTheRest(), "filler");
  std::atomic<bool> over{false};
  std::thread compacting([&] {
    while (!over) (*db)->Compact().IgnoreError();
  });
  for (int i = 0; i < 100; ++i) put(KeyOf(written + i), written + i).IgnoreError();
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
      status = put(KeyOf(i), i);
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
  // And with room from outside they go on at once, without a restart.
  disk.GiveItBack();
  for (int i = 0; i < 20; ++i) {
    status = put(KeyOf(i), written + i);
    DEMAND(status.ok(), status.ToString() + "\n" + (*db)->GetStats().ToString());
  }
  DEMAND(disk.TakeTheRest(), "filler");
  if (!holds(**db)) return false;
  const absl::Status closed = (*db)->Close();
  DEMAND(closed.ok(), closed.ToString());
  db = DB::Open(options, disk.path() + "/store");
  DEMAND(db.ok(), db.status().ToString());
  if (!holds(**db)) return false;
  disk.GiveItBack();
  for (int i = 0; i < 1'000 && load.live_part == 0 && load.value_bytes < 10'000; ++i) {
    DEMAND(put(KeyOf(i), i).ok(), (*db)->GetStats().ToString());
  }
  DEMAND((*db)->Close().ok(), "close");
  return Run("rm -rf " + disk.path() + "/store");
}

int Main() {
  if (!OwnMountNamespace()) return kSkipped;
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
