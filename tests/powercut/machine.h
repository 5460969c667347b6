// What a power cut needs of the machine: a mount namespace of its own, loop devices, file systems.
//
// Nothing of it outlasts this process, however that ends: mounts live in a namespace that goes with its last process, a
// loop device lets go of its file when it is not mounted any more, and the file's server dies with its parent. A loop
// device is the kernel's choice of one that nobody uses.
#pragma once

#include <stdexcept>
#include <string>

namespace firn::test {

// This machine, or this user, may not do what the test needs. The text says what.
class NotPermitted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Something of the test itself does not work.
class HarnessError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Mounts made from here on are seen by this process and its children only.
void EnterOwnMountNamespace();

// Runs a program and waits for it. Throws HarnessError with its output when it fails.
void RunProgram(const std::string& command_line);

// A block device on a file, past the page cache if the kernel permits it.
class LoopDevice {
 public:
  // `folder` is for a device node where /dev has none.
  LoopDevice(const std::string& file, const std::string& folder);
  ~LoopDevice();  // unless it is mounted the device is free then; else after the unmount
  LoopDevice(const LoopDevice&) = delete;

  const std::string& path() const { return path_; }
  bool direct_io() const { return direct_io_; }

 private:
  void Attach(const std::string& file, const std::string& folder);

  std::string path_;
  std::string node_;  // made by us, empty if none
  int device_ = -1;
  bool direct_io_ = false;
};

// A mounted file system, journal replayed.
class Mount {
 public:
  Mount(const std::string& device, const std::string& folder, const std::string& kind);
  ~Mount();  // at the latest; lazily if something still uses it
  Mount(const Mount&) = delete;
  void Unmount();

 private:
  const std::string folder_;
  bool mounted_ = false;
};

}  // namespace firn::test
