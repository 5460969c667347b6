// The file system of a store shuts down under it, as it does when its disk is gone: every error is a status, also of a
// store into the mapping of TAIL, and what was acknowledged as synced is there once it is mounted again.
#include <firn/db.h>

#include <linux/ioctl.h>
#include <sys/ioctl.h>

#include <cstdio>
#include <string>

#include "real/mounted.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

std::string KeyOf(int i) { return "key" + std::to_string(i); }
std::string ValueOf(int i) { return std::to_string(i) + std::string(3'000, 'v'); }

// ext4 and xfs have the same request.
bool ShutDown(const std::string& path) {
  constexpr unsigned long kGoingDown = _IOR('X', 125, uint32_t);
  uint32_t without_the_journal = 2;
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY);
  const bool done = fd >= 0 && ::ioctl(fd, kGoingDown, &without_the_journal) == 0;
  ::close(fd);
  return done;
}

// A mapped page that was written back asks the file system at the next store.
bool WriteBackTail(const std::string& store) {
  const int fd = ::open((store + "/TAIL").c_str(), O_RDWR);
  const bool done = fd >= 0 && ::fsync(fd) == 0;
  ::close(fd);
  return done;
}

bool LoseFileSystem(const char* kind, const std::string& parent) {
  constexpr int kSynced = 20, kBuffered = 20;
  Mounted mounted(kind, parent);
  if (!mounted.ok()) {
    std::printf("skipped: %s cannot be made or mounted here\n", kind);
    return true;
  }
  const std::string store = mounted.path() + "/store";
  PutOptions buffered;
  buffered.durability = Durability::kBuffered;
  Options options;
  options.flush_interval_ms = kFlushIntervalMsMax;  // nothing but these writes finds out
  {
    auto db = DB::Open(options, store);
    DEMAND(db.ok(), db.status().ToString());
    for (int i = 0; i < kSynced; ++i) {
      const absl::Status status = (*db)->Put(KeyOf(i), ValueOf(i)).status();
      DEMAND(status.ok(), status.ToString());
    }
    for (int i = kSynced; i < kSynced + kBuffered; ++i) {
      const absl::Status status = (*db)->Put(KeyOf(i), ValueOf(i), buffered).status();
      DEMAND(status.ok(), status.ToString());
    }
    DEMAND(WriteBackTail(store), "cannot sync TAIL");
    DEMAND(ShutDown(mounted.path()), "cannot shut the file system down");

    const absl::Status refused = (*db)->Put("after", ValueOf(1), buffered).status();
    // ext4 takes stores all the same.
    const bool may_store = std::string_view(kind) == "ext4" && refused.ok();
    DEMAND(may_store || absl::IsUnavailable(refused), refused.ToString());
    DEMAND(may_store || refused.message().find("TAIL") != std::string::npos, refused.ToString());
    const absl::Status synced = (*db)->Sync();
    DEMAND(absl::IsUnavailable(synced), synced.ToString());
    for (int i = 0; i < kSynced + kBuffered; ++i) {
      const auto value = (*db)->Get(KeyOf(i));
      // What is not durable is not served.
      const bool good = value.ok() ? *value == ValueOf(i) : i >= kSynced && absl::IsUnavailable(value.status());
      DEMAND(good, KeyOf(i) + ": " + value.status().ToString());
    }
    const auto after = (*db)->Get("after");
    DEMAND(absl::IsUnavailable(after.status()), after.status().ToString());
    DEMAND(!(*db)->Put("again", "x").ok(), "a write into nothing");
    DEMAND(!(*db)->Close().ok(), "closed without an error");
  }
  DEMAND(mounted.MountAgain(), "cannot mount it again");
  auto db = DB::Open(options, store);
  DEMAND(db.ok(), db.status().ToString());
  for (int i = 0; i < kSynced; ++i) {
    const auto value = (*db)->Get(KeyOf(i));
    DEMAND(value.ok() && *value == ValueOf(i), KeyOf(i) + ": " + value.status().ToString());
  }
  const absl::Status closed = (*db)->Close();
  DEMAND(closed.ok(), closed.ToString());
  return true;
}

}  // namespace
}  // namespace firn::test

int main() {
  if (!firn::test::OwnMountNamespace()) return firn::test::kSkipped;
  const firn::testing::TempDir dir;
  const bool passed = firn::test::LoseFileSystem("ext4", dir.path()) && firn::test::LoseFileSystem("xfs", dir.path());
  std::printf("%s\n", passed ? "passed" : "failed");
  return passed ? 0 : 1;
}
