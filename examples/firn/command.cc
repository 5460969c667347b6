#include "firn/command.h"

#include <cstdio>
#include <mutex>
#include <set>
#include <utility>

#include "support/files.h"
#include "support/text.h"

namespace firn::tools {
namespace {

void PrintError(const std::string& text) { std::fprintf(stderr, "firn: %s\n", Printable(text).c_str()); }

// Messages of the store go to the standard error: damage always, the rest on request.
class StderrListener : public EventListener {
 public:
  explicit StderrListener(bool verbose) : verbose_(verbose) {}

  void OnEvent(const Event& event) override {
    // A footer is missing after every crash in the middle of sealing, so that is no news.
    // A full disk, or a write that failed, is what the refused operation says.
    const bool important = event.kind == EventKind::kDamageFound;
    if (!important && !verbose_) return;
    // A store that is opened a second time, as verify does to salvage, says the same again.
    const std::lock_guard lock(mutex_);
    if (verbose_ || told_.insert(event.message).second) Note(event.message);
  }

 private:
  const bool verbose_;
  std::mutex mutex_;
  std::set<std::string> told_;
};

// The listener outlives every store of this process, as Options asks.
EventListener* ListenerFor(bool verbose) {
  static StderrListener quiet(false), loud(true);
  return verbose ? &loud : &quiet;
}

// What to raise when a limit of the process or the system was met; empty when it was another.
std::string AdviceForLimit(const absl::Status& status) {
  if (!absl::IsResourceExhausted(status)) return {};
  constexpr std::pair<const char*, const char*> kAdvice[] = {
      {"(EMFILE)", "raise the number of open files, 'ulimit -n'"},
      {"(ENFILE)", "the system has too many open files"},
      {"(EFBIG)", "raise the size of a file, 'ulimit -f'"},
      {"(ENOMEM)", "free memory, or lower --memory-mib"}};
  for (const auto& [name, advice] : kAdvice) {
    if (MessageOf(status).find(name) != std::string::npos) return advice;
  }
  return {};
}

std::string AdviceForOpen(const StoreArgs& args, Access access, const absl::Status& status) {
  const bool creates = access == Access::kCreate || access == Access::kCreateNamespace;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      if (creates) return "the store is created, the directory that is to hold it must exist";
      return args.namespace_name.empty() ? "'firn put' and 'firn import' create a store"
                                         : "'firn namespaces create' and 'firn import' create a store with a namespace";
    case absl::StatusCode::kUnavailable:
      return "close the other process, then try again";
    case absl::StatusCode::kPermissionDenied:
      return "check the owner and mode of the directory and its files";
    case absl::StatusCode::kDataLoss:
      return args.salvage ? "'firn salvage " + args.path + " NEW' makes a new store of all that is left"
                          : "'firn verify " + args.path + "' lists the damage, --salvage opens what is left";
    case absl::StatusCode::kResourceExhausted:
      return "free disk space, or raise --max-disk-mib or --memory-mib";
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
    "            3 data on disk is damaged; 4 I/O or other failure; 5 import, export or salvage left something out.";

void AddStoreArgs(CLI::App* command, StoreArgs* args, bool with_namespace) {
  command->add_option("STORE", args->path, "The store's directory")->required()->check(CheckNotEmpty);
  if (with_namespace) {
    command
        ->add_option("-n,--namespace", args->namespace_name,
                     "Work in this namespace, which must exist, instead of the default one")
        ->check(CheckNamespaceName);
  }
  command->add_option("--memory-mib", args->memory_mib, "What the store may hold in memory, MiB (default 1024)")
      ->check(CLI::Range(kMemoryBudgetBytesMin >> 20, uint64_t{1} << 24));
  command
      ->add_option("--max-disk-mib", args->max_disk_mib,
                   "What all files of the store may take, MiB (default: no quota)")
      ->check(CLI::Range(kMaxDiskBytesMin >> 20, uint64_t{1} << 40));
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
  options.max_disk_bytes = args.max_disk_mib << 20;
  options.use_io_uring = !args.no_io_uring;
  options.listener = ListenerFor(args.verbose);
  return DB::Open(options, args.path);
}

int WithStore(const StoreArgs& args, Access access, const std::function<int(DB& db, Namespace& space)>& body) {
  return WithStore(OpenStore(args, access), args, access, body);
}

int WithStore(absl::StatusOr<std::unique_ptr<DB>> opened, const StoreArgs& args, Access access,
              const std::function<int(DB& db, Namespace& space)>& body) {
  const absl::StatusOr<std::unique_ptr<DB>> db = std::move(opened);
  if (!db.ok()) return Fail("open " + args.path, db.status(), AdviceForOpen(args, access, db.status()));
  int exit_code;
  {
    absl::StatusOr<Namespace> space = OpenNamespaceOf(**db, args, access);
    exit_code = space.ok() ? body(**db, *space)
                           : FailAnswer("open namespace " + args.namespace_name + " in " + args.path, space.status(),
                                        "'firn namespaces list' shows them, 'firn namespaces create' makes one");
  }
  if (absl::Status status = (*db)->Close(); !status.ok()) {
    // What failed before is why closing fails too, and has been told.
    if (exit_code == kExitFailed || exit_code == kExitDataLoss) return exit_code;
    return Fail("close " + args.path, status);
  }
  return exit_code;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kDataLoss:
      return kExitDataLoss;
    default:
      return kExitFailed;
  }
}

ExitCode ExitCodeOfAnswer(const absl::Status& status) {
  const bool answer = absl::IsNotFound(status) || absl::IsAlreadyExists(status) || absl::IsFailedPrecondition(status);
  return answer ? kExitNotFound : ExitCodeOf(status);
}

int Fail(const std::string& what, const absl::Status& status, const std::string& advice) {
  const std::string limit_advice = AdviceForLimit(status);
  const std::string& shown_advice = limit_advice.empty() ? advice : limit_advice;
  PrintError(what + ": " + MessageOf(status) + (shown_advice.empty() ? "" : " (" + shown_advice + ")"));
  return ExitCodeOf(status);
}

int FailAnswer(const std::string& what, const absl::Status& status, const std::string& advice) {
  Fail(what, status, advice);
  return ExitCodeOfAnswer(status);
}

int FailUsage(const std::string& what) {
  PrintError(what);
  return kExitUsage;
}

void Note(const std::string& text) { PrintError("note: " + text); }

// Too much of it is wrong usage, and a file that is missing no key that is.
static absl::Status InputFailure(const absl::Status& status) {
  const bool too_large = absl::IsOutOfRange(status);
  return absl::Status(too_large ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kUnknown, status.message());
}

absl::StatusOr<std::string> InputBytes(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadInput(path, kValueBytesMax);
  if (!bytes.ok()) return InputFailure(bytes.status());
  return bytes;
}

absl::StatusOr<InputPieces> OpenInput(const std::string& path) {
  absl::StatusOr<InputPieces> pieces = InputPieces::Open(path, kValueBytesMax);
  if (!pieces.ok()) return InputFailure(pieces.status());
  return pieces;
}

}  // namespace firn::tools
