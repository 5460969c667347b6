// put, del.
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "firn/command.h"
#include "firn/output.h"
#include "support/files.h"
#include "support/text.h"

namespace firn::tools {
namespace {

struct WriteArgs {
  StoreArgs store;
  std::string key;
  std::optional<std::string> value;
  std::string file;
  std::string metadata;
  std::optional<int64_t> ttl_ms;
  int64_t expires_at_ms = 0;
  bool if_absent = false;
  bool if_present = false;
  std::optional<Revision> if_revision;
  bool buffered = false;
  bool hex = false;
  bool json = false;
};

WriteOptions WriteOptionsOf(const WriteArgs& args) {
  WriteOptions options;
  if (args.buffered) options.durability = Durability::kBuffered;
  if (args.if_absent) options.condition = Condition::Absent();
  if (args.if_present) options.condition = Condition::Present();
  if (args.if_revision) options.condition = Condition::RevisionEquals(*args.if_revision);
  return options;
}

int64_t NowMs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

// A value as given, or the first piece of one that is read while it is stored.
struct Value {
  std::string bytes;
  std::optional<InputPieces> rest;  // of a value that has more than a piece
};

absl::StatusOr<Value> ValueOf(const WriteArgs& args) {
  if (args.file.empty() && !args.value) {
    return absl::InvalidArgumentError("give VALUE, - for the standard input, or --file PATH");
  }
  Value value;
  if (args.file.empty() && *args.value != "-") {
    absl::StatusOr<std::string> bytes = ArgumentBytes(*args.value, args.hex);
    if (!bytes.ok()) return bytes.status();
    value.bytes = *std::move(bytes);
    return value;
  }
  absl::StatusOr<InputPieces> pieces = OpenInput(args.file.empty() ? "-" : args.file);
  if (!pieces.ok()) return pieces.status();
  const absl::StatusOr<std::string_view> first = pieces->Next();
  if (!first.ok()) return first.status();
  value.bytes = *first;
  if (value.bytes.size() == InputPieces::kPieceBytes) value.rest = *std::move(pieces);
  return value;
}

absl::StatusOr<Revision> PutValue(Namespace& space, const std::string& key, Value& value, const PutOptions& options) {
  if (!value.rest) return space.Put(key, value.bytes, options);
  bool first = true;
  const auto source = [&]() -> absl::StatusOr<std::string_view> {
    if (std::exchange(first, false)) return value.bytes;
    return value.rest->Next();
  };
  return space.PutStream(key, source, options);
}

int PrintRevision(const WriteArgs& args, const std::string& what, const absl::StatusOr<Revision>& revision) {
  if (!revision.ok()) {
    const bool condition = absl::IsFailedPrecondition(revision.status());
    return FailAnswer(what + " in " + args.store.path, revision.status(),
                      condition ? "nothing was written; 'firn get --json' shows the present revision" : "");
  }
  if (args.json) {
    PrintJson({{"revision", *revision}});
  } else {
    PrintLine("revision " + std::to_string(*revision));
  }
  return kExitOk;
}

int Put(const WriteArgs& args) {
  const absl::StatusOr<std::string> key = ArgumentKey(args.key, args.hex);
  if (!key.ok()) return Fail("put", key.status());
  absl::StatusOr<Value> value = ValueOf(args);
  if (!value.ok()) return Fail("put", value.status());
  const absl::StatusOr<std::string> metadata = ArgumentBytes(args.metadata, args.hex);
  if (!metadata.ok()) return Fail("put", metadata.status());
  if (metadata->size() > kMetadataBytesMax) {
    return FailUsage("put: --meta has " + std::to_string(metadata->size()) + " bytes, " +
                     std::to_string(kMetadataBytesMax) + " are allowed");
  }

  PutOptions options;
  static_cast<WriteOptions&>(options) = WriteOptionsOf(args);
  options.expires_at_ms = args.ttl_ms ? NowMs() + *args.ttl_ms : args.expires_at_ms;
  options.metadata = *metadata;
  // A new store has no namespace but the default one: making it for another would leave it empty.
  const Access access = args.store.namespace_name.empty() ? Access::kCreate : Access::kWrite;
  return WithStore(args.store, access, [&](DB&, Namespace& space) -> int {
    return PrintRevision(args, "put " + Escaped(*key), PutValue(space, *key, *value, options));
  });
}

int Delete(const WriteArgs& args) {
  const absl::StatusOr<std::string> key = ArgumentKey(args.key, args.hex);
  if (!key.ok()) return Fail("del", key.status());
  return WithStore(args.store, Access::kWrite, [&](DB&, Namespace& space) -> int {
    return PrintRevision(args, "del " + Escaped(*key), space.Delete(*key, WriteOptionsOf(args)));
  });
}

void AddWriteArgs(CLI::App* command, WriteArgs* args) {
  CLI::Option* present = command->add_flag("--if-present", args->if_present, "Only if the key is there");
  CLI::Option* revision =
      command->add_option("--if-revision", args->if_revision, "Only if the key's last change has this revision")
          ->check(CheckUnsigned);
  present->excludes(revision);
  command->add_flag("--buffered", args->buffered, "Do not wait for the disk; closing the store makes it durable");
  command->add_flag("--json", args->json, "Print {\"revision\": ...}");
}

}  // namespace

void AddWriteCommands(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<WriteArgs>();

  CLI::App* put =
      app->add_subcommand("put", "Store a value under a key; creates the store, not a namespace, if it is missing");
  AddStoreArgs(put, &args->store);
  put->add_option("KEY", args->key, "The key; write -- before one that starts with a dash")->required();
  CLI::Option* value = put->add_option("VALUE", args->value, "The value; - reads it from the standard input");
  CLI::Option* file = put->add_option("--file", args->file, "Read the value from this file")->check(CheckNotEmpty);
  value->excludes(file);
  AddWriteArgs(put, args.get());
  CLI::Option* absent = put->add_flag("--if-absent", args->if_absent, "Only if the key is not there");
  absent->excludes(put->get_option("--if-present"))->excludes(put->get_option("--if-revision"));
  CLI::Option* ttl = put->add_option("--ttl-ms", args->ttl_ms, "Expire this many milliseconds from now");
  ttl->check(CLI::Range(int64_t{1}, kExpiryMsMax / 2));
  put->add_option("--expires-at", args->expires_at_ms, "Expire at this time, milliseconds since 1970-01-01 UTC")
      ->check(CLI::Range(int64_t{0}, kExpiryMsMax))
      ->excludes(ttl);
  put->add_option("--meta", args->metadata, "Metadata to keep beside the value, up to 4096 bytes");
  put->add_flag("--hex", args->hex, "KEY, VALUE and --meta are hexadecimal; --file and - stay raw");
  put->callback([args, exit_code] { *exit_code = Put(*args); });

  CLI::App* del = app->add_subcommand("del", "Delete a key; one that is not there is no error");
  AddStoreArgs(del, &args->store);
  del->add_option("KEY", args->key, "The key; write -- before one that starts with a dash")->required();
  AddWriteArgs(del, args.get());
  del->add_flag("--hex", args->hex, "KEY is hexadecimal");
  del->callback([args, exit_code] { *exit_code = Delete(*args); });
}

}  // namespace firn::tools
