#include "io/ledger.h"

#include <utility>

namespace firn::io {

bool Ledger::Has(std::string_view name) const {
  base::MutexLock lock(mutex_);
  return accounts_.contains(name);
}

std::shared_ptr<Ledger::Account> Ledger::Join(std::string_view name, const Measure& measure) {
  base::MutexLock lock(mutex_);
  if (const auto found = accounts_.find(name); found != accounts_.end()) return found->second;
  auto account = std::make_shared<Account>();
  account->bytes = measure().value_or(0);
  accounts_.emplace(name, account);
  used_bytes_ += account->bytes;
  return account;
}

void Ledger::Settle(Account& account, const Measure& measure) {
  base::MutexLock lock(mutex_);
  if (account.removed) return;
  const auto bytes = measure();
  if (!bytes.ok()) return;
  used_bytes_ += *bytes - account.bytes;  // wraps round where a file shrank, as it should
  account.bytes = *bytes;
}

void Ledger::Close(std::string_view name) {
  const auto found = accounts_.find(name);
  if (found == accounts_.end()) return;
  found->second->removed = true;
  used_bytes_ -= found->second->bytes;
  accounts_.erase(found);
}

void Ledger::Remove(std::string_view name) {
  base::MutexLock lock(mutex_);
  Close(name);
}

void Ledger::Rename(std::string_view from, std::string to) {
  base::MutexLock lock(mutex_);
  Close(to);
  const auto found = accounts_.find(from);
  if (found == accounts_.end()) return;
  auto moving = accounts_.extract(found);
  moving.key() = std::move(to);
  accounts_.insert(std::move(moving));
}

}  // namespace firn::io
