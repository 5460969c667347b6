// The contract of io/disk.h, over every real disk.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "io/file_descriptor.h"
#include "io/write_behind.h"
#include "unit/io/disk_setups.h"

namespace firn::testing {
namespace {

using io::FileDescriptor;
using io::Flush;
using io::OpenMode;

DiskSetup AnySetup() { return GENERATE(kPreadDisk, kBufferedDisk, kUringDisk, kLinkedDisk, kTmpfsDisk); }

absl::Status ReadBack(io::File& file, uint64_t offset, base::AlignedBuffer& out) {
  return file.Read(offset, out.bytes());
}

}  // namespace

TEST_CASE("the disk says which it is") {
  TestDisk pread(kPreadDisk);
  CHECK(pread->kind() == "pread");
  CHECK(pread->fallback_reason() != "");
  if (!RingsWork()) return;
  TestDisk uring(kUringDisk);
  CHECK(uring->kind() == "io_uring");
  CHECK(uring->fallback_reason() == "");
  CHECK(uring->path() == uring.directory.path());
}

TEST_CASE("what was written is read back, here and after opening the file again") {
  const DiskSetup setup = AnySetup();
  const Flush flush = GENERATE(Flush::kBehind, Flush::kNone, Flush::kData);
  CAPTURE(setup);
  TestDisk disk(setup);
  const auto data = Pattern(3 << 20, 7);
  base::AlignedBuffer out(data.size());
  {
    auto file = disk->Open("data", OpenMode::kCreate);
    REQUIRE(Text(file.status()) == "");
    CHECK((*file)->size_bytes() == 0);
    REQUIRE(Text((*file)->Write(0, data.bytes(), flush)) == "");
    CHECK((*file)->size_bytes() == data.size());
    REQUIRE(Text((*file)->Sync()) == "");
    REQUIRE(Text(ReadBack(**file, 0, out)) == "");
    CHECK(Same(out.bytes(), data.bytes()));
    base::AlignedBuffer block(4096);
    REQUIRE(Text(ReadBack(**file, 8192, block)) == "");
    CHECK(Same(block.bytes(), data.bytes().subspan(8192, 4096)));
  }
  auto again = disk->Open("data", OpenMode::kRead);
  REQUIRE(again.ok());
  CHECK((*again)->size_bytes() == data.size());
  std::memset(out.data(), 0, out.size());
  REQUIRE(Text(ReadBack(**again, 0, out)) == "");
  CHECK(Same(out.bytes(), data.bytes()));
}

TEST_CASE("an unaligned offset, size or buffer is refused and nothing is written") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  const auto data = Filled(8192, 1);
  for (const uint64_t odd : {1, 511, 512, 4095}) {
    CAPTURE(odd);
    CHECK(absl::IsInvalidArgument(file->Write(odd, data.bytes().first(4096), Flush::kNone)));
    CHECK(absl::IsInvalidArgument(file->Write(0, data.bytes().first(odd), Flush::kNone)));
    CHECK(absl::IsInvalidArgument(file->Write(0, data.bytes().subspan(odd, 4096), Flush::kNone)));
    CHECK(absl::IsInvalidArgument(file->Read(odd, data.bytes().first(4096))));
    CHECK(absl::IsInvalidArgument(file->Read(0, data.bytes().first(odd))));
    CHECK(absl::IsInvalidArgument(file->Read(0, data.bytes().subspan(odd, 4096))));
  }
  CHECK(Text(file->Read(512, data.bytes().first(4096))) ==
        "read data at 512, 4096 bytes: the offset is not a multiple of 4096");
  CHECK(absl::IsInvalidArgument(file->Write(uint64_t{1} << 63, data.bytes(), Flush::kNone)));
  CHECK(absl::IsInvalidArgument(file->Write((uint64_t{1} << 63) - 4096, data.bytes(), Flush::kNone)));
  CHECK(file->size_bytes() == 0);
  CHECK(disk->counters().writes == 0);
}

