// One key-value engine under test, in its own terms as thin as can be, and with equal promises: writes are buffered,
// which survives the death of the process, unless they are asked to be synced, which survives the machine's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "support/data.h"

namespace firn::bench {

using Pair = std::pair<std::string_view, std::string_view>;

// What one thread does with an open engine. Made and used by that thread.
class Client {
 public:
  virtual ~Client() = default;
  virtual absl::Status Put(std::string_view key, std::string_view value) = 0;
  virtual absl::Status PutBatch(std::span<const Pair> pairs) = 0;
  virtual absl::Status PutSynced(std::string_view key, std::string_view value) = 0;
  virtual absl::Status Delete(std::string_view key) = 0;
  // NotFound if it is absent. The value is where the engine has it, until the client's next call: an engine that can
  // give a view of its memory gives that.
  virtual absl::StatusOr<std::string_view> Get(std::string_view key) = 0;
  // Touches every value. The number of bytes of all; an engine without such a call gets them one by one.
  virtual absl::StatusOr<uint64_t> MultiGet(std::span<const std::string_view> keys);
  // Touches up to `count` keys from the first one not below `from` on, and their values. What it saw.
  struct Scanned {
    uint64_t pairs = 0, bytes = 0;
    void Add(std::string_view key, std::string_view value) {
      Touch(key);
      Touch(value);
      ++pairs;
      bytes += key.size() + value.size();
    }
  };
  virtual absl::StatusOr<Scanned> Scan(std::string_view from, uint64_t count) = 0;
  // One thread that waits for no operation by itself: begins as many as `in_flight` allows, and returns how many have
  // ended since the last call, at least one. Only of an engine that is asynchronous.
  virtual absl::StatusOr<uint64_t> GetsInFlight(size_t in_flight, const std::function<Key()>& next);
  virtual absl::StatusOr<uint64_t> SyncedPutsInFlight(size_t in_flight, const std::function<Pair()>& next);
};

class PeerEngine {
 public:
  virtual ~PeerEngine() = default;
  virtual std::unique_ptr<Client> NewClient() = 0;
  virtual bool asynchronous() const { return false; }
  virtual absl::Status Sync() = 0;
  virtual absl::Status Close() = 0;
};

struct PeerSpec {
  std::string path;  // its parent exists
  // For all that it keeps in memory: index, caches, write buffers. Engines that map files have the page cache instead,
  // which the limit on the whole process counts.
  uint64_t memory_bytes = 0;
  uint64_t data_bytes = 0;  // that will be stored at most, keys and values
  // Of all writes: LMDB has to be opened for it, the others are told with each.
  bool synced = false;
};

using OpenPeer = absl::StatusOr<std::unique_ptr<PeerEngine>> (*)(const PeerSpec& spec);
struct Peer {
  std::string_view name;
  OpenPeer open;
};
// In the order of the columns; firn is the first.
std::span<const Peer> Peers();

absl::StatusOr<std::unique_ptr<PeerEngine>> OpenFirn(const PeerSpec& spec);
absl::StatusOr<std::unique_ptr<PeerEngine>> OpenRocksDb(const PeerSpec& spec);
absl::StatusOr<std::unique_ptr<PeerEngine>> OpenRocksDbBlob(const PeerSpec& spec);
absl::StatusOr<std::unique_ptr<PeerEngine>> OpenLevelDb(const PeerSpec& spec);
absl::StatusOr<std::unique_ptr<PeerEngine>> OpenLmdb(const PeerSpec& spec);
absl::StatusOr<std::unique_ptr<PeerEngine>> OpenWiredTiger(const PeerSpec& spec);

}  // namespace firn::bench
