#include "log/tail.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "base/aligned_buffer.h"
#include "format/unit.h"
#include "support/sim_disk.h"

namespace firn::log {
namespace {

constexpr uint64_t kSecret = 77;

struct Tail {
  test::SimMachine machine{1};
  std::unique_ptr<io::Disk> disk = machine.Attach();
  Segment segment;
  TailBuffers* buffers = nullptr;
  std::unique_ptr<TailBuffers> owner;

  Tail() {
    segment.id = 5;
    segment.header.segment = 5;
    segment.header.salt[3] = std::byte{9};
    segment.seed = format::ChecksumSeed(kSecret, segment.header.salt);
    auto memory = disk->MapShared(kTailFile, kTailFileBytes);
    REQUIRE(memory.ok());
    owner = std::make_unique<TailBuffers>(*std::move(memory), kSecret);
    buffers = owner.get();
  }

  // Encodes a put behind the unit header of the unit at `unit`, and returns where the next record goes.
  size_t Put(size_t buffer, uint32_t base, size_t at, uint64_t revision, std::string_view value, uint8_t flags = 0) {
    const format::Record record{.revision = revision,
                                .type = format::RecordType::kPut,
                                .flags = flags,
                                .namespace_id = 1,
                                .key = base::AsBytes("key"),
                                .value = base::AsBytes(value)};
    format::EncodeRecord(record, segment.seed, base + at, buffers->memory(buffer) + at);
    return at + format::RecordSize(record);
  }

  std::vector<TailUnit> Found() {
    const std::string bytes = machine.ReadFile(kTailFile);
    base::AlignedBuffer copy(bytes.size());
    std::memcpy(copy.data(), bytes.data(), bytes.size());
    return FindTailUnits(base::Bytes(copy.bytes()).first(bytes.size()), kSecret);
  }
};

}  // namespace

TEST_CASE("records of the open unit are found in the mapping and sealed as a unit that verifies") {
  Tail tail;
  tail.buffers->Assign(0, tail.segment, 8192);
  size_t at = tail.Put(0, 8192, format::kUnitHeaderBytes, 20, "one");
  tail.Put(0, 8192, at, 21, "two");
  const auto units = tail.Found();
  REQUIRE(units.size() == 1);
  CHECK(units[0].segment == 5);
  CHECK(units[0].offset == 8192);
  CHECK(units[0].first_revision == 20);
  CHECK(units[0].last_revision == 21);
  CHECK(format::VerifyUnit(base::Bytes(units[0].bytes.bytes()).first(units[0].size), tail.segment.seed, 8192));
}

TEST_CASE("a record that is only half written ends what is found") {
  Tail tail;
  tail.buffers->Assign(0, tail.segment, 4096);
  const size_t at = tail.Put(0, 4096, format::kUnitHeaderBytes, 20, "one");
  const size_t end = tail.Put(0, 4096, at, 21, "two");
  tail.buffers->memory(0)[end - 1] = std::byte{0};
  tail.Put(0, 4096, end, 22, "three");
  const auto units = tail.Found();
  REQUIRE(units.size() == 1);
  CHECK(units[0].last_revision == 20);
}

TEST_CASE("a batch whose last record is missing is dropped whole") {
  Tail tail;
  tail.buffers->Assign(1, tail.segment, 4096);
  size_t at = tail.Put(1, 4096, format::kUnitHeaderBytes, 20, "alone");
  tail.Put(1, 4096, at, 21, "first of two", format::record_flags::kInBatch);
  const auto units = tail.Found();
  REQUIRE(units.size() == 1);
  CHECK(units[0].last_revision == 20);
}

TEST_CASE("stale records never verify in a buffer that was given a new place") {
  Tail tail;
  tail.buffers->Assign(0, tail.segment, 4096);
  tail.Put(0, 4096, format::kUnitHeaderBytes, 20, "one");
  REQUIRE(tail.Found().size() == 1);
  tail.buffers->Assign(0, tail.segment, 4096 + kTailBufferBytes);
  CHECK(tail.Found().empty());
}

TEST_CASE("a closed tail holds nothing but its mark, and that only for its store") {
  Tail tail;
  tail.buffers->Assign(0, tail.segment, 4096);
  tail.Put(0, 4096, format::kUnitHeaderBytes, 20, "one");
  const auto memory = *tail.disk->MapShared(kTailFile, kTailFileBytes);
  CHECK_FALSE(FindCloseMark(memory->bytes(), kSecret));
  tail.buffers->Close({{5, 8192}, 20});
  CHECK(tail.Found().empty());
  const auto mark = FindCloseMark(memory->bytes(), kSecret);
  REQUIRE(mark);
  CHECK(mark->end == Position{5, 8192});
  CHECK(mark->last_revision == 20);
  CHECK_FALSE(FindCloseMark(memory->bytes(), kSecret + 1));
  for (size_t bit = 0; bit < 32 * 8; ++bit) {
    memory->bytes()[2048 + bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    CHECK_FALSE(FindCloseMark(memory->bytes(), kSecret));
    memory->bytes()[2048 + bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
}

TEST_CASE("bytes are read from the tail only where they are resident") {
  Tail tail;
  tail.buffers->Assign(0, tail.segment, 4096);
  std::fill_n(tail.buffers->memory(0), 64, std::byte{42});
  std::byte out[16];
  CHECK(tail.buffers->Read(5, 4096 + 8, out));
  CHECK(out[0] == std::byte{42});
  CHECK_FALSE(tail.buffers->Read(6, 4096 + 8, out));
  CHECK_FALSE(tail.buffers->Read(5, 0, out));
  tail.buffers->Leave(0, 4096 + 32);
  CHECK(tail.buffers->Read(5, 4096 + 8, out));
  CHECK_FALSE(tail.buffers->Read(5, 4096 + 32, out));
  tail.buffers->Assign(0, tail.segment, 500 * 4096);
  CHECK_FALSE(tail.buffers->Read(5, 4096 + 8, out));
}

}  // namespace firn::log