TEST_CASE(
    "what is written behind is there for every read at once, whatever its order, its place in memory and its size") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  constexpr uint64_t kPiece = 96 << 10;
  constexpr uint64_t kPieces = 3 * io::WriteBehind::kWindowBytes / kPiece;
  REQUIRE(Text(file->Allocate(kPieces * kPiece)) == "");
  const auto data = Pattern(kPieces * kPiece, 3);
  std::vector<std::byte> odd(kPiece + 1);
  const auto write = [&](uint64_t piece) {
    std::memcpy(odd.data() + 1, data.data() + piece * kPiece, kPiece);
    return Text(file->Write(piece * kPiece, base::Bytes(odd).subspan(1), Flush::kBehind));
  };
  base::AlignedBuffer out(kPiece);
  for (uint64_t i = 0; i < kPieces; ++i) {
    const uint64_t piece = i % 7 == 0 ? kPieces - 1 - i / 7 : i ^ 1;  // not in order, some twice
    REQUIRE(write(piece) == "");
    REQUIRE(Text(file->Read(piece * kPiece, out.bytes())) == "");
    REQUIRE(Same(out.bytes(), data.bytes().subspan(piece * kPiece, kPiece)));
  }
  for (uint64_t i = 0; i < kPieces; ++i) REQUIRE(write(i) == "");
  REQUIRE(Text(file->Sync()) == "");
  base::AlignedBuffer all(data.size());
  REQUIRE(Text(file->Read(0, all.bytes())) == "");
  CHECK(Same(all.bytes(), data.bytes()));
  // And behind what is behind: the last write counts, of whichever kind.
  REQUIRE(Text(file->Write(0, Filled(kPiece, 1).bytes(), Flush::kBehind)) == "");
  REQUIRE(Text(file->Write(0, Filled(kPiece, 2).bytes(), Flush::kNone)) == "");
  REQUIRE(Text(file->Read(0, out.bytes())) == "");
  CHECK(Same(out.bytes(), Filled(kPiece, 2).bytes()));
}

TEST_CASE("what was written behind is not left in the page cache") {
  TestDisk disk(kPreadDisk);
  constexpr uint64_t kBytes = 4 * io::WriteBehind::kWindowBytes;
  auto file = *disk->Open("data", OpenMode::kCreate);
  REQUIRE(Text(file->Allocate(kBytes)) == "");
  const FileDescriptor fd(::open((disk.directory.path() + "/data").c_str(), O_RDONLY));
  void* const map = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  REQUIRE(map != MAP_FAILED);
  std::vector<unsigned char> pages(kBytes / 4096);
  const auto cached_bytes = [&] {
    REQUIRE(::mincore(map, kBytes, pages.data()) == 0);
    return static_cast<uint64_t>(std::count_if(pages.begin(), pages.end(), [](auto page) { return page & 1; })) * 4096;
  };
  const auto piece = Pattern(64 << 10, 5);
  uint64_t most = 0;
  for (uint64_t at = 0; at < kBytes; at += piece.size()) {
    REQUIRE(Text(file->Write(at, piece.bytes(), Flush::kBehind)) == "");
    if (at % (1 << 20) == 0) most = std::max(most, cached_bytes());
  }
  CHECK(most > 0);  // else it is not what it went through
  CHECK(most <= 2 * io::WriteBehind::kWindowBytes);
  REQUIRE(Text(file->Sync()) == "");
  CHECK(cached_bytes() == 0);
  REQUIRE(Text(file->Write(0, Pattern(kBytes, 6).bytes(), Flush::kBehind)) == "");  // all of it at once
  CHECK(cached_bytes() <= 2 * io::WriteBehind::kWindowBytes);
  ::munmap(map, kBytes);
}

TEST_CASE("a read past the end is OutOfRange, also where the file ends inside a block") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  auto data = Filled(8192, 1);
  REQUIRE(file->Write(0, data.bytes(), Flush::kNone).ok());
  CHECK(Text(file->Read(0, data.bytes())) == "");
  CHECK(absl::IsOutOfRange(file->Read(4096, data.bytes())));
  CHECK(absl::IsOutOfRange(file->Read(8192, data.bytes().first(4096))));
  CHECK(absl::IsOutOfRange(file->Read(uint64_t{1} << 62, data.bytes())));
  REQUIRE(file->Truncate(8191).ok());
  CHECK(absl::IsOutOfRange(file->Read(0, data.bytes())));
  CHECK(Text(file->Read(0, data.bytes().first(4096))) == "");
}

