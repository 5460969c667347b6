// Ordered walks.
#include <map>

#include "unit/db/testing.h"

namespace firn::testing {
namespace {

void PutAll(SimStore& store, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) Must(store->Put(key, key, Buffered()));
}

std::string Keys(SimStore& store, const IteratorOptions& options) {
  const auto iterator = store->NewIterator(options);
  const std::string forward = Forward(*iterator, false);
  std::string backward = Backward(*iterator);
  // The walk back must be the walk there, turned round.
  std::vector<std::string> turned;
  for (size_t at = 0; at < backward.size();) {
    const size_t end = std::min(backward.find(' ', at), backward.size());
    turned.insert(turned.begin(), backward.substr(at, end - at));
    at = end + 1;
  }
  std::string joined;
  for (const std::string& key : turned) joined += (joined.empty() ? "" : " ") + key;
  CHECK(joined == forward);
  return forward;
}

std::string Where(const Iterator& iterator) { return iterator.Valid() ? std::string(iterator.key()) : "nowhere"; }

}  // namespace

TEST_CASE("an iterator starts unpositioned and walks in bytewise order both ways") {
  SimStore store;
  PutAll(store, {"b", "a", "ab", "c", std::string_view("a\0", 2), "\xff", "\x7f", "\x80"});
  const auto iterator = store->NewIterator();
  CHECK_FALSE(iterator->Valid());
  CHECK(iterator->status().ok());
  CHECK(Keys(store, {}) == std::string("a a\0 ab b c \x7f \x80 \xff", 17));
}

TEST_CASE("seeking finds the first key at or after, or the last at or before") {
  SimStore store;
  PutAll(store, {"b", "d", "f"});
  const auto iterator = store->NewIterator();
  const auto seek = [&](std::string_view key) {
    iterator->Seek(key);
    return Where(*iterator);
  };
  const auto seek_back = [&](std::string_view key) {
    iterator->SeekForPrev(key);
    return Where(*iterator);
  };
  CHECK(seek("") == "b");
  CHECK(seek("a") == "b");
  CHECK(seek("d") == "d");
  CHECK(seek(std::string_view("d\0", 2)) == "f");
  CHECK(seek("g") == "nowhere");
  CHECK(seek_back("g") == "f");
  CHECK(seek_back("f") == "f");
  CHECK(seek_back("e") == "d");
  CHECK(seek_back("a") == "nowhere");
  CHECK(seek_back("") == "nowhere");
}

TEST_CASE("both directions may be mixed, and a walk that has ended can begin anew") {
  SimStore store;
  PutAll(store, {"a", "b", "c"});
  const auto iterator = store->NewIterator();
  iterator->Seek("b");
  iterator->Next();
  iterator->Prev();
  CHECK(Where(*iterator) == "b");
  iterator->Prev();
  CHECK(Where(*iterator) == "a");
  iterator->Prev();
  CHECK(Where(*iterator) == "nowhere");
  CHECK(iterator->status().ok());
  iterator->Next();
  CHECK(Where(*iterator) == "nowhere");
  iterator->SeekToLast();
  CHECK(Where(*iterator) == "c");
}

TEST_CASE("bounds are inclusive below and exclusive above") {
  SimStore store;
  PutAll(store, {"a", "b", "c", "d"});
  CHECK(Keys(store, {.lower = "b"}) == "b c d");
  CHECK(Keys(store, {.upper = "c"}) == "a b");
  CHECK(Keys(store, {.lower = "b", .upper = "d"}) == "b c");
  CHECK(Keys(store, {.lower = "aa", .upper = "bb"}) == "b");
  CHECK(Keys(store, {.lower = "", .upper = "a"}) == "");
  CHECK(Keys(store, {.lower = "b", .upper = "b"}) == "");
  CHECK(Keys(store, {.lower = "c", .upper = "b"}) == "");
  CHECK(Keys(store, {.upper = ""}) == "");
  CHECK(Keys(store, {.lower = "e"}) == "");
  const auto iterator = store->NewIterator({.lower = "b", .upper = "d"});
  iterator->Seek("a");
  CHECK(Where(*iterator) == "b");
  iterator->Seek("d");
  CHECK(Where(*iterator) == "nowhere");
  iterator->SeekForPrev("z");
  CHECK(Where(*iterator) == "c");
  iterator->SeekForPrev("a");
  CHECK(Where(*iterator) == "nowhere");
}

