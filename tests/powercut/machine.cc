#include "powercut/machine.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace firn::test {
namespace {

std::string Reason() { return std::strerror(errno); }

[[noreturn]] void ThrowFor(const std::string& what) {
  const bool permission = errno == EPERM || errno == EACCES || errno == ENOENT || errno == ENODEV || errno == ENXIO;
  if (permission) throw NotPermitted(what + ": " + Reason());
  throw HarnessError(what + ": " + Reason());
}

// Closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  operator int() const { return number_; }

 private:
  const int number_;
};

}  // namespace

void EnterOwnMountNamespace() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    throw NotPermitted("mounting is not permitted: " + Reason());
  }
}

void RunProgram(const std::string& command_line) {
  std::FILE* const output = ::popen((command_line + " 2>&1").c_str(), "re");
  if (output == nullptr) throw HarnessError("no process for " + command_line);
  std::string text;
  char some[512];
  while (std::fgets(some, sizeof(some), output) != nullptr) text += some;
  if (::pclose(output) != 0) throw HarnessError(command_line + ": " + text);
}

LoopDevice::LoopDevice(const std::string& file, const std::string& folder) {
  try {
    Attach(file, folder);
  } catch (...) {
    if (!node_.empty()) ::unlink(node_.c_str());
    if (device_ >= 0) ::close(device_);
    throw;
  }
}

void LoopDevice::Attach(const std::string& file, const std::string& folder) {
  constexpr int kAttemptsMax = 100;
  const Descriptor control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (control < 0) ThrowFor("loop devices cannot be used: /dev/loop-control");
  const Descriptor backing(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  if (backing < 0) ThrowFor(file);
  // Between being told of a free device and taking it somebody else may take it.
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) ThrowFor("there is no free loop device");
    path_ = "/dev/loop" + std::to_string(number);
    if (::access(path_.c_str(), F_OK) != 0) {
      constexpr int kLoopMajor = 7;
      path_ = node_ = folder + "/loop" + std::to_string(number);
      const auto device = ::makedev(kLoopMajor, static_cast<unsigned>(number));
      if (::mknod(path_.c_str(), S_IFBLK | 0600, device) != 0 && errno != EEXIST) ThrowFor(path_);
    }
    device_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    if (device_ < 0) ThrowFor("loop devices cannot be used: " + path_);
    loop_config config = {};
    config.fd = static_cast<__u32>(static_cast<int>(backing));
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    if (::ioctl(device_, LOOP_CONFIGURE, &config) == 0) {
      loop_info64 info = {};
      direct_io_ = ::ioctl(device_, LOOP_GET_STATUS64, &info) == 0 && (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
      return;
    }
    if (errno != EBUSY) ThrowFor("a loop device cannot be attached: " + path_);
    ::close(device_);
    device_ = -1;
  }
  throw HarnessError("others take every loop device");
}

LoopDevice::~LoopDevice() {
  ::close(device_);
  if (!node_.empty()) ::unlink(node_.c_str());
}

Mount::Mount(const std::string& device, const std::string& folder, const std::string& kind) : folder_(folder) {
  if (::mount(device.c_str(), folder.c_str(), kind.c_str(), 0, "") != 0) {
    if (errno == EPERM || errno == ENODEV) throw NotPermitted("mounting " + kind + " is not permitted: " + Reason());
    throw HarnessError(kind + " on " + device + " cannot be mounted: " + Reason());
  }
  mounted_ = true;
}

Mount::~Mount() {
  if (mounted_ && ::umount2(folder_.c_str(), 0) != 0) ::umount2(folder_.c_str(), MNT_DETACH);
}

// A killed process's ring goes after it, and uses the file system until then; nothing tells when that is.
void Mount::Unmount() {
  constexpr int kAttemptsMax = 20'000;
  constexpr timespec kPause = {.tv_sec = 0, .tv_nsec = 1'000'000};
  for (int attempt = 0; ::umount2(folder_.c_str(), 0) != 0; ++attempt) {
    if (errno != EBUSY || attempt == kAttemptsMax) {
      throw HarnessError(folder_ + " cannot be unmounted: " + Reason());
    }
    ::nanosleep(&kPause, nullptr);
  }
  mounted_ = false;
}

}  // namespace firn::test