TEST_CASE("a file cut behind our back is OutOfRange, not other bytes") {
  const DiskSetup setup = AnySetup();
  const uint64_t left_bytes = GENERATE(0, 4096, 5000, 6000);
  CAPTURE(setup, left_bytes);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  auto data = Filled(16384, 1);
  REQUIRE(file->Write(0, data.bytes(), Flush::kNone).ok());
  std::filesystem::resize_file(disk.directory.File("data"), left_bytes);
  CHECK(absl::IsOutOfRange(file->Read(0, data.bytes())));
  std::vector<io::ReadRequest> requests(3);
  for (auto& request : requests) request = {.file = file.get(), .offset = 0, .out = data.bytes()};
  disk->ReadMany(requests);
  for (const auto& request : requests) CHECK(absl::IsOutOfRange(request.status));
}

TEST_CASE("Allocate keeps the bytes that are there, lengthens the file and never shortens it") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  const auto data = Pattern(8192, 3);
  REQUIRE(file->Write(0, data.bytes(), Flush::kData).ok());
  REQUIRE(Text(file->Allocate(1 << 20)) == "");
  CHECK(file->size_bytes() == 1 << 20);
  struct stat status;
  REQUIRE(::stat(disk.directory.File("data").c_str(), &status) == 0);
  CHECK(status.st_size == 1 << 20);
  CHECK(status.st_blocks * 512 >= 1 << 20);
  base::AlignedBuffer out(16384);
  REQUIRE(file->Read(0, out.bytes()).ok());
  CHECK(Same(out.bytes().first(8192), data.bytes()));
  CHECK(Same(out.bytes().subspan(8192), Filled(8192, 0).bytes()));
  REQUIRE(file->Allocate(4096).ok());
  CHECK(file->size_bytes() == 1 << 20);
}

TEST_CASE("Allocate of more than the disk has is ResourceExhausted and leaves the size alone") {
  const DiskSetup setup = GENERATE(kPreadDisk, kUringDisk, kTmpfsDisk);
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  REQUIRE(file->Allocate(8192).ok());
  const uint64_t free_bytes = *disk->FreeBytes();
  REQUIRE(free_bytes > 0);
  // So much that file systems refuse it at once: what merely does not fit would fill the disk under other tests first.
  CHECK(absl::IsResourceExhausted(file->Allocate(uint64_t{1} << 62)));
  CHECK(file->size_bytes() == 8192);
  CHECK(std::filesystem::file_size(disk.directory.File("data")) == 8192);
  CHECK(*disk->FreeBytes() > free_bytes / 2);
}

TEST_CASE("Truncate cuts to any size and refuses to grow") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  REQUIRE(file->Write(0, Filled(16384, 5).bytes(), Flush::kData).ok());
  REQUIRE(Text(file->Truncate(5000)) == "");
  CHECK(file->size_bytes() == 5000);
  CHECK(std::filesystem::file_size(disk.directory.File("data")) == 5000);
  CHECK(absl::IsInvalidArgument(file->Truncate(5001)));
  CHECK(Text(file->Truncate(0)) == "");
  CHECK(file->size_bytes() == 0);
}

uint64_t BlocksOf(TestDisk& disk, const std::string& name) {
  struct stat status;
  REQUIRE(::stat(disk.directory.File(name).c_str(), &status) == 0);
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

TEST_CASE("a punched hole reads as zeros, gives its space back, and leaves the size and the rest alone") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  const auto data = Pattern(1 << 20, 7);
  REQUIRE(file->Write(0, data.bytes(), Flush::kData).ok());
  const uint64_t before = *file->AllocatedBytes();
  CHECK(before == BlocksOf(disk, "data"));
  CHECK(before >= data.size());
  REQUIRE(Text(file->PunchHole(64 << 10, 512 << 10)) == "");
  CHECK(*file->AllocatedBytes() == before - (512 << 10));
  CHECK(file->size_bytes() == data.size());
  base::AlignedBuffer out(data.size());
  REQUIRE(file->Read(0, out.bytes()).ok());
  CHECK(Same(out.bytes().first(64 << 10), data.bytes().first(64 << 10)));
  CHECK(Same(out.bytes().subspan(64 << 10, 512 << 10), Filled(512 << 10, 0).bytes()));
  CHECK(Same(out.bytes().subspan(576 << 10), data.bytes().subspan(576 << 10)));
}