TEST_CASE("a prefix narrows the bounds, also one of 0xff bytes") {
  SimStore store;
  PutAll(store, {"a", "p", "p1", "p2", "q", "\xfe\xff", "\xff", "\xff\xff", "\xff\xff\x01"});
  CHECK(Keys(store, {.prefix = "p"}) == "p p1 p2");
  CHECK(Keys(store, {.prefix = "p1"}) == "p1");
  CHECK(Keys(store, {.prefix = "pp"}) == "");
  CHECK(Keys(store, {.lower = "p1", .prefix = "p"}) == "p1 p2");
  CHECK(Keys(store, {.upper = "p2", .prefix = "p"}) == "p p1");
  CHECK(Keys(store, {.lower = "q", .prefix = "p"}) == "");
  CHECK(Keys(store, {.prefix = "\xff"}) == "\xff \xff\xff \xff\xff\x01");
  CHECK(Keys(store, {.prefix = "\xff\xff"}) == "\xff\xff \xff\xff\x01");
  CHECK(Keys(store, {.prefix = "\xfe\xff"}) == "\xfe\xff");
  CHECK(Keys(store, {.prefix = "\xff\xff\xff"}) == "");
}

TEST_CASE("a prefix of 0xff bytes stops at the end of its namespace") {
  SimStore store;
  Namespace first = Must(store->CreateNamespace("first"));
  Namespace second = Must(store->CreateNamespace("second"));
  PutAll(store, {"\xff"});
  Must(first.Put("\xff\xff", "1"));
  Must(second.Put("\x01", "2"));
  CHECK(Contents(first, {.prefix = "\xff"}) == "\xff\xff=1");
  CHECK(Contents(first) == "\xff\xff=1");
  CHECK(Contents(second) == "\x01=2");
  CHECK(Contents(*store.db) == "\xff=\xff");
  CHECK(Backward(*second.NewIterator()) == "\x01");
}

TEST_CASE("an empty store and an empty namespace have nothing to walk") {
  SimStore store;
  CHECK(Keys(store, {}) == "");
  CHECK(Contents(Must(store->CreateNamespace("empty"))) == "");
}

TEST_CASE("an iterator sees one revision while the keys change under it") {
  SimStore store;
  std::string before;
  for (size_t i = 0; i < 500; i += 2) {
    Must(store->Put(NumberedKey(i), "v", Buffered()));
    before += (before.empty() ? "" : " ") + NumberedKey(i) + "=v";
  }
  const auto iterator = store->NewIterator();
  std::string seen;
  size_t step = 0;
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next(), ++step) {
    seen += (seen.empty() ? "" : " ") + std::string(iterator->key()) + "=" + std::string(iterator->value());
    const size_t near = step * 2;
    Must(store->Put(NumberedKey(near + 1), "new", Buffered()));
    Must(store->Put(NumberedKey(near + 2), "new", Buffered()));
    Must(store->Delete(NumberedKey(near + 4), Buffered()));
    Must(store->Delete(NumberedKey(near), Buffered()));
  }
  CHECK(seen == before);
  CHECK(Forward(*iterator) == before);
  CHECK(store->GetStats().kept_versions > 0);
}

TEST_CASE("an iterator's versions are dropped with it") {
  SimStore store;
  Must(store->Put("a", "1"));
  auto iterator = store->NewIterator();
  Must(store->Put("a", "2"));
  Must(store->Delete("a"));
  CHECK(store->GetStats().snapshots == 1);
  CHECK(Forward(*iterator) == "a=1");
  iterator.reset();
  CHECK(store->GetStats().kept_versions == 0);
  CHECK(store->GetStats().keys == 0);
  CHECK(store->GetStats().snapshots == 0);
}

