// What all threads of a stress share: the store, values that tell whether they are right, and what was broken first.
#pragma once

#include <firn/db.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace firn::test {

// The store broke its contract.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void Require(bool holds, const std::string& what);
void RequireOk(const absl::Status& status, const std::string& what);

// A value says which key it belongs to, the number of the write that made it, and a hash of all its bytes.
std::string MakeValue(std::string_view key, uint64_t number, size_t size_bytes);
// The number; throws Broken when it is not whole, or another key's.
uint64_t NumberOf(std::string_view key, std::string_view value);

// What is counted and printed at the end.
enum class Deed : size_t {
  kPut,
  kLargePut,
  kStream,
  kDelete,
  kBatch,
  kExpiry,
  kExpired,
  kGet,
  kFound,
  kRange,
  kMultiGet,
  kPair,
  kScanStep,
  kSnapshot,
  kSnapshotRead,
  kDurableRead,
  kSync,
  kFlush,
  kCompact,
  kVerify,
  kScrub,
  kSpaceMade,
  kSpaceDropped,
  kDroppedAsked,
  kCount,
};
inline constexpr size_t kDeeds = static_cast<size_t>(Deed::kCount);

// Namespaces come and go under those who use them.
struct Space {
  std::string name;
  Namespace handle;
  std::atomic<bool> dropped{false};  // DropNamespace() has returned
};

class World {
 public:
  // Stops by itself after so many calls.
  World(DB& db, uint64_t calls_max) : db_(db), calls_max_(calls_max) {}

  DB& db() { return db_; }
  int64_t NowMs() const;

  void Count(Deed deed) { deeds_[static_cast<size_t>(deed)].fetch_add(1, std::memory_order_relaxed); }
  uint64_t count(Deed deed) const { return deeds_[static_cast<size_t>(deed)].load(std::memory_order_relaxed); }
  void CountCall() {
    if (calls_.fetch_add(1, std::memory_order_relaxed) + 1 == calls_max_) Stop();
  }
  uint64_t calls() const { return calls_.load(std::memory_order_relaxed); }

  void Stop();
  // Until somebody stops it, or that long.
  void AwaitStop(std::chrono::duration<double> at_most);
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
  // Stops everybody. The first one counts.
  void Fail(const std::string& what);
  std::string failure() const;

  // Those that live, and the last few that do not.
  std::vector<std::shared_ptr<Space>> Spaces() const;
  void AddSpace(std::shared_ptr<Space> space);
  // Forgets the oldest dropped one when there are more than a few.
  void ForgetOldSpaces();

  // What writers know of their keys at the end: the number of the last write, none for a key that is deleted.
  void Settle(const std::string& key, std::optional<uint64_t> number);
  std::map<std::string, std::optional<uint64_t>> Settled() const;

 private:
  DB& db_;
  const uint64_t calls_max_;
  std::atomic<uint64_t> deeds_[kDeeds] = {};
  std::atomic<uint64_t> calls_{0};
  std::atomic<bool> stopped_{false};
  std::condition_variable stop_;
  mutable std::mutex mutex_;  // of all that follows
  std::string failure_;
  std::vector<std::shared_ptr<Space>> spaces_;
  std::map<std::string, std::optional<uint64_t>> settled_;
};

extern const char* const kDeedNames[kDeeds];

}  // namespace firn::test