TEST_CASE("a hole is punched in whole blocks only, and beyond the end it is none") {
  TestDisk disk(AnySetup());
  auto file = *disk->Open("data", OpenMode::kCreate);
  REQUIRE(file->Write(0, Filled(8192, 5).bytes(), Flush::kData).ok());
  CHECK(absl::IsInvalidArgument(file->PunchHole(1, 4096)));
  CHECK(absl::IsInvalidArgument(file->PunchHole(4096, 100)));
  CHECK(absl::IsInvalidArgument(file->PunchHole(uint64_t{1} << 63, 4096)));
  CHECK(Text(file->PunchHole(4096, 0)) == "");
  CHECK(Text(file->PunchHole(8192, 4096)) == "");
  CHECK(file->size_bytes() == 8192);
  base::AlignedBuffer out(8192);
  REQUIRE(file->Read(0, out.bytes()).ok());
  CHECK(Same(out.bytes(), Filled(8192, 5).bytes()));
}

TEST_CASE("Allocate from an offset on leaves the holes before it alone") {
  TestDisk disk(AnySetup());
  auto file = *disk->Open("data", OpenMode::kCreate);
  REQUIRE(file->Write(0, Filled(1 << 20, 5).bytes(), Flush::kData).ok());
  REQUIRE(file->PunchHole(0, 1 << 20).ok());
  const uint64_t empty = *file->AllocatedBytes();
  REQUIRE(Text(file->Allocate(2 << 20, 1 << 20)) == "");
  CHECK(file->size_bytes() == 2 << 20);
  CHECK(*file->AllocatedBytes() >= empty + (1 << 20));
  CHECK(*file->AllocatedBytes() < (3 << 19));
  REQUIRE(Text(file->Allocate(2 << 20)) == "");
  CHECK(*file->AllocatedBytes() >= 2 << 20);
}

TEST_CASE("files and folders are made, listed, renamed and removed") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  REQUIRE(Text(disk->MakeFolder("log")) == "");
  REQUIRE(Text(disk->MakeFolder("log")) == "");
  for (const char* name : {"log/1.seg", "log/2.seg", "SUPERBLOCK"}) {
    REQUIRE(disk->Open(name, OpenMode::kCreate).ok());
  }
  CHECK(absl::IsAlreadyExists(disk->Open("SUPERBLOCK", OpenMode::kCreate).status()));
  CHECK(absl::IsNotFound(disk->Open("TAIL", OpenMode::kRead).status()));
  CHECK(absl::IsNotFound(disk->Open("TAIL", OpenMode::kReadWrite).status()));
  CHECK(absl::IsInvalidArgument(disk->Open("log", OpenMode::kRead).status()));
  CHECK(absl::IsAlreadyExists(disk->MakeFolder("SUPERBLOCK")));

  auto names = *disk->List("log");
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"1.seg", "2.seg"});
  CHECK(*disk->List("") == std::vector<std::string>{"SUPERBLOCK"});
  CHECK(absl::IsNotFound(disk->List("values").status()));

  REQUIRE(Text(disk->Rename("log/1.seg", "log/2.seg")) == "");
  CHECK(*disk->List("log") == std::vector<std::string>{"2.seg"});
  CHECK(absl::IsNotFound(disk->Rename("log/1.seg", "log/3.seg")));
  CHECK(Text(disk->SyncFolder("log")) == "");
  CHECK(Text(disk->SyncFolder("")) == "");
  CHECK(Text(disk->Remove("log/2.seg")) == "");
  CHECK(absl::IsNotFound(disk->Remove("log/2.seg")));
}

TEST_CASE("a name that leaves the directory is refused") {
  TestDisk disk(kPreadDisk);
  for (const std::string_view name :
       std::initializer_list<std::string_view>{"", "/x", "../x", "log/../../x", "a//b", "a/", ".", {"a\0b", 3}}) {
    CAPTURE(name);
    CHECK(absl::IsInvalidArgument(disk->Open(name, OpenMode::kCreate).status()));
    CHECK(absl::IsInvalidArgument(disk->Remove(name)));
    CHECK(absl::IsInvalidArgument(disk->Rename("a", name)));
    CHECK(absl::IsInvalidArgument(disk->MakeFolder(name)));
  }
}

