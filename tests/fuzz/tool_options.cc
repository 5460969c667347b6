// The command line of `firn`: any words, in a directory with a small store, a tree and a list of keys.
//
//   input: words, each ended by a newline. Paths out of the directory are left out, and what takes long by its nature
//          (bench, a slow --rate).
//
// It must end with an exit code that is documented, and the store must be whole afterwards.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <firn/db.h>

#include "firn/command.h"
#include "firn/tool.h"
#include "fuzz/input.h"
#include "support/temp_dir.h"

namespace firn::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWordsMax = 24;

bool IsLeftOut(std::string_view word) {
  const bool is_path = word.find('/') != std::string_view::npos && !word.starts_with("store/");
  return is_path || word.find("..") != std::string_view::npos || word.find('\0') != std::string_view::npos ||
         word == "bench" || word.starts_with("--rate") || word.starts_with("--config");
}

std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words{"firn"};
  while (!text.empty() && words.size() < kWordsMax) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (!IsLeftOut(text.substr(0, end))) words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

void MakeDirectory() {
  fs::create_directory("tree");
  std::ofstream("tree/file") << "content";
  fs::create_symlink("file", "tree/link");
  std::ofstream("keys") << "key\n[other]\n";
  const auto db = DB::Open({}, "store");
  Require(db.ok(), "a store can be made");
  Require((*db)->Put("key", "value").ok() && (*db)->Put("large", std::string(40'000, 'v')).ok(), "it can be written");
  auto space = (*db)->CreateNamespace("space");
  Require(space.ok() && space->Put("in space", "value").ok(), "it can have a namespace");
  Require((*db)->Close().ok(), "it can be closed");
}

void CheckStore() {
  const auto db = DB::Open({.create_if_missing = false}, "store");
  Require(db.ok(), "the store opens afterwards");
  const auto verified = (*db)->Verify();
  Require(verified.ok() && verified->damages.empty(), "the store is whole afterwards");
}

// The standard input is empty, and what is printed goes nowhere, while this lives.
class Silence {
 public:
  Silence() : output_(::dup(STDOUT_FILENO)) {
    std::fflush(stdout);
    const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    Require(output_ >= 0 && ::dup2(nothing, STDIN_FILENO) >= 0 && ::dup2(nothing, STDOUT_FILENO) >= 0,
            "there is a /dev/null");
    ::close(nothing);
  }
  ~Silence() {
    std::fflush(stdout);
    ::dup2(output_, STDOUT_FILENO);
    ::close(output_);
  }
  Silence(const Silence&) = delete;

 private:
  const int output_;
};

}  // namespace
}  // namespace firn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace firn::fuzz;
  const std::vector<std::string> words = WordsOf({reinterpret_cast<const char*>(data), size});
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  const firn::testing::TempDir directory(::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "");
  const fs::path before = fs::current_path();
  fs::current_path(directory.path());
  MakeDirectory();
  int exit_code;
  {
    const Silence silence;
    exit_code = firn::tools::RunTool(static_cast<int>(arguments.size()), arguments.data());
  }
  Require(exit_code >= firn::tools::kExitOk && exit_code <= firn::tools::kExitPartial, "an exit code is documented");
  CheckStore();
  fs::current_path(before);
  return 0;
}
