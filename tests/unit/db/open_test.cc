// What is opened, and what is refused.
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/aligned_buffer.h"
#include "base/hash.h"
#include "db/keys.h"
#include "format/superblock.h"
#include "log/segment.h"
#include "unit/db/testing.h"
#include "unit/io/child_process.h"

namespace firn::testing {
namespace {

namespace fs = std::filesystem;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteAll(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

uint64_t BytesOnDisk(const std::string& path) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    struct stat status;
    REQUIRE(::lstat(entry.path().c_str(), &status) == 0);
    bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

std::string CodeName(absl::StatusCode code) { return absl::StatusCodeToString(code); }

}  // namespace

TEST_CASE("key filters are filled at open with the hash that they are asked for") {
  for (const uint32_t namespace_id : {1u, 258u, UINT32_MAX}) {
    const IndexKey index_key(namespace_id, "key");
    CHECK(base::Hash64(base::AsBytes(index_key.view())) == log::KeyHash(namespace_id, "key"));
  }
}

TEST_CASE("a missing directory is made, one level deep, when the options permit") {
  TempDir dir;
  const std::string path = dir.File("store");
  CHECK(Code(DB::Open({.create_if_missing = false}, path)) == kNotFound);
  CHECK_FALSE(fs::exists(path));
  CHECK(Code(DB::Open({}, path + "/deeper")) == kNotFound);
  CHECK_FALSE(fs::exists(path));
  CHECK(Code(DB::Open({}, "")) != kOk);
  Must(Must(DB::Open({}, path))->Put("k", "v"));
  CHECK(Text(Must(DB::Open({.create_if_missing = false}, path))->Get("k")) == "v");
}

TEST_CASE("a directory without a store is NotFound and left as it was when none may be made") {
  TempDir dir;
  WriteAll(dir.File("something else"), "mine");
  CHECK(Code(DB::Open({.create_if_missing = false}, dir.path())) == kNotFound);
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("a file instead of a directory is InvalidArgument and left as it was") {
  TempDir dir;
  WriteAll(dir.File("file"), "mine");
  CHECK(Code(DB::Open({}, dir.File("file"))) == kInvalid);
  CHECK(Code(DB::Open({.read_only = true}, dir.File("file"))) == kInvalid);
  CHECK(ReadAll(dir.File("file")) == "mine");
}

TEST_CASE("missing permission is PermissionDenied") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  TempDir parent;
  ::chmod(parent.path().c_str(), 0755);
  ::chmod(store.dir.path().c_str(), 0555);
  const auto open_as_nobody = [](const Options& options, const std::string& path) {
    return InChild([&] {
      DropRoot();
      return CodeName(Code(DB::Open(options, path)));
    });
  };
  if (::geteuid() == 0) CHECK(open_as_nobody({}, parent.File("store")) == "PERMISSION_DENIED");
  CHECK(open_as_nobody({}, store.dir.path()) == "PERMISSION_DENIED");
  ::chmod((store.dir.path() + "/SUPERBLOCK").c_str(), 0000);
  CHECK(open_as_nobody({.read_only = true}, store.dir.path()) == "PERMISSION_DENIED");
  ::chmod(store.dir.path().c_str(), 0000);
  CHECK(open_as_nobody({.read_only = true}, store.dir.path()) == "PERMISSION_DENIED");
  ::chmod(store.dir.path().c_str(), 0755);
  ::chmod((store.dir.path() + "/SUPERBLOCK").c_str(), 0644);
}

TEST_CASE("a store may be read by a user who may not write it") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  ::chmod(store.dir.path().c_str(), 0755);
  for (const auto& entry : fs::recursive_directory_iterator(store.dir.path())) {
    ::chmod(entry.path().c_str(), entry.is_directory() ? 0755 : 0644);
  }
  CHECK(InChild([&]() -> std::string {
          DropRoot();
          const auto db = DB::Open({.read_only = true}, store.dir.path());
          return db.ok() ? Text((*db)->Get("k")) : Text(db.status());
        }) == "v");
}

TEST_CASE("error_if_exists refuses a store that is there, and contradicting options are InvalidArgument") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  CHECK(Code(DB::Open({.error_if_exists = true}, store.dir.path())) == kPrecondition);
  CHECK(Code(DB::Open({.error_if_exists = true, .read_only = true}, store.dir.path())) == kInvalid);
  TempDir fresh;
  CHECK(Code(DB::Open({.error_if_exists = true}, fresh.path())) == kOk);
  store.db.reset();
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
}

TEST_CASE("a store is opened once, by one process") {
  RealStore store;
  Must(store->Put("k", "v"));
  CHECK(Code(DB::Open({}, store.dir.path())) == kUnavailable);
  CHECK(Code(DB::Open({}, store.dir.path() + "/../" + fs::path(store.dir.path()).filename().string())) == kUnavailable);
  CHECK(InChild([&] { return CodeName(Code(DB::Open({}, store.dir.path()))); }) == "UNAVAILABLE");
  CHECK(InChild([&] { return CodeName(Code(DB::Open({.read_only = true}, store.dir.path()))); }) == "UNAVAILABLE");
  Must(store->Put("k", "w"));
  store.Reopen();
  CHECK(Text(store->Get("k")) == "w");
}

