// namespaces list, create, drop.
#include <memory>

#include "firn/command.h"
#include "firn/output.h"

namespace firn::tools {
namespace {

struct NamespaceArgs {
  StoreArgs store;
  std::string name;
  bool json = false;
};

int List(const NamespaceArgs& args) {
  return WithStore(args.store, Access::kRead, [&](DB& db, Namespace&) -> int {
    const std::vector<std::string> names = db.ListNamespaces();
    if (args.json) {
      PrintJson({{"namespaces", names}});
    } else {
      for (const std::string& name : names) PrintLine(name);
    }
    return kExitOk;
  });
}

int Create(const NamespaceArgs& args) {
  return WithStore(args.store, Access::kCreate, [&](DB& db, Namespace&) -> int {
    const absl::StatusOr<Namespace> space = db.CreateNamespace(args.name);
    if (!space.ok()) {
      return FailAnswer("create namespace " + args.name + " in " + args.store.path, space.status(),
                        absl::IsAlreadyExists(space.status()) ? "nothing was changed" : "");
    }
    return kExitOk;
  });
}

int Drop(const NamespaceArgs& args) {
  return WithStore(args.store, Access::kWrite, [&](DB& db, Namespace&) -> int {
    const absl::Status status = db.DropNamespace(args.name);
    if (!status.ok()) {
      return FailAnswer("drop namespace " + args.name + " from " + args.store.path, status,
                        "'firn namespaces list' shows them");
    }
    return kExitOk;
  });
}

}  // namespace

void AddNamespaceCommands(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<NamespaceArgs>();
  CLI::App* namespaces = app->add_subcommand("namespaces", "List, create or drop namespaces");
  namespaces->require_subcommand(1);
  namespaces->footer(kExitCodesText);

  CLI::App* list = namespaces->add_subcommand("list", "Print the names, sorted, without the default namespace");
  AddStoreArgs(list, &args->store, false);
  list->add_flag("--json", args->json, "Print {\"namespaces\": [...]}");
  list->callback([args, exit_code] { *exit_code = List(*args); });

  CLI::App* create = namespaces->add_subcommand(
      "create", "Make a namespace, and the store if it is missing; exit code 1 if there is one of that name");
  AddStoreArgs(create, &args->store, false);
  create->add_option("NAME", args->name, "1..64 of A-Z a-z 0-9 _ -")->required()->check(CheckNamespaceName);
  create->callback([args, exit_code] { *exit_code = Create(*args); });

  CLI::App* drop = namespaces->add_subcommand("drop", "Drop a namespace with all that is in it, at once and for good");
  AddStoreArgs(drop, &args->store, false);
  drop->add_option("NAME", args->name, "The name")->required()->check(CheckNamespaceName);
  drop->callback([args, exit_code] { *exit_code = Drop(*args); });
}

}  // namespace firn::tools
