#include "db/namespaces.h"

#include <algorithm>
#include <utility>

namespace firn {

bool Namespaces::IsAlive(uint32_t id) const {
  if (id == format::kDefaultNamespace) return true;
  base::EpochGuard guard(epochs_);
  const Table& table = *table_.load(std::memory_order_acquire);
  const auto at = std::lower_bound(table.begin(), table.end(), id,
                                   [](const NamespaceEntry& entry, uint32_t wanted) { return entry.id < wanted; });
  return at != table.end() && at->id == id;
}

std::optional<uint32_t> Namespaces::Find(std::string_view name) const {
  base::EpochGuard guard(epochs_);
  for (const NamespaceEntry& entry : *table_.load(std::memory_order_acquire)) {
    if (entry.name == name) return entry.id;
  }
  return std::nullopt;
}

std::vector<NamespaceEntry> Namespaces::All() const {
  base::EpochGuard guard(epochs_);
  return *table_.load(std::memory_order_acquire);
}

Namespaces::Changed Namespaces::With(NamespaceEntry entry) const {
  auto table = std::make_unique<Table>(All());
  const auto at = std::lower_bound(table->begin(), table->end(), entry.id,
                                   [](const NamespaceEntry& e, uint32_t wanted) { return e.id < wanted; });
  table->insert(at, std::move(entry));
  return {std::move(table), base::EpochDomain::Promise(epochs_, 1)};
}

Namespaces::Changed Namespaces::Without(uint32_t id) const {
  auto table = std::make_unique<Table>(All());
  std::erase_if(*table, [id](const NamespaceEntry& entry) { return entry.id == id; });
  return {std::move(table), base::EpochDomain::Promise(epochs_, 1)};
}

void Namespaces::Install(Changed changed) {
  Table* old = table_.exchange(changed.table.release(), std::memory_order_acq_rel);
  changed.promise.Retire([old] { delete old; });
}

std::string NamespaceRecordKey(uint32_t id, std::string_view name) { return std::string(IndexKey(id, name).view()); }

std::optional<NamespaceEntry> ParseNamespaceRecordKey(std::string_view key) {
  if (key.size() <= kNamespacePrefixBytes) return std::nullopt;
  uint32_t id = 0;
  for (size_t i = 0; i < kNamespacePrefixBytes; ++i) id = (id << 8) | static_cast<uint8_t>(key[i]);
  return NamespaceEntry{id, std::string(key.substr(kNamespacePrefixBytes))};
}

}  // namespace firn
