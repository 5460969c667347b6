// Churn on a real disk: a process that overwrites, deletes, lets expire and compacts is killed with SIGKILL and opened
// again, for as many minutes as wanted. Each time every key has what it was last told, and the files take what Stats
// says.
#include <firn/db.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sys/stat.h>
#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "support/rng.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

constexpr size_t kKeys = 20'000;
constexpr size_t kValueBytesMax = 12'000;
constexpr uint64_t kStreamBytesMin = (uint64_t{1} << 20) + 1;  // above what a stream keeps in one piece
constexpr uint64_t kOperationsMax = 200'000;                   // before a kill

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// What a key holds: 0, or the number its value was made from.
struct Told {
  uint64_t number = 0;
  int64_t expires_at_ms = 0;
};

// Shared with the process that is killed: what it was told last of each key, and what it was asking for.
struct Ledger {
  struct Key {
    volatile Told told, asked;
  };
  Key keys[kKeys];
  volatile uint64_t operations;
};

void Note(volatile Told& to, const Told& told) {
  to.expires_at_ms = told.expires_at_ms;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  to.number = told.number;
}

std::string KeyOf(size_t i) { return "key/" + std::to_string(i); }

// Small ones, large ones beside the log, and a few that go in streams.
std::string ValueOf(uint64_t number) {
  Rng rng(number);
  std::string value = std::to_string(number) + ":";
  const uint64_t more_bytes = rng.Below(rng.OneIn(8) ? kValueBytesMax : 600);
  value.resize(value.size() + (rng.OneIn(3'000) ? kStreamBytesMin + 100 * more_bytes : more_bytes),
               static_cast<char>('a' + number % 26));
  return value;
}

absl::Status Put(DB& db, const std::string& key, const std::string& value, const PutOptions& options) {
  if (value.size() < kStreamBytesMin) return db.Put(key, value, options).status();
  constexpr size_t kPieceBytes = 100'000;
  size_t at = 0;
  const auto source = [&]() -> absl::StatusOr<std::string_view> {
    const std::string_view piece = std::string_view(value).substr(std::min(at, value.size()), kPieceBytes);
    at += piece.size();
    return piece;
  };
  return db.PutStream(key, source, options).status();
}

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "soak: %s\n", why.c_str());
  std::exit(1);
}

Options SoakOptions() {
  Options options;
  options.memory_budget_bytes = uint64_t{64} << 20;
  options.max_space_amplification = 1.3;
  options.value_separation_threshold_bytes = 4'096;
  return options;
}

