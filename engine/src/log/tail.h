// The tail buffers: where records are until their unit is written, and a while longer, so that fresh values are read
// from memory. They lie in one shared mapping of the file TAIL, so a killed process loses no buffered write.
//
//   block 0: for each buffer a descriptor {segment u32, base offset u32, salt 16, checksum u64};
//            at 2,048, in a sector of its own, the close mark
//   then kTailBuffers buffers of kTailBufferBytes; byte i of a buffer is byte base + i of the segment
//
// Readers pin a buffer instead of taking a lock; a buffer is reused only when it is written and nobody pins it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/aligned_buffer.h"
#include "format/layout.h"
#include "io/disk.h"
#include "log/segment.h"

namespace firn::log {

inline constexpr size_t kTailBuffers = 4;
inline constexpr uint32_t kTailBufferBytes = 256 * 1024;
inline constexpr uint64_t kTailFileBytes = format::kBlockBytes + kTailBuffers * kTailBufferBytes;
inline constexpr std::string_view kTailFile = "TAIL";
inline constexpr std::string_view kDamagedTailFile = "TAIL.damaged";  // put aside by a salvage

// Left by a clean close: where the log ended then. Without it nothing would tell that the end of the newest segment, or
// all of it, is missing: no later unit or segment vouches for it. Outdated once there is a newer segment.
struct CloseMark {
  Position end;  // the newest segment, and where its units end
  uint64_t last_revision = 0;
};

class TailBuffers {
 public:
  TailBuffers(std::unique_ptr<io::SharedMemory> memory, uint64_t store_secret);

  std::byte* memory(size_t buffer) const { return buffers_ + buffer * kTailBufferBytes; }
  bool locked() const { return memory_->locked(); }
  // What was stored here before this was asked may not survive the process.
  bool detached() const { return memory_->detached(); }

  // Gives `buffer` a new place in the log. Waits for readers that still copy from it; they are quick.
  void Assign(size_t buffer, const Segment& segment, uint32_t base_offset);
  // The log goes on elsewhere: the buffer holds nothing at or beyond `end_offset`.
  void Leave(size_t buffer, uint32_t end_offset) { states_[buffer].end.store(end_offset, std::memory_order_release); }

  // Copies [offset, offset + out.size()) of `segment` if it is resident. Takes no lock.
  bool Read(SegmentId segment, uint32_t offset, base::MutableBytes out);
  // Whether it is, at this moment.
  bool Holds(SegmentId segment, uint32_t offset) const;

  // Forgets all descriptors, for nothing here is needed to recover the store any more, and leaves the mark. It is as
  // durable as the file is synced.
  void Close(const CloseMark& mark);

 private:
  struct alignas(64) Buffer {
    std::atomic<uint64_t> place{0};  // segment << 32 | base offset; 0: nothing resident
    std::atomic<uint32_t> end{0};    // offset in the segment
    std::atomic<uint32_t> pins{0};
  };

  std::byte* descriptor(size_t buffer) const;

  std::unique_ptr<io::SharedMemory> memory_;
  std::byte* buffers_;
  uint64_t secret_;
  std::array<Buffer, kTailBuffers> states_;
};

// A unit that recovery found in the tail buffers. Closed units are as they were; the records of the open one (and of
// one whose header the killed process had not filled yet) are sealed as a unit here.
struct TailUnit {
  SegmentId segment = format::kNoSegment;
  format::Salt salt{};
  uint32_t offset = 0;
  uint64_t first_revision = 0, last_revision = 0;
  base::AlignedBuffer bytes;
  uint64_t size = 0;
};

// Everything that verifies in the mapping `tail`, in log order. What of it belongs to the log is for recovery to
// decide: after a power cut these pages may be of any age.
std::vector<TailUnit> FindTailUnits(base::Bytes tail, uint64_t store_secret);
std::optional<CloseMark> FindCloseMark(base::Bytes tail, uint64_t store_secret);
inline constexpr uint64_t kCloseMarkAt = 2048;
// Whether there was a mark that rot has changed: not one that was never there, and not one that a kill cut short.
bool HasDamagedCloseMark(base::Bytes tail, uint64_t store_secret);
// The same of the buffers' descriptors, without which nothing of a buffer can be found.
bool HasDamagedDescriptor(base::Bytes tail, uint64_t store_secret);

}  // namespace firn::log
