#include <lmdb.h>
#include <sys/stat.h>

#include "peers/engine.h"

namespace firn::bench {
namespace {

absl::Status Translated(int code) {
  if (code == 0) return absl::OkStatus();
  if (code == MDB_NOTFOUND) return absl::NotFoundError(mdb_strerror(code));
  return absl::UnavailableError(mdb_strerror(code));
}

MDB_val ValOf(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }
std::string_view ViewOf(const MDB_val& bytes) { return {static_cast<const char*>(bytes.mv_data), bytes.mv_size}; }

// One reading transaction a thread, renewed for each call so that it sees what has been written.
class LmdbClient final : public Client {
 public:
  LmdbClient(MDB_env* env, MDB_dbi dbi) : env_(env), dbi_(dbi) {}
  ~LmdbClient() override {
    if (reading_ != nullptr) mdb_txn_abort(reading_);
  }

  absl::Status Put(std::string_view key, std::string_view value) override {
    const Pair pair(key, value);
    return PutBatch({&pair, 1});
  }
  absl::Status PutBatch(std::span<const Pair> pairs) override {
    return Write([&](MDB_txn* transaction) {
      for (const auto& [key, value] : pairs) {
        MDB_val k = ValOf(key), v = ValOf(value);
        if (const int code = mdb_put(transaction, dbi_, &k, &v, 0); code != 0) return code;
      }
      return 0;
    });
  }
  absl::Status PutSynced(std::string_view key, std::string_view value) override { return Put(key, value); }
  absl::Status Delete(std::string_view key) override {
    return Write([&](MDB_txn* transaction) {
      MDB_val k = ValOf(key);
      const int code = mdb_del(transaction, dbi_, &k, nullptr);
      return code == MDB_NOTFOUND ? 0 : code;
    });
  }
  absl::StatusOr<std::string_view> Get(std::string_view key) override {
    if (const absl::Status status = Renew(); !status.ok()) return status;
    MDB_val k = ValOf(key), v;
    if (const int code = mdb_get(reading_, dbi_, &k, &v); code != 0) return Translated(code);
    return ViewOf(v);
  }
  absl::StatusOr<Scanned> Scan(std::string_view from, uint64_t count) override {
    if (const absl::Status status = Renew(); !status.ok()) return status;
    Scanned scanned;
    MDB_cursor* cursor = nullptr;
    if (const int code = mdb_cursor_open(reading_, dbi_, &cursor); code != 0) return Translated(code);
    MDB_val k = ValOf(from), v;
    int code = mdb_cursor_get(cursor, &k, &v, from.empty() ? MDB_FIRST : MDB_SET_RANGE);
    for (; code == 0 && scanned.pairs < count; code = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
      scanned.Add(ViewOf(k), ViewOf(v));
    }
    mdb_cursor_close(cursor);
    if (code != 0 && code != MDB_NOTFOUND) return Translated(code);
    return scanned;
  }

 private:
  template <typename Body>
  absl::Status Write(const Body& body) {
    if (reading_ != nullptr) mdb_txn_reset(reading_);  // or its pages could not be used again
    MDB_txn* transaction = nullptr;
    if (const int code = mdb_txn_begin(env_, nullptr, 0, &transaction); code != 0) return Translated(code);
    if (const int code = body(transaction); code != 0) {
      mdb_txn_abort(transaction);
      return Translated(code);
    }
    return Translated(mdb_txn_commit(transaction));
  }
  absl::Status Renew() {
    if (reading_ == nullptr) return Translated(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &reading_));
    mdb_txn_reset(reading_);
    return Translated(mdb_txn_renew(reading_));
  }

  MDB_env* const env_;
  const MDB_dbi dbi_;
  MDB_txn* reading_ = nullptr;
};

class LmdbEngine final : public PeerEngine {
 public:
  ~LmdbEngine() override {
    if (env_ != nullptr) mdb_env_close(env_);
  }
  absl::Status Open(const PeerSpec& spec) {
    ::mkdir(spec.path.c_str(), 0755);
    int code = mdb_env_create(&env_);
    // Room for pages that are half full and for those that a transaction copies.
    if (code == 0) code = mdb_env_set_mapsize(env_, 4 * spec.data_bytes + (size_t{1} << 30));
    if (code == 0) code = mdb_env_set_maxreaders(env_, 256);
    // Transactions are bound to their object, so that one thread may have more.
    const unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (spec.synced ? 0 : MDB_NOSYNC);
    if (code == 0) code = mdb_env_open(env_, spec.path.c_str(), flags, 0644);
    MDB_txn* transaction = nullptr;
    if (code == 0) code = mdb_txn_begin(env_, nullptr, 0, &transaction);
    if (code == 0) code = mdb_dbi_open(transaction, nullptr, 0, &dbi_);
    if (code == 0) code = mdb_txn_commit(transaction);
    return Translated(code);
  }
  std::unique_ptr<Client> NewClient() override { return std::make_unique<LmdbClient>(env_, dbi_); }
  absl::Status Sync() override { return Translated(mdb_env_sync(env_, 1)); }
  absl::Status Close() override {
    const absl::Status status = Sync();
    mdb_env_close(env_);
    env_ = nullptr;
    return status;
  }

 private:
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerEngine>> OpenLmdb(const PeerSpec& spec) {
  auto engine = std::make_unique<LmdbEngine>();
  if (const absl::Status status = engine->Open(spec); !status.ok()) return status;
  return engine;
}

}  // namespace firn::bench
