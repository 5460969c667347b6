// A real process on a real disk, killed with SIGKILL again and again.
#include <firn/db.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <cstdio>
#include <string>

#include "support/end_process.h"
#include "support/temp_dir.h"

namespace firn::test {
namespace {

// The child: puts, and reports each acknowledged one through the pipe.
[[noreturn]] void PutUntilKilled(const std::string& path, int round, int pipe_end) {
  auto db = DB::Open({}, path);
  if (!db.ok()) {
    std::fprintf(stderr, "%s\n", db.status().ToString().c_str());
    ::_exit(1);
  }
  for (uint32_t i = 0;; ++i) {
    PutOptions options;
    options.durability = i % 8 == 0 ? Durability::kSynced : Durability::kBuffered;
    const std::string key = std::to_string(round) + "/" + std::to_string(i);
    const std::string value = key + std::string(i % 4'000, 'v');
    if (!(*db)->Put(key, value, options).ok()) ::_exit(2);
    // Each round also moves one key on, and takes one away.
    if (!(*db)->Put("newest", key, options).ok()) ::_exit(3);
    if (i > 0 && !(*db)->Delete(std::to_string(round) + "/" + std::to_string(i - 1), options).ok()) ::_exit(4);
    if (::write(pipe_end, &i, sizeof(i)) != sizeof(i)) ::_exit(5);
  }
}

TEST_CASE("whatever a process was told before it was killed is there at the next open, 20 times over", "[kill]") {
  testing::TempDir dir;
  for (int round = 0; round < 20; ++round) {
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::close(pipe_ends[0]);
      PutUntilKilled(dir.path(), round, pipe_ends[1]);
    }
    ::close(pipe_ends[1]);
    uint32_t acknowledged = 0, told = 0;
    const uint32_t enough = static_cast<uint32_t>(1 + 12 * round);
    while (::read(pipe_ends[0], &told, sizeof(told)) == sizeof(told)) {
      acknowledged = told;
      if (told == enough) ::kill(child, SIGKILL);
    }
    ::close(pipe_ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    INFO("round " << round << ", " << acknowledged << " acknowledged, wait status " << status);
    REQUIRE(WasKilled(status));

    auto db = DB::Open({}, dir.path());
    INFO(db.status().ToString());
    REQUIRE(db.ok());
    const std::string prefix = std::to_string(round) + "/";
    const std::string last = prefix + std::to_string(acknowledged), next = prefix + std::to_string(acknowledged + 1);
    // The child may have gone on for some writes that it could not report any more.
    const std::string newest = (*db)->Get("newest").value();
    REQUIRE((newest == last || newest == next));
    const auto value = (*db)->Get(last);
    const auto after = (*db)->Get(next);
    if (value.ok()) REQUIRE(*value == last + std::string(acknowledged % 4'000, 'v'));
    if (after.ok()) REQUIRE(*after == next + std::string((acknowledged + 1) % 4'000, 'v'));
    REQUIRE((value.ok() || after.ok()));
    for (uint32_t i = 0; i < acknowledged; ++i) {
      REQUIRE(absl::IsNotFound((*db)->Get(prefix + std::to_string(i)).status()));
    }
    const auto verified = (*db)->Verify();
    REQUIRE(verified.ok());
    REQUIRE(verified->damages.empty());
    // Half of the rounds begin with a store that was closed, half with one that is destroyed.
    if (round % 2 == 0) REQUIRE((*db)->Close().ok());
  }
}

}  // namespace
}  // namespace firn::test
