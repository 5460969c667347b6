// firn-demo: shows on this machine's own files that what the store acknowledged survives kill -9.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "demo/demo.h"
#include "support/process.h"
#include "support/text.h"

namespace firn::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultDirectories[] = {"/usr/include", "/usr/share/doc"};

// A new directory under the system's temporary one, removed with all that is in it unless it is to be kept.
class WorkDirectory {
 public:
  explicit WorkDirectory(bool keep) : keep_(keep) {
    std::error_code error;
    const fs::path parent = fs::temp_directory_path(error);  // fails where TMPDIR is no directory
    std::string pattern = (parent / "firn-demo-XXXXXX").string();
    if (!error && mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  WorkDirectory(const WorkDirectory&) = delete;
  ~WorkDirectory() {
    std::error_code ignored;
    if (!keep_ && !path_.empty()) fs::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

 private:
  const bool keep_;
  std::string path_;
};

int Fail(const std::string& text) {
  std::fflush(stdout);
  std::fprintf(stderr, "firn-demo: %s\n", text.c_str());
  return EXIT_FAILURE;
}

// The tool lies beside this program, however it was started.
std::string ToolPath() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const fs::path tool = self.parent_path() / "firn";
  if (error || !fs::exists(tool, error)) return "firn";
  const fs::path here = fs::current_path(error);
  return error ? tool.string() : tool.lexically_relative(here).string();
}

void PrintWhereToGoNext(const DemoConfig& config, bool kept) {
  const std::string tool = ToolPath();
  const std::string store = kept ? config.store_path : "/tmp/my-store";
  std::printf("\nEvery check held. Where to go next:\n");
  if (!kept) std::printf("  %s import %s %s\n", tool.c_str(), store.c_str(), config.directories.front().c_str());
  std::printf("  %s scan %s --keys-only --limit 5\n", tool.c_str(), store.c_str());
  std::printf("  %s stats %s\n", tool.c_str(), store.c_str());
  std::printf("  %s --help\n", tool.c_str());
  std::printf("  examples/quickstart.cc shows the C++ API; docs/ starts with architecture.md and durability.md\n");
}

int Run(int argc, char** argv) {
  CLI::App app(
      "Imports real directories, kills the import with SIGKILL, and proves that nothing acknowledged was "
      "lost.");
  app.name("firn-demo");
  DemoConfig config;
  bool keep = false;
  app.add_option("DIRS", config.directories, "What to import (default: /usr/include and /usr/share/doc)");
  app.add_option("--store", config.store_path, "Make the store here, and keep it (default: a temporary directory)");
  app.add_flag("--keep", keep, "Keep the temporary store");
  app.add_option("--kill-at", config.kill_at_percent, "Kill when this much is acknowledged, percent (default 40)")
      ->check(CLI::Range(1, 99));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Fail(std::string(error.what()) + "; see 'firn-demo --help'");
  }

  std::error_code error;
  if (config.directories.empty()) {
    for (const char* directory : kDefaultDirectories) {
      if (fs::is_directory(directory, error)) config.directories.push_back(directory);
    }
  }
  if (config.directories.empty()) return Fail("neither default directory exists here; name some directories to import");
  if (!config.store_path.empty() && fs::exists(config.store_path, error)) {
    return Fail(config.store_path + " exists already; name a new directory for the demo's store");
  }
  std::optional<WorkDirectory> work;
  if (config.store_path.empty()) {
    work.emplace(keep);
    if (work->path().empty())
      return Fail("cannot make a temporary directory; set TMPDIR, or name a place with --store");
    config.store_path = work->path() + "/store";
  } else {
    keep = true;
  }
  if (absl::Status status = RunDemo(config); !status.ok()) {
    return Fail(MessageOf(status) + " (store: " + config.store_path + (keep ? ")" : "; --keep keeps it)"));
  }
  PrintWhereToGoNext(config, keep);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace firn::tools

int main(int argc, char** argv) {
  if (!firn::tools::PrepareProcess()) return EXIT_FAILURE;
  return firn::tools::Run(argc, argv);
}
