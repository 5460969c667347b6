// What a child of fork() has of an open disk: nothing that could harm its parent.
#include <catch2/catch.hpp>

#include <signal.h>
#include <sys/mman.h>

#include "base/fork.h"
#include "unit/io/child_process.h"
#include "unit/io/disk_setups.h"

namespace firn::testing {
namespace {

using io::Flush;
using io::OpenMode;

DiskSetup EachKind() { return GENERATE(kPreadDisk, kUringDisk, kLinkedDisk); }

std::vector<io::ReadRequest> BlockReads(io::File& file, base::AlignedBuffer& out) {
  std::vector<io::ReadRequest> requests;
  for (size_t at = 0; at < out.size(); at += 4096) {
    requests.push_back({.file = &file, .offset = at, .out = out.bytes().subspan(at, 4096)});
  }
  return requests;
}

}  // namespace

TEST_CASE("the fork generation changes in the child alone") {
  const uint64_t before = base::ForkGeneration();
  CHECK(InChild([&] { return std::to_string(base::ForkGeneration() - before); }) == "1");
  CHECK(base::ForkGeneration() == before);
}

TEST_CASE("a child gets FailedPrecondition from its parent's disk and closes it without harm") {
  const DiskSetup setup = EachKind();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  auto lock = *disk->Lock("LOCK", true);
  auto memory = *disk->MapShared("TAIL", 65536);
  std::memset(memory->bytes().data(), 3, 65536);
  const auto data = Pattern(65536, 1);
  base::AlignedBuffer out(65536);
  REQUIRE(file->Write(0, data.bytes(), Flush::kData).ok());
  auto requests = BlockReads(*file, out);
  disk->ReadMany(requests);

  CHECK(InChild([&]() -> std::string {
          // Something of the child's own may be where the parent's mapping is in the parent: here at once, before
          // a sanitizer's allocator takes the place.
          void* own = ::mmap(memory->bytes().data(), 65536, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
          if (own != memory->bytes().data()) return "the parent's memory was there";
          if (!absl::IsFailedPrecondition(file->Write(0, Filled(4096, 0).bytes(), Flush::kData))) return "write";
          if (!absl::IsFailedPrecondition(file->Read(0, out.bytes()))) return "read";
          if (!absl::IsFailedPrecondition(file->Sync())) return "sync";
          if (!absl::IsFailedPrecondition(file->Truncate(0))) return "truncate";
          if (!absl::IsFailedPrecondition(file->Allocate(1 << 20))) return "allocate";
          disk->ReadMany(requests);
          for (const auto& request : requests) {
            if (!absl::IsFailedPrecondition(request.status)) return "read many";
          }
          if (!absl::IsFailedPrecondition(disk->Open("data", OpenMode::kRead).status())) return "open";
          if (!absl::IsFailedPrecondition(disk->Remove("data"))) return "remove";
          if (!absl::IsFailedPrecondition(disk->SyncFolder(""))) return "sync folder";
          memory.reset();
          std::memset(own, 1, 65536);
          lock.reset();
          file.reset();
          disk.disk.reset();
          return "";
        }) == "");

  CHECK(absl::IsUnavailable(disk->Lock("LOCK", true).status()));
  CHECK(Same(memory->bytes(), Filled(65536, 3).bytes()));
  disk->ReadMany(requests);
  for (const auto& request : requests) CHECK(Text(request.status) == "");
  CHECK(Same(out.bytes(), data.bytes()));
}

TEST_CASE("a child can open a disk of its own") {
  const DiskSetup setup = EachKind();
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  const auto data = Pattern(65536, 1);
  REQUIRE(file->Write(0, data.bytes(), Flush::kData).ok());
  base::AlignedBuffer out(65536);
  auto requests = BlockReads(*file, out);
  disk->ReadMany(requests);
  CHECK(InChild([&]() -> std::string {
          const auto own = OpenFor(setup, disk.directory.path());
          const auto own_file = *own->Open("data", OpenMode::kReadWrite);
          if (const auto status = own_file->Write(0, data.bytes(), Flush::kData); !status.ok()) return Text(status);
          auto own_requests = BlockReads(*own_file, out);
          std::memset(out.data(), 0, out.size());
          own->ReadMany(own_requests);
          return Same(out.bytes(), data.bytes()) ? "" : "other bytes";
        }) == "");
}

TEST_CASE("a child that lives on does not keep its parent's lock") {
  const TempDir directory;
  int to_child[2];
  int to_test[2];
  REQUIRE(::pipe(to_child) == 0);
  REQUIRE(::pipe(to_test) == 0);
  const pid_t holder = ::fork();
  REQUIRE(holder >= 0);
  if (holder == 0) {
    const auto disk = OpenFor(kPreadDisk, directory.path());
    const auto lock = disk->Lock("LOCK", true);
    const pid_t survivor = ::fork();
    char byte = 0;
    if (survivor == 0) {
      ::close(to_child[1]);
      // Says that fork() has returned here, and lives until the test closes its end.
      static_cast<void>(!::write(to_test[1], lock.ok() ? "y" : "n", 1));
      static_cast<void>(!::read(to_child[0], &byte, 1));
      ::_exit(0);
    }
    ::close(to_child[1]);
    ::pause();
  }
  char byte = 0;
  REQUIRE(::read(to_test[0], &byte, 1) == 1);
  CHECK(byte == 'y');
  const auto disk = OpenFor(kPreadDisk, directory.path());
  CHECK(absl::IsUnavailable(disk->Lock("LOCK", true).status()));
  REQUIRE(::kill(holder, SIGKILL) == 0);
  REQUIRE(::waitpid(holder, nullptr, 0) == holder);
  CHECK(Text(disk->Lock("LOCK", true).status()) == "");
  for (const int end : {to_child[0], to_child[1], to_test[0], to_test[1]}) ::close(end);
}

}  // namespace firn::testing
