#include <firn/batch.h>

#include "base/memory.h"

namespace firn {

size_t Batch::Copy(std::string_view text) {
  const size_t at = bytes_.size();
  bytes_.append(text);
  return at;
}

// An operation that there is no memory for makes the batch one that cannot be applied.
template <typename Add>
void Batch::AddOperation(const Add& add) {
  const size_t bytes = bytes_.size();
  if (base::IfMemoryPermits(add)) return;
  bytes_.resize(bytes);
  incomplete_ = true;
}

void Batch::Put(std::string_view key, std::string_view value, const PutOptions& options, uint32_t namespace_id) {
  AddOperation([&] {
    Operation operation{.kind = Operation::Kind::kPut,
                        .namespace_id = namespace_id,
                        .condition = options.condition,
                        .expires_at_ms = options.expires_at_ms,
                        .key_size = key.size(),
                        .metadata_size = options.metadata.size(),
                        .value_size = value.size()};
    operation.key_offset = Copy(key);
    operation.metadata_offset = Copy(options.metadata);
    operation.value_offset = Copy(value);
    operations_.push_back(operation);
  });
}

void Batch::Delete(std::string_view key, const Condition& condition, uint32_t namespace_id) {
  AddOperation([&] {
    operations_.push_back({.kind = Operation::Kind::kDelete,
                           .namespace_id = namespace_id,
                           .condition = condition,
                           .key_offset = Copy(key),
                           .key_size = key.size()});
  });
}

void Batch::SetExpiry(std::string_view key, int64_t expires_at_ms, const Condition& condition, uint32_t namespace_id) {
  AddOperation([&] {
    operations_.push_back({.kind = Operation::Kind::kSetExpiry,
                           .namespace_id = namespace_id,
                           .condition = condition,
                           .expires_at_ms = expires_at_ms,
                           .key_offset = Copy(key),
                           .key_size = key.size()});
  });
}

void Batch::Clear() {
  bytes_.clear();
  operations_.clear();
  incomplete_ = false;
}

}  // namespace firn
