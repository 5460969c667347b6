// Wrong directories, missing permissions, resource limits and forbidden system calls.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <fstream>

#include "unit/io/child_process.h"
#include "unit/io/disk_setups.h"

namespace firn::testing {
namespace {

using io::Flush;
using io::OpenMode;

DiskSetup EachKind() { return GENERATE(kPreadDisk, kUringDisk, kLinkedDisk); }

std::string CodeName(const absl::Status& status) { return std::string(absl::StatusCodeToString(status.code())); }

}  // namespace

TEST_CASE("a missing directory is NotFound, unless it is to be made, one level deep") {
  const TempDir directory;
  const std::string path = directory.File("store");
  CHECK(absl::IsNotFound(io::OpenDisk(path, io::DiskOptions{}).status()));
  CHECK(absl::IsNotFound(io::OpenDisk("", {.create_if_missing = true}).status()));
  CHECK(absl::IsNotFound(io::OpenDisk(path, {.create_if_missing = true, .read_only = true}).status()));
  CHECK(absl::IsNotFound(io::OpenDisk(path + "/deeper", {.create_if_missing = true}).status()));
  CHECK(Text(io::OpenDisk(path + "/", {.create_if_missing = true}).status()) == "");
  CHECK(Text(io::OpenDisk(path, {.create_if_missing = true}).status()) == "");
}

TEST_CASE("a file where the directory should be is InvalidArgument") {
  const TempDir directory;
  std::ofstream(directory.File("file")) << "x";
  const auto status = io::OpenDisk(directory.File("file"), {.create_if_missing = true}).status();
  CHECK(absl::IsInvalidArgument(status));
  CHECK(Text(status) == "open " + directory.File("file") + ": it is not a directory");
}

TEST_CASE("a directory without permission is PermissionDenied") {
  const TempDir directory;
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  const std::string closed = directory.File("closed");
  const std::string fixed = directory.File("fixed");
  REQUIRE(::mkdir(closed.c_str(), 0000) == 0);
  REQUIRE(::mkdir(fixed.c_str(), 0555) == 0);
  CHECK(InChild([&]() -> std::string {
          DropRoot();
          std::string codes = CodeName(io::OpenDisk(closed, io::DiskOptions{}).status());
          codes += ' ' + CodeName(io::OpenDisk(fixed, io::DiskOptions{}).status());
          codes += ' ' + CodeName(io::OpenDisk(fixed, {.read_only = true}).status());
          codes += ' ' + CodeName(io::OpenDisk(fixed + "/new", {.create_if_missing = true}).status());
          return codes;
        }) == "PERMISSION_DENIED PERMISSION_DENIED OK PERMISSION_DENIED");
  REQUIRE(::chmod(closed.c_str(), 0755) == 0);
}

TEST_CASE("without another descriptor what is to be written behind is written at once") {
  const DiskSetup setup = EachKind();
  CAPTURE(setup);
  const TempDir directory;
  CHECK(InChild([&]() -> std::string {
          const auto disk = OpenFor(setup, directory.path());
          const auto file = *disk->Open("data", OpenMode::kCreate);
          // The soft limit, and only for as long as it takes: UBSan needs a descriptor to look at an object's type.
          const auto data = Pattern(3 << 20, 1);
          rlimit limit{};
          FIRN_CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
          const rlimit none{3, limit.rlim_max};
          FIRN_CHECK(::setrlimit(RLIMIT_NOFILE, &none) == 0);
          // From an odd address as well.
          for (const uint64_t begin : {0, 1}) {
            const base::Bytes bytes = data.bytes().subspan(begin, 2 << 20);
            if (const auto status = file->Write(0, bytes, Flush::kBehind); !status.ok()) return status.ToString();
            base::AlignedBuffer out(bytes.size());
            if (const auto status = file->Read(0, out.bytes()); !status.ok()) return status.ToString();
            if (!Same(out.bytes(), bytes)) return "read something else";
          }
          FIRN_CHECK(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
          return Text(file->Sync());
        }) == "");
}

TEST_CASE("a write over RLIMIT_FSIZE is ResourceExhausted and never reported as done") {
  const DiskSetup setup = EachKind();
  const Flush flush = GENERATE(Flush::kBehind, Flush::kNone, Flush::kData);
  CAPTURE(setup);
  const TempDir directory;
  CHECK(InChild([&]() -> std::string {
          ::signal(SIGXFSZ, SIG_IGN);
          const auto disk = OpenFor(setup, directory.path());
          const auto file = *disk->Open("data", OpenMode::kCreate);
          SetLimit(RLIMIT_FSIZE, 8192);
          const auto data = Filled(16384, 1);
          if (const auto status = file->Write(0, data.bytes(), flush); !absl::IsResourceExhausted(status)) {
            return "partly over the limit: " + status.ToString();
          }
          if (const auto status = file->Write(8192, data.bytes(), flush); !absl::IsResourceExhausted(status)) {
            return "all over the limit: " + status.ToString();
          }
          if (const auto status = file->Allocate(16384); !absl::IsResourceExhausted(status)) {
            return "allocate: " + status.ToString();
          }
          return Text(file->Write(0, data.bytes().first(8192), flush));
        }) == "");
}

// UBSan looks at the type of an object through a pipe, which needs descriptors (2026-11-20).
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("running out of descriptors is ResourceExhausted, and reads go on without a ring") {
  const DiskSetup setup = EachKind();
  CAPTURE(setup);
  const TempDir directory;
  CHECK(InChild([&]() -> std::string {
          const auto disk = OpenFor(setup, directory.path());
          const auto file = *disk->Open("data", OpenMode::kCreate);
          const auto data = Pattern(65536, 1);
          SetLimit(RLIMIT_NOFILE, 1);
          if (const auto status = disk->Open("more", OpenMode::kCreate).status(); !absl::IsResourceExhausted(status)) {
            return "open: " + status.ToString();
          }
          if (!absl::IsResourceExhausted(disk->List("").status())) return "list";
          if (!absl::IsResourceExhausted(disk->Lock("LOCK", true).status())) return "lock";
          if (!absl::IsResourceExhausted(disk->MapShared("TAIL", 4096).status())) return "map";
          if (!absl::IsResourceExhausted(io::OpenDisk(directory.path(), io::DiskOptions{}).status())) return "disk";
          if (const auto status = file->Write(0, data.bytes(), Flush::kData); !status.ok()) return Text(status);
          base::AlignedBuffer out(data.size());
          std::vector<io::ReadRequest> requests(16);
          for (size_t i = 0; i < requests.size(); ++i) {
            requests[i] = {.file = file.get(), .offset = i * 4096, .out = out.bytes().subspan(i * 4096, 4096)};
          }
          disk->ReadMany(requests);
          return Same(out.bytes(), data.bytes()) ? "" : "other bytes";
        }) == "");
}
#endif

// Not under the sanitizers: they make mlock() do nothing and call it a success.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("memory over RLIMIT_MEMLOCK is mapped but not locked") {
  const DiskSetup setup = GENERATE(kPreadDisk, kUringDisk);
  CAPTURE(setup);
  const TempDir directory;
  REQUIRE(::chmod(directory.path().c_str(), 0777) == 0);
  const auto locked_with_limit = [&](rlim_t limit_bytes) {
    return InChild([&]() -> std::string {
      SetLimit(RLIMIT_MEMLOCK, limit_bytes);
      DropRoot();
      const auto disk = OpenFor(setup, directory.path());
      const auto memory = disk->MapShared("TAIL", 65536);
      if (!memory.ok()) return Text(memory.status());
      std::memset((*memory)->bytes().data(), 1, 65536);
      return (*memory)->locked() ? "locked" : "not locked";
    });
  };
  CHECK(locked_with_limit(0) == "not locked");
  CHECK(locked_with_limit(4096) == "not locked");
  struct rlimit limit;
  FIRN_CHECK(::getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
  if (::geteuid() != 0 && limit.rlim_max < (1 << 20)) return;  // cannot be raised
  CHECK(locked_with_limit(1 << 20) == "locked");
}
#endif

TEST_CASE("where io_uring is forbidden the disk is pread and says why") {
  const unsigned error_number = GENERATE(EPERM, ENOSYS, EACCES, ENOMEM);
  const long call = GENERATE(SYS_io_uring_setup, SYS_io_uring_enter);
  const TempDir directory;
  const std::string report = InChild([&]() -> std::string {
    ForbidCall(static_cast<unsigned>(call), error_number);
    const auto disk = OpenFor(kUringDisk, directory.path());
    const auto file = *disk->Open("data", OpenMode::kCreate);
    const auto data = Pattern(8192, 1);
    base::AlignedBuffer out(8192);
    if (const auto status = file->Write(0, data.bytes(), Flush::kData); !status.ok()) return Text(status);
    if (const auto status = file->Read(0, out.bytes()); !status.ok()) return Text(status);
    if (!Same(out.bytes(), data.bytes())) return "other bytes";
    return std::string(disk->kind()) + ", " + std::string(disk->fallback_reason());
  });
  CAPTURE(report, error_number, call);
  CHECK(report.find("pread, io_uring_") == 0);
}

TEST_CASE("a ring that is forbidden while the disk is open is replaced by system calls") {
  const DiskSetup setup = GENERATE(kUringDisk, kLinkedDisk);
  const bool ring_exists = GENERATE(false, true);
  CAPTURE(setup, ring_exists);
  const TempDir directory;
  CHECK(InChild([&]() -> std::string {
          const auto disk = OpenFor(setup, directory.path());
          const auto file = *disk->Open("data", OpenMode::kCreate);
          const auto data = Pattern(300 * 4096, 1);
          base::AlignedBuffer out(data.size());
          if (const auto status = file->Write(0, data.bytes(), Flush::kNone); !status.ok()) return Text(status);
          std::vector<io::ReadRequest> requests(300);
          for (size_t i = 0; i < requests.size(); ++i) {
            requests[i] = {.file = file.get(), .offset = i * 4096, .out = out.bytes().subspan(i * 4096, 4096)};
          }
          if (ring_exists) disk->ReadMany(requests);
          ForbidCall(SYS_io_uring_enter, EPERM);
          std::memset(out.data(), 0, out.size());
          disk->ReadMany(requests);
          for (const auto& request : requests) {
            if (!request.status.ok()) return Text(request.status);
          }
          if (!Same(out.bytes(), data.bytes())) return "other bytes";
          const auto other = Pattern(300 * 4096, 2);
          if (const auto status = file->Write(0, other.bytes(), Flush::kData); !status.ok()) return Text(status);
          if (const auto status = file->Read(0, out.bytes()); !status.ok()) return Text(status);
          return Same(out.bytes(), other.bytes()) ? "" : "other bytes after a write";
        }) == "");
}

TEST_CASE("where O_DIRECT is refused the page cache is used and that is said") {
  const bool read_only = GENERATE(false, true);
  const TempDir directory;
  const auto data = Pattern(8192, 1);
  REQUIRE((*OpenFor(kPreadDisk, directory.path())->Open("data", OpenMode::kCreate))
              ->Write(0, data.bytes(), Flush::kData)
              .ok());
  const std::string report = InChild([&]() -> std::string {
    ForbidCall(SYS_openat, EINVAL, O_DIRECT);
    DiskSetup setup = kUringDisk;
    setup.options.read_only = read_only;
    const auto disk = OpenFor(setup, directory.path());
    const auto file = disk->Open("data", OpenMode::kRead);
    if (!file.ok()) return Text(file.status());
    base::AlignedBuffer out(8192);
    if (const auto status = (*file)->Read(0, out.bytes()); !status.ok()) return Text(status);
    if (!Same(out.bytes(), data.bytes())) return "other bytes";
    return std::string(disk->kind()) + ", " + std::string(disk->fallback_reason());
  });
  CAPTURE(report);
  const std::string kind = RingsWork() ? "io_uring" : "pread";
  CHECK(report.starts_with(kind + ", "));
  CHECK(report.find("the file system refuses O_DIRECT: the page cache is used") != std::string::npos);
}

TEST_CASE("where the file system has no fallocate, Allocate writes zeros") {
  const TempDir directory;
  CHECK(InChild([&]() -> std::string {
          ForbidCall(SYS_fallocate, EOPNOTSUPP);
          const auto disk = OpenFor(kPreadDisk, directory.path());
          const auto file = *disk->Open("data", OpenMode::kCreate);
          const auto data = Pattern(8192, 1);
          if (const auto status = file->Write(0, data.bytes(), Flush::kNone); !status.ok()) return Text(status);
          if (const auto status = file->Allocate(3 << 20); !status.ok()) return Text(status);
          if (file->size_bytes() != 3 << 20) return "size";
          base::AlignedBuffer out(3 << 20);
          if (const auto status = file->Read(0, out.bytes()); !status.ok()) return Text(status);
          if (!Same(out.bytes().first(8192), data.bytes())) return "other bytes";
          if (!Same(out.bytes().subspan(8192), Filled((3 << 20) - 8192, 0).bytes())) return "not zeros";
          return Text(disk->MapShared("TAIL", 1 << 20).status());
        }) == "");
}

}  // namespace firn::testing
