// Several writes that happen together or not at all, across namespaces and across a crash.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <firn/options.h>

namespace firn {

// Collects operations; DB::Apply commits them under one revision. Keys and values are copied in. When a key appears
// more than once the last operation on it counts (an expiry change after a put becomes part of the put), and each
// condition is checked against the state before the batch. Not thread-safe. Reusable after Clear(), which keeps the
// memory.
class Batch {
 public:
  // `namespace_id` comes from Namespace::id(); the default namespace's is kDefaultNamespaceId.
  static constexpr uint32_t kDefaultNamespaceId = 1;

  struct Operation {
    enum class Kind : uint8_t { kPut, kDelete, kSetExpiry };
    Kind kind = Kind::kPut;
    uint32_t namespace_id = kDefaultNamespaceId;
    Condition condition;
    int64_t expires_at_ms = 0;
    size_t key_offset = 0, key_size = 0;
    size_t metadata_offset = 0, metadata_size = 0;
    size_t value_offset = 0, value_size = 0;
  };

  // The options' durability is ignored here: it is Apply's. Sizes are checked by Apply.
  void Put(std::string_view key, std::string_view value, const PutOptions& options = {},
           uint32_t namespace_id = kDefaultNamespaceId);
  void Delete(std::string_view key, const Condition& condition = {}, uint32_t namespace_id = kDefaultNamespaceId);
  // See Namespace::SetExpiry. A key that is absent makes the whole batch fail with NotFound.
  void SetExpiry(std::string_view key, int64_t expires_at_ms, const Condition& condition = {},
                 uint32_t namespace_id = kDefaultNamespaceId);

  void Clear();
  bool empty() const { return operations_.empty(); }
  size_t size() const { return operations_.size(); }
  // Keys, metadata and values: what kBatchBytesMax limits.
  uint64_t payload_bytes() const { return bytes_.size(); }
  // Memory ran out while an operation was added. Apply refuses such a batch with ResourceExhausted, until Clear().
  bool incomplete() const { return incomplete_; }

  const std::vector<Operation>& operations() const { return operations_; }
  std::string_view key(const Operation& o) const { return {bytes_.data() + o.key_offset, o.key_size}; }
  std::string_view metadata(const Operation& o) const { return {bytes_.data() + o.metadata_offset, o.metadata_size}; }
  std::string_view value(const Operation& o) const { return {bytes_.data() + o.value_offset, o.value_size}; }

 private:
  size_t Copy(std::string_view text);
  template <typename Add>
  void AddOperation(const Add& add);

  std::string bytes_;
  std::vector<Operation> operations_;
  bool incomplete_ = false;
};

}  // namespace firn
