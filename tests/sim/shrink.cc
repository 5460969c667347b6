#include "sim/shrink.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "support/end_process.h"

namespace firn::test {

const std::vector<SimplerName> kSimplerNames = {
    {"one-client", &Simpler::one_client},     {"few-keys", &Simpler::few_keys},
    {"small-values", &Simpler::small_values}, {"in-log", &Simpler::in_log},
    {"no-faults", &Simpler::no_faults},       {"no-latency", &Simpler::no_latency},
    {"no-quota", &Simpler::no_quota},         {"few-switches", &Simpler::few_switches},
};

std::string Simpler::Names() const {
  std::string names;
  for (const SimplerName& each : kSimplerNames) {
    if (this->*each.member) names += (names.empty() ? "" : ",") + std::string(each.name);
  }
  return names;
}

bool Simpler::Set(std::string_view name) {
  for (const SimplerName& each : kSimplerNames) {
    if (name == each.name) return this->*each.member = true;
  }
  return false;
}

std::string ReplayCommand(const SeedOptions& options) {
  std::string command = "./dev sim --seed " + std::to_string(options.seed);
  if (const std::string names = options.simpler.Names(); !names.empty()) command += " --simpler " + names;
  if (options.simpler.calls_max != UINT64_MAX) command += " --calls-max " + std::to_string(options.simpler.calls_max);
  return command;
}

bool Fails(const SeedOptions& options) {
  constexpr unsigned kHangSeconds = 120;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    alarm(kHangSeconds);
    RunSeed(options);
    EndProcess(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return false;
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

std::optional<SeedOptions> Shrink(const SeedOptions& failed) {
  if (!Fails(failed)) return std::nullopt;
  SeedOptions simplest = failed;
  const auto attempt = [&simplest](const SeedOptions& simpler) {
    if (!Fails(simpler)) return false;
    simplest = simpler;
    return true;
  };
  // What was in the way of one simplification another may have removed.
  for (bool progress = true; progress;) {
    progress = false;
    for (const SimplerName& each : kSimplerNames) {
      if (simplest.simpler.*each.member) continue;
      SeedOptions simpler = simplest;
      simpler.simpler.*each.member = true;
      progress |= attempt(simpler);
    }
    constexpr uint64_t kCallsMost = 220;
    for (uint64_t calls = std::min(simplest.simpler.calls_max, kCallsMost) * 3 / 4; calls > 0; calls = calls * 3 / 4) {
      SeedOptions simpler = simplest;
      simpler.simpler.calls_max = calls;
      if (!attempt(simpler)) break;
      progress = true;
    }
  }
  return simplest;
}

}  // namespace firn::test
