// get, exists, multiget.
#include <cerrno>
#include <memory>

#include "firn/command.h"
#include "firn/output.h"
#include "support/files.h"
#include "support/text.h"

#include <fcntl.h>

namespace firn::tools {
namespace {

struct ReadArgs {
  StoreArgs store;
  std::string key;
  std::vector<std::string> keys;
  std::string from;    // multiget: a file of keys, one a line
  std::string output;  // get: a file for the value
  bool hex = false;
  bool json = false;
};

// Each piece as it comes from the disk, once it has been checked.
class ValueWriter {
 public:
  // To the standard output if `path` is empty.
  explicit ValueWriter(const ReadArgs& args) : path_(args.output), hex_(args.hex && args.output.empty()) {}

  absl::Status Write(std::string_view piece) {
    if (path_.empty()) {
      PrintPiece(hex_ ? HexOf(piece) : piece);
      ends_line_ = !hex_ && piece.ends_with('\n');
      return absl::OkStatus();
    }
    if (absl::Status status = Open(); !status.ok()) return status;
    failed_ = WriteAll(file_.get(), piece, path_);
    return failed_;
  }
  // Of a value that has come whole.
  absl::Status Finish() {
    if (path_.empty()) {
      if (hex_ || (StdoutIsTerminal() && !ends_line_)) PrintLine("");
      return absl::OkStatus();
    }
    return Open();  // an empty value has no piece
  }
  // Why the output failed, if that is why the reading did.
  const absl::Status& failed() const { return failed_; }

 private:
  absl::Status Open() {
    if (file_.valid()) return absl::OkStatus();
    file_ = Descriptor(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!file_.valid()) failed_ = absl::ErrnoToStatus(errno, "create " + path_);
    return failed_;
  }

