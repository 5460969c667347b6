// firn: a store from the command line. docs/cli.md describes every subcommand.
#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include "firn/command.h"
#include "firn/output.h"

namespace firn::tools {
namespace {

// The parser would take a positional "[a,b]" for a list of two. Rather than split a key in silence, refuse
// it.
bool HasBracketedKey(int argc, char** argv) {
  return argc > 1 && std::string_view(argv[1]) == "multiget" && std::any_of(argv + 2, argv + argc, [](const char* arg) {
           const std::string_view text(arg);
           return text.starts_with('[') && text.ends_with(']');
         });
}

int Run(int argc, char** argv) {
  CLI::App app("firn: an embeddable, log-structured key-value store, from the command line");
  app.name("firn");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("firn ") + FIRN_VERSION);
  app.footer(std::string("'firn SUBCOMMAND --help' says more.\n") + kExitCodesText);

  int exit_code = kExitOk;
  AddWriteCommands(&app, &exit_code);
  AddReadCommands(&app, &exit_code);
  AddScanCommand(&app, &exit_code);
  AddImportCommand(&app, &exit_code);
  AddExportCommand(&app, &exit_code);
  AddInspectCommands(&app, &exit_code);
  AddNamespaceCommands(&app, &exit_code);
  AddBenchCommand(&app, &exit_code);

  if (HasBracketedKey(argc, argv))
    return FailUsage("multiget: write keys in [brackets] with --hex, or pass them by --from");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const auto used = app.get_subcommands();
    const std::string command = used.empty() ? "firn" : "firn " + used.front()->get_name();
    return FailUsage(std::string(error.what()) + "; see '" + command + " --help'");
  }
  if (!FlushOutput() && exit_code == kExitOk) {
    return Fail("print", absl::UnknownError("the standard output does not take any more"));
  }
  return exit_code;
}

}  // namespace
}  // namespace firn::tools

int main(int argc, char** argv) { return firn::tools::Run(argc, argv); }