TEST_CASE("a store of a newer format version, or with unknown features, is refused and left alone") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  const std::string path = store.dir.File("SUPERBLOCK");
  const std::string good = ReadAll(path);
  format::Superblock superblock =
      Must(format::DecodeSuperblock(base::AsBytes(std::string_view(good).substr(0, format::kBlockBytes))));
  const auto refused = [&](const format::Superblock& changed) {
    base::AlignedBuffer blocks(format::kSuperblockFileBytes);
    format::EncodeSuperblock(changed, blocks.bytes().first(format::kBlockBytes));
    format::EncodeSuperblock(changed, blocks.bytes().subspan(format::kBlockBytes, format::kBlockBytes));
    const std::string bytes(base::AsText(base::Bytes(blocks.bytes()).first(format::kSuperblockFileBytes)));
    WriteAll(path, bytes);
    for (const bool read_only : {false, true}) {
      const auto opened = DB::Open({.read_only = read_only, .salvage = true}, store.dir.path());
      CHECK(Code(opened) == kPrecondition);
      CHECK(std::string(opened.status().message()).find("SUPERBLOCK") != std::string::npos);
    }
    CHECK(ReadAll(path) == bytes);
  };
  format::Superblock changed = superblock;
  changed.format_version = format::kFormatVersion + 1;
  refused(changed);
  changed = superblock;
  changed.features = 1;
  refused(changed);
  WriteAll(path, good);
  store.db.reset();
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
}

TEST_CASE("a damaged first copy of the superblock is survived, two damaged ones are DataLoss") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  store.db.reset();
  const std::string path = store.dir.File("SUPERBLOCK");
  const std::string good = ReadAll(path);
  Events events;
  store.options.listener = &events;
  std::string bytes = good;
  std::memset(bytes.data(), 'x', 4'096);
  WriteAll(path, bytes);
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
  CHECK(events.Count(EventKind::kDamageFound) == 1);
  store.db.reset();
  for (const std::string& damaged :
       {std::string(8'192, 'x'), std::string(8'192, '\0'), std::string(100, 'x'), std::string()}) {
    WriteAll(path, damaged);
    const auto opened = DB::Open({}, store.dir.path());
    CHECK(Code(opened) == kDataLoss);
    CHECK(std::string(opened.status().message()).find(path) != std::string::npos);
    CHECK(ReadAll(path) == damaged);
  }
  bytes = good;
  std::memset(bytes.data() + 4'096, 'x', 4'096);
  WriteAll(path, bytes);
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
  store.db.reset();
}

TEST_CASE("without LOCK an open for reading says so, and one for writing makes it anew") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  store.db.reset();
  fs::remove(store.dir.File("LOCK"));
  const absl::Status refused = DB::Open({.read_only = true}, store.dir.path()).status();
  CHECK(refused.code() == kPrecondition);
  CHECK(Text(refused).find("LOCK is missing") != std::string::npos);
  store.Open();
  store.db.reset();
  CHECK(Text(Must(DB::Open({.read_only = true}, store.dir.path()))->Get("k")) == "v");
}

TEST_CASE("what is no file, or no directory, in the place of one of the store's is DataLoss, and named") {
  for (const std::string name : {"SUPERBLOCK", "LOCK", "TAIL", "log", "values"}) {
    RealStore store;
    Must(store->Put("k", "v"));
    Must(store->Close());
    store.db.reset();
    const bool is_folder = fs::is_directory(store.dir.File(name));
    fs::remove_all(store.dir.File(name));
    is_folder || name == "values" ? WriteAll(store.dir.File(name), "")
                                  : static_cast<void>(fs::create_directory(store.dir.File(name)));
    for (const bool read_only : {false, true}) {
      const absl::Status refused = DB::Open({.read_only = read_only}, store.dir.path()).status();
      INFO(name << ": " << refused.ToString());
      CHECK(refused.code() == kDataLoss);
      CHECK(Text(refused).find("/" + name + " is not a ") != std::string::npos);
    }
  }
}

TEST_CASE("segments without a SUPERBLOCK are DataLoss, and nothing is thrown away") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  store.db.reset();
  fs::rename(store.dir.File("SUPERBLOCK"), store.dir.File("SUPERBLOCK.away"));
  CHECK(Code(DB::Open({}, store.dir.path())) == kDataLoss);
  CHECK(Code(DB::Open({.read_only = true}, store.dir.path())) != kOk);
  fs::rename(store.dir.File("SUPERBLOCK.away"), store.dir.File("SUPERBLOCK"));
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
}

