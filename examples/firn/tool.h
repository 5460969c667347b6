// The firn program but for its process: what a command line does.
#pragma once

namespace firn::tools {

// Runs the subcommand that the words of a command line name, and returns its exit code (firn/command.h). `argv[0]` is
// the program's name. Prints to the standard output and error.
int RunTool(int argc, const char* const* argv);

}  // namespace firn::tools
