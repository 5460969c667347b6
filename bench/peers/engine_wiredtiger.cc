#include <sys/stat.h>
#include <wiredtiger.h>

#include "peers/engine.h"

namespace firn::bench {
namespace {

constexpr const char* kTable = "table:data";

absl::Status Translated(int code) {
  if (code == 0) return absl::OkStatus();
  if (code == WT_NOTFOUND) return absl::NotFoundError(wiredtiger_strerror(code));
  return absl::UnavailableError(wiredtiger_strerror(code));
}

WT_ITEM ItemOf(std::string_view bytes) {
  WT_ITEM item{};
  item.data = bytes.data();
  item.size = bytes.size();
  return item;
}

// A session and a cursor, which belong to one thread.
class WiredTigerClient final : public Client {
 public:
  explicit WiredTigerClient(WT_CONNECTION* connection) {
    status_ = Translated(connection->open_session(connection, nullptr, nullptr, &session_));
    if (status_.ok())
      status_ = Translated(session_->open_cursor(session_, kTable, nullptr, "overwrite=true", &cursor_));
  }
  ~WiredTigerClient() override {
    if (session_ != nullptr) session_->close(session_, nullptr);
  }

  absl::Status Put(std::string_view key, std::string_view value) override {
    if (!status_.ok()) return status_;
    const WT_ITEM k = ItemOf(key), v = ItemOf(value);
    int code = WT_ROLLBACK;
    while (code == WT_ROLLBACK) {  // another thread was at the same key
      cursor_->set_key(cursor_, &k);
      cursor_->set_value(cursor_, &v);
      code = cursor_->insert(cursor_);
    }
    return Translated(code);
  }
  absl::Status PutBatch(std::span<const Pair> pairs) override {
    if (!status_.ok()) return status_;
    if (const int code = session_->begin_transaction(session_, nullptr); code != 0) return Translated(code);
    for (const auto& [key, value] : pairs) {
      const WT_ITEM k = ItemOf(key), v = ItemOf(value);
      cursor_->set_key(cursor_, &k);
      cursor_->set_value(cursor_, &v);
      if (const int code = cursor_->insert(cursor_); code != 0) {
        session_->rollback_transaction(session_, nullptr);
        return Translated(code);
      }
    }
    return Translated(session_->commit_transaction(session_, nullptr));
  }
  absl::Status PutSynced(std::string_view key, std::string_view value) override { return Put(key, value); }
  absl::Status Delete(std::string_view key) override {
    if (!status_.ok()) return status_;
    const WT_ITEM k = ItemOf(key);
    cursor_->set_key(cursor_, &k);
    const int code = cursor_->remove(cursor_);
    return Translated(code == WT_NOTFOUND ? 0 : code);
  }
  absl::StatusOr<std::string_view> Get(std::string_view key) override {
    if (!status_.ok()) return status_;
    const WT_ITEM k = ItemOf(key);
    cursor_->set_key(cursor_, &k);
    int code = cursor_->search(cursor_);
    WT_ITEM value{};
    if (code == 0) code = cursor_->get_value(cursor_, &value);
    if (code != 0) return Translated(code);
    return std::string_view(static_cast<const char*>(value.data), value.size);
  }
  absl::StatusOr<Scanned> Scan(std::string_view from, uint64_t count) override {
    if (!status_.ok()) return status_;
    Scanned scanned;
    int code = 0;
    if (from.empty()) {
      cursor_->reset(cursor_);
      code = cursor_->next(cursor_);
    } else {
      const WT_ITEM k = ItemOf(from);
      cursor_->set_key(cursor_, &k);
      int exact = 0;
      code = cursor_->search_near(cursor_, &exact);
      if (code == 0 && exact < 0) code = cursor_->next(cursor_);
    }
    for (; code == 0 && scanned.pairs < count; code = cursor_->next(cursor_)) {
      WT_ITEM key{}, value{};
      if (cursor_->get_key(cursor_, &key) != 0 || cursor_->get_value(cursor_, &value) != 0) break;
      scanned.Add({static_cast<const char*>(key.data), key.size}, {static_cast<const char*>(value.data), value.size});
    }
    cursor_->reset(cursor_);
    if (code != 0 && code != WT_NOTFOUND) return Translated(code);
    return scanned;
  }

 private:
  WT_SESSION* session_ = nullptr;
  WT_CURSOR* cursor_ = nullptr;
  absl::Status status_;
};

class WiredTigerEngine final : public PeerEngine {
 public:
  ~WiredTigerEngine() override {
    if (connection_ != nullptr) connection_->close(connection_, nullptr);
  }
  absl::Status Open(const PeerSpec& spec) {
    ::mkdir(spec.path.c_str(), 0755);
    const std::string config = "create,cache_size=" + std::to_string(spec.memory_bytes) +
                               ",session_max=256,log=(enabled=true,recover=on),checkpoint=(wait=60)," +
                               "transaction_sync=(enabled=" + (spec.synced ? "true" : "false") + ",method=fsync)";
    if (const int code = wiredtiger_open(spec.path.c_str(), nullptr, config.c_str(), &connection_); code != 0) {
      return Translated(code);
    }
    WT_SESSION* session = nullptr;
    int code = connection_->open_session(connection_, nullptr, nullptr, &session);
    if (code == 0) {
      code = session->create(session, kTable, "key_format=u,value_format=u,memory_page_max=10m,leaf_value_max=64MB");
      session->close(session, nullptr);
    }
    return Translated(code);
  }
  std::unique_ptr<Client> NewClient() override { return std::make_unique<WiredTigerClient>(connection_); }
  absl::Status Sync() override {
    WT_SESSION* session = nullptr;
    int code = connection_->open_session(connection_, nullptr, nullptr, &session);
    if (code != 0) return Translated(code);
    code = session->log_flush(session, "sync=on");
    session->close(session, nullptr);
    return Translated(code);
  }
  absl::Status Close() override {
    WT_CONNECTION* const connection = std::exchange(connection_, nullptr);
    return Translated(connection->close(connection, nullptr));
  }

 private:
  WT_CONNECTION* connection_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerEngine>> OpenWiredTiger(const PeerSpec& spec) {
  auto engine = std::make_unique<WiredTigerEngine>();
  if (const absl::Status status = engine->Open(spec); !status.ok()) return status;
  return engine;
}

}  // namespace firn::bench
