#include "firn/tool.h"

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "firn/command.h"
#include "firn/output.h"

namespace firn::tools {
namespace {

// The parser would take a positional "[a,b]" for a list of two. Rather than split a key in silence, refuse
// it. What follows --from is the name of a file.
bool HasBracketedKey(int argc, const char* const* argv) {
  if (argc < 2 || std::string_view(argv[1]) != "multiget") return false;
  bool options_may_follow = true;
  for (int i = 2; i < argc; ++i) {
    const std::string_view text(argv[i]);
    if (text == "--") options_may_follow = false;
    if (text.starts_with('[') && text.ends_with(']')) return true;
    if (text == "--from" && options_may_follow) ++i;
  }
  return false;
}

std::string CommandName(const CLI::App& app) {
  const auto used = app.get_subcommands();
  return used.empty() ? app.get_name() : used.front()->get_name();
}

}  // namespace

int RunTool(int argc, const char* const* argv) {
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
  AddSalvageCommand(&app, &exit_code);
  AddSpaceCommands(&app, &exit_code);
  AddNamespaceCommands(&app, &exit_code);
  AddBenchCommand(&app, &exit_code);

  if (HasBracketedKey(argc, argv))
    return FailUsage("multiget: write keys in [brackets] with --hex, or pass them by --from");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const std::string command = app.get_subcommands().empty() ? "" : CommandName(app) + " ";
    return FailUsage(std::string(error.what()) + "; see 'firn " + command + "--help'");
  } catch (const std::bad_alloc&) {
    return Fail(CommandName(app), absl::ResourceExhaustedError("out of memory"), "free some, or raise 'ulimit -v'");
  } catch (const std::exception& error) {
    return Fail(CommandName(app), absl::InternalError(error.what()));
  }
  if (!FlushOutput() && exit_code == kExitOk) {
    return Fail("print", absl::UnknownError("the standard output does not take any more"));
  }
  return exit_code;
}

}  // namespace firn::tools
