// Shared memory whose file system no longer takes stores: a mapping that says so, and no SIGBUS.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>
#include <vector>

#include "unit/io/child_process.h"
#include "unit/io/disk_setups.h"

namespace firn::testing {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kMappingBytes = 16 * kPageBytes;

// A mapping whose file ends after `left_bytes`, as if the medium had lost the rest.
struct CutMapping {
  explicit CutMapping(size_t left_bytes) : disk(kPreadDisk), memory(*disk->MapShared("TAIL", kMappingBytes)) {
    std::memset(memory->bytes().data(), 1, kMappingBytes);
    FIRN_CHECK(::truncate((disk.directory.path() + "/TAIL").c_str(), static_cast<off_t>(left_bytes)) == 0);
  }
  std::byte* page(size_t number) const { return memory->bytes().data() + number * kPageBytes; }

  TestDisk disk;
  std::unique_ptr<io::SharedMemory> memory;
};

// Touches a page that no file is behind any more.
void MeetBusError(const std::string& directory) {
  const std::string path = directory + "/other";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
  FIRN_CHECK(fd >= 0 && ::ftruncate(fd, kPageBytes) == 0);
  void* const at = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  FIRN_CHECK(at != MAP_FAILED && ::ftruncate(fd, 0) == 0);
  static_cast<volatile char*>(at)[0] = 1;
}

std::string ByBusError() { return "killed by signal " + std::to_string(SIGBUS); }

void SetHandler(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  FIRN_CHECK(::sigaction(SIGBUS, &action, nullptr) == 0);
}

}  // namespace

TEST_CASE("a store into a page that its file has lost detaches the mapping, and goes on in memory") {
  const CutMapping cut(8 * kPageBytes);
  REQUIRE_FALSE(cut.memory->detached());
  std::memset(cut.page(7), 2, kPageBytes);  // still the file's
  REQUIRE_FALSE(cut.memory->detached());

  cut.page(9)[100] = std::byte{3};
  CHECK(cut.memory->detached());
  CHECK(cut.page(9)[100] == std::byte{3});
  CHECK(cut.page(9)[101] == std::byte{0});
  CHECK(cut.page(7)[100] == std::byte{2});
  std::memset(cut.page(8), 4, 8 * kPageBytes);
  CHECK(Same(cut.memory->bytes().subspan(8 * kPageBytes), Filled(8 * kPageBytes, 4).bytes()));
  CHECK(cut.memory->bytes()[0] == std::byte{1});
}

TEST_CASE("a load from a page that its file has lost reads zeros and detaches the mapping") {
  const CutMapping cut(0);
  CHECK(cut.page(3)[0] == std::byte{0});
  CHECK(cut.memory->detached());
}

TEST_CASE("one mapping that is detached says nothing of another") {
  const CutMapping whole(kMappingBytes), cut(0);
  cut.page(0)[0] = std::byte{3};
  CHECK(cut.memory->detached());
  CHECK_FALSE(whole.memory->detached());
  whole.page(0)[0] = std::byte{3};
  CHECK_FALSE(whole.memory->detached());
}

TEST_CASE("a mapping made after another was let go of is watched as well") {
  { const CutMapping gone(0); }
  const CutMapping cut(0);
  cut.page(5)[0] = std::byte{3};
  CHECK(cut.memory->detached());
}

TEST_CASE("threads that store into the same lost page at once all go on, and each is told") {
  for (int round = 0; round < 50; ++round) {
    const CutMapping cut(0);
    std::atomic<int> ready{0}, told{0};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        ++ready;
        while (ready.load() != 4) {
        }
        for (size_t page = 0; page < 16; ++page) std::memset(cut.page(page) + i * 64, static_cast<int>(i) + 1, 64);
        if (cut.memory->detached()) ++told;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(told == 4);
    for (size_t page = 0; page < 16; ++page) {
      for (size_t i = 0; i < 4; ++i) CHECK(cut.page(page)[i * 64 + 63] == static_cast<std::byte>(i + 1));
    }
  }
}

TEST_CASE("a SIGBUS that is not the mapping's goes to the handler that was there before, or ends the process") {
  const TempDir directory;
  const auto map = [&](TestDisk& disk) { return *disk->MapShared("TAIL", kMappingBytes); };
  const bool is_first = [] {
    struct sigaction now {};
    FIRN_CHECK(::sigaction(SIGBUS, nullptr, &now) == 0);
    return (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL;
  }();
  if (!is_first) {
    WARN("skipped: a mapping of another test's, or a sanitizer, has set a handler in this process");
    return;
  }
  CHECK(InChild([&]() -> std::string {
          TestDisk disk(kPreadDisk);
          const auto memory = map(disk);
          MeetBusError(directory.path());
          return "went on";
        }) == ByBusError());
  CHECK(InChild([&]() -> std::string {
          TestDisk disk(kPreadDisk);
          const auto memory = map(disk);
          ::kill(::getpid(), SIGBUS);
          return "went on";
        }) == ByBusError());
  CHECK(InChild([&]() -> std::string {
          SetHandler(SIG_IGN);
          TestDisk disk(kPreadDisk);
          const auto memory = map(disk);
          ::kill(::getpid(), SIGBUS);
          MeetBusError(directory.path());
          return "went on";
        }) == ByBusError());
  CHECK(InChild([&]() -> std::string {
          SetHandler([](int) { ::_exit(7); });
          TestDisk disk(kPreadDisk);
          const auto memory = map(disk);
          MeetBusError(directory.path());
          return "went on";
        }) == "exit code 7");
}

}  // namespace firn::testing
