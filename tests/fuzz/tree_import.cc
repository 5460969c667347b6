// `firn import` of any tree, and `firn export` of what it stored: the same tree, names, contents, links, modes and all.
//
//   input: batch size u16 | entries: kind u8, mode u8, name size u8, name, content size u8, content. A name goes into
//          the directory that was made last; kind 3 goes up one.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <tuple>

#include "db/open.h"
#include "fuzz/input.h"
#include "support/crash_points.h"
#include "support/sim_environment.h"
#include "support/temp_dir.h"
#include "support/tree_entry.h"
#include "support/tree_import.h"
#include "support/tree_walk.h"
#include "support/tree_writer.h"

namespace firn::fuzz {
namespace {

namespace fs = std::filesystem;
using namespace tools;

constexpr int kEntriesMax = 16;

void MakeTree(Input& input, const fs::path& root) {
  fs::path at = root;
  for (int entries = 0; entries < kEntriesMax && !input.empty(); ++entries) {
    const uint8_t kind = input.Byte() % 4, mode = input.Byte();
    const std::string name(input.Text(input.Byte() & 0x3F));
    const std::string content(input.Text(input.Byte()));
    if (kind == 3 && at != root) at = at.parent_path();
    const bool is_name = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
                         name.find('\0') == std::string::npos;
    std::error_code error;
    if (kind == 3 || !is_name || fs::exists(fs::symlink_status(at / name, error))) continue;
    const fs::path path = at / name;
    if (kind == 0) {
      fs::create_directory(path, error);
      if (!error) at = path;
    } else if (kind == 1) {
      std::ofstream(path, std::ios::binary) << content;
    } else {
      const std::string target = content.substr(0, content.find('\0'));
      if (!target.empty()) fs::create_symlink(target, path, error);
      continue;
    }
    // What its owner may read and search; else import leaves it out, as it says.
    Require(::chmod(path.c_str(), 0500 | mode) == 0, "the tree can be made");
    if (kind == 0) Require(::chmod(path.c_str(), 0700 | mode) == 0, "the tree can be made");
  }
}

using Tree = std::map<std::string, std::tuple<FileKind, uint32_t, int64_t, uint32_t, std::string>>;

Tree TreeOf(const std::string& root) {
  const auto entries =
      WalkTree(root, "", [](const std::string&, const absl::Status&) { Require(false, "all of the tree is listed"); });
  Require(entries.ok(), "a tree can be listed");
  Tree tree;
  for (const TreeEntry& entry : *entries) {
    std::string content;
    if (entry.info.kind == FileKind::kSymlink) content = fs::read_symlink(entry.path).string();
    if (entry.info.kind == FileKind::kRegular) content = ReadRegularFile(entry.path, kValueBytesMax)->bytes;
    const bool is_link = entry.info.kind == FileKind::kSymlink;
    const bool added = tree.emplace(entry.key, std::tuple(entry.info.kind, is_link ? 0 : entry.info.mode,
                                                          entry.info.mtime_seconds, entry.info.mtime_nanos, content))
                           .second;
    Require(added, "no two entries have one key");
  }
  return tree;
}

void Import(const std::string& root, uint64_t batch_bytes, DB& db) {
  const auto entries = WalkTree(root, "", [](const std::string&, const absl::Status&) {});
  Require(entries.ok(), "a tree can be listed");
  size_t committed = 0;
  const ImportCallbacks callbacks{
      .on_left_out = [](size_t, const absl::Status&) { Require(false, "nothing is left out"); },
      .on_changed = [](size_t) { Require(false, "nobody changes the tree"); },
      .on_committed = [&](size_t end_index, uint64_t) { committed = end_index; }};
  const auto counts = ImportEntries(db, db.root(), *entries, {.batch_bytes = batch_bytes}, callbacks);
  Require(counts.ok() && committed == entries->size(), "all is stored");
  Require(counts->files + counts->directories + counts->symlinks == entries->size(), "all is counted");
}

void Export(DB& db, const std::string& root) {
  auto writer = TreeWriter::Open(root, {.keep_set_id = true});
  Require(writer.ok(), "the directory can be made");
  const std::unique_ptr<Iterator> it = db.root().NewIterator();
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const auto info = ParseTreeMetadata(it->metadata());
    Require(info.has_value(), "what import keeps beside a value can be read");
    Require(writer->Write(it->key(), it->value(), &*info).ok(), "what was imported can be exported");
  }
  Require(writer->Finish().ok(), "what was imported can be exported");
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  Input input(data, size);
  const uint64_t batch_bytes = uint64_t{1} + input.Number<uint16_t>();
  const firn::testing::TempDir dir;
  std::filesystem::create_directory(dir.File("tree"));
  MakeTree(input, dir.File("tree"));
  firn::test::SimWorld world(1);
  firn::Options options;
  options.value_separation_threshold_bytes = firn::kValueSeparationThresholdBytesMin;
  const auto db = firn::OpenOn(options, firn::test::SimEnvironment(world.machine, world.clock, world.random, 64 << 10));
  Require(db.ok(), "a store can be made");
  Import(dir.File("tree"), batch_bytes, **db);
  Export(**db, dir.File("again"));
  Require(TreeOf(dir.File("tree")) == TreeOf(dir.File("again")), "what comes back is what was imported");
  return 0;
}
