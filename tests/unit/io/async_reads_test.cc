// Reads in flight of one thread: the same contract on a ring, by system calls and on the simulated disk.
#include "io/async_reads.h"

#include <poll.h>
#include <sys/resource.h>

#include <array>
#include <deque>
#include <thread>
#include <vector>

#include "io/transfer.h"
#include "support/sim_disk.h"
#include "unit/io/disk_setups.h"

namespace firn::testing {
namespace {

using io::AsyncReads;
using io::OpenMode;

constexpr size_t kBlock = 4'096;
constexpr size_t kBlocks = 100;
constexpr size_t kDepth = 16;

// Short pieces, and results that stand in for the kernel's.
class Faults : public io::TransferFaults {
 public:
  Faults() { io::SetTransferFaultsForTest(this); }
  ~Faults() override { io::SetTransferFaultsForTest(nullptr); }
  size_t Size(io::TransferKind, size_t size_bytes) override { return std::min(size_bytes, piece_bytes_max); }
  int64_t Result(io::TransferKind, int64_t result) override {
    if (results.empty()) return result;
    const int64_t first = results.front();
    results.pop_front();
    return first;
  }

  size_t piece_bytes_max = SIZE_MAX;
  std::deque<int64_t> results;
};

struct Fixture {
  explicit Fixture(const DiskSetup& setup) : on(setup), disk(*on.disk) { Begin(); }
  explicit Fixture(test::SimMachine& machine) : on(kPreadDisk), simulated(machine.Attach()), disk(*simulated) {
    Begin();
  }
  void Begin() {
    file = *disk.Open("data", OpenMode::kCreate);
    REQUIRE(Text(file->Write(0, content.bytes(), io::Flush::kNone)) == "");
    reads = *disk.NewAsyncReads(kDepth);
  }

  // Reads all blocks, as many at a time as may be.
  void ReadAll() {
    base::AlignedBuffer out(content.size());
    std::vector<io::ReadRequest> requests(kBlocks);
    size_t next = 0, ended = 0;
    while (ended < kBlocks) {
      for (; next < kBlocks && reads->in_flight() < kDepth; ++next) {
        requests[next] = {file.get(), next * kBlock, out.bytes().subspan(next * kBlock, kBlock), {}};
        reads->Queue(requests[next]);
      }
      reads->Wait(AsyncReads::kForever);
      CHECK(reads->queued() == 0);
      while (const io::ReadRequest* const request = reads->Take()) {
        CHECK(Text(request->status) == "");
        ++ended;
      }
    }
    CHECK(reads->in_flight() == 0);
    CHECK(Same(out.bytes(), content.bytes()));
  }
  // The status of one read, with whatever it takes.
  absl::Status Read(uint64_t offset, base::MutableBytes out) {
    io::ReadRequest request{file.get(), offset, out, {}};
    reads->Queue(request);
    const io::ReadRequest* taken = nullptr;
    while ((taken = reads->Take()) == nullptr) reads->Wait(AsyncReads::kForever);
    CHECK(taken == &request);
    return request.status;
  }

