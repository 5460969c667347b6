// bench: runs the parts of the whole-store benchmark and prints their figures.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>

#include "firn/bench.h"
#include "firn/command.h"
#include "firn/output.h"
#include "support/text.h"

namespace firn::tools {
namespace {

struct BenchArgs {
  BenchConfig config;
  std::vector<std::string> only;
  uint64_t memory_mib = 2'048;
  uint64_t max_disk_mib = 0;  // 0: no quota
  bool no_io_uring = false;
  bool keep = false;
  bool json = false;
};

struct Part {
  const char* name;
  absl::Status (*run)(const BenchConfig& config, BenchReport* report);
};

// The index first: memory that an earlier part used and gave back would hide what the index takes.
constexpr Part kParts[] = {{"index", BenchIndex},
                           {"synced", BenchSynced},
                           {"buffered", BenchBuffered},
                           {"get", BenchGet},
                           {"open", BenchOpen}};

// Others' work shows in every figure, most of all where one thread waits for the disk alone.
void WarnIfBusy() {
  double load = 0;
  const unsigned cores = std::thread::hardware_concurrency();
  if (getloadavg(&load, 1) != 1 || load < 0.5 * cores) return;
  char text[128];
  std::snprintf(text, sizeof(text), "bench: this machine is busy: load %.1f on %u cores; the figures will suffer", load,
                cores);
  Note(text);
}

std::string FigureText(double value) {
  char text[48];
  if (value >= 1'000) return CountText(static_cast<uint64_t>(value + 0.5));
  std::snprintf(text, sizeof(text), "%.3f", value);
  return text;
}

void Print(const BenchArgs& args, const BenchReport& report) {
  if (args.json) {
    Json json = {{"runs", args.config.runs}, {"cores", std::thread::hardware_concurrency()}};
    for (const Figure& figure : report.figures()) json[figure.part][figure.name] = figure.value;
    return PrintJson(json);
  }
  for (const Figure& figure : report.figures()) {
    std::string label = figure.part + " " + figure.name;
    std::replace(label.begin(), label.end(), '_', ' ');
    label.resize(std::max<size_t>(label.size(), 46), ' ');
    const std::string value = FigureText(figure.value);
    PrintLine(label + std::string(value.size() < 14 ? 14 - value.size() : 1, ' ') + value);
  }
}

// Empties the directory again however the measuring ends, and removes it if it was made here.
class Cleanup {
 public:
  Cleanup(const BenchArgs& args, bool created) : args_(args), created_(created) {}
  Cleanup(const Cleanup&) = delete;
  ~Cleanup() {
    if (args_.keep) return;
    const std::string& directory = args_.config.directory;
    std::error_code ignored;
    for (const Part& part : kParts) std::filesystem::remove_all(directory + "/" + part.name, ignored);
    std::filesystem::remove(directory + "/raw_loop", ignored);
    if (created_) std::filesystem::remove(directory, ignored);
  }

 private:
  const BenchArgs& args_;
  const bool created_;
};

int RunParts(const BenchArgs& args) {
  BenchReport report;
  for (const Part& part : kParts) {
    if (!args.only.empty() && std::find(args.only.begin(), args.only.end(), part.name) == args.only.end()) continue;
    if (!args.json) std::fprintf(stderr, "firn: bench: %s ...\n", part.name);
    const absl::Status status = part.run(args.config, &report);
    const std::string store = args.config.directory + "/" + part.name;
    if (!status.ok()) return Fail("bench " + std::string(part.name) + " in " + store, status);
    std::error_code ignored;
    if (!args.keep) std::filesystem::remove_all(store, ignored);
  }
  Print(args, report);
  return kExitOk;
}

int Bench(BenchArgs args) {
  BenchConfig& config = args.config;
  config.options.memory_budget_bytes = args.memory_mib << 20;
  config.options.max_disk_bytes = args.max_disk_mib << 20;
  config.options.use_io_uring = !args.no_io_uring;
  std::sort(config.threads.begin(), config.threads.end());
  config.threads.erase(std::unique(config.threads.begin(), config.threads.end()), config.threads.end());

  std::error_code error;
  const bool created = std::filesystem::create_directories(config.directory, error);
  if (error) return Fail("bench", absl::ErrnoToStatus(error.value(), "create " + config.directory));
  const bool empty = created || std::filesystem::is_empty(config.directory, error);
  if (error) return Fail("bench", absl::ErrnoToStatus(error.value(), "list " + config.directory));
  if (!empty) {
    return FailUsage("bench: " + config.directory +
                     " is not empty; name a directory that is, or that does not exist yet");
  }
  WarnIfBusy();
  const Cleanup cleanup(args, created);
  return RunParts(args);
}

}  // namespace

void AddBenchCommand(CLI::App* app, int* exit_code) {
  const auto args = std::make_shared<BenchArgs>();
  BenchConfig& config = args->config;
  CLI::App* bench = app->add_subcommand("bench", "Measure whole stores on the disk that holds a directory");
  bench->add_option("DIR", config.directory, "An empty or new directory on that disk; emptied again afterwards")
      ->required()
      ->check(CheckNotEmpty);
  std::vector<std::string> names;
  for (const Part& part : kParts) names.push_back(part.name);
  bench->add_option("--only", args->only, "Parts to run: index,synced,buffered,get,open (default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  bench->add_option("--threads", config.threads, "synced: numbers of threads (default 1,64)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1'024));
  bench->add_option("--runs", config.runs, "Measure this often, give medians (default 5)")->check(CLI::Range(1, 1'000));
  bench->add_option("--seconds", config.seconds, "Length of one measurement (default 1)")
      ->check(CLI::Range(0.01, 3'600.0));
  bench->add_option("--keys", config.keys, "open, index: number of keys (default 1,000,000)")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 32));
  bench->add_option("--value-bytes", config.value_bytes, "open: size of a value (default 1024)")
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 24));
  bench->add_option("--memory-mib", args->memory_mib, "What a store may hold in memory, MiB (default 2048)")
      ->check(CLI::Range(kMemoryBudgetBytesMin >> 20, uint64_t{1} << 24));
  bench->add_option("--max-disk-mib", args->max_disk_mib, "What all files of a store may take, MiB (default: no quota)")
      ->check(CLI::Range(kMaxDiskBytesMin >> 20, uint64_t{1} << 40));
  bench->add_flag("--no-io-uring", args->no_io_uring, "Use pread and pwrite even where io_uring is available");
  bench->add_flag("--keep", args->keep, "Leave the stores there");
  bench->add_flag("--json", args->json, "Print the figures as one JSON object");
  bench->footer(std::string("Figures of different runs or machines do not compare; the ratios within one run do.\n"
                            "synced: 100-byte puts against a raw loop of 4 KiB direct write and fdatasync, taking "
                            "turns; a store for each\n"
                            "number of threads, at rest before the next one's turn.\n") +
                kExitCodesText);
  bench->callback([args, exit_code] { *exit_code = Bench(*args); });
}

}  // namespace firn::tools
