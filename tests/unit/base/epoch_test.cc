#include "base/epoch.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace firn::base {
namespace {

TEST_CASE("a deferred call waits for a reader that entered before it and for no later one") {
  EpochDomain domain;
  bool ran = false;
  {
    EpochGuard guard(domain);
    domain.Retire([&] { ran = true; });
    CHECK(domain.Drain() == 1);
    CHECK_FALSE(ran);
  }
  std::atomic<bool> inside{false}, leave{false};
  std::thread later([&] {
    EpochGuard guard(domain);
    inside = true;
    while (!leave) std::this_thread::yield();
  });
  while (!inside) std::this_thread::yield();
  CHECK(domain.Drain() == 0);
  CHECK(ran);
  leave = true;
  later.join();
}

TEST_CASE("a nested guard keeps what the outer guard saw") {
  EpochDomain domain;
  int ran = 0;
  {
    EpochGuard outer(domain);
    domain.Retire([&] { ++ran; });
    { EpochGuard inner(domain); }
    CHECK(domain.Drain() == 1);
  }
  CHECK(domain.Drain() == 0);
  CHECK(ran == 1);
}

TEST_CASE("calls run in the order they were deferred, once each, at the latest with the domain's end") {
  std::vector<int> ran;
  {
    EpochDomain domain;
    EpochGuard* guard = new EpochGuard(domain);
    for (int i = 0; i < 1000; ++i) domain.Retire([&ran, i] { ran.push_back(i); });
    CHECK(ran.empty());
    delete guard;
  }
  REQUIRE(ran.size() == 1000);
  for (int i = 0; i < 1000; ++i) CHECK(ran[static_cast<size_t>(i)] == i);
}

TEST_CASE("calls deferred without readers run by themselves before long") {
  EpochDomain domain;
  int ran = 0;
  for (int i = 0; i < 1000; ++i) domain.Retire([&] { ++ran; });
  CHECK(ran > 900);
}

TEST_CASE("a deferred call may defer another") {
  EpochDomain domain;
  bool ran = false;
  domain.Retire([&] { domain.Retire([&] { ran = true; }); });
  CHECK(domain.Drain() == 0);
  CHECK(domain.Drain() == 0);
  CHECK(ran);
}

TEST_CASE("Synchronize waits for readers that are inside") {
  EpochDomain domain;
  std::atomic<bool> inside{false}, left{false};
  std::atomic<int> turns{0};
  std::thread reader([&] {
    {
      EpochGuard guard(domain);
      inside = true;
      while (turns < 1000) {
        ++turns;
        std::this_thread::yield();
      }
      left = true;
    }
  });
  while (!inside) std::this_thread::yield();
  bool ran = false;
  domain.Retire([&] { ran = true; });
  domain.Synchronize();
  CHECK(left);
  CHECK(ran);
  reader.join();
}

TEST_CASE("threads that come and go leave nothing behind that holds up reclamation") {
  EpochDomain domain;
  int ran = 0;
  for (int i = 0; i < 200; ++i) {
    std::thread([&] { EpochGuard guard(domain); }).join();
    domain.Retire([&] { ++ran; });
  }
  domain.Drain();
  CHECK(ran == 200);
}

TEST_CASE("more threads than one chunk of slots can be inside at once") {
  constexpr int kThreads = 150;
  EpochDomain domain;
  std::atomic<int> inside{0};
  std::atomic<bool> leave{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      EpochGuard guard(domain);
      ++inside;
      while (!leave) std::this_thread::yield();
    });
  }
  while (inside < kThreads) std::this_thread::yield();
  domain.Retire([] {});
  CHECK(domain.Drain() == 1);
  leave = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(domain.Drain() == 0);
}

TEST_CASE("no reader ever sees freed memory") {
  constexpr uint64_t kAlive = 0x6669726e6669726e;
  EpochDomain domain;
  std::atomic<std::atomic<uint64_t>*> shared{new std::atomic<uint64_t>(kAlive)};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        EpochGuard guard(domain);
        const auto* found = shared.load(std::memory_order_acquire);
        for (int turn = 0; turn < 8; ++turn) wrong += found->load(std::memory_order_relaxed) != kAlive;
      }
    });
  }
  for (int i = 0; i < 20000; ++i) {
    auto* old = shared.exchange(new std::atomic<uint64_t>(kAlive), std::memory_order_acq_rel);
    domain.Retire([old] {
      old->store(0, std::memory_order_relaxed);
      delete old;
    });
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  domain.Synchronize();
  CHECK(wrong == 0);
  delete shared.load();
}

}  // namespace
}  // namespace firn::base
