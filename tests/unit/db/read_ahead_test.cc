#include "db/read_ahead.h"

#include <catch2/catch.hpp>

#include <cstring>
#include <memory>
#include <vector>

#include "io/open_disk.h"
#include "support/must.h"
#include "support/temp_dir.h"

namespace firn {
namespace {

using test::Must;
using Segments = std::vector<std::shared_ptr<log::Segment>>;

class SegmentFiles {
 public:
  SegmentFiles() : disk_(Must(io::OpenDisk(directory_.path(), io::DiskOptions{}))) {}

  io::Disk& disk() { return *disk_; }

  // Of `file_bytes` bytes that are all `id`; its units end at `units_end`.
  std::shared_ptr<log::Segment> Make(log::SegmentId id, uint64_t file_bytes, uint64_t units_end) {
    auto segment = std::make_shared<log::Segment>();
    segment->id = id;
    segment->units_end.store(static_cast<uint32_t>(units_end));
    segment->file = Must(disk_->Open("segment" + std::to_string(id), io::OpenMode::kCreate));
    base::AlignedBuffer bytes(file_bytes);
    std::memset(bytes.data(), static_cast<int>(id), file_bytes);
    Must(segment->file->Write(0, bytes.bytes(), io::Flush::kNone));
    return segment;
  }

 private:
  const testing::TempDir directory_;
  std::unique_ptr<io::Disk> disk_;
};

bool IsAll(base::Bytes bytes, int byte) {
  for (const std::byte each : bytes) {
    if (each != static_cast<std::byte>(byte)) return false;
  }
  return true;
}

TEST_CASE("of each segment that was read ahead any part of its units is found") {
  SegmentFiles files;
  ReadAhead ahead(files.disk());
  ahead.Start();
  CHECK(ahead.segments().empty());
  CHECK(ahead.Find(1, 0, 4096).empty());
  constexpr uint64_t kBytes = 3 << 20;
  ahead.Begin({files.Make(1, kBytes, kBytes), files.Make(2, kBytes, kBytes - 4096)});
  CHECK(ahead.segments() == std::vector<log::SegmentId>{1, 2});
  CHECK(ahead.Find(1, 0, kBytes).size() == kBytes);
  CHECK(IsAll(ahead.Find(1, 0, kBytes), 1));
  CHECK(IsAll(ahead.Find(2, 0, kBytes - 4096), 2));
  CHECK(ahead.Find(2, kBytes - 8192, 4096).size() == 4096);
  CHECK(ahead.Find(2, kBytes - 8192, 4097).empty());  // beyond the units
  CHECK(ahead.Find(3, 0, 4096).empty());
  // What is read next takes its place.
  ahead.Begin({files.Make(3, kBytes, kBytes)});
  CHECK(ahead.Find(1, 0, 4096).empty());
  CHECK(IsAll(ahead.Find(3, 4096, 8192), 3));
  ahead.Drop();
  CHECK(ahead.segments().empty());
  CHECK(ahead.Find(3, 0, 4096).empty());
}

TEST_CASE("what cannot be read, and what there is no memory for, is not found") {
  SegmentFiles files;
  ReadAhead ahead(files.disk());
  ahead.Start();
  constexpr uint64_t kBytes = 64 << 10;
  const auto large = files.Make(2, 4096, ReadAhead::kBytesMax);
  ahead.Begin(
      {files.Make(1, kBytes, kBytes), large, files.Make(3, kBytes, kBytes + 4096), files.Make(4, kBytes, kBytes)});
  CHECK(ahead.segments() == std::vector<log::SegmentId>{1, 4});  // asked while it reads
  CHECK(IsAll(ahead.Find(1, 0, kBytes), 1));
  CHECK(ahead.Find(2, 0, 4096).empty());
  CHECK(ahead.Find(3, 0, 4096).empty());  // its file is shorter than it should be
  CHECK(IsAll(ahead.Find(4, 0, kBytes), 4));
}

TEST_CASE("a segment's file is not kept open once it was read") {
  SegmentFiles files;
  ReadAhead ahead(files.disk());
  ahead.Start();
  auto segment = files.Make(1, 1 << 20, 1 << 20);
  ahead.Begin({segment});
  CHECK(IsAll(ahead.Find(1, 0, 1 << 20), 1));
  CHECK(segment.use_count() == 1);
}

TEST_CASE("it can be stopped at any time, and nothing is found afterwards") {
  SegmentFiles files;
  Segments segments;
  for (log::SegmentId id = 1; id <= 8; ++id) segments.push_back(files.Make(id, 1 << 20, 1 << 20));
  for (int turn = 0; turn < 20; ++turn) {
    ReadAhead ahead(files.disk());
    ahead.Start();
    ahead.Begin(segments);
    if (turn % 2 == 0) static_cast<void>(ahead.Find(1, 0, 4096));
    ahead.Stop();
    for (log::SegmentId id = 1; id <= 8; ++id) REQUIRE(ahead.Find(id, 0, 4096).empty());
  }
}

}  // namespace
}  // namespace firn