TEST_CASE("Links counts hard links") {
  TestDisk disk(AnySetup());
  auto file = *disk->Open("data", OpenMode::kCreate);
  CHECK(*file->Links() == 1);
  std::filesystem::create_hard_link(disk.directory.File("data"), disk.directory.File("copy"));
  CHECK(*file->Links() == 2);
}

TEST_CASE("a read-only disk reads and refuses every change") {
  const DiskSetup setup = GENERATE(kPreadDisk, kUringDisk);
  CAPTURE(setup);
  TestDisk writer(setup);
  REQUIRE((*writer->Open("data", OpenMode::kCreate))->Write(0, Filled(4096, 9).bytes(), Flush::kData).ok());
  REQUIRE(writer->Lock("LOCK", true).ok());
  DiskSetup read_only = setup;
  read_only.options.read_only = true;
  const auto disk = OpenFor(read_only, writer.directory.path());
  base::AlignedBuffer out(4096);
  CHECK(Text((*disk->Open("data", OpenMode::kRead))->Read(0, out.bytes())) == "");
  CHECK(absl::IsFailedPrecondition(disk->Open("data", OpenMode::kReadWrite).status()));
  CHECK(absl::IsFailedPrecondition(disk->Open("new", OpenMode::kCreate).status()));
  CHECK(absl::IsFailedPrecondition(disk->Remove("data")));
  CHECK(absl::IsFailedPrecondition(disk->Rename("data", "new")));
  CHECK(absl::IsFailedPrecondition(disk->MakeFolder("log")));
  CHECK(absl::IsFailedPrecondition(disk->MapShared("TAIL", 4096).status()));
  CHECK(disk->Lock("LOCK", false).ok());
}

TEST_CASE("counters count what succeeded") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  auto data = Filled(8192, 1);
  REQUIRE(file->Write(0, data.bytes(), Flush::kNone).ok());
  REQUIRE(file->Write(0, data.bytes().first(4096), Flush::kData).ok());
  REQUIRE(file->Sync().ok());
  REQUIRE(file->Read(0, data.bytes()).ok());
  CHECK_FALSE(file->Read(8192, data.bytes()).ok());
  const io::Counters& counters = disk->counters();
  CHECK(counters.writes == 2);
  CHECK(counters.written_bytes == 12288);
  CHECK(counters.syncs == 2);
  CHECK(counters.reads == 1);
  CHECK(counters.read_bytes == 8192);
}

TEST_CASE("an empty write with a flush still flushes, and an empty read reads nothing") {
  TestDisk disk(AnySetup());
  auto file = *disk->Open("data", OpenMode::kCreate);
  CHECK(Text(file->Write(0, {}, Flush::kData)) == "");
  CHECK(Text(file->Read(0, {})) == "");
  CHECK(disk->counters().syncs == 1);
  CHECK(disk->counters().reads == 0);
}

TEST_CASE("ReadMany answers a thousand requests, each with its own bytes or its own status") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  TestDisk other(kPreadDisk);
  auto stranger = *other->Open("data", OpenMode::kCreate);
  auto file = *disk->Open("data", OpenMode::kCreate);
  auto second = *disk->Open("second", OpenMode::kCreate);
  constexpr size_t kBlocks = 512;
  const auto data = Pattern(kBlocks * 4096, 1);
  const auto second_data = Pattern(kBlocks * 4096, 99);
  REQUIRE(file->Write(0, data.bytes(), Flush::kNone).ok());
  REQUIRE(second->Write(0, second_data.bytes(), Flush::kNone).ok());

  base::AlignedBuffer out(1000 * 8192);
  std::vector<io::ReadRequest> requests;
  for (size_t i = 0; i < 1000; ++i) {
    const uint64_t offset = (i * 131 % (kBlocks - 1)) * 4096;
    requests.push_back({.file = i % 3 == 0 ? second.get() : file.get(),
                        .offset = offset,
                        .out = out.bytes().subspan(i * 8192, i % 2 == 0 ? 8192 : 4096)});
  }
  requests[100].offset = kBlocks * 4096;
  requests[101].offset = 1;
  requests[102].file = nullptr;
  requests[103].file = stranger.get();
  requests[104].out = {};
  requests[999].offset = (kBlocks + 7) * 4096;
  size_t told = 0;
  disk->ReadMany(requests, [&](const io::ReadRequest&) { ++told; });
  CHECK(told == requests.size());

  CHECK(absl::IsOutOfRange(requests[100].status));
  CHECK(absl::IsInvalidArgument(requests[101].status));
  CHECK(absl::IsInvalidArgument(requests[102].status));
  CHECK(absl::IsInvalidArgument(requests[103].status));
  CHECK(requests[104].status.ok());
  CHECK(absl::IsOutOfRange(requests[999].status));
  size_t right = 0;
  for (const auto& request : requests) {
    if (!request.status.ok()) continue;
    const auto& source = request.file == second.get() ? second_data : data;
    right += Same(request.out, source.bytes().subspan(request.offset, request.out.size())) ? 1 : 0;
  }
  CHECK(right == 995);
  CHECK(disk->counters().reads == 994);
  disk->ReadMany({});
}

