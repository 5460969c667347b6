// What the tests of the value store share: a store on a simulated machine, and contents that follow from a number.
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/crash_points.h"
#include "support/must.h"
#include "support/scheduler.h"
#include "values/stream_writer.h"
#include "values/value_store.h"

namespace firn::values::testing {

using format::ValuePointer;
using test::Crash;
using test::CrashKind;
using test::CrashTest;
using test::ForEachCrash;
using test::ForEachFault;
using test::Must;
using test::PointCount;
using test::Rng;
using test::SimMachine;
using test::SimScheduler;
using test::SimWorld;
using test::Survival;

constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

// Every byte depends on its place and on `number`.
inline std::string Content(uint64_t number, size_t size) {
  std::string content(size, '\0');
  Rng rng(number);
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    const uint64_t word = rng.Next();
    std::memcpy(content.data() + at, &word, 8);
  }
  for (; at < size; ++at) content[at] = static_cast<char>(rng.Next());
  return content;
}

inline format::Superblock TestSuperblock() {
  format::Superblock superblock;
  superblock.uuid.fill(std::byte{7});
  superblock.secret = 0x1122334455667788;
  return superblock;
}

// FIRN_TEST_SEED, or a fresh one.
inline uint64_t PickSeed() {
  if (const char* given = std::getenv("FIRN_TEST_SEED")) return std::strtoull(given, nullptr, 10);
  return std::random_device()();
}
inline std::string Replay(uint64_t seed) {
  return "replay: FIRN_TEST_SEED=" + std::to_string(seed) + " firn_test_values '" +
         Catch::getResultCapture().getCurrentTestName() + "'";
}

// One process with the store open.
class Session {
 public:
  explicit Session(std::unique_ptr<io::Disk> disk, base::Clock& clock, base::Random& random, ValueOptions options = {})
      : disk_(std::move(disk)), clock_(clock) {
    options.clock = &clock_;
    options.random = &random;
    auto opened = ValueStore::Open(*disk_, TestSuperblock(), epochs_, options);
    status_ = opened.status();
    if (opened.ok()) store_ = *std::move(opened);
  }
  explicit Session(SimWorld& world, const ValueOptions& options = {})
      : Session(world.machine.Attach(), world.clock, world.random, options) {}

  // A store nothing refers to yet.
  Session& Fresh() {
    Must(status_);
    Must(store_->FinishRecovery(true));
    return *this;
  }

  const absl::Status& status() const { return status_; }
  ValueStore* operator->() { return store_.get(); }
  ValueStore& operator*() { return *store_; }
  base::EpochDomain& epochs() { return epochs_; }
  io::Disk& disk() { return *disk_; }

 private:
  std::unique_ptr<io::Disk> disk_;
  base::ForwardClock clock_;
  base::EpochDomain epochs_;
  absl::Status status_;
  std::unique_ptr<ValueStore> store_;
};

inline ValueStore::Stored Put(ValueStore& store, std::string_view value) {
  return Must(store.Put(base::AsBytes(value)));
}

inline std::string ReadValue(ValueStore& store, Slot slot) {
  std::string value(store.length(slot), '\0');
  Must(store.Read(slot, std::as_writable_bytes(std::span(value))));
  return value;
}
inline absl::Status TryRead(ValueStore& store, Slot slot) {
  std::string value(store.length(slot), '\0');
  return store.Read(slot, std::as_writable_bytes(std::span(value)));
}

// Test hashes that collide: always, or by length.
inline base::Hash128Value ConstantHash(base::Bytes, uint64_t) { return {1, 2}; }

// What the log would remember: pointers whose records are durable, and what they stand for.
using Remembered = std::map<std::string, std::pair<ValuePointer, std::string>>;

inline std::map<std::string, Slot> AdoptAll(ValueStore& store, const Remembered& remembered) {
  std::map<std::string, Slot> slots;
  for (const auto& [name, value] : remembered) {
    INFO("adopting " << name);
    slots[name] = Must(store.Adopt(value.first));
  }
  return slots;
}
inline void RequireAll(ValueStore& store, const Remembered& remembered, const std::map<std::string, Slot>& slots) {
  for (const auto& [name, value] : remembered) {
    INFO("reading " << name);
    REQUIRE(ReadValue(store, slots.at(name)) == value.second);
  }
}

}  // namespace firn::values::testing
