// Kills on a real disk: a process under a load of all operations is killed with SIGKILL and its store opened again, for
// as many minutes or kills as wanted. Each time the model finds everything that the process was told, and the files
// take what Stats says.
#include <firn/db.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "support/aftermath.h"
#include "support/call_log.h"
#include "support/end_process.h"
#include "support/load.h"
#include "support/model.h"
#include "support/rng.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

struct SoakSettings {
  double minutes = 5;
  uint64_t kills = 0;           // 0: as many as the minutes allow
  uint64_t calls_max = 12'000;  // before a kill
  std::string directory;
  uint64_t seed = 0;
};

// Says so through the pipe after `calls` calls, and goes on.
[[noreturn]] void WorkUntilKilled(const std::string& path, CallLog& log, const LoadSettings& load, Rng rng,
                                  uint64_t calls, int pipe_end) {
  auto db = DB::Open(LoadOptions(), path);
  if (db.ok()) {
    RunLoad(**db, log, load, rng, calls, [pipe_end] {
      if (::write(pipe_end, "", 1) != 1) ::_exit(1);
    });
  } else {
    log.Fail(CallLog::Failure::kError, "the store cannot be opened: " + db.status().ToString());
  }
  ::_exit(1);
}

// One life: a process that works and is killed, at a moment that its number of calls decides.
void LiveAndDie(const std::string& path, CallLog& log, const LoadSettings& load, Rng rng, uint64_t calls) {
  std::fflush(nullptr);
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) throw Violation("no pipe");
  const pid_t child = ::fork();
  if (child < 0) throw Violation("no process");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(pipe_ends[0]);
    // With the first call, or while the store opens.
    if (calls == 0 && ::write(pipe_ends[1], "", 1) != 1) ::_exit(1);
    WorkUntilKilled(path, log, load, rng, calls, pipe_ends[1]);
  }
  ::close(pipe_ends[1]);
  char byte;
  static_cast<void>(!::read(pipe_ends[0], &byte, 1));  // nothing: it has ended by itself, which its status tells
  ::close(pipe_ends[0]);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WasKilled(status) || log.failure() != CallLog::Failure::kNone) {
    throw Violation("the working process ended by itself, with wait status " + std::to_string(status) + ": " +
                    log.why());
  }
}

void Soak(const SoakSettings& settings) {
  std::optional<testing::TempDir> temporary;
  if (settings.directory.empty()) temporary.emplace();
  const std::string path = (settings.directory.empty() ? temporary->path() : settings.directory) + "/store";
  CallLog log;
  Aftermath aftermath(log);
  Rng rng(settings.seed);
  Aftermath::Life all;
  uint64_t kills = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double, std::ratio<60>>(settings.minutes);
  while (settings.kills != 0 ? kills < settings.kills : std::chrono::steady_clock::now() < end) {
    // A long life now and then, a short one often.
    const uint64_t calls = rng.Below(rng.OneIn(4) ? settings.calls_max : settings.calls_max / 8);
    LoadSettings load;
    // A store grows and shrinks over its lives.
    load.keys = rng.OneIn(3) ? 2'000 : 300;
    load.synced_share = rng.OneIn(2) ? 0.02 : 0.3;
    aftermath.BeginLife();
    LiveAndDie(path, log, load, rng.Fork(), calls);
    const std::unique_ptr<DB> db = OpenAfterCrash(LoadOptions(), path);
    const Aftermath::Life life = aftermath.Judge(*db, Promise::kEverything);
    CheckSpace(*db, path);
    ++kills;
    all.calls += life.calls;
    all.acknowledged += life.acknowledged;
    all.synced += life.synced;
    all.unanswered_found += life.unanswered_found;
    const Stats stats = db->GetStats();
    std::printf("kill %llu: %llu calls, %llu writes acknowledged, %llu keys, %.1f MiB on disk, amplification %.2f\n",
                static_cast<unsigned long long>(kills), static_cast<unsigned long long>(life.calls),
                static_cast<unsigned long long>(life.acknowledged), static_cast<unsigned long long>(stats.keys),
                static_cast<double>(stats.disk_bytes) / (1 << 20), stats.space_amplification);
    if (kills % 2 == 0 && !db->Close().ok()) throw Violation("Close failed");
  }
  std::printf(
      "%llu kills survived: %llu calls, %llu acknowledged writes found (%llu of them synced), %llu unanswered ones "
      "found "
      "whole\nagain: ./dev kills %llu --seed %llu\n",
      static_cast<unsigned long long>(kills), static_cast<unsigned long long>(all.calls),
      static_cast<unsigned long long>(all.acknowledged), static_cast<unsigned long long>(all.synced),
      static_cast<unsigned long long>(all.unanswered_found), static_cast<unsigned long long>(kills),
      static_cast<unsigned long long>(settings.seed));
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  firn::test::SoakSettings settings;
  settings.seed = static_cast<uint64_t>(::getpid());
  CLI::App app{"Loads a store on a real disk, kills the process, opens the store again and judges it, in a loop"};
  app.add_option("--minutes", settings.minutes, "how long")->capture_default_str();
  app.add_option("--kills", settings.kills, "how often, instead of how long");
  app.add_option("--calls-max", settings.calls_max, "calls before a kill")->capture_default_str();
  app.add_option("--directory", settings.directory, "where the store lies; default: a temporary directory");
  app.add_option("--seed", settings.seed, "of what is done and when it is killed; default: the process id");
  CLI11_PARSE(app, argc, argv);
  std::printf("seed %llu\n", static_cast<unsigned long long>(settings.seed));
  try {
    firn::test::Soak(settings);
  } catch (const firn::test::Violation& violation) {
    std::fflush(stdout);
    std::fprintf(stderr, "FAILED with seed %llu: %s\n", static_cast<unsigned long long>(settings.seed),
                 violation.what());
    return 1;
  }
  return 0;
}
