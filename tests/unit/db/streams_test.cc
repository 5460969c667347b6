// Separated values in ranges and in streams.
#include <cstring>
#include <fstream>

#include "unit/db/separated.h"
#include "unit/io/child_process.h"

namespace firn::testing {
namespace {

TEST_CASE("ranges of values are cut to the value's end, inline or separated") {
  for (const size_t size : {100, 5'000, 300'000}) {
    SimStore store(Separating(), kSegmentBytes);
    const std::string value = ValueOf(7, size);
    Must(store->Put("k", value));
    for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{size / 2}, uint64_t{size - 1}, uint64_t{size}}) {
      for (const uint64_t length : {uint64_t{0}, uint64_t{1}, uint64_t{70'000}, UINT64_MAX}) {
        REQUIRE(Text(store->GetRange("k", offset, length)) == value.substr(offset, length));
      }
    }
    CHECK(Code(store->GetRange("k", size + 1, 1)) == absl::StatusCode::kOutOfRange);
    CHECK(Code(store->GetRange("absent", 0, 1)) == absl::StatusCode::kNotFound);
  }
}

TEST_CASE("a range reads and checks only the pieces it needs") {
  SimStore store(Separating(), kSegmentBytes);
  const std::string value = ValueOf(7, 1'000'000);
  Must(store->Put("k", value));
  Must(store->Flush());
  store.world.machine.FlipBits("values/0000000001.val", 4'096 + 500'000, std::byte{4});
  const uint64_t before = store->GetStats().device_read_bytes;
  CHECK(Text(store->GetRange("k", 100, 10)) == value.substr(100, 10));
  CHECK(store->GetStats().device_read_bytes - before <= 80'000);
  CHECK(Code(store->GetRange("k", 499'990, 20)) == absl::StatusCode::kDataLoss);
  CHECK(Code(store->Get("k")) == absl::StatusCode::kDataLoss);
}

TEST_CASE("streams carry values of any size in pieces") {
  for (const size_t size : {0, 10, 4'096, 70'000, 5'000'000}) {
    SimStore store(Separating(), kSegmentBytes);
    const std::string value = ValueOf(9, size);
    size_t at = 0;
    Must(store->PutStream("k", [&]() -> absl::StatusOr<std::string_view> {
      const std::string_view piece = std::string_view(value).substr(at, 10'000);
      at += piece.size();
      return piece;
    }));
    CHECK(Text(store->Get("k")) == value);
    std::string back;
    Must(store->GetStream("k", [&](std::string_view piece) {
      back += piece;
      return absl::OkStatus();
    }));
    CHECK(back == value);
    store.CrashAndReopen({CrashKind::kPowerCut, Survival::kNothing});
    CHECK(Text(store->Get("k")) == value);
  }
}

// A sanitizer's own memory is none of the engine's.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

// From /proc/self/status; 0 where there is none.
uint64_t StatusBytes(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1)) * 1'024;
  }
  return 0;
}

// A value of which every page says where it is.
class PagesOfValue {
 public:
  explicit PagesOfValue(uint64_t size_bytes) : size_bytes_(size_bytes), piece_(kPieceBytes, 'v') {}

  // The next piece; empty at the end.
  std::string_view Next() {
    const uint64_t size = std::min<uint64_t>(kPieceBytes, size_bytes_ - at_);
    for (uint64_t page = 0; page < size; page += kPageBytes) {
      const uint64_t number = (at_ + page) / kPageBytes;
      std::memcpy(piece_.data() + page, &number, std::min<uint64_t>(sizeof(number), size - page));
    }
    at_ += size;
    return std::string_view(piece_).substr(0, size);
  }
  // Whether `bytes` come next, in whatever pieces.
  bool Matches(std::string_view bytes) {
    while (!bytes.empty()) {
      if (rest_.empty()) rest_ = Next();
      const size_t size = std::min(bytes.size(), rest_.size());
      if (size == 0 || bytes.substr(0, size) != rest_.substr(0, size)) return false;
      rest_.remove_prefix(size);
      bytes.remove_prefix(size);
    }
    return true;
  }
  bool AtEnd() const { return at_ == size_bytes_ && rest_.empty(); }

 private:
  static constexpr uint64_t kPageBytes = 4'096, kPieceBytes = 300 * 4'096;
  const uint64_t size_bytes_;
  uint64_t at_ = 0;
  std::string piece_;
  std::string_view rest_;
};

TEST_CASE("a stream of 1 GiB goes there and back in a few MiB of resident memory") {
  constexpr uint64_t kSizeBytes = uint64_t{1} << 30;
  constexpr uint64_t kMoreBytesMax = 16 * (uint64_t{1} << 20);
  static_assert(kSizeBytes == kValueBytesMax);
  TempDir dir;
  const std::string report = InChild([&]() -> std::string {
    auto db = DB::Open({}, dir.path());
    if (!db.ok()) return Text(db.status());
    // What was resident at most begins anew with this.
    std::ofstream("/proc/self/clear_refs") << 5;
    const uint64_t before = StatusBytes("VmHWM");
    if (before == 0) return "";  // nobody can tell here
    PagesOfValue written(kSizeBytes), expected(kSizeBytes);
    const auto put = (*db)->PutStream("k", [&]() -> absl::StatusOr<std::string_view> { return written.Next(); });
    if (!put.ok()) return Text(put.status());
    const uint64_t after_put = StatusBytes("VmHWM");
    const absl::Status got = (*db)->GetStream("k", [&](std::string_view piece) {
      return expected.Matches(piece) ? absl::OkStatus() : absl::DataLossError("other bytes came back");
    });
    if (!got.ok()) return Text(got);
    if (!expected.AtEnd()) return "less came back";
    const uint64_t after_get = StatusBytes("VmHWM");
    if (after_get > before + kMoreBytesMax) {
      return "resident before: " + std::to_string(before) + ", at most while putting " + std::to_string(after_put) +
             ", while getting " + std::to_string(after_get);
    }
    return Text((*db)->Close());
  });
  CHECK(report == "");
}

#endif

TEST_CASE("a stream whose source fails writes nothing, and one whose sink fails stops") {
  SimStore store(Separating(), kSegmentBytes);
  int pieces = 0;
  const std::string piece(1'000'000, 'p');
  const auto status = store->PutStream("k", [&]() -> absl::StatusOr<std::string_view> {
    if (++pieces == 4) return absl::AbortedError("the source is gone");
    return piece;
  });
  CHECK(Code(status) == absl::StatusCode::kAborted);
  CHECK(Text(store->Get("k")) == kAbsent);
  Must(store->Compact());
  CHECK(store->GetStats().value_extents == 0);
  Must(store->Put("k", std::string(5'000'000, 'v')));
  int taken = 0;
  const absl::Status stopped = store->GetStream(
      "k", [&](std::string_view) { return ++taken == 2 ? absl::AbortedError("enough") : absl::OkStatus(); });
  CHECK(stopped.code() == absl::StatusCode::kAborted);
  CHECK(taken == 2);
}

TEST_CASE("what a stream would be refused for at its end is found out before its source is asked") {
  SimStore store(Separating(), kSegmentBytes);
  Must(store->Put("present", "v"));
  Namespace dropped = Must(store->CreateNamespace("dropped"));
  Must(store->DropNamespace("dropped"));
  bool asked = false;
  const ValueSource source = [&asked]() -> absl::StatusOr<std::string_view> {
    asked = true;
    return "";
  };
  CHECK(Code(store->PutStream("", source)) == kInvalid);
  CHECK(Code(store->PutStream(std::string(kKeyBytesMax + 1, 'k'), source)) == kInvalid);
  const std::string long_metadata(kMetadataBytesMax + 1, 'm');
  PutOptions too_much;
  too_much.metadata = long_metadata;
  CHECK(Code(store->PutStream("k", source, too_much)) == kInvalid);
  CHECK(Code(store->PutStream("k", source, Expiring(-1))) == kInvalid);
  CHECK(Code(dropped.PutStream("k", source)) == kNotFound);
  CHECK(Code(store->PutStream("present", source, PutIf(Condition::Absent()))) == kPrecondition);
  CHECK(Code(store->PutStream("absent", source, PutIf(Condition::Present()))) == kPrecondition);
  CHECK_FALSE(asked);
}

TEST_CASE("a stream's condition is checked again at its end") {
  SimStore store(Separating(), kSegmentBytes);
  const std::string piece(2'000'000, 'p');
  bool done = false;
  const auto status = store->PutStream(
      "k",
      [&]() -> absl::StatusOr<std::string_view> {
        if (done) return "";
        done = true;
        Must(store->Put("k", "came first"));
        return piece;
      },
      PutIf(Condition::Absent()));
  CHECK(Code(status) == kPrecondition);
  CHECK(Text(store->Get("k")) == "came first");
  Must(store->Compact());
  CHECK(store->GetStats().value_extents == 0);
}

}  // namespace
}  // namespace firn::testing