TEST_CASE("an iterator with a snapshot shows that, and tells revisions and expiries") {
  SimStore store;
  const int64_t later = store.NowMs() + 1'000'000;
  const Revision put = Must(store->Put("a", "1", Expiring(later)));
  const auto snapshot = store->GetSnapshot();
  const Revision changed = Must(store->SetExpiry("a", 0));
  const auto then = store->NewIterator({.snapshot = snapshot.get()});
  then->SeekToFirst();
  REQUIRE(then->Valid());
  CHECK(then->revision() == put);
  CHECK(then->expires_at_ms() == later);
  const auto now = store->NewIterator();
  now->SeekToFirst();
  REQUIRE(now->Valid());
  CHECK(now->revision() == changed);
  CHECK(now->expires_at_ms() == 0);
  CHECK(now->value() == "1");
}

TEST_CASE("a snapshot may be let go before the iterators that show it") {
  SimStore store;
  Must(store->Put("a", "1"));
  Must(store->Put("b", "1"));
  auto snapshot = store->GetSnapshot();
  auto iterator = store->NewIterator({.snapshot = snapshot.get()});
  CHECK(store->GetStats().snapshots == 2);
  Must(store->Put("a", "2"));
  snapshot.reset();
  Must(store->Delete("b"));
  CHECK(Forward(*iterator) == "a=1 b=1");
  CHECK(Backward(*iterator) == "b a");
  iterator.reset();
  CHECK(store->GetStats().kept_versions == 0);
  CHECK(store->GetStats().snapshots == 0);
}