TEST_CASE("shared memory starts as zeros, keeps its bytes over unmapping, and has one size") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  constexpr uint64_t kBytes = 4 << 20;
  {
    auto memory = disk->MapShared("TAIL", kBytes);
    REQUIRE(Text(memory.status()) == "");
    REQUIRE((*memory)->bytes().size() == kBytes);
    CHECK(Same((*memory)->bytes(), Filled(kBytes, 0).bytes()));
    std::memcpy((*memory)->bytes().data(), Pattern(kBytes, 5).data(), kBytes);
  }
  {
    auto memory = disk->MapShared("TAIL", kBytes);
    REQUIRE(memory.ok());
    CHECK(Same((*memory)->bytes(), Pattern(kBytes, 5).bytes()));
  }
  CHECK(absl::IsFailedPrecondition(disk->MapShared("TAIL", kBytes / 2).status()));
  CHECK(absl::IsInvalidArgument(disk->MapShared("TAIL", 4097).status()));
  CHECK(absl::IsInvalidArgument(disk->MapShared("TAIL", 0).status()));
  CHECK(*disk->List("") == std::vector<std::string>{"TAIL"});
}

TEST_CASE("a direct read of a mapped file sees what was stored to memory, and memory can be written from") {
  const DiskSetup setup = AnySetup();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto memory = *disk->MapShared("TAIL", 1 << 20);
  const auto data = Pattern(1 << 20, 11);
  std::memcpy(memory->bytes().data(), data.data(), data.size());
  base::AlignedBuffer out(1 << 20);
  REQUIRE(Text((*disk->Open("TAIL", OpenMode::kRead))->Read(0, out.bytes())) == "");
  CHECK(Same(out.bytes(), data.bytes()));
  auto file = *disk->Open("data", OpenMode::kCreate);
  REQUIRE(Text(file->Write(0, memory->bytes(), Flush::kData)) == "");
  REQUIRE(file->Read(0, out.bytes()).ok());
  CHECK(Same(out.bytes(), data.bytes()));
}

TEST_CASE("a lock is refused to a second holder in the same process until it is released") {
  const DiskSetup setup = GENERATE(kPreadDisk, kUringDisk, kTmpfsDisk);
  CAPTURE(setup);
  TestDisk disk(setup);
  const auto same_directory = OpenFor(setup, disk.directory.path());
  auto lock = disk->Lock("LOCK", true);
  REQUIRE(Text(lock.status()) == "");
  CHECK(absl::IsUnavailable(same_directory->Lock("LOCK", true).status()));
  CHECK(absl::IsUnavailable(disk->Lock("LOCK", false).status()));
  lock->reset();
  auto first = disk->Lock("LOCK", false);
  auto second = same_directory->Lock("LOCK", false);
  CHECK(first.ok());
  CHECK(second.ok());
  CHECK(absl::IsUnavailable(disk->Lock("LOCK", true).status()));
  first->reset();
  second->reset();
  CHECK(disk->Lock("LOCK", true).ok());
  CHECK(absl::IsNotFound(disk->Lock("NO_LOCK", false).status()));
}

}  // namespace firn::testing
