// A store under real threads that do everything at once, on a real disk. ThreadSanitizer sees through it, which it
// cannot where a scheduler runs one thread at a time: `./dev stress` builds it that way.
#include <firn/db.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "db/open.h"
#include "io/open_disk.h"
#include "stress/actors.h"
#include "stress/world.h"
#include "support/rng.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

struct StressSettings {
  uint64_t calls = 200'000;
  double seconds = 0;  // instead of calls
  std::string disk = "io_uring";
  uint64_t seed = 1;
};

// Small segments and a low ceiling, so that a small store is sealed and reclaimed all the time.
absl::StatusOr<std::unique_ptr<DB>> Open(const std::string& path, const StressSettings& settings) {
  Options options;
  options.memory_budget_bytes = uint64_t{64} << 20;
  options.flush_interval_ms = 20;
  options.max_space_amplification = 1.3;
  options.value_separation_threshold_bytes = 8 << 10;
  options.use_io_uring = settings.disk == "io_uring";
  auto disk =
      io::OpenDisk(path, {.create_if_missing = true, .use_io_uring = options.use_io_uring}, io::SyncedWrite::kCalls);
  if (!disk.ok()) return disk.status();
  Environment environment;
  environment.disk = *std::move(disk);
  environment.segment_bytes_min_for_test = uint64_t{512} << 10;
  environment.ceiling_floor_segments_for_test = 4;
  return OpenOn(options, std::move(environment));
}

void RunAll(World& world, const StressSettings& settings) {
  Rng rng(settings.seed);
  std::vector<std::thread> threads;
  for (const Actor& actor : AllActors()) {
    threads.emplace_back([&world, actor, fork = rng.Fork()] {
      try {
        actor.run(world, fork);
      } catch (const std::exception& broken) {
        world.Fail(actor.name + ": " + broken.what());
      }
    });
  }
  if (settings.seconds > 0) {
    world.AwaitStop(std::chrono::duration<double>(settings.seconds));
    world.Stop();
  }
  for (std::thread& thread : threads) thread.join();
  const std::string failure = world.failure();
  Require(failure.empty(), failure);
}

void Stress(const StressSettings& settings) {
  testing::TempDir directory;
  const std::string path = directory.File("store");
  auto db = Open(path, settings);
  RequireOk(db.status(), "open");
  World world(**db, settings.seconds > 0 ? UINT64_MAX : settings.calls);
  RunAll(world, settings);
  CheckSettled(world);
  const std::string wrong = CheckReferences(**db);
  Require(wrong.empty(), wrong);
  const Stats stats = (*db)->GetStats();
  RequireOk((*db)->Close(), "close");
  db->reset();

  db = Open(path, settings);
  RequireOk(db.status(), "open again");
  World again(**db, UINT64_MAX);
  for (const auto& [key, number] : world.Settled()) again.Settle(key, number);
  CheckSettled(again);
  RequireOk((*db)->Close(), "close again");

  std::printf("%llu calls over %s by %zu threads, %.1f MiB on disk:", static_cast<unsigned long long>(world.calls()),
              settings.disk.c_str(), AllActors().size(), static_cast<double>(stats.disk_bytes) / (1 << 20));
  bool met_all = true;
  for (size_t deed = 0; deed < kDeeds; ++deed) {
    const uint64_t count = world.count(static_cast<Deed>(deed));
    std::printf("%s %llu %s", deed == 0 ? "" : ",", static_cast<unsigned long long>(count), kDeedNames[deed]);
    met_all &= count > 0;
  }
  std::printf("; %llu records and %llu values moved by reclaim\n",
              static_cast<unsigned long long>(stats.relocated_records),
              static_cast<unsigned long long>(stats.values_evacuated));
  Require(stats.relocated_records > 0, "nothing was reclaimed: the stress stresses too little");
  Require(met_all, "something was never done: the stress is too short");
}

}  // namespace
}  // namespace firn::test

int main(int argc, char** argv) {
  firn::test::StressSettings settings;
  CLI::App app{"Uses a store from many threads at once and holds it to what every one of them sees"};
  app.add_option("--calls", settings.calls, "of all threads together")->capture_default_str();
  app.add_option("--seconds", settings.seconds, "how long, instead of --calls");
  app.add_option("--disk", settings.disk, "how files are reached")
      ->check(CLI::IsMember({"io_uring", "pread"}))
      ->capture_default_str();
  app.add_option("--seed", settings.seed, "of what each thread does; what comes of it the threads decide")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    firn::test::Stress(settings);
  } catch (const std::exception& broken) {
    std::fflush(stdout);
    std::fprintf(stderr, "FAILED over %s: %s\n", settings.disk.c_str(), broken.what());
    return 1;
  }
  return 0;
}
