// The asynchronous face: each sentence of firn/async.h about calls, answers and their order.
#include <sys/epoll.h>
#include <unistd.h>

#include "unit/db/async_testing.h"

namespace firn::testing {

TEST_CASE("a context has from one to kAsyncInFlightMax operations in flight") {
  SimStore store;
  CHECK(Code(AsyncContext::Create(*store.db, {.in_flight_max = kAsyncInFlightMin - 1})) == kInvalid);
  CHECK(Code(AsyncContext::Create(*store.db, {.in_flight_max = kAsyncInFlightMax + 1})) == kInvalid);
  CHECK(Code(AsyncContext::Create(*store.db, {.in_flight_max = kAsyncInFlightMin})) == kOk);
  CHECK(Code(AsyncContext::Create(*store.db, {.in_flight_max = kAsyncInFlightMax})) == kOk);
}

TEST_CASE("one thread has many gets in flight, from the disk and from memory") {
  const Options options = GENERATE(kRing, kCalls);
  RealStore store(options);
  Fill(store);
  store.Reopen();
  for (int round = 0; round < 2; ++round) {
    const auto context = ContextOf(*store.db);
    std::vector<Slot<AsyncValue>> slots(kKeys);
    size_t next = 0;
    while (next < kKeys || context->in_flight() > 0) {
      while (next < kKeys) {
        const auto id = context->Get(NumberedKey(next), slots[next].Taker());
        if (!id.ok()) {
          REQUIRE(Code(id) == kExhausted);
          REQUIRE(context->in_flight() == 256);
          break;
        }
        REQUIRE_FALSE(slots[next].answer);  // never from inside the call
        ++next;
      }
      context->Wait();
    }
    size_t right = 0;
    for (size_t i = 0; i < kKeys; ++i)
      right += slots[i].times == 1 && Text(*slots[i].answer) == NumberedValue(i) ? 1 : 0;
    CHECK(right == kKeys);
  }
  const Stats stats = store->GetStats();
  CHECK(stats.cache_misses == kKeys);
  CHECK(stats.cache_hits == kKeys);  // of the second round
  CHECK(stats.gets.count == 2 * kKeys);
}

TEST_CASE("gets answer as the blocking ones do") {
  RealStore store({.value_separation_threshold_bytes = 8 * 1024});
  const auto space = Must(store->CreateNamespace("other"));
  Must(store->Put("a", "here"));
  Must(store->root().Put("large", NumberedValue(7, 100'000)));
  Must(store->Put("gone", "x", Expiring(1)));
  Namespace other = space;
  Must(other.Put("a", "there"));
  store.Reopen();
  const auto context = ContextOf(*store.db);
  const auto get = [&](std::string_view key, const AsyncReadOptions& options = {}) {
    Slot<AsyncValue> slot;
    Must(context->Get(key, slot.Taker(), options).status());
    WaitForAll(*context);
    return *slot.answer;
  };
  CHECK(Text(get("a")) == "here");
  CHECK(Text(get("large")) == NumberedValue(7, 100'000));
  CHECK(Text(get("large")) == NumberedValue(7, 100'000));
  CHECK(Text(get("b")) == kAbsent);
  CHECK(Text(get("gone")) == kAbsent);
  CHECK(Code(get("")) == kInvalid);
  CHECK(Code(get(std::string(kKeyBytesMax + 1, 'k'))) == kInvalid);
  AsyncReadOptions elsewhere;
  elsewhere.namespace_id = space.id();
  CHECK(Text(get("a", elsewhere)) == "there");
  elsewhere.namespace_id = 999;
  CHECK(Code(get("a", elsewhere)) == kNotFound);
}

TEST_CASE("a get sees its snapshot, though that goes before the answer") {
  RealStore store;
  Fill(store);
  auto snapshot = store->GetSnapshot();
  const auto context = ContextOf(*store.db);
  Slot<AsyncValue> then, now, durable;
  Must(store->Put(NumberedKey(1), "new", Buffered()));
  AsyncReadOptions options;
  options.snapshot = snapshot.get();
  Must(context->Get(NumberedKey(1), then.Taker(), options).status());
  snapshot.reset();
  Must(context->Get(NumberedKey(1), now.Taker()).status());
  options = {};
  options.read_durable = true;
  Must(context->Get(NumberedKey(1), durable.Taker(), options).status());
  WaitForAll(*context);
  CHECK(Text(*then.answer) == NumberedValue(1));
  CHECK(Text(*now.answer) == "new");
  CHECK(Text(*durable.answer) == "new");
  CHECK(store->DurableRevision() >= kKeys + 1);
}

TEST_CASE("a multi-get has all keys of one revision, in the order they were asked for") {
  const Options options = GENERATE(kRing, kCalls);
  RealStore store(options);
  Fill(store);
  store.Reopen();
  const auto context = ContextOf(*store.db, 16);  // fewer reads at a time than keys
  std::vector<std::string> names{""};
  for (size_t i = 0; i < kKeys; ++i) names.push_back(NumberedKey(i));
  names.push_back("absent");
  const std::vector<std::string_view> keys(names.begin(), names.end());
  Slot<AsyncValues> slot, nothing;
  Must(context->MultiGet(keys, slot.Taker()).status());
  Must(context->MultiGet({}, nothing.Taker()).status());
  Must(store->Put(NumberedKey(kKeys - 1), "later", Buffered()));
  WaitForAll(*context);
  REQUIRE(slot.answer->ok());
  const auto& values = **slot.answer;
  REQUIRE(values.size() == kKeys + 2);
  CHECK(Code(values.front()) == kInvalid);
  CHECK(Text(values.back()) == kAbsent);
  size_t right = 0;
  for (size_t i = 0; i < kKeys; ++i) right += Text(values[i + 1]) == NumberedValue(i) ? 1 : 0;
  CHECK(right == kKeys);
  CHECK((*nothing.answer)->empty());
  CHECK(context->Cancel(0) == false);
}

TEST_CASE("writes take effect in the call, and synced ones are answered when they are durable") {
  RealStore store;
  const auto context = ContextOf(*store.db);
  Slot<AsyncRevision> synced, buffered, refused, batch, removed, expiry;
  Slot<absl::Status> sync;
  Must(context->Put("a", "1", synced.Taker()).status());
  CHECK(Text(store->Get("a")) == "1");
  CHECK_FALSE(synced.answer);
  Must(context->Put("b", "2", buffered.Taker(), AsyncBuffered()).status());
  AsyncPutOptions absent;
  absent.condition = Condition::Absent();
  Must(context->Put("a", "3", refused.Taker(), absent).status());
  Batch both;
  both.Put("c", "4");
  both.Delete("b");
  Must(context->Apply(both, batch.Taker()).status());
  Must(context->SetExpiry("c", 4'000'000'000'000, expiry.Taker()).status());
  Must(context->Delete("a", removed.Taker()).status());
  Must(context->Sync(sync.Taker()).status());
  WaitForAll(*context);
  CHECK(Code(*refused.answer) == kPrecondition);
  const Revision first = **synced.answer;
  CHECK(**buffered.answer == first + 1);
  CHECK(**batch.answer == first + 2);
  CHECK(**expiry.answer == first + 3);
  CHECK(**removed.answer == first + 4);
  CHECK(sync.answer->ok());
  CHECK(store->DurableRevision() >= first + 4);
  CHECK(Contents(*store.db) == "c=4");
}

TEST_CASE("what a thread writes before it polls shares one flush") {
  RealStore store;
  const auto context = ContextOf(*store.db);
  std::vector<Slot<AsyncRevision>> slots(64);
  const Stats before = store->GetStats();
  for (size_t i = 0; i < slots.size(); ++i) {
    Must(context->Put(NumberedKey(i), "value", slots[i].Taker()).status());
  }
  WaitForAll(*context);
  CHECK(store->GetStats().commits == before.commits + 1);
  CHECK(store->GetStats().commit_writes == before.commit_writes + slots.size());
  for (const auto& slot : slots) CHECK(store->DurableRevision() >= **slot.answer);
}

TEST_CASE("beyond in_flight_max a call fails, and nothing was begun") {
  RealStore store;
  const auto context = ContextOf(*store.db, 2);
  Slot<AsyncRevision> put, another;
  Slot<AsyncValue> get, third;
  Must(context->Put("a", "1", put.Taker()).status());
  Must(context->Get("a", get.Taker()).status());
  CHECK(Code(context->Get("a", third.Taker())) == kExhausted);
  CHECK(Code(context->Put("b", "2", another.Taker())) == kExhausted);
  CHECK(context->in_flight() == 2);
  WaitForAll(*context);
  CHECK(Text(store->Get("b")) == kAbsent);
  CHECK(third.times == 0);
  CHECK(another.times == 0);
  Must(context->Get("a", third.Taker()).status());
  WaitForAll(*context);
  CHECK(Text(*third.answer) == "1");
}

TEST_CASE("an operation is cancelled at every stage, and answered once") {
  const Options options = GENERATE(kRing, kCalls);
  RealStore store(options);
  Fill(store);
  store.Reopen();
  const auto context = ContextOf(*store.db, 8);
  Slot<AsyncValue> fed, on_disk, cached;
  Slot<AsyncValues> waiting, many;
  Slot<AsyncRevision> put, buffered;
  std::vector<std::string> names;
  for (size_t i = 100; i < 200; ++i) names.push_back(NumberedKey(i));
  const std::vector<std::string_view> keys(names.begin(), names.end());

  const AsyncId id = Must(context->Get(NumberedKey(1), fed.Taker()));  // not handed over yet
  CHECK(context->Cancel(id));
  CHECK_FALSE(context->Cancel(id));
  CHECK(fed.times == 0);
  WaitForAll(*context);
  CHECK(Code(*fed.answer) == kCancelled);
  CHECK_FALSE(context->Cancel(id));

  const AsyncId first = Must(context->MultiGet(keys, many.Taker()));
  const AsyncId second = Must(context->MultiGet(keys, waiting.Taker()));  // behind the other's reads
  context->Poll();
  context->Cancel(second);
  context->Cancel(first);
  WaitForAll(*context);
  CHECK((many.times == 1 && (Code(*many.answer) == kCancelled || many.answer->ok())));
  CHECK((waiting.times == 1 && (Code(*waiting.answer) == kCancelled || waiting.answer->ok())));

  const AsyncId written = Must(context->Put("a", "1", put.Taker()));
  CHECK(context->Cancel(written));
  WaitForAll(*context);
  CHECK(Code(*put.answer) == kCancelled);
  CHECK(Text(store->Get("a")) == "1");  // it is not undone

  const AsyncId ended = Must(context->Put("a", "2", buffered.Taker(), AsyncBuffered()));
  CHECK_FALSE(context->Cancel(ended));
  WaitForAll(*context);
  CHECK(buffered.answer->ok());

  Must(context->Get(NumberedKey(1), cached.Taker()).status());
  WaitForAll(*context);
  CHECK(Text(*cached.answer) == NumberedValue(1));
  for (const int times : {fed.times, put.times, buffered.times, cached.times}) CHECK(times == 1);
}

TEST_CASE("a callback may cancel what would be answered next, and begin more") {
  RealStore store;
  Must(store->Put("a", "1"));
  const auto context = ContextOf(*store.db);
  Slot<AsyncValue> later;
  Slot<AsyncRevision> put;
  bool answered = false;
  const AsyncId waits = Must(context->Put("b", "2", put.Taker()));
  Must(context
           ->Get("a",
                 [&](const AsyncValue&) {
                   answered = true;
                   context->Cancel(waits);
                   Must(context->Get("a", later.Taker()).status());
                   CHECK(context->Poll() == 0);
                   CHECK(context->Wait() == 0);
                   CHECK_FALSE(later.answer);
                 })
           .status());
  while (!answered) context->Wait();
  CHECK_FALSE(later.answer);  // for the next Poll()
  WaitForAll(*context);
  CHECK(Text(*later.answer) == "1");
  CHECK(put.times == 1);
}

TEST_CASE("a deadline that passes is answered, and what it says is when to poll") {
  SimStore store;
  Fill(store, 100);
  store.Reopen();
  const auto context = ContextOf(*store.db, 1);
  CHECK(context->timeout_ms() == -1);
  std::vector<std::string> names;
  for (size_t i = 0; i < 100; ++i) names.push_back(NumberedKey(i));
  const std::vector<std::string_view> keys(names.begin(), names.end());
  Slot<AsyncValues> late;  // one read at a time: this takes many turns
  AsyncReadOptions options;
  options.timeout_ms = 100;
  Must(context->MultiGet(keys, late.Taker(), options).status());
  CHECK(context->timeout_ms() <= 100);
  CHECK(context->timeout_ms() > 90);
  CHECK(context->Poll() == 0);
  store.world.clock.Advance(200'000'000);
  CHECK(context->timeout_ms() == 0);
  CHECK(context->Wait() == 1);
  CHECK(Code(*late.answer) == kDeadline);
  CHECK(late.times == 1);
  CHECK(context->Wait() == 0);
  CHECK(context->timeout_ms() == -1);
  CHECK(context->Wait(1) == 0);
}

TEST_CASE("a context that is destroyed answers what is in flight, once") {
  const Options options = GENERATE(kRing, kCalls);
  RealStore store(options);
  Fill(store);
  store.Reopen();
  std::vector<Slot<AsyncValue>> gets(100);
  std::vector<Slot<AsyncRevision>> puts(100);
  Slot<AsyncValue> from_callback;
  std::optional<absl::StatusCode> refused;
  {
    auto context = ContextOf(*store.db);
    for (size_t i = 0; i < gets.size(); ++i) {
      Must(context->Get(NumberedKey(i), gets[i].Taker()).status());
      Must(context->Put(NumberedKey(i), "new", puts[i].Taker()).status());
      if (i == 50) context->Poll();
    }
    AsyncContext& dying = *context;
    Must(context->Get("z", [&](const AsyncValue&) { refused = Code(dying.Get("a", from_callback.Taker())); }).status());
  }
  for (size_t i = 0; i < gets.size(); ++i) {
    INFO(i);
    CHECK(gets[i].times == 1);
    CHECK((Code(*gets[i].answer) == kCancelled || gets[i].answer->ok()));
    CHECK(puts[i].times == 1);
    CHECK((Code(*puts[i].answer) == kCancelled || puts[i].answer->ok()));
    CHECK(Text(store->Get(NumberedKey(i))) == "new");
  }
  CHECK(refused == kPrecondition);
  CHECK(from_callback.times == 0);
}

TEST_CASE("the descriptor is readable when there is something to poll", "[descriptor]") {
  const Options options = GENERATE(kRing, kCalls);
  RealStore store(options);
  Fill(store);
  store.Reopen();
  const auto context = ContextOf(*store.db);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {}};
  REQUIRE(::epoll_ctl(epoll, EPOLL_CTL_ADD, context->descriptor(), &event) == 0);
  const auto readable = [&](int timeout_ms) { return ::epoll_wait(epoll, &event, 1, timeout_ms) == 1; };
  const auto wait_for_all = [&] {
    for (bool in_time = true; context->in_flight() > 0 && in_time;) {
      if (context->Poll() > 0) continue;
      if (context->in_flight() > 0) in_time = readable(10'000);
    }
    return context->in_flight() == 0;
  };
  CHECK(context->Poll() == 0);
  CHECK_FALSE(readable(0));
  for (int round = 0; round < 3; ++round) {
    std::vector<Slot<AsyncValue>> gets(200);
    std::vector<Slot<AsyncRevision>> puts(50);
    for (size_t i = 0; i < gets.size(); ++i) Must(context->Get(NumberedKey(round * 200 + i), gets[i].Taker()).status());
    for (size_t i = 0; i < puts.size(); ++i) Must(context->Put("p", "1", puts[i].Taker()).status());
    CHECK(wait_for_all());
    for (size_t i = 0; i < gets.size(); ++i) CHECK(Text(*gets[i].answer) == NumberedValue(round * 200 + i));
    for (const auto& slot : puts) CHECK(slot.answer->ok());
    CHECK(context->Poll() == 0);
  }
  Slot<AsyncRevision> alone;  // nothing else wakes its thread
  Must(context->Put("p", "2", alone.Taker()).status());
  CHECK(wait_for_all());
  ::close(epoll);
}

TEST_CASE("nothing in flight is nothing to wait for") {
  RealStore store;
  const auto context = ContextOf(*store.db);
  CHECK(context->Wait() == 0);
  CHECK(context->Poll() == 0);
  CHECK(context->in_flight() == 0);
}

}  // namespace firn::testing
