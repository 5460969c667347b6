#include "stress/world.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "support/rng.h"

namespace firn::test {
namespace {

// Lines up behind the key: number, filler, hash.
constexpr size_t kNumberBytes = sizeof(uint64_t), kHashBytes = sizeof(uint64_t);

void AppendWord(std::string& text, uint64_t word) {
  char bytes[sizeof(word)];
  std::memcpy(bytes, &word, sizeof(word));
  text.append(bytes, sizeof(bytes));
}

uint64_t WordAt(std::string_view text, size_t at) {
  uint64_t word;
  std::memcpy(&word, text.data() + at, sizeof(word));
  return word;
}

}  // namespace

const char* const kDeedNames[kDeeds] = {
    "puts",
    "large puts",
    "streamed puts",
    "deletes",
    "batches over two keys",
    "expiry changes",
    "expired",
    "gets",
    "found",
    "ranges",
    "multi-gets",
    "pairs whole",
    "scan steps",
    "snapshots",
    "snapshot reads",
    "durable reads",
    "syncs",
    "flushes",
    "compactions",
    "verify",
    "scrub",
    "namespaces made",
    "namespaces dropped",
    "dropped ones asked",
};

void Require(bool holds, const std::string& what) {
  if (!holds) throw Broken(what);
}

void RequireOk(const absl::Status& status, const std::string& what) {
  if (!status.ok()) throw Broken(what + ": " + status.ToString());
}

std::string MakeValue(std::string_view key, uint64_t number, size_t size_bytes) {
  std::string value(key);
  value += '\0';
  AppendWord(value, number);
  Rng filler(number ^ base::Hash64(base::AsBytes(key)));
  value.reserve(size_bytes + kHashBytes);
  while (value.size() + kHashBytes < size_bytes) AppendWord(value, filler.Next());
  AppendWord(value, base::Hash64(base::AsBytes(value)));
  return value;
}

uint64_t NumberOf(std::string_view key, std::string_view value) {
  const std::string who = "the value of '" + std::string(key) + "', " + std::to_string(value.size()) + " bytes, ";
  Require(value.size() >= key.size() + 1 + kNumberBytes + kHashBytes, who + "is too short");
  const std::string_view hashed = value.substr(0, value.size() - kHashBytes);
  Require(base::Hash64(base::AsBytes(hashed)) == WordAt(value, hashed.size()), who + "is not whole");
  Require(value.substr(0, key.size()) == key && value[key.size()] == '\0', who + "is another key's");
  return WordAt(value, key.size() + 1);
}

int64_t World::NowMs() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void World::Stop() {
  std::lock_guard lock(mutex_);
  stopped_.store(true, std::memory_order_relaxed);
  stop_.notify_all();
}

void World::AwaitStop(std::chrono::duration<double> at_most) {
  std::unique_lock lock(mutex_);
  stop_.wait_for(lock, at_most, [this] { return stopped(); });
}

void World::Fail(const std::string& what) {
  {
    std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = what;
  }
  Stop();
}

std::string World::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

std::vector<std::shared_ptr<Space>> World::Spaces() const {
  std::lock_guard lock(mutex_);
  return spaces_;
}

void World::AddSpace(std::shared_ptr<Space> space) {
  std::lock_guard lock(mutex_);
  spaces_.push_back(std::move(space));
}

void World::ForgetOldSpaces() {
  constexpr std::ptrdiff_t kDroppedKept = 8;
  std::lock_guard lock(mutex_);
  const auto is_dropped = [](const std::shared_ptr<Space>& space) { return space->dropped.load(); };
  while (std::count_if(spaces_.begin(), spaces_.end(), is_dropped) > kDroppedKept) {
    spaces_.erase(std::find_if(spaces_.begin(), spaces_.end(), is_dropped));
  }
}

void World::Settle(const std::string& key, std::optional<uint64_t> number) {
  std::lock_guard lock(mutex_);
  settled_[key] = number;
}

std::map<std::string, std::optional<uint64_t>> World::Settled() const {
  std::lock_guard lock(mutex_);
  return settled_;
}

}  // namespace firn::test
