// A value that comes in pieces, in memory of about 1 MiB however long it gets.
//
//   auto stream = store.BeginStream();
//   stream->Append(bytes); ...
//   auto stored = stream->Finish();     // or destroy it: what was written is given back
//
// One that ends within 1 MiB is put like any other. A longer one gets a file of its own as it comes; only at its end is
// its hash known, and if an extent of the same bytes is there by then, that one is shared and the file removed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/hash.h"
#include "values/value_store.h"

namespace firn::values {

// Of one thread at a time.
class StreamWriter {
 public:
  ~StreamWriter();
  StreamWriter(const StreamWriter&) = delete;

  // InvalidArgument beyond kValueBytesMax. After any failure the stream can only be destroyed.
  absl::Status Append(base::Bytes bytes);
  // Once. The store's Put() says what it means.
  absl::StatusOr<ValueStore::Stored> Finish();

 private:
  friend class ValueStore;
  StreamWriter(ValueStore& store, std::function<bool()> await_room);

  absl::Status AppendPiece(base::Bytes bytes);
  absl::Status FlushBuffer();
  absl::Status Claim(uint64_t bytes);
  absl::StatusOr<ValueStore::Stored> FinishFile();
  ValueStore::Source ReadBack(base::AlignedBuffer& buffer);

  ValueStore& store_;
  const std::function<bool()> await_room_;  // may be null
  base::AlignedBuffer buffer_;
  size_t buffered_bytes_ = 0;
  base::Hasher128 hasher_;
  std::vector<uint64_t> piece_checksums_;  // of what was flushed

  std::shared_ptr<ValueFile> file_;  // once the buffer did not suffice, until it is somebody else's
  uint64_t flushed_bytes_ = 0;
  uint64_t claimed_ = 0;
  absl::Status status_;  // the first failure
  bool finished_ = false;
};

}  // namespace firn::values
