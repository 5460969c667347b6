// Which namespaces exist. Asking whether an id is alive takes no lock; changes replace the table.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/epoch.h"
#include "base/sync.h"
#include "db/keys.h"
#include "format/layout.h"

namespace firn {

struct NamespaceEntry {
  uint32_t id = 0;
  std::string name;
};

class Namespaces {
  using Table = std::vector<NamespaceEntry>;  // by id

 public:
  explicit Namespaces(base::EpochDomain& epochs) : epochs_(epochs), table_(new Table) {}
  ~Namespaces() { delete table_.load(std::memory_order_relaxed); }
  Namespaces(const Namespaces&) = delete;

  bool IsAlive(uint32_t id) const;
  std::optional<uint32_t> Find(std::string_view name) const;
  std::vector<NamespaceEntry> All() const;  // by id

  // Changes, in two steps of which the second does not fail. The caller serialises them.
  struct Changed {
    std::unique_ptr<Table> table;
    base::EpochDomain::Promise promise;
  };
  Changed With(NamespaceEntry entry) const;
  Changed Without(uint32_t id) const;
  void Install(Changed changed);

 private:
  base::EpochDomain& epochs_;
  std::atomic<Table*> table_;
};

// The key of a namespace's own record in the system namespace: its id, big-endian, then its name.
std::string NamespaceRecordKey(uint32_t id, std::string_view name);
std::optional<NamespaceEntry> ParseNamespaceRecordKey(std::string_view key);

}  // namespace firn