TEST_CASE("a keys-only walk reads no disk, and so do Exists and a failed get") {
  SimStore store;
  PutOptions options = Buffered();
  options.metadata = "metadata";
  for (size_t i = 0; i < 300; ++i) Must(store->Put(NumberedKey(i), std::string(5'000, 'v'), options));
  store.Reopen();
  const uint64_t reads = store->GetStats().device_reads;
  size_t count = 0;
  const auto iterator = store->NewIterator({.keys_only = true});
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    ++count;
    CHECK(iterator->value().empty());
    CHECK(iterator->metadata().empty());
    CHECK(iterator->revision() > 0);
  }
  CHECK(count == 300);
  CHECK(iterator->status().ok());
  for (size_t i = 0; i < 300; ++i) CHECK(*store->Exists(NumberedKey(i)));
  CHECK(Code(store->Get("nowhere")) == kNotFound);
  CHECK(store->GetStats().device_reads == reads);
  CHECK(Text(store->Get(NumberedKey(7))) == std::string(5'000, 'v'));
  CHECK(store->GetStats().device_reads == reads + 1);
}

TEST_CASE("a walk over values reads those it is asked for only") {
  SimStore store;
  for (size_t i = 0; i < 100; ++i) Must(store->Put(NumberedKey(i), std::string(5'000, 'v'), Buffered()));
  store.Reopen();
  const uint64_t reads = store->GetStats().device_reads;
  const auto iterator = store->NewIterator();
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    if (iterator->key() == NumberedKey(50)) CHECK(iterator->value().size() == 5'000);
  }
  CHECK(store->GetStats().device_reads == reads + 1);
}

TEST_CASE("a walk that asks for every value reads ahead, in either direction, and what lies together at once") {
  for (const bool in_order : {true, false}) {
    SimStore store;
    for (size_t i = 0; i < 400; ++i) {
      const size_t number = in_order ? i : i * 7 % 400;
      Must(store->Put(NumberedKey(number), NumberedKey(number) + std::string(3'000, 'v'), Buffered()));
    }
    store.Reopen();
    const auto iterator = store->NewIterator();
    for (const bool forward : {true, false}) {
      const uint64_t reads = store->GetStats().device_reads;
      size_t count = 0;
      for (forward ? iterator->SeekToFirst() : iterator->SeekToLast(); iterator->Valid();
           forward ? iterator->Next() : iterator->Prev()) {
        CHECK(iterator->key() == NumberedKey(forward ? count : 399 - count));
        CHECK(iterator->value() == std::string(iterator->key()) + std::string(3'000, 'v'));
        ++count;
      }
      CHECK(iterator->status().ok());
      CHECK(count == 400);
      if (in_order) CHECK(store->GetStats().device_reads - reads < 20);
    }
  }
}

TEST_CASE("a walk turns round anywhere, and back") {
  SimStore store;
  test::Rng rng(3);
  for (size_t i = 0; i < 300; ++i)
    Must(store->Put(NumberedKey(i), NumberedKey(i) + std::string(rng.Below(9'000), 'v'), Buffered()));
  store.Reopen();
  const auto iterator = store->NewIterator();
  iterator->Seek(NumberedKey(150));
  size_t at = 150;
  for (int i = 0; i < 2'000; ++i) {
    REQUIRE(iterator->Valid());
    REQUIRE(iterator->key() == NumberedKey(at));
    if (rng.OneIn(2)) REQUIRE(iterator->value().starts_with(NumberedKey(at)));
    const bool forward = at == 0 || (at < 299 && rng.OneIn(2));
    forward ? iterator->Next() : iterator->Prev();
    at = forward ? at + 1 : at - 1;
  }
}

TEST_CASE("an iterator stands still on a key whose value is damaged, and steps past it") {
  SimStore store;
  Must(store->Put("a", "1"));
  Must(store->Put("b", std::string(20'000, 'b')));
  Must(store->Put("c", "3"));
  Must(store->Close());
  store.db.reset();
  for (const std::string& name : store.world.machine.FileNames()) {
    if (!name.ends_with(".seg")) continue;
    const size_t at = store.world.machine.ReadFile(name).find(std::string(10'000, 'b'));
    if (at != std::string::npos) store.world.machine.FlipBits(name, at + 5'000, std::byte{1});
  }
  store.Open();
  CHECK(Code(store->Get("b")) == kDataLoss);
  const std::string_view keys[] = {"a", "b", "c"};
  const auto values = store->MultiGet(keys);
  CHECK(Text(values[0]) == "1");
  CHECK(Code(values[1]) == kDataLoss);
  CHECK(Text(values[2]) == "3");

  const auto iterator = store->NewIterator();
  iterator->Seek("b");
  REQUIRE(iterator->Valid());
  CHECK(iterator->value().empty());
  CHECK(iterator->metadata().empty());
  CHECK(iterator->Valid());
  CHECK(iterator->key() == "b");
  CHECK(Code(iterator->status()) == kDataLoss);
  iterator->Next();
  CHECK(iterator->status().ok());
  CHECK(Where(*iterator) == "c");
  CHECK(iterator->value() == "3");
  iterator->Prev();
  CHECK(iterator->value().empty());
  CHECK(Code(iterator->status()) == kDataLoss);
  iterator->Prev();
  CHECK(iterator->status().ok());
  CHECK(iterator->value() == "1");
  const auto report = Must(store->Verify());
  CHECK_FALSE(report.damages.empty());
}

TEST_CASE("a random walk agrees with a map") {
  const uint64_t seed = 20;
  INFO("seed " << seed);
  test::Rng rng(seed);
  SimStore store;
  std::map<std::string, std::string> model;
  for (int i = 0; i < 3'000; ++i) {
    std::string key = "k" + std::to_string(rng.Below(1'500));
    if (rng.OneIn(3)) {
      Must(store->Delete(key, Buffered()));
      model.erase(key);
    } else {
      Must(store->Put(key, std::to_string(i), Buffered()));
      model[key] = std::to_string(i);
    }
  }
  const auto iterator = store->NewIterator();
  auto place = model.end();
  for (int i = 0; i < 5'000; ++i) {
    if (place == model.end() || rng.OneIn(10)) {
      const std::string target = "k" + std::to_string(rng.Below(1'600));
      if (rng.OneIn(2)) {
        iterator->Seek(target);
        place = model.lower_bound(target);
      } else {
        iterator->SeekForPrev(target);
        place = model.upper_bound(target);
        place = place == model.begin() ? model.end() : std::prev(place);
      }
    } else if (rng.OneIn(2)) {
      iterator->Next();
      ++place;
    } else {
      iterator->Prev();
      place = place == model.begin() ? model.end() : std::prev(place);
    }
    REQUIRE(iterator->Valid() == (place != model.end()));
    if (place == model.end()) continue;
    REQUIRE(iterator->key() == place->first);
    REQUIRE(iterator->value() == place->second);
  }
}

}  // namespace firn::testing
