// Which states were met already, by any of the processes that share the work.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace firn::test {

// A set of 64-bit hashes in memory that this process shares with those it forks. Two states among a million are taken
// for one with a chance of one in 30 million. Thread-safe, and safe between processes.
class SeenStates {
 public:
  // Throws std::runtime_error when there is no memory. What is never touched takes none.
  explicit SeenStates(uint64_t capacity);
  ~SeenStates();
  SeenStates(const SeenStates&) = delete;

  // False: it was there. Throws std::runtime_error when the set is full.
  bool Insert(uint64_t hash);

 private:
  using Slot = std::atomic<uint64_t>;  // 0: free
  static_assert(Slot::is_always_lock_free);

  std::span<Slot> slots_;
};

}  // namespace firn::test