TEST_CASE("what is left of a store that lost SUPERBLOCK and log is DataLoss, and nothing is thrown away") {
  RealStore store;
  const std::string large(100'000, 'x');
  Must(store->Put("large", large));
  Must(store->Close());
  store.db.reset();
  for (const char* name : {"SUPERBLOCK", "log"})
    fs::rename(store.dir.File(name), store.dir.File(name + std::string("~")));
  const auto is_refused = [&] {
    const absl::Status refused = DB::Open({}, store.dir.path()).status();
    INFO(refused.ToString());
    CHECK(absl::IsDataLoss(refused));
    CHECK(refused.message().find("SUPERBLOCK is missing") != absl::string_view::npos);
  };
  is_refused();
  for (const char* name : {"SUPERBLOCK", "log"})
    fs::rename(store.dir.File(name + std::string("~")), store.dir.File(name));
  store.Open();
  CHECK(Text(store->Get("large")) == large);
}

TEST_CASE("a SUPERBLOCK without segments is DataLoss") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  store.db.reset();
  fs::rename(store.dir.File("log"), store.dir.File("log.away"));
  CHECK(Code(DB::Open({}, store.dir.path())) == kDataLoss);
  CHECK(Code(DB::Open({.read_only = true}, store.dir.path())) == kDataLoss);
  fs::create_directory(store.dir.File("log"));
  CHECK(Code(DB::Open({}, store.dir.path())) == kDataLoss);
  CHECK(Code(DB::Open({.read_only = true}, store.dir.path())) == kDataLoss);
  fs::remove_all(store.dir.File("log"));
  fs::rename(store.dir.File("log.away"), store.dir.File("log"));
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
}

TEST_CASE("files that are none of the store's are left alone") {
  RealStore store;
  Must(store->Put("k", "v"));
  Must(store->Close());
  store.db.reset();
  WriteAll(store.dir.File("notes.txt"), "mine");
  WriteAll(store.dir.File("log/notes.txt"), "mine");
  store.Open();
  CHECK(Text(store->Get("k")) == "v");
  store.Reopen();
  CHECK(ReadAll(store.dir.File("notes.txt")) == "mine");
  CHECK(ReadAll(store.dir.File("log/notes.txt")) == "mine");
}

TEST_CASE("a store whose making was interrupted anywhere is made anew, or whole") {
  test::CrashTest test;
  bool acknowledged = false;
  test.run = [&acknowledged](SimWorld& world) {
    acknowledged = false;
    const auto db = OpenIn(world);
    if (db.ok()) acknowledged = (*db)->Put("k", "v").ok();
  };
  test.check = [&acknowledged](SimWorld& world) {
    auto db = Must(OpenIn(world));
    const std::string value = Text(db->Get("k"));
    if (acknowledged) REQUIRE(value == "v");
    REQUIRE((value == "v" || value == kAbsent));
    Must(db->Put("k", "again"));
    Must(db->Close());
    db = Must(OpenIn(world));
    REQUIRE(Text(db->Get("k")) == "again");
    Must(db->Close());
  };
  const auto count = test::ForEachCrash(test, {CrashKind::kPowerCut, CrashKind::kKill}, 17);
  CHECK(count.points > 10);
}

TEST_CASE("a fault in any operation of an open is a status, and the next open works") {
  test::CrashTest test;
  test.prepare = [](SimWorld& world) {
    const auto db = Must(OpenIn(world));
    Must(db->Put("k", "v"));
    Must(db->Put("buffered", "v", Buffered()));
    world.machine.Crash({CrashKind::kKill, Survival::kEverything});
  };
  test.run = [](SimWorld& world) {
    const auto db = OpenIn(world);
    if (db.ok()) (*db)->Close().IgnoreError();
  };
  test.check = [](SimWorld& world) {
    const auto db = Must(OpenIn(world));
    REQUIRE(Text(db->Get("k")) == "v");
    REQUIRE(Text(db->Get("buffered")) == "v");
    Must(db->Close());
  };
  const unsigned all_but_syncs = test::kAnyOperation & ~test::kSyncOperation;
  CHECK(test::ForEachFault(test, all_but_syncs, /*lasting=*/false, 18).points > 10);
  CHECK(test::ForEachFault(test, all_but_syncs, /*lasting=*/true, 18).points > 10);
}

TEST_CASE("an empty store takes at most 4 MiB on disk, open and closed") {
  RealStore store;
  CHECK(BytesOnDisk(store.dir.path()) <= 4u << 20);
  Must(store->Put("k", "v"));
  Must(store->Flush());
  CHECK(BytesOnDisk(store.dir.path()) <= 4u << 20);
  for (int opened = 0; opened < 5; ++opened) {
    store.Reopen();
    CHECK(BytesOnDisk(store.dir.path()) <= 4u << 20);
  }
  Must(store->Close());
  CHECK(BytesOnDisk(store.dir.path()) <= 4u << 20);
}

}  // namespace firn::testing
