// Real power cuts of real file systems: a process uses a store in ext4 or xfs, on a loop device, on a file whose server
// has a volatile write cache and cuts the power (power_disk.cc). Then the file system is mounted again and replays its
// journal, and what is there is judged by what the process had been told. Two stores go from cut to cut: one under a
// load of all operations, which the model judges, and one that the firn tool imports a tree into (imported_tree.h).
//
// Exit status: 0 all is well, 1 something was lost or is wrong, 77 not permitted here, 130 interrupted. With a disk
// that ignores flushes 0 says that this was noticed.
#include <firn/db.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "powercut/imported_tree.h"
#include "powercut/machine.h"
#include "powercut/power_disk_client.h"
#include "support/aftermath.h"
#include "support/call_log.h"
#include "support/end_process.h"
#include "support/load.h"
#include "support/model.h"
#include "support/rng.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

constexpr int kFailed = 1, kNotPermitted = 77, kInterrupted = 130;

struct Settings {
  uint64_t cuts = 100;
  uint64_t seed = 0;
  std::string file_systems = "ext4,xfs";
  uint64_t cuts_per_store = 10;
  uint64_t requests_max = 4'000;  // of the disk, before a cut
  bool ignore_flushes = false;
  std::string only;  // "load" or "import"; empty: by turns
  std::string disk_program, tool = FIRN_TOOL;
};

struct FileSystem {
  std::string name, mkfs;
  uint64_t bytes;
};
// Images as small as the file systems permit.
const std::map<std::string, FileSystem> kFileSystems = {
    {"ext4", {"ext4", "mkfs.ext4 -q -F -m 0 -E nodiscard ", uint64_t{256} << 20}},
    {"xfs", {"xfs", "mkfs.xfs -q -f -K ", uint64_t{320} << 20}},
};

struct Interrupted {};
volatile sig_atomic_t interrupted = 0;

void CheckInterrupted() {
  if (interrupted != 0) throw Interrupted();
}

// What the judges of a store say, as opposed to what goes wrong on the way there.
class Judgement : public Violation {
 public:
  using Violation::Violation;
};

// What was counted, of one file system.
struct Tally {
  uint64_t cuts = 0, in_import = 0;  // under a process that writes; the latter are among them
  uint64_t in_recovery = 0;          // beside them
  uint64_t imported = 0;             // files whose import was acknowledged, of all versions
  uint64_t acknowledged = 0, synced = 0, lost = 0, unanswered_found = 0;
  uint64_t writes_lost = 0, writes_torn = 0, writes_kept = 0, writes = 0, flushes = 0;
};

// A process of ours that uses the store until the power goes.
class Victim {
 public:
  // `life` returns only if it is done.
  template <typename Life>
  explicit Victim(Life life) {
    std::fflush(nullptr);
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) throw HarnessError("no pipe");
    process_ = ::fork();
    if (process_ < 0) throw HarnessError("no process");
    if (process_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(pipe_ends[0]);
      life();
      ::_exit(0);
    }
    ::close(pipe_ends[1]);
    alive_ = pipe_ends[0];
  }
  ~Victim() {
    Kill();
    ::close(alive_);
  }
  Victim(const Victim&) = delete;

  // Readable once the process has ended, however it did.
  int alive() const { return alive_; }
  // Ends it if it has not ended; what waitpid() says of its end.
  int Kill() {
    int status = 0;
    if (process_ < 0) return status;
    pollfd end = {alive_, POLLIN, 0};
    if (::poll(&end, 1, 0) == 0) ::kill(process_, SIGKILL);
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return status;
  }

 private:
  pid_t process_ = -1;
  int alive_ = -1;
};

enum class News { kDisk, kVictimEnded, kNothing };

// Waits for a word of the disk or the end of the victim.
News Await(const PowerDisk* disk, const Victim& victim, std::chrono::milliseconds longest) {
  pollfd polled[2] = {{victim.alive(), POLLIN, 0}, {disk != nullptr ? disk->events() : -1, POLLIN, 0}};
  const int ready = ::poll(polled, 2, static_cast<int>(longest.count()));
  CheckInterrupted();
  if (ready == 0 || (ready < 0 && errno == EINTR)) return News::kNothing;
  if (ready < 0) throw HarnessError("poll failed");
  return polled[1].revents != 0 ? News::kDisk : News::kVictimEnded;
}

// One store in one file system, from mkfs on.
class Round {
 public:
  Round(const Settings& settings, const FileSystem& file_system, const std::string& folder, CallLog& log, Rng rng)
      : settings_(settings),
        file_system_(file_system),
        folder_(folder),
        log_(log),
        aftermath_(log),
        rng_(rng),
        disk_(settings.disk_program, Folder("fuse"), file_system.bytes),
        tree_(settings.tool, Folder("import"), rng_.Fork()) {
    const LoopDevice device(disk_.image(), folder_);
    direct_io_ = device.direct_io();
    RunProgram(file_system.mkfs + device.path());
    mount_.emplace(device.path(), Folder("mnt"), file_system.name);
    if (HasImport()) Import();
    if (settings.ignore_flushes) disk_.Lie();
  }

