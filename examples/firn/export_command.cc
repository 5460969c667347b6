// export: a namespace's entries as a directory tree.
#include <memory>

#include "firn/command.h"
#include "firn/output.h"
#include "support/progress.h"
#include "support/text.h"
#include "support/tree_entry.h"
#include "support/tree_writer.h"

namespace firn::tools {
namespace {

struct ExportArgs {
  StoreArgs store;
  std::string directory;
  std::string prefix;
  TreeWriterOptions writer;
  bool json = false;
};

struct ExportCounts {
  uint64_t entries = 0, bytes = 0, failed = 0;
  bool damaged = false;
};

absl::Status ExportOne(Iterator& it, TreeWriter& writer) {
  const std::string_view value = it.value();
  if (!it.status().ok()) return it.status();
  const std::optional<FileInfo> info = ParseTreeMetadata(it.metadata());
  return writer.Write(it.key(), value, info ? &*info : nullptr);
}

ExportCounts ExportAll(const ExportArgs& args, uint64_t bytes_expected, Iterator& it, TreeWriter& writer) {
  ProgressBar bar("export");
  ExportCounts counts;
  for (it.SeekToFirst(); it.Valid(); it.Next()) {
    if (absl::Status status = ExportOne(it, writer); status.ok()) {
      ++counts.entries;
      counts.bytes += it.value().size();
    } else {
      ++counts.failed;
      counts.damaged |= absl::IsDataLoss(status);
      bar.Clear();
      Fail("export key " + Escaped(it.key()), status,
           absl::IsAlreadyExists(status) ? "--overwrite replaces it" : "it was left out");
    }
    bar.Update(counts.bytes, bytes_expected);
  }
  if (!it.status().ok()) {
    ++counts.failed;
    counts.damaged |= absl::IsDataLoss(it.status());
    bar.Clear();
    Fail("export " + args.store.path, it.status());
  }
  return counts;
}

int Export(const ExportArgs& args) {
  return WithStore(args.store, Access::kRead, [&](DB& db, Namespace& space) -> int {
    absl::StatusOr<TreeWriter> writer = TreeWriter::Open(args.directory, args.writer);
    if (!writer.ok()) {
      Fail("export to " + args.directory, writer.status(),
           "DIR is a directory, or its parent is one that you may write");
      return kExitFailed;
    }
    IteratorOptions options;
    options.prefix = args.prefix;
    const std::unique_ptr<Iterator> it = space.NewIterator(options);
    ExportCounts counts = ExportAll(args, db.GetStats().live_bytes, *it, *writer);
    if (absl::Status status = writer->Finish(); !status.ok()) {
      ++counts.failed;
      Fail("export to " + args.directory, status);
    }
    if (args.json) {
      PrintJson({{"entries", counts.entries}, {"bytes", counts.bytes}, {"failed", counts.failed}});
    } else {
      PrintLine("exported " + CountText(counts.entries) + " entries, " + BytesText(counts.bytes) + " to " +
                Escaped(args.directory));
      if (counts.failed > 0) PrintLine("left out " + CountText(counts.failed));
    }
    return counts.damaged ? kExitDataLoss : counts.failed > 0 ? kExitPartial : kExitOk;
  });
}

}  // namespace

void AddExportCommand(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<ExportArgs>();
  CLI::App* command = app->add_subcommand("export", "Write what 'import' stored back as a directory tree");
  AddStoreArgs(command, &args->store);
  command->add_option("DIR", args->directory, "Where to; created if missing")->required()->check(CheckNotEmpty);
  command->add_option("--prefix", args->prefix, "Only keys that start with this");
  command->add_flag("--overwrite", args->writer.overwrite, "Replace files and links that are already there");
  command->add_flag("--set-id", args->writer.keep_set_id,
                    "Restore set-user-id and set-group-id bits too; for stores you trust");
  command->add_flag("--json", args->json, "Print the counts as one JSON object");
  command->footer(
      std::string("Modes, modification times and links come back as they were. Nothing is ever written outside\n"
                  "DIR: keys that are absolute or hold '..' are refused, links are never followed. Keys that\n"
                  "'import' did not write become plain files.\n") +
      kExitCodesText);
  command->callback([args, exit_code] { *exit_code = Export(*args); });
}

}  // namespace firn::tools
