// What the subcommands of `firn` share: exit codes, the options that name a store, opening and closing it,
// messages.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <firn/db.h>
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "support/arguments.h"
#include "support/files.h"

namespace firn::tools {

// Documented in docs/cli.md and in every --help.
enum ExitCode : int {
  kExitOk = 0,
  kExitNotFound = 1,  // the key or namespace is not there, or a condition did not hold
  kExitUsage = 2,
  kExitDataLoss = 3,
  kExitFailed = 4,   // the store or the system refused; nothing else applies
  kExitPartial = 5,  // import, export or salvage went through, but left something out
};

extern const char* const kExitCodesText;

struct StoreArgs {
  std::string path;
  std::string namespace_name;  // empty: the default one
  uint64_t memory_mib = 1024;
  uint64_t max_disk_mib = 0;  // 0: no quota
  bool salvage = false;
  bool no_io_uring = false;
  bool verbose = false;
};

// Adds STORE and the options that say how to open it; `with_namespace` adds --namespace too.
void AddStoreArgs(CLI::App* command, StoreArgs* args, bool with_namespace = true);

enum class Access {
  kRead,
  kWrite,            // the store must be there
  kCreate,           // the store is created if missing
  kCreateNamespace,  // so is the namespace
};

// Opens the store, runs `body`, closes the store. Whatever fails is printed, and the exit code returned.
int WithStore(const StoreArgs& args, Access access, const std::function<int(DB& db, Namespace& space)>& body);
// The same with one that OpenStore() has opened, or has not.
int WithStore(absl::StatusOr<std::unique_ptr<DB>> opened, const StoreArgs& args, Access access,
              const std::function<int(DB& db, Namespace& space)>& body);

// The store alone, without closing or messages.
absl::StatusOr<std::unique_ptr<DB>> OpenStore(const StoreArgs& args, Access access);

// Of a failure; never kExitNotFound, which is an answer: a missing file is not a missing key.
ExitCode ExitCodeOf(const absl::Status& status);
// Of a store's answer about a key or a namespace: kExitNotFound when it is not there, is there already, or a condition
// did not hold.
ExitCode ExitCodeOfAnswer(const absl::Status& status);

// "firn: WHAT: WHY (ADVICE)" on the standard error, one line; returns the exit code that belongs to `status`. Bytes
// that a terminal would obey are escaped.
int Fail(const std::string& what, const absl::Status& status, const std::string& advice = {});
int FailAnswer(const std::string& what, const absl::Status& status, const std::string& advice = {});
int FailUsage(const std::string& what);
void Note(const std::string& text);

// What a file, or for "-" the standard input, holds. InvalidArgument when that is more than a value may have; whatever
// the system refuses is Unknown.
absl::StatusOr<std::string> InputBytes(const std::string& path);
// The same, a piece at a time.
absl::StatusOr<InputPieces> OpenInput(const std::string& path);

// One function per subcommand group adds it to the application and leaves its result in `*exit_code`.
void AddReadCommands(CLI::App* app, int* exit_code);
void AddScanCommand(CLI::App* app, int* exit_code);
void AddWriteCommands(CLI::App* app, int* exit_code);
void AddImportCommand(CLI::App* app, int* exit_code);
void AddExportCommand(CLI::App* app, int* exit_code);
void AddInspectCommands(CLI::App* app, int* exit_code);
void AddSalvageCommand(CLI::App* app, int* exit_code);
void AddSpaceCommands(CLI::App* app, int* exit_code);
void AddNamespaceCommands(CLI::App* app, int* exit_code);
void AddBenchCommand(CLI::App* app, int* exit_code);

}  // namespace firn::tools