  bool direct_io() const { return direct_io_; }

  // Cuts, recovers, judges; tells what was done. The store lives on.
  std::string CutOnce(Tally& tally) {
    aftermath_.BeginLife();
    const bool by_import = HasImport() && (!HasLoad() || turn_++ % 2 == 1);
    std::string story = by_import ? CutUnderImport(tally) : CutUnderLoad(tally);
    ++tally.cuts;
    // A machine that has lost power may lose it again while it starts.
    while (rng_.OneIn(4)) story += CutInRecovery(tally);
    Aftermath::Life life;
    try {
      if (HasImport()) tree_.Judge(ImportedStore());
      if (HasLoad()) life = JudgeLoad();
    } catch (const Violation& violation) {
      throw Judgement(violation.what());
    }
    tally.acknowledged += life.acknowledged;
    tally.synced += life.synced;
    tally.lost += life.lost;
    tally.unanswered_found += life.unanswered_found;
    return story + "; " + std::to_string(life.acknowledged) + " writes acknowledged, " + std::to_string(life.synced) +
           " of them synced, " + std::to_string(life.lost) + " buffered ones gone; " + std::to_string(life.entries) +
           " keys";
  }

  void AddCounts(Tally& tally) {
    const VolatileDisk::Counts counts = disk_.counts();
    tally.imported += tree_.acknowledged();
    tally.writes += counts.writes;
    tally.flushes += counts.flushes;
  }

 private:
  bool HasLoad() const { return settings_.only != "import"; }
  bool HasImport() const { return settings_.only != "load"; }

  Aftermath::Life JudgeLoad() {
    const std::unique_ptr<DB> db = OpenAfterCrash(LoadOptions(), Store());
    const Aftermath::Life life = aftermath_.Judge(*db, Promise::kDurable);
    CheckSpace(*db, Store());
    if (rng_.OneIn(2) && !db->Close().ok()) throw Violation("Close failed");
    return life;
  }

  std::string Folder(const std::string& name) const {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(path);
    return path;
  }
  std::string Store() const { return folder_ + "/mnt/store"; }
  std::string ImportedStore() const { return folder_ + "/mnt/imported"; }

  VolatileDisk::CutRule RandomRule() {
    static constexpr uint32_t kLost[] = {0, 10, 50, 90, 100}, kTorn[] = {0, 20, 100};
    VolatileDisk::CutRule rule;
    rule.seed = rng_.Next();
    // All since the lie began: the file system is in order then, and what is missing only the judge can miss.
    if (settings_.ignore_flushes) return {.seed = rule.seed, .lost_percent = 100};
    rule.lost_percent = kLost[rng_.Below(std::size(kLost))];
    rule.torn_percent = kTorn[rng_.Below(std::size(kTorn))];
    rule.at_flush = rng_.OneIn(2);
    return rule;
  }

  std::string CutUnderLoad(Tally& tally) {
    const uint64_t requests = SomeRequests();
    LoadSettings load;
    static constexpr double kSyncedShares[] = {0, 0.02, 0.3};
    load.synced_share = kSyncedShares[rng_.Below(std::size(kSyncedShares))];
    load.asks_for_durability = load.synced_share > 0 || rng_.OneIn(2);
    // Large values go to the disk between two flushes, and are at stake there.
    if (rng_.OneIn(3)) load.large_one_in = 4, load.streamed_one_in = 30;
    disk_.CutAfter(requests, RandomRule());
    Victim victim([this, load, rng = rng_.Fork()] {
      const auto db = DB::Open(LoadOptions(), Store());
      if (!db.ok()) return log_.Fail(CallLog::Failure::kError, "the store cannot be opened: " + db.status().ToString());
      RunLoad(**db, log_, load, rng, UINT64_MAX, [] {});
      EndProcess(0);  // no Close: the power is gone
    });
    if (!WaitForCut(victim)) throw Violation("the working process ended before the cut: " + log_.why());
    EndVictim(victim);
    if (log_.failure() == CallLog::Failure::kViolation) throw Violation(log_.why());
    return "after " + std::to_string(requests) + " requests " + Restart(tally);
  }

  // The tool imports version after version.
  std::string CutUnderImport(Tally& tally) {
    const uint64_t requests = SomeRequests(), before = tree_.acknowledged();
    disk_.CutAfter(requests, RandomRule());
    while (Import()) {
    }
    ++tally.in_import;
    return std::to_string(tree_.acknowledged() - before) + " files imported, after " + std::to_string(requests) +
           " requests " + Restart(tally);
  }

