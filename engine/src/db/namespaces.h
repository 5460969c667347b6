// Which namespaces exist. Asking whether an id is alive takes no lock; changes replace the table.
#pragma once

#include <atomic>
#include <cstdint>
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
 public:
  explicit Namespaces(base::EpochDomain& epochs) : epochs_(epochs), table_(new Table) {}
  ~Namespaces() { delete table_.load(std::memory_order_relaxed); }
  Namespaces(const Namespaces&) = delete;

  bool IsAlive(uint32_t id) const;
  std::optional<uint32_t> Find(std::string_view name) const;
  std::vector<NamespaceEntry> All() const;  // by id

  // Changes. The caller serialises them.
  void Add(NamespaceEntry entry);
  void Remove(uint32_t id);

 private:
  using Table = std::vector<NamespaceEntry>;  // by id
  void Replace(Table* fresh);

  base::EpochDomain& epochs_;
  std::atomic<Table*> table_;
};

// The key of a namespace's own record in the system namespace: its id, big-endian, then its name.
std::string NamespaceRecordKey(uint32_t id, std::string_view name);
std::optional<NamespaceEntry> ParseNamespaceRecordKey(std::string_view key);

}  // namespace firn