// Says so through the pipe after `operations`, and goes on.
[[noreturn]] void ChurnUntilKilled(const std::string& path, Ledger& ledger, Rng rng, uint64_t operations,
                                   int pipe_end) {
  constexpr uint64_t kOperationsBetweenCompacts = 40'000;
  auto db = DB::Open(SoakOptions(), path);
  if (!db.ok()) Die("the store cannot be opened: " + db.status().ToString());
  std::atomic<bool> compacts{false};
  std::thread compacting([&db, &compacts] {
    for (;;) {
      compacts.wait(false);
      if (const absl::Status status = (*db)->Compact(); !status.ok()) Die("compacting: " + status.ToString());
      compacts = false;
    }
  });
  for (uint64_t done = 0;; ++done) {
    if (done == operations && ::write(pipe_end, "", 1) != 1) Die("nobody waits for the churning process");
    if (rng.OneIn(kOperationsBetweenCompacts) && !compacts.exchange(true)) compacts.notify_one();
    // Some keys are hot, most are cold.
    const size_t i = rng.OneIn(3) ? rng.Below(kKeys) : rng.Below(kKeys / 20);
    Ledger::Key& key = ledger.keys[i];
    const uint64_t draw = rng.Below(20);
    Told asked;
    PutOptions options;
    options.durability = rng.OneIn(200) ? Durability::kSynced : Durability::kBuffered;
    absl::Status status;
    if (draw < 3) {
      Note(key.asked, asked);
      status = (*db)->Delete(KeyOf(i), options).status();
    } else {
      // Now and then a content that other keys have, too.
      asked.number = (rng.OneIn(8) ? rng.Below(64) : rng.Next()) | 1;
      if (draw < 6) asked.expires_at_ms = NowMs() + static_cast<int64_t>(rng.Below(8'000));
      options.expires_at_ms = asked.expires_at_ms;
      Note(key.asked, asked);
      status = Put(**db, KeyOf(i), ValueOf(asked.number), options);
    }
    if (!status.ok()) Die("a write failed: " + status.ToString());
    Note(key.told, asked);
    ledger.operations = ledger.operations + 1;
  }
}

uint64_t BytesOnDisk(const std::string& path) {
  uint64_t bytes = 0;
  for (const auto& each : std::filesystem::recursive_directory_iterator(path)) {
    struct stat info = {};
    if (each.is_regular_file() && ::stat(each.path().c_str(), &info) == 0) {
      bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    }
  }
  return bytes;
}

// Whether a key may show `found` (nothing: absent), given what was told or asked for and the time since `since_ms`.
bool Permits(const Told& state, const std::optional<std::string>& found, int64_t since_ms) {
  if (!found) return state.number == 0 || (state.expires_at_ms != 0 && state.expires_at_ms <= NowMs());
  return state.number != 0 && (state.expires_at_ms == 0 || state.expires_at_ms > since_ms) &&
         *found == ValueOf(state.number);
}

void CheckContents(DB& db, Ledger& ledger) {
  for (size_t i = 0; i < kKeys; ++i) {
    const int64_t since_ms = NowMs();
    const auto value = db.Get(KeyOf(i));
    if (!value.ok() && !absl::IsNotFound(value.status())) Die(KeyOf(i) + ": " + value.status().ToString());
    std::optional<std::string> found;
    if (value.ok()) found = *value;
    Ledger::Key& key = ledger.keys[i];
    const Told asked{key.asked.number, key.asked.expires_at_ms}, told{key.told.number, key.told.expires_at_ms};
    const bool is_asked = Permits(asked, found, since_ms);
    if (!is_asked && !Permits(told, found, since_ms)) {
      Die(KeyOf(i) + " has " + (found ? found->substr(0, 30) : "nothing") + ", was told " +
          std::to_string(told.number) + " until " + std::to_string(told.expires_at_ms) + ", asked for " +
          std::to_string(asked.number) + " until " + std::to_string(asked.expires_at_ms));
    }
    Note(is_asked ? key.told : key.asked, is_asked ? asked : told);
  }
}

// Reclaim may be at work: its copies are on disk before they are part of the store. It is given the time of a durable
// write for each turn.
void CheckSpace(DB& db, const std::string& path) {
  constexpr int kTurnsMax = 20'000;
  PutOptions buffered;
  buffered.durability = Durability::kBuffered;
  uint64_t bytes = 0, said = 0;
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    bytes = BytesOnDisk(path);
    said = db.GetStats().disk_bytes;
    const uint64_t difference = bytes > said ? bytes - said : said - bytes;
    if (difference * 100 <= said) return;
    const bool written = db.Put("pace", std::to_string(turn), buffered).ok();
    if (!written || !db.Sync().ok()) Die("a write failed while space was to come to rest");
  }
  Die("the files take " + std::to_string(bytes) + " bytes, Stats.disk_bytes says " + std::to_string(said) + "\n" +
      db.GetStats().ToString());
}

int Soak(double minutes, const std::string& directory, uint64_t seed) {
  std::optional<testing::TempDir> temporary;
  if (directory.empty()) temporary.emplace();
  const std::string path = (directory.empty() ? temporary->path() : directory) + "/store";
  void* memory = ::mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Die("no memory");
  auto& ledger = *static_cast<Ledger*>(memory);
  Rng rng(seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double, std::ratio<60>>(minutes);
  for (uint64_t round = 1; std::chrono::steady_clock::now() < end; ++round) {
    std::fflush(nullptr);
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) Die("no pipe");
    const uint64_t operations = rng.Between(1, kOperationsMax);
    const Rng childs = rng.Fork();
    const pid_t child = ::fork();
    if (child < 0) Die("no process");
    if (child == 0) {
      ::close(pipe_ends[0]);
      ChurnUntilKilled(path, ledger, childs, operations, pipe_ends[1]);
    }
    ::close(pipe_ends[1]);
    char byte;
    static_cast<void>(!::read(pipe_ends[0], &byte, 1));  // nothing: it has ended by itself, which its status tells
    ::close(pipe_ends[0]);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFSIGNALED(status)) Die("the churning process ended by itself in round " + std::to_string(round));
    auto db = DB::Open(SoakOptions(), path);
    if (!db.ok()) Die("the store cannot be opened: " + db.status().ToString());
    CheckContents(**db, ledger);
    const auto verified = (*db)->Verify();
    if (!verified.ok() || !verified->damages.empty()) Die("Verify finds damage in round " + std::to_string(round));
    CheckSpace(**db, path);
    const Stats stats = (*db)->GetStats();
    std::printf("round %llu: %llu operations, %llu keys, %.1f MiB on disk, amplification %.2f\n",
                static_cast<unsigned long long>(round), static_cast<unsigned long long>(ledger.operations),
                static_cast<unsigned long long>(stats.keys), static_cast<double>(stats.disk_bytes) / (1 << 20),
                stats.space_amplification);
    if (round % 2 == 0 && !(*db)->Close().ok()) Die("Close failed");
  }
  return 0;
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  double minutes = 5;
  uint64_t seed = static_cast<uint64_t>(::getpid());
  std::string directory;
  CLI::App app{"Churns a store on a real disk, kills the process, opens the store again and checks it, in a loop"};
  app.add_option("--minutes", minutes, "how long")->capture_default_str();
  app.add_option("--directory", directory, "where the store lies; default: a temporary directory");
  app.add_option("--seed", seed, "of what is written; default: the process id");
  CLI11_PARSE(app, argc, argv);
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  return firn::test::Soak(minutes, directory, seed);
}