  const TestDisk on;
  std::unique_ptr<io::Disk> simulated;
  io::Disk& disk;
  const base::AlignedBuffer content = Pattern(kBlocks * kBlock, 7);
  std::unique_ptr<io::File> file;
  std::unique_ptr<AsyncReads> reads;
};

DiskSetup EachKind() { return GENERATE(kPreadDisk, kBufferedDisk, kUringDisk, kTmpfsDisk); }

}  // namespace

TEST_CASE("many reads in flight come back whole, and are counted") {
  Fixture fixture(EachKind());
  const uint64_t before = fixture.disk.counters().reads;
  fixture.ReadAll();
  CHECK(fixture.disk.counters().reads == before + kBlocks);
  test::SimMachine machine(3);
  Fixture simulated(machine);
  simulated.ReadAll();
}

TEST_CASE("a request that breaks the rules ends with what File::Read would say") {
  Fixture fixture(EachKind());
  base::AlignedBuffer out(2 * kBlock);
  const base::MutableBytes block = out.bytes().first(kBlock);
  CHECK(absl::IsInvalidArgument(fixture.Read(1, block)));
  CHECK(absl::IsInvalidArgument(fixture.Read(0, out.bytes().subspan(1, kBlock))));
  CHECK(absl::IsOutOfRange(fixture.Read(kBlocks * kBlock, block)));
  CHECK(Text(fixture.Read(0, {})) == "");
  CHECK(Text(fixture.Read(0, block)) == "");
}

TEST_CASE("reads that the kernel cuts short or puts off go on, and errors end them") {
  const auto setup = GENERATE(kPreadDisk, kUringDisk);
  Fixture fixture(setup);
  Faults faults;
  faults.piece_bytes_max = 512;
  fixture.ReadAll();
  faults.piece_bytes_max = SIZE_MAX;
  base::AlignedBuffer out(kBlock);
  faults.results = {-EINTR, -EAGAIN, -EINTR};
  CHECK(Text(fixture.Read(kBlock, out.bytes())) == "");
  CHECK(Same(out.bytes(), fixture.content.bytes().subspan(kBlock, kBlock)));
  faults.results = {-EIO};
  CHECK(absl::IsDataLoss(fixture.Read(0, out.bytes())));
  faults.results = {0};
  CHECK(absl::IsOutOfRange(fixture.Read(0, out.bytes())));
  CHECK(Text(fixture.Read(0, out.bytes())) == "");
}

TEST_CASE("a ring has some reads before anybody waits, and they show at the descriptor") {
  if (!RingsWork()) return;
  Fixture fixture(kUringDisk);
  base::AlignedBuffer out(io::Ring::kHandedOverAtOnce * kBlock);
  std::array<io::ReadRequest, io::Ring::kHandedOverAtOnce> requests;
  const auto readable = [&](int timeout_ms) {
    pollfd polled{.fd = fixture.reads->descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&polled, 1, timeout_ms) == 1;
  };
  readable(0);
  fixture.reads->Wait(0);
  CHECK_FALSE(readable(0));
  for (size_t i = 0; i < requests.size(); ++i) {
    CHECK(fixture.reads->queued() == i);
    requests[i] = {fixture.file.get(), i * kBlock, out.bytes().subspan(i * kBlock, kBlock), {}};
    fixture.reads->Queue(requests[i]);
  }
  CHECK(fixture.reads->queued() == 0);
  CHECK(readable(10'000));
  for (size_t ended = 0; ended < requests.size();) {
    fixture.reads->Wait(AsyncReads::kForever);
    while (fixture.reads->Take() != nullptr) ++ended;
  }
  CHECK(Same(out.bytes(), fixture.content.bytes().first(out.size())));
}

TEST_CASE("a wake-up ends the wait that runs, or else the next one, and shows at the descriptor") {
  Fixture fixture(EachKind());
  AsyncReads& reads = *fixture.reads;
  const auto readable = [&reads](int timeout_ms) {
    pollfd polled{.fd = reads.descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&polled, 1, timeout_ms) == 1;
  };
  for (int i = 0; i < 3; ++i) {
    reads.Wake();
    reads.Wait(AsyncReads::kForever);
  }
  readable(0);
  reads.Wait(0);
  reads.Wait(0);
  CHECK_FALSE(readable(0));
  for (int i = 0; i < 3; ++i) {
    std::thread other([&reads] { reads.Wake(); });
    CHECK(readable(10'000));
    other.join();
    reads.Wait(AsyncReads::kForever);
    reads.Wait(0);
    CHECK_FALSE(readable(0));
  }
  std::thread other([&reads] { reads.Wake(); });
  reads.Wait(AsyncReads::kForever);
  other.join();
  reads.Wait(1'000'000);  // with nothing to end it but the time
}

TEST_CASE("a process without a descriptor to spare reads without a ring, or gets none") {
  Fixture fixture(kUringDisk);
  fixture.reads = nullptr;
  std::vector<std::unique_ptr<io::File>> files;
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit few{.rlim_cur = 24, .rlim_max = before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  for (;;) {
    auto file = fixture.disk.Open("data", OpenMode::kRead);
    if (!file.ok()) break;
    files.push_back(*std::move(file));
  }
  const auto none = fixture.disk.NewAsyncReads(kDepth);
  files.pop_back();
  auto in_turn = fixture.disk.NewAsyncReads(kDepth);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(absl::IsResourceExhausted(none.status()));
  REQUIRE(in_turn.ok());
  fixture.reads = *std::move(in_turn);
  fixture.ReadAll();
}

}  // namespace firn::testing
