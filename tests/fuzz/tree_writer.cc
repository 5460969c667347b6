// `firn export` of a store that nobody trusts: whatever its keys, metadata and links say, nothing outside the directory
// is made, changed or removed.
//
//   input: how u8 | entries: kind u8, mode u16, seconds u64, key size u8, key, value size u8, value. In keys and values
//          bytes of 0 to 7 stand for what matters in paths.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/input.h"
#include "support/temp_dir.h"
#include "support/tree_entry.h"
#include "support/tree_writer.h"

namespace firn::fuzz {
namespace {

namespace fs = std::filesystem;
using namespace tools;

constexpr int kEntriesMax = 16;

std::string PathFrom(Input& input) {
  static constexpr const char* kParts[] = {"/", "..", "../", ".", "a", "a/", "witness", "../witness"};
  std::string path;
  for (const char c : input.Text(input.Byte() & 0x3F)) {
    if (c >= 0 && static_cast<size_t>(c) < std::size(kParts)) {
      path += kParts[static_cast<size_t>(c)];
    } else {
      path += c;
    }
  }
  return path;
}

// The directory to export to, beside what must stay as it is: a file, and a folder with a file.
class Sandbox {
 public:
  Sandbox() {
    Write(dir_.File("witness"));
    fs::create_directory(dir_.File("folder"));
    Write(dir_.File("folder/witness"));
  }

  std::string root() const { return dir_.File("root"); }

  void CheckOutside() const {
    size_t names = 0;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      const std::string name = entry.path().filename();
      Require(name == "root" || name == "witness" || name == "folder", "nothing is made outside the directory");
      ++names;
    }
    Require(names == 3, "nothing is removed outside the directory");
    Require(std::distance(fs::directory_iterator(dir_.File("folder")), {}) == 1, "nothing is made in a folder outside");
    for (const char* name : {"witness", "folder/witness"}) {
      std::ifstream stream(dir_.File(name));
      const std::string text{std::istreambuf_iterator<char>(stream), {}};
      Require(text == kText, "no file outside the directory is changed");
      struct stat stat;
      Require(::stat(dir_.File(name).c_str(), &stat) == 0 && (stat.st_mode & 07777) == kMode && stat.st_nlink == 1,
              "no file outside the directory gets other modes or links");
    }
  }

  // Modes that forbid it would keep the root from being removed.
  void Clean() const {
    std::error_code ignored;
    fs::permissions(root(), fs::perms::owner_all, ignored);
    for (auto at = fs::recursive_directory_iterator(root(), ignored); at != fs::recursive_directory_iterator();
         at.increment(ignored)) {
      if (!at->is_symlink(ignored)) fs::permissions(at->path(), fs::perms::owner_all, ignored);
    }
    fs::remove_all(root(), ignored);
  }

 private:
  static constexpr const char* kText = "as it was";
  static constexpr mode_t kMode = 0640;

  static void Write(const std::string& path) {
    std::ofstream(path) << kText;
    Require(::chmod(path.c_str(), kMode) == 0, "the witness can be made");
  }

  testing::TempDir dir_;
};

void WriteEntry(Input& input, TreeWriter& writer) {
  const uint8_t kind = input.Byte();
  FileInfo info;
  info.kind = std::array{FileKind::kRegular, FileKind::kDirectory, FileKind::kSymlink}[kind % 3];
  info.mode = input.Number<uint16_t>() & 07777;
  info.mtime_seconds = input.Number<int64_t>();
  const std::string key = PathFrom(input), value = PathFrom(input);
  // As from a store: through what is kept beside the value.
  const auto kept = ParseTreeMetadata(TreeMetadata(info));
  Require(kept.has_value(), "metadata that was written can be read");
  const absl::Status status = writer.Write(key, value, (kind & 0x80) != 0 ? nullptr : &*kept);
  if (status.ok()) Require(key == kTreeRootKey || IsSafeRelativePath(key), "only safe paths are written");
}

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  static const Sandbox sandbox;
  Input input(data, size);
  const uint8_t how = input.Byte();
  {
    auto writer =
        firn::tools::TreeWriter::Open(sandbox.root(), {.overwrite = (how & 1) != 0, .keep_set_id = (how & 2) != 0});
    Require(writer.ok(), "the directory can be made");
    for (int entries = 0; entries < kEntriesMax && !input.empty(); ++entries) WriteEntry(input, *writer);
    writer->Finish().IgnoreError();
  }
  sandbox.CheckOutside();
  sandbox.Clean();
  return 0;
}
