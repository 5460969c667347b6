// The yardstick for synced puts: what the disk gives a program that only writes a block and flushes it.
#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "firn/bench.h"
#include "support/files.h"

namespace firn::tools {

class RawLoop {
 public:
  // Makes a preallocated file in which every block has been written once, as the engine's recycled segments
  // are.
  static absl::StatusOr<RawLoop> Create(const std::string& path);

  // One 4 KiB direct write and one fdatasync after the other, through the file from front to end and again.
  absl::StatusOr<Rate> Run(double seconds);

  // False where the file system knows no direct I/O; the writes then go through the page cache.
  bool direct() const { return direct_; }

 private:
  RawLoop(std::string path, Descriptor file, bool direct)
      : path_(std::move(path)), file_(std::move(file)), direct_(direct) {}

  std::string path_;
  Descriptor file_;
  bool direct_;
  uint64_t offset_ = 0;
};

}  // namespace firn::tools
