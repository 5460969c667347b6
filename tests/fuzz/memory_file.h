// A file that lies in memory and is only read.
#pragma once

#include <cstring>
#include <string>
#include <utility>

#include "io/disk.h"

namespace firn::fuzz {

class MemoryFile final : public io::File {
 public:
  explicit MemoryFile(std::string bytes) : File("log/0000000009.seg", counters_), bytes_(std::move(bytes)) {}

  uint64_t size_bytes() const override { return bytes_.size(); }
  absl::StatusOr<uint64_t> AllocatedBytes() override { return bytes_.size(); }
  absl::StatusOr<uint64_t> Links() override { return 1; }

 private:
  absl::Status DoRead(uint64_t offset, base::MutableBytes out) override {
    if (offset + out.size() > bytes_.size()) return absl::OutOfRangeError("past the end");
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return absl::OkStatus();
  }
  absl::Status DoWrite(uint64_t, base::Bytes, io::Flush) override { return ReadOnly(); }
  absl::Status DoSync() override { return ReadOnly(); }
  absl::Status DoAllocate(uint64_t, uint64_t) override { return ReadOnly(); }
  absl::Status DoTruncate(uint64_t) override { return ReadOnly(); }
  absl::Status DoPunchHole(uint64_t, uint64_t) override { return ReadOnly(); }
  static absl::Status ReadOnly() { return absl::FailedPreconditionError("read-only"); }

  io::Counters counters_;
  const std::string bytes_;
};

}  // namespace firn::fuzz
