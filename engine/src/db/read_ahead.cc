#include "db/read_ahead.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/memory.h"

namespace firn {
namespace {

// Few and large, so that what others want of the device meanwhile does not wait behind much.
constexpr uint64_t kPieceBytes = uint64_t{512} << 10;
constexpr size_t kPiecesAtOnce = 2;

}  // namespace

void ReadAhead::Start() {
  thread_ = base::Thread("firn-ahead", [this] { Run(); });
}

void ReadAhead::Begin(std::vector<std::shared_ptr<log::Segment>> segments) {
  AwaitRead();
  parts_.clear();
  uint64_t end = 0;
  for (std::shared_ptr<log::Segment>& segment : segments) {
    const log::SegmentId id = segment->id;
    const uint64_t size_bytes = segment->units_end.load(std::memory_order_relaxed);
    if (end + size_bytes > kBytesMax) continue;
    parts_.push_back({id, end, size_bytes, std::move(segment)});
    end += size_bytes;
  }
  if (parts_.empty()) return;
  if (buffer_.size() == 0) buffer_ = base::AlignedBuffer(kBytesMax);
  base::MutexLock lock(mutex_);
  reading_ = true;
  changed_.NotifyAll();
}

std::vector<log::SegmentId> ReadAhead::segments() {
  AwaitRead();
  std::vector<log::SegmentId> ids;
  for (const Part& part : parts_) ids.push_back(part.segment);
  return ids;
}

base::Bytes ReadAhead::Find(log::SegmentId segment, uint64_t offset, uint64_t size_bytes) {
  AwaitRead();
  const auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) { return p.segment == segment; });
  if (part == parts_.end() || offset + size_bytes > part->size_bytes) return {};
  return base::Bytes(buffer_.bytes()).subspan(part->at + offset, size_bytes);
}

void ReadAhead::Drop() {
  AwaitRead();
  parts_.clear();
  buffer_ = base::AlignedBuffer();
}

void ReadAhead::Stop() {
  {
    base::MutexLock lock(mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.Join();
  parts_.clear();  // of which some may not have been read
  base::MutexLock lock(mutex_);
  reading_ = false;
}

void ReadAhead::AwaitRead() {
  base::MutexLock lock(mutex_);
  while (reading_) changed_.Wait(mutex_);
}

void ReadAhead::Run() {
  base::MutexLock lock(mutex_);
  for (;;) {
    while (!reading_ && !stop_) changed_.Wait(mutex_);
    if (stop_) return;
    mutex_.Unlock();
    if (!base::IfMemoryPermits([this] { Read(); })) parts_.clear();
    mutex_.Lock();
    reading_ = false;
    changed_.NotifyAll();
  }
}

// What cannot be read is left out: whoever reads it by himself will hear why.
void ReadAhead::Read() {
  std::vector<io::ReadRequest> reads;
  for (const Part& part : parts_) {
    for (uint64_t at = 0; at < part.size_bytes; at += kPieceBytes) {
      const uint64_t size = std::min(kPieceBytes, part.size_bytes - at);
      reads.push_back({.file = part.unread->file.get(),
                       .offset = at,
                       .out = buffer_.bytes().subspan(part.at + at, size),
                       .status = absl::OkStatus()});
    }
  }
  for (std::span<io::ReadRequest> rest = reads; !rest.empty();) {
    const size_t count = std::min(kPiecesAtOnce, rest.size());
    disk_.ReadMany(rest.first(count));
    rest = rest.subspan(count);
  }
  std::erase_if(parts_, [&](const Part& part) {
    return std::any_of(reads.begin(), reads.end(), [&](const io::ReadRequest& read) {
      return read.file == part.unread->file.get() && !read.status.ok();
    });
  });
  for (Part& part : parts_) part.unread = nullptr;
}

}  // namespace firn
