#include "log/published.h"

#include <catch2/catch.hpp>
#include <thread>
#include <vector>

namespace firn::log {

TEST_CASE("a revision is visible only when all lower ones are published") {
  PublishedRevisions published;
  published.Reset(10);
  published.Publish(12);
  CHECK(published.Get() == 10);
  published.Publish(13);
  CHECK(published.Get() == 10);
  published.Publish(11);
  CHECK(published.Get() == 13);
}

TEST_CASE("writers that publish at once leave no revision behind") {
  PublishedRevisions published;
  std::atomic<uint64_t> next{1};
  constexpr uint64_t kLast = 50'000;
  std::vector<std::thread> writers;
  std::atomic<bool> hidden{false};
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&] {
      for (uint64_t revision = next.fetch_add(1); revision <= kLast; revision = next.fetch_add(1)) {
        published.Publish(revision);
        published.WaitFor(revision);
        if (published.Get() < revision) hidden = true;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  CHECK_FALSE(hidden);
  CHECK(published.Get() == kLast);
}

}  // namespace firn::log
