#include "log/tail.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/hash.h"
#include "format/block.h"
#include "format/unit.h"

namespace firn::log {
namespace {

constexpr size_t kDescriptorBytes = 4 + 4 + sizeof(format::Salt) + 8;
static_assert(kTailBuffers * kDescriptorBytes <= format::kBlockBytes);

constexpr uint64_t kMarkMagic = format::Magic("firnCLO1");
constexpr size_t kMarkAt = kCloseMarkAt;
constexpr size_t kMarkSegmentAt = 16;
constexpr size_t kMarkOffsetAt = 20;
constexpr size_t kMarkRevisionAt = 24;
constexpr size_t kMarkBytes = 32;
static_assert(kTailBuffers * kDescriptorBytes <= kMarkAt && kMarkAt + kMarkBytes <= format::kBlockBytes);

struct Descriptor {
  SegmentId segment = format::kNoSegment;
  uint32_t base_offset = 0;
  format::Salt salt{};
};

uint64_t DescriptorChecksum(const std::byte* at, uint64_t secret) {
  return base::Hash64({at, kDescriptorBytes - 8}, secret ^ 0x7461696c);  // "tail": apart from all other checksums
}

uint64_t MarkChecksum(const std::byte* at, uint64_t secret) {
  return base::Hash64({at + kMarkSegmentAt, kMarkBytes - kMarkSegmentAt}, secret ^ 0x636c6f7365);  // "close"
}

std::optional<Descriptor> DecodeDescriptor(const std::byte* at, uint64_t secret) {
  if (base::LoadLe<uint64_t>(at + kDescriptorBytes - 8) != DescriptorChecksum(at, secret)) return std::nullopt;
  Descriptor descriptor;
  descriptor.segment = base::LoadLe<uint32_t>(at);
  descriptor.base_offset = base::LoadLe<uint32_t>(at + 4);
  std::memcpy(descriptor.salt.data(), at + 8, descriptor.salt.size());
  const bool in_segment = descriptor.segment != format::kNoSegment &&
                          descriptor.base_offset % format::kBlockBytes == 0 &&
                          descriptor.base_offset <= UINT32_MAX - kTailBufferBytes;
  if (!in_segment) return std::nullopt;
  return descriptor;
}

// Seals the records at the front of `records` that verify and form whole operations.
std::optional<TailUnit> SealOpenUnit(const Descriptor& descriptor, const format::ChecksumSeed& seed, uint32_t offset,
                                     base::Bytes records) {
  size_t whole = 0;
  TailUnit unit{.segment = descriptor.segment, .salt = descriptor.salt, .offset = offset};
  for (size_t at = 0; at < records.size();) {
    const uint64_t record_offset = uint64_t{offset} + format::kUnitHeaderBytes + at;
    const auto decoded = format::DecodeRecord(records.subspan(at), seed, record_offset);
    if (!decoded || decoded->record.type == format::RecordType::kPadding) break;
    at += decoded->size_bytes;
    if ((decoded->record.flags & format::record_flags::kInBatch) != 0) continue;
    whole = at;
    if (unit.first_revision == 0) unit.first_revision = decoded->record.revision;
    unit.last_revision = decoded->record.revision;
  }
  if (whole == 0) return std::nullopt;
  unit.size = base::RoundUp(format::kUnitHeaderBytes + whole, format::kBlockBytes);
  unit.bytes = base::AlignedBuffer(unit.size);
  std::memset(unit.bytes.data(), 0, unit.size);
  std::memcpy(unit.bytes.data() + format::kUnitHeaderBytes, records.data(), whole);
  format::SealUnit({.blocks = static_cast<uint32_t>(unit.size / format::kBlockBytes),
                    .payload_bytes = static_cast<uint32_t>(whole),
                    .first_revision = unit.first_revision,
                    .last_revision = unit.last_revision},
                   seed, offset, unit.bytes.bytes().first(unit.size));
  return unit;
}

}  // namespace

TailBuffers::TailBuffers(std::unique_ptr<io::SharedMemory> memory, uint64_t store_secret)
    : memory_(std::move(memory)), buffers_(memory_->bytes().data() + format::kBlockBytes), secret_(store_secret) {
  FIRN_CHECK(memory_->bytes().size() == kTailFileBytes);
}

std::byte* TailBuffers::descriptor(size_t buffer) const { return memory_->bytes().data() + buffer * kDescriptorBytes; }

void TailBuffers::Assign(size_t buffer, const Segment& segment, uint32_t base_offset) {
  Buffer& state = states_[buffer];
  state.place.store(0, std::memory_order_seq_cst);
  for (int turn = 0; state.pins.load(std::memory_order_seq_cst) != 0; ++turn) base::SpinPause(turn);

  // A process killed between any two of these stores leaves a descriptor that does not verify, or one whose place no
  // record in the buffer verifies at.
  std::byte* at = descriptor(buffer);
  base::StoreLe<uint64_t>(at + kDescriptorBytes - 8, 0);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  base::StoreLe<uint32_t>(at, segment.id);
  base::StoreLe<uint32_t>(at + 4, base_offset);
  std::memcpy(at + 8, segment.header.salt.data(), segment.header.salt.size());
  std::atomic_signal_fence(std::memory_order_seq_cst);
  base::StoreLe<uint64_t>(at + kDescriptorBytes - 8, DescriptorChecksum(at, secret_));
  state.end.store(base_offset + kTailBufferBytes, std::memory_order_release);
  state.place.store((uint64_t{segment.id} << 32) | base_offset, std::memory_order_seq_cst);
}

bool TailBuffers::Read(SegmentId segment, uint32_t offset, base::MutableBytes out) {
  for (size_t i = 0; i < kTailBuffers; ++i) {
    Buffer& state = states_[i];
    const uint64_t place = state.place.load(std::memory_order_acquire);
    const auto base_offset = static_cast<uint32_t>(place);
    if ((place >> 32) != segment || offset < base_offset) continue;
    if (offset >= state.end.load(std::memory_order_acquire)) continue;
    state.pins.fetch_add(1, std::memory_order_seq_cst);
    // The pin counts only if the buffer still is where it was: Assign() first moves it, then waits for pins.
    const bool stayed = state.place.load(std::memory_order_seq_cst) == place;
    if (stayed) std::memcpy(out.data(), memory(i) + (offset - base_offset), out.size());
    state.pins.fetch_sub(1, std::memory_order_release);
    if (stayed) return true;
  }
  return false;
}

bool TailBuffers::Holds(SegmentId segment, uint32_t offset) const {
  return std::any_of(states_.begin(), states_.end(), [&](const Buffer& state) {
    const uint64_t place = state.place.load(std::memory_order_acquire);
    return (place >> 32) == segment && offset >= static_cast<uint32_t>(place) &&
           offset < state.end.load(std::memory_order_acquire);
  });
}

void TailBuffers::Close(const CloseMark& mark) {
  for (size_t i = 0; i < kTailBuffers; ++i) std::memset(descriptor(i), 0, kDescriptorBytes);
  std::byte* const at = memory_->bytes().data() + kMarkAt;
  // A process killed half-way leaves a mark that does not verify.
  base::StoreLe<uint64_t>(at + format::kChecksumAt, 0);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  base::StoreLe(at + format::kMagicAt, kMarkMagic);
  base::StoreLe(at + kMarkSegmentAt, mark.end.segment);
  base::StoreLe(at + kMarkOffsetAt, mark.end.offset);
  base::StoreLe(at + kMarkRevisionAt, mark.last_revision);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  base::StoreLe(at + format::kChecksumAt, MarkChecksum(at, secret_));
}

std::optional<CloseMark> FindCloseMark(base::Bytes tail, uint64_t store_secret) {
  const std::byte* const at = tail.data() + kMarkAt;
  if (base::LoadLe<uint64_t>(at + format::kMagicAt) != kMarkMagic ||
      base::LoadLe<uint64_t>(at + format::kChecksumAt) != MarkChecksum(at, store_secret)) {
    return std::nullopt;
  }
  const CloseMark mark{{base::LoadLe<SegmentId>(at + kMarkSegmentAt), base::LoadLe<uint32_t>(at + kMarkOffsetAt)},
                       base::LoadLe<uint64_t>(at + kMarkRevisionAt)};
  if (mark.end.segment == format::kNoSegment || !CanEndUnits(mark.end.offset)) return std::nullopt;
  return mark;
}

bool HasDamagedCloseMark(base::Bytes tail, uint64_t store_secret) {
  const std::byte* const at = tail.data() + kMarkAt;
  return !FindCloseMark(tail, store_secret) && base::LoadLe<uint64_t>(at + format::kChecksumAt) != 0;
}

bool HasDamagedDescriptor(base::Bytes tail, uint64_t store_secret) {
  for (size_t i = 0; i < kTailBuffers; ++i) {
    const std::byte* const at = tail.data() + i * kDescriptorBytes;
    const bool has_checksum = base::LoadLe<uint64_t>(at + kDescriptorBytes - 8) != 0;
    if (has_checksum && !DecodeDescriptor(at, store_secret)) return true;
  }
  return false;
}

std::vector<TailUnit> FindTailUnits(base::Bytes tail, uint64_t store_secret) {
  std::vector<TailUnit> found;
  for (size_t i = 0; i < kTailBuffers; ++i) {
    const auto descriptor = DecodeDescriptor(tail.data() + i * kDescriptorBytes, store_secret);
    if (!descriptor) continue;
    const format::ChecksumSeed seed(store_secret, descriptor->salt);
    const base::Bytes buffer = tail.subspan(format::kBlockBytes + i * kTailBufferBytes, kTailBufferBytes);
    for (size_t at = 0; at + format::kBlockBytes <= buffer.size();) {
      const auto offset = static_cast<uint32_t>(descriptor->base_offset + at);
      const auto head = format::PeekUnit(buffer.subspan(at, format::kUnitHeaderBytes), seed, offset);
      const uint64_t size = head ? uint64_t{head->blocks} * format::kBlockBytes : 0;
      std::optional<TailUnit> unit;
      if (head && size <= buffer.size() - at && format::VerifyUnit(buffer.subspan(at, size), seed, offset) &&
          HoldsOperations(buffer.subspan(at + format::kUnitHeaderBytes, head->payload_bytes))) {
        unit = TailUnit{.segment = descriptor->segment,
                        .salt = descriptor->salt,
                        .offset = offset,
                        .first_revision = head->first_revision,
                        .last_revision = head->last_revision,
                        .bytes = base::AlignedBuffer(size),
                        .size = size};
        std::memcpy(unit->bytes.data(), buffer.data() + at, size);
      } else {
        unit = SealOpenUnit(*descriptor, seed, offset, buffer.subspan(at + format::kUnitHeaderBytes));
      }
      if (!unit) break;
      at += unit->size;
      found.push_back(std::move(*unit));
    }
  }
  std::sort(found.begin(), found.end(), [](const TailUnit& a, const TailUnit& b) {
    return Position{a.segment, a.offset} < Position{b.segment, b.offset};
  });
  return found;
}

}  // namespace firn::log
