#include "peers/engine.h"

#include <array>

namespace firn::bench {

absl::StatusOr<uint64_t> Client::MultiGet(std::span<const std::string_view> keys) {
  uint64_t bytes = 0;
  for (const std::string_view key : keys) {
    const absl::StatusOr<std::string_view> value = Get(key);
    if (!value.ok()) return value.status();
    Touch(*value);
    bytes += value->size();
  }
  return bytes;
}

absl::StatusOr<uint64_t> Client::GetsInFlight(size_t, const std::function<Key()>&) {
  return absl::UnimplementedError("this engine's gets wait");
}

absl::StatusOr<uint64_t> Client::SyncedPutsInFlight(size_t, const std::function<Pair()>&) {
  return absl::UnimplementedError("this engine's puts wait");
}

std::span<const Peer> Peers() {
  static constexpr std::array kPeers = {
      Peer{"firn", &OpenFirn},       Peer{"rocksdb", &OpenRocksDb}, Peer{"rocksdb-blob", &OpenRocksDbBlob},
      Peer{"leveldb", &OpenLevelDb}, Peer{"lmdb", &OpenLmdb},       Peer{"wiredtiger", &OpenWiredTiger}};
  return kPeers;
}

}  // namespace firn::bench
