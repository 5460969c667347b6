// The power disk (power_disk.cc) as the program that cuts it sees it: a process of its own with a file in it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "powercut/volatile_disk.h"

namespace firn::test {

class PowerDisk {
 public:
  // Starts `program` and returns once its file is there. Throws NotPermitted where FUSE cannot be used, HarnessError.
  PowerDisk(const std::string& program, const std::string& folder, uint64_t bytes);
  ~PowerDisk();
  PowerDisk(const PowerDisk&) = delete;

  const std::string& image() const { return image_; }

  void CutAfter(uint64_t requests, const VolatileDisk::CutRule& rule);
  void Cut(const VolatileDisk::CutRule& rule);
  void PowerOn();  // waits until nobody has the file open
  void Lie();
  VolatileDisk::Counts counts();

  // To be polled; when something can be read from it, Listen() takes it in.
  int events() const { return from_; }
  void Listen();
  // What the last cut did; nothing while the power is on.
  const std::optional<VolatileDisk::CutReport>& cut() const { return cut_; }

 private:
  std::string Ask(const std::string& command);  // the answer's words behind "ok"
  std::string NextLine();
  bool TakeEvent(const std::string& line);

  const std::string folder_, image_;
  pid_t process_ = -1;
  int to_ = -1, from_ = -1;
  std::string heard_;  // not a whole line yet
  std::optional<VolatileDisk::CutReport> cut_;
};

}  // namespace firn::test
