// Creating, listing and dropping namespaces.
#include <algorithm>
#include <cctype>
#include <functional>
#include <utility>

#include "base/memory.h"
#include "db/store.h"

namespace firn {
namespace {

absl::Status CheckName(std::string_view name) {
  const bool valid_size = !name.empty() && name.size() <= kNamespaceNameBytesMax;
  const bool valid_characters = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  if (valid_size && valid_characters) return absl::OkStatus();
  return base::InvalidArgument("a namespace's name has 1 to 64 of the characters A-Z a-z 0-9 _ -, not \"" +
                               std::string(name.substr(0, 80)) + "\"");
}

}  // namespace

std::vector<base::Mutex*> Store::AllStripes() const {
  std::vector<base::Mutex*> stripes;
  for (base::Mutex& stripe : stripes_) stripes.push_back(&stripe);
  return stripes;
}

absl::StatusOr<uint32_t> Store::CreateNamespace(std::string_view name) {
  FIRN_RETURN_IF_ERROR(CheckWritable());
  FIRN_RETURN_IF_ERROR(CheckName(name));
  base::MutexLock lock(namespaces_mutex_);
  if (namespaces_.Find(name)) {
    return base::MakeStatus(absl::StatusCode::kAlreadyExists, "namespace " + std::string(name) + " exists");
  }
  if (namespaces_.All().size() >= kNamespacesMax) {
    return base::ResourceExhausted("a store has at most " + std::to_string(kNamespacesMax) + " namespaces");
  }
  if (log_->next_namespace_id.load() == UINT32_MAX) {
    return base::ResourceExhausted("the ids of namespaces are used up");
  }
  // Taken before the record is written: a segment begun meanwhile must not hand the id out again.
  const uint32_t id = log_->next_namespace_id.fetch_add(1);
  const std::string key = NamespaceRecordKey(id, name);
  const format::Record record{.type = format::RecordType::kNamespaceCreate,
                              .namespace_id = format::kSystemNamespace,
                              .key = base::AsBytes(key)};
  const IndexKey index_key(format::kSystemNamespace, key);
  // Once the record has its place nothing may fail.
  Namespaces::Changed with_it = namespaces_.With({id, std::string(name)});
  tree_->Upsert(index_key.view(), kPlaceholder);
  const auto enter = [&](const log::Log::Written& created) {
    tree_->Update(
        index_key.view(),
        {.segment = created.segment, .offset = created.offset, .size = created.size, .revision = created.revision});
  };
  const absl::StatusOr<log::Log::Written> written =
      base::OrOutOfMemory([&] { return log_->AppendControl(record, log::Log::Role::kLive, std::ref(enter)); });
  if (!written.ok()) {
    tree_->Erase(index_key.view());
    return written.status();
  }
  namespaces_.Install(std::move(with_it));
  FIRN_RETURN_IF_ERROR(log_->WaitDurable(written->revision));
  return id;
}

absl::StatusOr<uint32_t> Store::FindNamespace(std::string_view name) const {
  FIRN_RETURN_IF_ERROR(CheckUsable());
  FIRN_RETURN_IF_ERROR(CheckName(name));
  if (const auto id = namespaces_.Find(name)) return *id;
  return base::NotFound("there is no namespace " + std::string(name));
}

std::vector<std::string> Store::ListNamespaces() const {
  std::vector<std::string> names;
  for (NamespaceEntry& entry : namespaces_.All()) names.push_back(std::move(entry.name));
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status Store::DropNamespace(std::string_view name) {
  FIRN_RETURN_IF_ERROR(CheckWritable());
  FIRN_RETURN_IF_ERROR(CheckName(name));
  base::MutexLock lock(namespaces_mutex_);
  const auto id = namespaces_.Find(name);
  if (!id) return base::NotFound("there is no namespace " + std::string(name));
  const std::string key = NamespaceRecordKey(*id, name);
  const format::Record record{
      .type = format::RecordType::kNamespaceDrop, .namespace_id = format::kSystemNamespace, .key = base::AsBytes(key)};
  // Once the record has its place nothing may fail.
  Namespaces::Changed without_it = namespaces_.Without(*id);
  {
    base::MutexLock upkeep_lock(upkeep_mutex_);
    dropped_namespaces_.reserve(dropped_namespaces_.size() + 1);  // others are dropped by whoever has our lock
  }
  const auto leave = [&](const log::Log::Written&) {
    namespaces_.Install(std::move(without_it));
    if (const auto created = tree_->Erase(IndexKey(format::kSystemNamespace, key).view())) {
      DropReference(created->segment, created->size);
    }
  };
  const auto written = [&] {
    // No write into the namespace is under way while its end gets its place in the log.
    const std::vector<base::Mutex*> stripes = AllStripes();
    base::MutexesLock locks(stripes);
    return log_->AppendControl(record, log::Log::Role::kTombstone, std::ref(leave), io::Claimant::kDelete);
  }();
  FIRN_RETURN_IF_ERROR(written.status());

  {
    base::MutexLock upkeep_lock(upkeep_mutex_);
    dropped_namespaces_.push_back(*id);
  }
  WakeUpkeep();
  return log_->WaitDurable(written->revision);
}

}  // namespace firn
