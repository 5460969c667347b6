// firn: a store from the command line. docs/cli.md describes every subcommand.
#include "firn/command.h"
#include "firn/tool.h"
#include "support/process.h"

int main(int argc, char** argv) {
  if (!firn::tools::PrepareProcess()) return firn::tools::kExitFailed;
  return firn::tools::RunTool(argc, argv);
}