  // False if the power was cut meanwhile.
  bool Import() {
    tree_.WriteNextVersion();
    Victim victim([this] {
      tree_.BecomeImport(ImportedStore());
      ::_exit(127);
    });
    const bool was_cut = WaitForCut(victim);
    const int status = victim.Kill();
    const bool said_done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    tree_.ReadListing(said_done);
    const bool was_killed = was_cut && WasKilled(status);
    const bool said_why = was_cut && WIFEXITED(status) && !tree_.error_text().empty();
    if (!said_done && !was_killed && !said_why) {
      throw Violation("firn import ended with status " + std::to_string(status) + ": " + tree_.error_text());
    }
    return !was_cut;
  }

  // Ends a process of ours, which meets no end of its own making: errors are statuses.
  static void EndVictim(Victim& victim) {
    const int status = victim.Kill();
    if (WasKilled(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return;
    throw Violation("the process ended with wait status " + std::to_string(status));
  }

  uint64_t SomeRequests() { return rng_.Below(rng_.OneIn(3) ? settings_.requests_max / 40 : settings_.requests_max); }

  // Waits for the cut, and then perhaps for the victim's end. False if the victim ends before a cut.
  bool WaitForCut(const Victim& victim) {
    News news = Await(&disk_, victim, kLongest);
    // It may have failed of the cut before the disk's word was read.
    if (news == News::kVictimEnded) news = Await(&disk_, victim, std::chrono::seconds(0));
    if (news == News::kNothing) throw Violation("nothing was written for a minute");
    if (news == News::kVictimEnded) return false;
    disk_.Listen();
    // Half of the processes meet the errors of a disk that is gone, and may not take any of them for success.
    const bool meets_errors = rng_.OneIn(2);
    if (meets_errors && Await(nullptr, victim, kLongest) != News::kVictimEnded) {
      throw Violation("the working process goes on for a minute without a disk");
    }
    return true;
  }

  // The process recovers the stores, and closes them if it comes to that.
  std::string CutInRecovery(Tally& tally) {
    disk_.CutAfter(rng_.Below(60), RandomRule());
    Victim victim([this] {
      if (HasLoad()) static_cast<void>(DB::Open(LoadOptions(), Store()));
      if (HasImport()) static_cast<void>(DB::Open(Options(), ImportedStore()));
    });
    while (!disk_.cut()) {
      const News news = Await(&disk_, victim, kLongest);
      if (news == News::kNothing) throw Violation("opening takes more than a minute");
      if (news == News::kDisk) disk_.Listen();
      if (news == News::kVictimEnded) disk_.Cut(RandomRule());
    }
    EndVictim(victim);
    ++tally.in_recovery;
    return ", again while recovering: " + Restart(tally);
  }

  // The machine after the cut: everything is let go of, the power comes back, the journal is replayed.
  std::string Restart(Tally& tally) {
    const VolatileDisk::CutReport cut = *disk_.cut();
    tally.writes_lost += cut.lost;
    tally.writes_torn += cut.torn;
    tally.writes_kept += cut.kept;
    mount_->Unmount();
    mount_.reset();
    CheckInterrupted();
    disk_.PowerOn();
    const LoopDevice device(disk_.image(), folder_);
    mount_.emplace(device.path(), Folder("mnt"), file_system_.name);
    return std::to_string(cut.lost) + " writes lost, " + std::to_string(cut.torn) + " torn, " +
           std::to_string(cut.kept) + " kept";
  }

  static constexpr std::chrono::seconds kLongest{60};

  const Settings& settings_;
  const FileSystem& file_system_;
  const std::string folder_;
  CallLog& log_;
  Aftermath aftermath_;
  Rng rng_;
  PowerDisk disk_;
  ImportedTree tree_;
  std::optional<Mount> mount_;
  uint64_t turn_ = 0;
  bool direct_io_ = false;
};

std::vector<const FileSystem*> ChosenFileSystems(const std::string& names) {
  std::vector<const FileSystem*> chosen;
  for (size_t at = 0; at <= names.size();) {
    const size_t end = std::min(names.find(',', at), names.size());
    const auto found = kFileSystems.find(names.substr(at, end - at));
    if (found == kFileSystems.end()) throw CLI::ValidationError("--file-systems", "ext4, xfs, or both with a comma");
    chosen.push_back(&found->second);
    at = end + 1;
  }
  return chosen;
}

void PrintTally(const std::string& name, const Tally& tally) {
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%s: %llu cuts (%llu of them under firn import) and %llu while recovering, %llu acknowledged synced writes "
      "checked "
      "of %llu acknowledged, and %llu acknowledged imports of files; gone with the power: %llu buffered ones, "
      "permitted; "
      "disk: %llu writes and %llu flushes, at cuts %llu unflushed "
      "writes lost, %llu torn, %llu kept\n",
      name.c_str(), number(tally.cuts), number(tally.in_import), number(tally.in_recovery), number(tally.synced),
      number(tally.acknowledged), number(tally.imported), number(tally.lost), number(tally.writes),
      number(tally.flushes), number(tally.writes_lost), number(tally.writes_torn), number(tally.writes_kept));
}

// How many cuts there were, those while recovering included.
uint64_t RunAll(const Settings& settings) {
  const std::vector<const FileSystem*> file_systems = ChosenFileSystems(settings.file_systems);
  EnterOwnMountNamespace();
  const testing::TempDir folder;
  CallLog log;
  Rng rng(settings.seed);
  std::map<std::string, Tally> tallies;
  uint64_t cuts = 0;
  for (uint64_t round_number = 0; cuts < settings.cuts; ++round_number) try {
      const FileSystem& file_system = *file_systems[round_number % file_systems.size()];
      Tally& tally = tallies[file_system.name];
      Round round(settings, file_system, folder.path(), log, rng.Fork());
      std::printf("%s: a fresh store%s\n", file_system.name.c_str(), round.direct_io() ? ", direct I/O" : "");
      const uint64_t before = tally.cuts;
      while (tally.cuts - before < settings.cuts_per_store && cuts + tally.cuts - before < settings.cuts) {
        const std::string story = round.CutOnce(tally);
        std::printf("cut %llu: %s %s\n", static_cast<unsigned long long>(cuts + tally.cuts - before),
                    file_system.name.c_str(), story.c_str());
        std::fflush(stdout);
      }
      round.AddCounts(tally);
      cuts += tally.cuts - before;
    } catch (const NotPermitted& refusal) {
      // What was permitted once is no reason to skip the test.
      if (cuts > 0) throw HarnessError(refusal.what());
      throw;
    }
  uint64_t all = 0;
  for (const auto& [name, tally] : tallies) {
    PrintTally(name, tally);
    all += tally.cuts + tally.in_recovery;
  }
  return all;
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  using namespace firn::test;
  Settings settings;
  settings.seed = static_cast<uint64_t>(::getpid());
  settings.disk_program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "firn_power_disk";
  CLI::App app{
      "Cuts the power of a file system under a working store, recovers it and judges what is there, in a loop"};
  app.add_option("--cuts", settings.cuts, "how many")->capture_default_str();
  app.add_option("--seed", settings.seed, "of the load and the cuts; default: the process id");
  app.add_option("--file-systems", settings.file_systems, "by turns")->capture_default_str();
  app.add_option("--cuts-per-store", settings.cuts_per_store, "then comes a fresh one")->capture_default_str();
  app.add_option("--requests-max", settings.requests_max, "of the disk, before a cut")->capture_default_str();
  app.add_option("--only", settings.only, "what works under the cuts; default: both by turns")
      ->check(CLI::IsMember({"load", "import"}));
  app.add_flag("--ignore-flushes", settings.ignore_flushes, "the disk lies: what is told as durable is not; must fail");
  CLI11_PARSE(app, argc, argv);
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  const std::string again = "./dev powercut " + std::to_string(settings.cuts) + " --seed " +
                            std::to_string(settings.seed) + " --file-systems " + settings.file_systems +
                            " --cuts-per-store " + std::to_string(settings.cuts_per_store) + " --requests-max " +
                            std::to_string(settings.requests_max) +
                            (settings.only.empty() ? "" : " --only " + settings.only);
  std::printf("seed %llu\n", static_cast<unsigned long long>(settings.seed));
  try {
    const uint64_t cuts = RunAll(settings);
    if (settings.ignore_flushes) {
      std::printf("FAILED: nobody noticed that flushes were ignored\n");
      return kFailed;
    }
    std::printf("%llu cuts survived; again: %s\n", static_cast<unsigned long long>(cuts), again.c_str());
    return 0;
  } catch (const Violation& violation) {
    if (settings.ignore_flushes && dynamic_cast<const Judgement*>(&violation) != nullptr) {
      std::printf("noticed: %s\n", std::string(violation.what(), std::strcspn(violation.what(), "\n")).c_str());
      return 0;
    }
    std::fflush(stdout);
    std::fprintf(stderr, "FAILED: %s\nagain, as far as threads permit: %s\n", violation.what(), again.c_str());
    return kFailed;
  } catch (const NotPermitted& refusal) {
    std::printf("skipped: %s\n", refusal.what());
    return kNotPermitted;
  } catch (const Interrupted&) {
    return kInterrupted;
  } catch (const CLI::Error& error) {
    return app.exit(error);
  } catch (const std::exception& failure) {
    std::fflush(stdout);
    std::fprintf(stderr, "FAILED: %s\n", failure.what());
    return kFailed;
  }
}
