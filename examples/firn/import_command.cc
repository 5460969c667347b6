// import: a directory tree into a namespace. How entries are kept: support/tree_entry.h.
#include <chrono>
#include <memory>
#include <set>

#include "firn/command.h"
#include "firn/output.h"
#include "support/progress.h"
#include "support/text.h"
#include "support/tree_import.h"

namespace firn::tools {
namespace {

struct ImportArgs {
  StoreArgs store;
  std::string directory;
  uint64_t batch_bytes = kImportBatchBytesDefault;
  bool buffered = false;
  bool list = false;
  bool json = false;
};

// What could not be taken along, told as it happens.
class Problems {
 public:
  explicit Problems(ProgressBar* bar) : bar_(bar) {}

  void LeftOut(const std::string& path, const absl::Status& why) {
    if (absl::IsUnimplemented(why)) {
      ++special_;
    } else {
      ++unreadable_;
    }
    bar_->Clear();
    Note("left out " + Escaped(path) + ": " + Escaped(MessageOf(why)));
  }
  void Changed(const std::string& path) {
    ++changed_;
    bar_->Clear();
    Note(Escaped(path) + " changed while it was read; its last reading was stored");
  }

  uint64_t special() const { return special_; }
  uint64_t unreadable() const { return unreadable_; }
  uint64_t changed() const { return changed_; }

 private:
  ProgressBar* bar_;
  uint64_t special_ = 0, unreadable_ = 0, changed_ = 0;
};

void PrintSummary(const ImportArgs& args, const ImportCounts& counts, const Problems& problems, double seconds) {
  if (args.json) {
    return PrintJson({{"files", counts.files},
                      {"directories", counts.directories},
                      {"symlinks", counts.symlinks},
                      {"bytes", counts.bytes},
                      {"commits", counts.commits},
                      {"unreadable", problems.unreadable()},
                      {"special", problems.special()},
                      {"changed", problems.changed()},
                      {"seconds", seconds}});
  }
  const double rate = seconds > 0 ? static_cast<double>(counts.bytes) / seconds : 0;
  PrintLine("imported " + CountText(counts.files) + " files, " + CountText(counts.directories) + " directories, " +
            CountText(counts.symlinks) + " links, " + BytesText(counts.bytes) + " in " + CountText(counts.commits) +
            (args.buffered ? " buffered" : " synced") + " commits, " + BytesText(static_cast<uint64_t>(rate)) + "/s");
  if (problems.unreadable() > 0) PrintLine("left out " + CountText(problems.unreadable()) + " that could not be read");
  if (problems.special() > 0) PrintLine("left out " + CountText(problems.special()) + " devices, sockets and pipes");
}

// --list: says what is committed while the import goes on, so that whoever reads it knows what outlives a crash.
class CommittedKeys {
 public:
  CommittedKeys(const ImportArgs& args, const std::vector<TreeEntry>& entries) : args_(args), entries_(entries) {}

  void LeftOut(size_t index) { left_out_.insert(index); }
  void Committed(size_t end_index) {
    if (!args_.list) return;
    for (; begin_ < end_index; ++begin_) {
      if (left_out_.count(begin_) == 0) Print(entries_[begin_].key);
    }
    FlushOutput();
  }

 private:
  void Print(const std::string& key) const {
    if (!args_.json) return PrintLine(Escaped(key));
    Json object;
    SetBytes(&object, "key", key, false);
    PrintJson(object);
  }

  const ImportArgs& args_;
  const std::vector<TreeEntry>& entries_;
  std::set<size_t> left_out_;
  size_t begin_ = 0;
};

int Import(const ImportArgs& args) {
  ProgressBar bar("import");
  Problems problems(&bar);
  const auto start = std::chrono::steady_clock::now();
  const absl::StatusOr<std::vector<TreeEntry>> entries = WalkTree(
      args.directory, "", [&](const std::string& path, const absl::Status& why) { problems.LeftOut(path, why); });
  if (!entries.ok()) {
    return Fail("import " + args.directory, entries.status(), "DIR is an existing directory that you may read");
  }
  const uint64_t total_bytes = TotalBytes(*entries);

  ImportOptions options;
  options.batch_bytes = args.batch_bytes;
  if (args.buffered) options.durability = Durability::kBuffered;
  ImportCallbacks callbacks;
  CommittedKeys committed(args, *entries);
  callbacks.on_left_out = [&](size_t i, const absl::Status& why) {
    committed.LeftOut(i);
    problems.LeftOut((*entries)[i].path, why);
  };
  callbacks.on_changed = [&](size_t i) { problems.Changed((*entries)[i].path); };
  callbacks.on_committed = [&](size_t end_index, uint64_t bytes) {
    committed.Committed(end_index);
    bar.Update(bytes, total_bytes);
  };

  return WithStore(args.store, Access::kCreateNamespace, [&](DB& db, Namespace& space) -> int {
    const absl::StatusOr<ImportCounts> counts = ImportEntries(db, space, *entries, options, callbacks);
    bar.Clear();
    if (!counts.ok()) {
      return Fail("import " + args.directory + " into " + args.store.path, counts.status(),
                  "what was committed stays; import again to complete it");
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    PrintSummary(args, *counts, problems, elapsed.count());
    return problems.unreadable() > 0 ? kExitPartial : kExitOk;
  });
}

}  // namespace

void AddImportCommand(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<ImportArgs>();
  CLI::App* command = app->add_subcommand("import", "Store a directory tree: files, directories, symbolic links");
  AddStoreArgs(command, &args->store);
  command->add_option("DIR", args->directory, "The directory")->required()->check(CheckNotEmpty);
  command->get_option("--namespace")->description("Import into this namespace, made if missing, not the default one");
  command->add_option("--batch-bytes", args->batch_bytes, "Commit whenever this much has come together (default 4 MiB)")
      ->check(CLI::Range(uint64_t{1}, kBatchBytesMax));
  command->add_flag("--buffered", args->buffered, "Do not wait for the disk; closing the store makes it durable");
  command->add_flag("--list", args->list, "Print each key once it is committed, one a line, before the counts");
  command->add_flag("--json", args->json, "Print the counts as one JSON object");
  command->footer(
      std::string("The key is the path relative to DIR, the value the file's bytes; mode and modification time\n"
                  "are kept as metadata. Devices, sockets and pipes are left out with a note, which is no\n"
                  "failure. Files that cannot be read, or exceed 1 GiB, are reported, and the exit code is 5.\n") +
      kExitCodesText);
  command->callback([args, exit_code] { *exit_code = Import(*args); });
}

}  // namespace firn::tools
