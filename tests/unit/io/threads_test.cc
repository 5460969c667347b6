// Many threads on one disk, and the life of their rings.
#include <catch2/catch.hpp>

#include <atomic>
#include <barrier>
#include <thread>

#include "unit/io/disk_setups.h"

namespace firn::testing {
namespace {

using io::Flush;
using io::OpenMode;

size_t Rings(TestDisk& disk) { return dynamic_cast<io::UringDisk&>(*disk.disk).rings(); }

bool ReadsRight(io::Disk& disk, io::File& file, base::Bytes data, uint64_t offset) {
  base::AlignedBuffer out(data.size());
  std::vector<io::ReadRequest> requests;
  for (size_t at = 0; at < out.size(); at += 4096) {
    requests.push_back({.file = &file, .offset = offset + at, .out = out.bytes().subspan(at, 4096)});
  }
  disk.ReadMany(requests);
  for (const auto& request : requests) {
    if (!request.status.ok()) return false;
  }
  return Same(out.bytes(), data);
}

}  // namespace

TEST_CASE("sixteen threads write, flush and read back their own blocks of one file") {
  const DiskSetup setup = GENERATE(kPreadDisk, kUringDisk, kLinkedDisk);
  CAPTURE(setup);
  TestDisk disk(setup);
  auto file = *disk->Open("data", OpenMode::kCreate);
  constexpr uint64_t kThreads = 16;
  constexpr uint64_t kRounds = 20;
  constexpr uint64_t kShareBytes = 65536;
  REQUIRE(file->Allocate(kThreads * kShareBytes).ok());
  std::atomic<uint64_t> right{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t round = 0; round < kRounds; ++round) {
        const auto data = Pattern(kShareBytes, t * 1000 + round);
        const bool written = file->Write(t * kShareBytes, data.bytes(), Flush::kData).ok();
        if (written && ReadsRight(*disk.disk, *file, data.bytes(), t * kShareBytes)) ++right;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(right == kThreads * kRounds);
  CHECK(disk->counters().syncs == kThreads * kRounds);
}

TEST_CASE("a thread's ring goes when the thread ends") {
  if (!RingsWork()) return;
  TestDisk disk(kUringDisk);
  auto file = *disk->Open("data", OpenMode::kCreate);
  const auto data = Pattern(65536, 1);
  REQUIRE(file->Write(0, data.bytes(), Flush::kNone).ok());
  CHECK(Rings(disk) == 0);
  for (int i = 0; i < 50; ++i) {
    bool right = false;
    std::thread([&] { right = ReadsRight(*disk.disk, *file, data.bytes(), 0); }).join();
    REQUIRE(right);
    REQUIRE(Rings(disk) == 0);
  }
  REQUIRE(ReadsRight(*disk.disk, *file, data.bytes(), 0));
  CHECK(Rings(disk) == 1);
}

TEST_CASE("a disk may close before the threads that used it, and they go on to others") {
  if (!RingsWork()) return;
  TestDisk disk(kUringDisk);
  auto file = *disk->Open("data", OpenMode::kCreate);
  const auto data = Pattern(65536, 1);
  REQUIRE(file->Write(0, data.bytes(), Flush::kNone).ok());
  constexpr int kThreads = 8;
  std::atomic<int> right{0};
  std::barrier step(kThreads + 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        step.arrive_and_wait();
        right += ReadsRight(*disk.disk, *file, data.bytes(), 0) ? 1 : 0;
        step.arrive_and_wait();
        step.arrive_and_wait();
      }
    });
  }
  for (int round = 0; round < 10; ++round) {
    step.arrive_and_wait();
    step.arrive_and_wait();
    CHECK(Rings(disk) == kThreads);
    step.arrive_and_wait();
    file.reset();
    disk.disk = OpenFor(kUringDisk, disk.directory.path());
    file = *disk->Open("data", OpenMode::kReadWrite);
  }
  for (auto& thread : threads) thread.join();
  CHECK(right == kThreads * 10);
}

TEST_CASE("threads that end while the disk closes leave nothing behind") {
  const TempDir directory;
  const auto data = Pattern(16384, 1);
  for (int round = 0; round < 50; ++round) {
    auto disk = OpenFor(kUringDisk, directory.path());
    if (round == 0) {
      REQUIRE((*disk->Open("data", OpenMode::kCreate))->Write(0, data.bytes(), Flush::kNone).ok());
    }
    auto file = *disk->Open("data", OpenMode::kRead);
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] { right += ReadsRight(*disk, *file, data.bytes(), 0) ? 1 : 0; });
    }
    while (right.load() < 4) std::this_thread::yield();
    file.reset();
    disk.reset();  // while the threads run their thread_local destructors
    for (auto& thread : threads) thread.join();
  }
}

}  // namespace firn::testing
