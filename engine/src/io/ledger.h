// What each file of a store takes of its disk, and all of them together.
//
// A file has its account for as long as it has its name: it is measured when it is opened first, and again after each
// operation that claims space or gives some back. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/sync.h"

namespace firn::io {

class Ledger {
 public:
  struct Account {
    std::atomic<uint64_t> bytes{0};
    bool removed = false;  // guarded by the ledger's mutex
  };
  using Measure = std::function<absl::StatusOr<uint64_t>()>;

  bool Has(std::string_view name) const;
  // The file's account; opened with what `measure` says if there is none.
  std::shared_ptr<Account> Join(std::string_view name, const Measure& measure);
  // What cannot be measured stays as it was.
  void Settle(Account& account, const Measure& measure);
  // These two need no memory.
  void Remove(std::string_view name);
  void Rename(std::string_view from, std::string to);

  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  void Close(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Held while measuring, so that of two measurements the later one counts.
  mutable base::Mutex mutex_;
  std::map<std::string, std::shared_ptr<Account>, std::less<>> accounts_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> used_bytes_{0};
};

}  // namespace firn::io