  const std::string path_;
  const bool hex_;
  Descriptor file_;
  bool ends_line_ = false;
  absl::Status failed_;
};

int GetJson(const ReadArgs& args, const std::string& key, const Namespace& space) {
  std::string value;
  ValueInfo info;
  if (absl::Status status = space.GetInto(key, &value, &info); !status.ok()) {
    return FailAnswer("get " + Escaped(key) + " from " + args.store.path, status);
  }
  PrintJson(EntryJson(key, value, info, args.hex));
  return kExitOk;
}

int Get(const ReadArgs& args) {
  const absl::StatusOr<std::string> key = ArgumentKey(args.key, args.hex);
  if (!key.ok()) return Fail("get", key.status());
  return WithStore(args.store, Access::kRead, [&](DB&, Namespace& space) -> int {
    if (args.json && args.output.empty()) return GetJson(args, *key, space);
    ValueWriter writer(args);
    const absl::Status status = space.GetStream(*key, [&](std::string_view piece) { return writer.Write(piece); });
    if (!status.ok() && writer.failed().ok()) {
      return FailAnswer("get " + Escaped(*key) + " from " + args.store.path, status);
    }
    const absl::Status finished = status.ok() ? writer.Finish() : writer.failed();
    return finished.ok() ? static_cast<int>(kExitOk) : Fail("get", finished);
  });
}

int Exists(const ReadArgs& args) {
  const absl::StatusOr<std::string> key = ArgumentKey(args.key, args.hex);
  if (!key.ok()) return Fail("exists", key.status());
  return WithStore(args.store, Access::kRead, [&](DB&, Namespace& space) -> int {
    const absl::StatusOr<bool> exists = space.Exists(*key);
    if (!exists.ok()) return Fail("exists " + Escaped(*key) + " in " + args.store.path, exists.status());
    if (args.json) {
      PrintJson({{"exists", *exists}});
    } else {
      PrintLine(*exists ? "yes" : "no");
    }
    return *exists ? kExitOk : kExitNotFound;
  });
}

absl::StatusOr<std::vector<std::string>> KeysOf(const ReadArgs& args) {
  std::vector<std::string> texts = args.keys;
  if (!args.from.empty()) {
    const absl::StatusOr<std::string> lines = InputBytes(args.from);
    if (!lines.ok()) return lines.status();
    for (std::string& line : LinesOf(*lines)) texts.push_back(std::move(line));
  }
  for (std::string& text : texts) {
    absl::StatusOr<std::string> bytes = ArgumentBytes(text, args.hex);
    if (!bytes.ok()) return bytes.status();
    text = *std::move(bytes);
  }
  return texts;
}

int PrintAnswers(const ReadArgs& args, const std::vector<std::string>& keys,
                 const std::vector<absl::StatusOr<std::string>>& values) {
  int exit_code = kExitOk;
  for (size_t i = 0; i < keys.size(); ++i) {
    const absl::Status status = values[i].status();
    if (args.json) {
      Json object;
      SetBytes(&object, "key", keys[i], args.hex);
      object["found"] = status.ok();
      if (status.ok()) SetBytes(&object, "value", *values[i], args.hex);
      if (!status.ok() && !absl::IsNotFound(status)) object["error"] = MessageOf(status);
      PrintJson(object);
    } else if (status.ok()) {
      PrintLine(Shown(keys[i], args.hex) + "\t" + Shown(*values[i], args.hex));
    } else {
      Fail("multiget " + Escaped(keys[i]) + " from " + args.store.path, status);
    }
    // A missing key is the mildest of the outcomes, whatever comes before or after it.
    if (!status.ok() && (exit_code == kExitOk || exit_code == kExitNotFound)) exit_code = ExitCodeOfAnswer(status);
  }
  return exit_code;
}

int MultiGet(const ReadArgs& args) {
  const absl::StatusOr<std::vector<std::string>> keys = KeysOf(args);
  if (!keys.ok()) return Fail("multiget", keys.status());
  if (keys->empty()) return FailUsage("multiget: give keys, or --from FILE; see 'firn multiget --help'");
  return WithStore(args.store, Access::kRead, [&](DB&, Namespace& space) -> int {
    const std::vector<std::string_view> views(keys->begin(), keys->end());
    return PrintAnswers(args, *keys, space.MultiGet(views));
  });
}

}  // namespace

void AddReadCommands(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<ReadArgs>();

  CLI::App* get = app->add_subcommand("get", "Print the value of a key, byte for byte");
  AddStoreArgs(get, &args->store);
  get->add_option("KEY", args->key, "The key; write -- before one that starts with a dash")->required();
  get->add_option("-o,--output", args->output, "Write the value to this file instead")->check(CheckNotEmpty);
  get->add_flag("--hex", args->hex, "KEY is, and the value is printed as, hexadecimal");
  get->add_flag("--json", args->json, "Print one JSON object: key, value, revision, expires_at_ms, metadata");
  get->callback([args, exit_code] { *exit_code = Get(*args); });

  CLI::App* exists = app->add_subcommand("exists", "Tell whether a key is there (exit code 0) or not (1)");
  AddStoreArgs(exists, &args->store);
  exists->add_option("KEY", args->key, "The key; write -- before one that starts with a dash")->required();
  exists->add_flag("--hex", args->hex, "KEY is hexadecimal");
  exists->add_flag("--json", args->json, "Print {\"exists\": ...}");
  exists->callback([args, exit_code] { *exit_code = Exists(*args); });

  CLI::App* multiget = app->add_subcommand("multiget", "Print several keys with their values, seen at one revision");
  AddStoreArgs(multiget, &args->store);
  multiget->add_option("KEYS", args->keys, "The keys; write -- before them when one starts with a dash");
  multiget->add_option("--from", args->from, "Read more keys from this file, one a line; - is the standard input")
      ->check(CheckNotEmpty);
  multiget->add_flag("--hex", args->hex, "Keys are given, keys and values are printed, in hexadecimal");
  multiget->add_flag("--json", args->json, "Print one JSON object a line: key, found, value");
  multiget->callback([args, exit_code] { *exit_code = MultiGet(*args); });
}

}  // namespace firn::tools
