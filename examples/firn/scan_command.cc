// scan: an ordered walk.
#include <limits>
#include <memory>
#include <optional>

#include "firn/command.h"
#include "firn/output.h"
#include "support/text.h"

namespace firn::tools {
namespace {

struct ScanArgs {
  StoreArgs store;
  std::string prefix;
  std::optional<std::string> lower, upper;
  uint64_t limit = std::numeric_limits<uint64_t>::max();
  bool reverse = false;
  bool keys_only = false;
  bool hex = false;
  bool json = false;
};

absl::StatusOr<IteratorOptions> IteratorOptionsOf(const ScanArgs& args) {
  IteratorOptions options;
  options.keys_only = args.keys_only;
  absl::StatusOr<std::string> prefix = ArgumentBytes(args.prefix, args.hex);
  if (!prefix.ok()) return prefix.status();
  options.prefix = *std::move(prefix);
  const std::pair<const std::optional<std::string>*, std::optional<std::string>*> bounds[] = {
      {&args.lower, &options.lower}, {&args.upper, &options.upper}};
  for (const auto& [text, bound] : bounds) {
    if (!*text) continue;
    absl::StatusOr<std::string> bytes = ArgumentBytes(**text, args.hex);
    if (!bytes.ok()) return bytes.status();
    *bound = *std::move(bytes);
  }
  return options;
}

void PrintEntry(const ScanArgs& args, Iterator& it) {
  if (args.keys_only) {
    if (!args.json) return PrintLine(Shown(it.key(), args.hex));
    Json object;
    SetBytes(&object, "key", it.key(), args.hex);
    object["revision"] = it.revision();
    object["expires_at_ms"] = it.expires_at_ms();
    return PrintJson(object);
  }
  if (!args.json) return PrintLine(Shown(it.key(), args.hex) + "\t" + Shown(it.value(), args.hex));
  const ValueInfo info = {it.revision(), it.expires_at_ms(), it.value().size(), std::string(it.metadata())};
  PrintJson(EntryJson(it.key(), it.value(), info, args.hex));
}

int Walk(const ScanArgs& args, Iterator& it) {
  int exit_code = kExitOk;
  args.reverse ? it.SeekToLast() : it.SeekToFirst();
  for (uint64_t count = 0; it.Valid() && count < args.limit; ++count) {
    if (!args.keys_only) it.value();  // the read that may fail
    if (it.status().ok()) {
      PrintEntry(args, it);
    } else {
      exit_code = Fail("scan " + args.store.path + " at key " + Escaped(it.key()), it.status());
    }
    args.reverse ? it.Prev() : it.Next();
  }
  if (!it.Valid() && !it.status().ok()) exit_code = Fail("scan " + args.store.path, it.status());
  return exit_code;
}

int Scan(const ScanArgs& args) {
  const absl::StatusOr<IteratorOptions> options = IteratorOptionsOf(args);
  if (!options.ok()) return Fail("scan", options.status());
  return WithStore(args.store, Access::kRead, [&](DB&, Namespace& space) -> int {
    const std::unique_ptr<Iterator> it = space.NewIterator(*options);
    return Walk(args, *it);
  });
}

}  // namespace

void AddScanCommand(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<ScanArgs>();
  CLI::App* scan = app->add_subcommand("scan", "Print keys and values in order, a tab between them");
  AddStoreArgs(scan, &args->store);
  scan->add_option("--prefix", args->prefix, "Only keys that start with this");
  scan->add_option("--lower", args->lower, "Only keys at or after this");
  scan->add_option("--upper", args->upper, "Only keys before this");
  scan->add_option("--limit", args->limit, "Stop after this many")->check(CheckUnsigned);
  scan->add_flag("--reverse", args->reverse, "From the last to the first");
  scan->add_flag("--keys-only", args->keys_only, "Print keys alone; reads no value");
  scan->add_flag("--hex", args->hex, "Bounds are given, keys and values are printed, in hexadecimal");
  scan->add_flag("--json", args->json, "Print one JSON object a line: key, value, revision, expires_at_ms, metadata");
  scan->footer(
      std::string("Without --hex or --json, control and stray bytes are printed as \\t, \\n, \\xNN and so on.\n") +
      kExitCodesText);
  scan->callback([args, exit_code] { *exit_code = Scan(*args); });
}

}  // namespace firn::tools
