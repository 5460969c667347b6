#include "firn/command.h"

#include <cstdio>
#include <iostream>
#include <optional>

#include "support/text.h"

namespace firn::tools {
namespace {

// Messages of the store go to the standard error: damage always, the rest on request.
class StderrListener : public EventListener {
 public:
  explicit StderrListener(bool verbose) : verbose_(verbose) {}

  void OnEvent(const Event& event) override {
    // A footer is missing after every crash in the middle of sealing, so that is no news.
    const bool important = event.kind == EventKind::kDamageFound || event.kind == EventKind::kPoisoned ||
                           event.kind == EventKind::kDiskFull;
    if (important || verbose_) std::fprintf(stderr, "firn: note: %s\n", event.message.c_str());
  }

 private:
  const bool verbose_;
};

// The listener outlives every store of this process, as Options asks.
EventListener* ListenerFor(bool verbose) {
  static StderrListener quiet(false), loud(true);
  return verbose ? &loud : &quiet;
}

std::string AdviceForOpen(const StoreArgs& args, const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return "'firn put' and 'firn import' create a store";
    case absl::StatusCode::kUnavailable:
      return "close the other process, then try again";
    case absl::StatusCode::kPermissionDenied:
      return "check the owner and mode of the directory and its files";
    case absl::StatusCode::kDataLoss:
      return "'firn verify " + args.path + "' lists the damage, --salvage opens what is left";
    case absl::StatusCode::kResourceExhausted:
      return "free disk space, or raise --memory-mib";
    default:
      return {};
  }
}

absl::StatusOr<Namespace> OpenNamespaceOf(DB& db, const StoreArgs& args, Access access) {
  if (args.namespace_name.empty()) return db.root();
  absl::StatusOr<Namespace> space = db.OpenNamespace(args.namespace_name);
  if (!absl::IsNotFound(space.status()) || access != Access::kCreateNamespace) return space;
  return db.CreateNamespace(args.namespace_name);
}

}  // namespace

const char* const kExitCodesText =
    "Exit codes: 0 done; 1 key or namespace not found, or a condition did not hold; 2 wrong usage;\n"
    "            3 data on disk is damaged; 4 I/O or other failure; 5 import or export left something out.";

void AddStoreArgs(CLI::App* command, StoreArgs* args, bool with_namespace) {
  command->add_option("STORE", args->path, "The store's directory")->required();
  if (with_namespace) {
    command->add_option("-n,--namespace", args->namespace_name, "Work in this namespace instead of the default one");
  }
  command->add_option("--memory-mib", args->memory_mib, "What the store may hold in memory, MiB (default 1024)")
      ->check(CLI::Range(kMemoryBudgetBytesMin >> 20, uint64_t{1} << 24));
  command->add_flag("--salvage", args->salvage, "Open a damaged store: serve what still verifies, drop the rest");
  command->add_flag("--no-io-uring", args->no_io_uring, "Use pread and pwrite even where io_uring is available");
  command->add_flag("-v,--verbose", args->verbose, "Print what the store reports (recovery, fallbacks, sealing)");
  command->footer(kExitCodesText);
}

absl::StatusOr<std::unique_ptr<DB>> OpenStore(const StoreArgs& args, Access access) {
  Options options;
  options.create_if_missing = access == Access::kCreate || access == Access::kCreateNamespace;
  options.read_only = access == Access::kRead;
  options.salvage = args.salvage;
  options.memory_budget_bytes = args.memory_mib << 20;
  options.use_io_uring = !args.no_io_uring;
  options.listener = ListenerFor(args.verbose);
  return DB::Open(options, args.path);
}

int WithStore(const StoreArgs& args, Access access, const std::function<int(DB& db, Namespace& space)>& body) {
  absl::StatusOr<std::unique_ptr<DB>> db = OpenStore(args, access);
  if (!db.ok()) {
    const int exit_code = Fail("open " + args.path, db.status(), AdviceForOpen(args, db.status()));
    return exit_code == kExitDataLoss || exit_code == kExitUsage ? exit_code : kExitFailed;
  }
  int exit_code;
  {
    absl::StatusOr<Namespace> space = OpenNamespaceOf(**db, args, access);
    exit_code = space.ok() ? body(**db, *space)
                           : Fail("open namespace " + args.namespace_name + " in " + args.path, space.status(),
                                  "'firn namespaces list' shows them, 'firn namespaces create' makes one");
  }
  if (absl::Status status = (*db)->Close(); !status.ok()) {
    const int close_code = Fail("close " + args.path, status);
    if (exit_code == kExitOk) exit_code = close_code;
  }
  return exit_code;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
      return kExitNotFound;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kDataLoss:
      return kExitDataLoss;
    default:
      return kExitFailed;
  }
}

int Fail(const std::string& what, const absl::Status& status, const std::string& advice) {
  const std::string tail = advice.empty() ? "" : " (" + advice + ")";
  std::fprintf(stderr, "firn: %s: %s%s\n", what.c_str(), MessageOf(status).c_str(), tail.c_str());
  return ExitCodeOf(status);
}

int FailUsage(const std::string& what) {
  std::fprintf(stderr, "firn: %s\n", what.c_str());
  return kExitUsage;
}

void Note(const std::string& text) { std::fprintf(stderr, "firn: note: %s\n", text.c_str()); }

absl::StatusOr<std::string> ArgumentBytes(const std::string& text, bool hex) {
  if (!hex) return text;
  std::optional<std::string> bytes = BytesOfHex(text);
  if (!bytes) return absl::InvalidArgumentError("'" + text + "' is not hexadecimal, two digits a byte, as --hex asks");
  return *std::move(bytes);
}

}  // namespace firn::tools
