// Small file systems of the machine's, mounted in a mount namespace of this process's own, so that whatever becomes of
// it they are gone with it.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace firn::test {

inline constexpr int kSkipped = 77;  // what CTest takes for skipped
inline constexpr uint64_t kDiskBytes = uint64_t{64} << 20;
inline constexpr uint64_t kXfsBytes = uint64_t{320} << 20;

inline bool Run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

// False, and why, where that is not permitted.
inline bool OwnMountNamespace() {
  if (::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) return true;
  std::printf("skipped: mounting is not permitted here\n");
  return false;
}

#define DEMAND(condition, status)                                                                             \
  do {                                                                                                        \
    if (!(condition)) {                                                                                       \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, std::string((status)).c_str()); \
      return false;                                                                                           \
    }                                                                                                         \
  } while (false)

// A file system mounted for as long as this lives: "tmpfs", "ext4", "xfs" (which takes more than the rest) or "ntfs".
class Mounted {
 public:
  Mounted(const std::string& kind, const std::string& parent) : path_(parent + "/" + kind), image_(path_ + ".image") {
    if (!Run("mkdir -p " + path_)) return;
    const std::string size = std::to_string(kind == "xfs" ? kXfsBytes : kDiskBytes);
    if (kind == "tmpfs") {
      mounted_ = Run("mount -t tmpfs -o size=" + size + " tmpfs " + path_);
    } else if (Run("truncate -s " + size + " " + image_)) {
      // ntfs-3g is a program behind FUSE: it can neither punch holes nor claim space.
      const bool ntfs = kind == "ntfs";
      const std::string make = ntfs ? "mkntfs -q -F -f " : kind == "xfs" ? "mkfs.xfs -q " : "mkfs.ext4 -q -m 0 ";
      mount_ = (ntfs ? "ntfs-3g -o big_writes " : "mount -o loop ") + image_ + " " + path_;
      mounted_ = Run(make + image_) && Run(mount_);
    }
  }
  ~Mounted() {
    if (mounted_) Run("umount " + path_ + " || umount -l " + path_);
    Run("rm -f " + image_);
  }
  bool ok() const { return mounted_; }
  // Off and on again, as after a restart.
  bool MountAgain() {
    mounted_ = Run("umount " + path_) && Run(mount_);
    return mounted_;
  }
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
  std::string mount_;
  bool mounted_ = false;
};

}  // namespace firn::test
