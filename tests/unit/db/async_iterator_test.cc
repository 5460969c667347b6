// Asynchronous iterators, and coroutines that await operations.
#include <coroutine>
#include <exception>

#include "unit/db/async_testing.h"

namespace firn::testing {
namespace {

AsyncStep StepOf(AsyncContext& context, AsyncIterator& iterator) {
  std::optional<AsyncStep> answer;
  Must(iterator.Next([&](AsyncStep step) { answer.emplace(std::move(step)); }).status());
  CHECK_FALSE(answer);
  WaitForAll(context);
  return *std::move(answer);
}

// All that it comes to, "key=value" apart by spaces.
std::string AllOf(AsyncContext& context, AsyncIterator& iterator) {
  std::string all;
  for (;;) {
    const AsyncStep step = StepOf(context, iterator);
    if (!step.ok()) return all + " " + std::string(step.status().ToString());
    if (!*step) return all;
    all += (all.empty() ? "" : " ") + (*step)->key + "=" + (*step)->value;
  }
}

// Runs by itself from the start to the end.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<> handle;
};

Detached GetInto(AsyncContext& context, std::string key, std::vector<std::string>* results) {
  results->push_back(Text(co_await context.Get(key)));
}

Detached Transfer(AsyncContext& context, std::string* log) {
  const AsyncRevision put = co_await context.Put("from", "1");
  *log += put.ok() ? "put " : Text(put.status());
  Batch batch;
  batch.Put("to", "2");
  batch.Delete("from");
  *log += (co_await context.Apply(batch)).ok() ? "applied " : "failed ";
  *log += (co_await context.Sync()).ok() ? "synced " : "failed ";
  const std::vector<std::string_view> keys{"from", "to"};
  const AsyncValues values = co_await context.MultiGet(keys);
  *log += Text((*values)[0]) + " " + Text((*values)[1]);
  *log += (co_await context.SetExpiry("to", 0)).ok() ? " kept" : " failed";
  *log += (co_await context.Delete("to")).ok() ? " deleted" : " failed";
}

Detached Walk(AsyncIterator& iterator, std::string* all) {
  for (;;) {
    const AsyncStep step = co_await iterator.Next();
    if (!step.ok() || !*step) co_return;
    *all += (*step)->key + " ";
  }
}

}  // namespace

TEST_CASE("an asynchronous iterator walks as a blocking one, and reads values together") {
  const bool use_io_uring = GENERATE(true, false);
  RealStore store({.value_separation_threshold_bytes = 8 * 1024, .use_io_uring = use_io_uring});
  for (size_t i = 0; i < 500; ++i) {
    Must(store->Put(NumberedKey(i), std::to_string(i) + std::string(i % 7 == 0 ? 9'000 : 3'000, 'v'), Buffered()));
  }
  store.Reopen();
  const auto context = ContextOf(*store.db, 64);
  for (const char* prefix : {"", "key000012", "none"}) {
    IteratorOptions options;
    options.prefix = prefix;
    CHECK(AllOf(*context, *context->NewIterator(options)) == Contents(store.db->root(), options));
  }
  IteratorOptions bounded;
  bounded.lower = NumberedKey(90);
  bounded.upper = NumberedKey(200);
  CHECK(AllOf(*context, *context->NewIterator(bounded)) == Contents(store.db->root(), bounded));
}

TEST_CASE("it sees one revision, and tells revision and expiry") {
  SimStore store;
  const int64_t late_ms = store.NowMs() + 100'000'000, soon_ms = store.NowMs() + 1'000;
  const Revision first = Must(store->Put("a", "1", Expiring(late_ms)));
  Must(store->Put("b", "2", Expiring(soon_ms)));
  Must(store->Put("c", "3"));
  const auto context = ContextOf(*store.db);
  const auto iterator = context->NewIterator();
  const auto snapshot = store->GetSnapshot();
  Must(store->Put("c", "changed"));
  Must(store->Delete("a"));
  Must(store->Put("d", "4"));
  const AsyncStep a = StepOf(*context, *iterator);
  CHECK((*a)->value == "1");
  CHECK((*a)->revision == first);
  CHECK((*a)->expires_at_ms == late_ms);
  store.world.clock.JumpWall(10'000);  // "b" disappears, though it was read
  CHECK(AllOf(*context, *iterator) == "c=3");
  CHECK(!*StepOf(*context, *iterator));
  IteratorOptions then;
  then.snapshot = snapshot.get();
  CHECK(AllOf(*context, *context->NewIterator(then)) == "a=1 c=3");
  then.keys_only = true;
  CHECK(AllOf(*context, *context->NewIterator(then)) == "a= c=");
}

TEST_CASE("one step at a time, and one that was cancelled was not made") {
  SimStore store;
  for (const char* key : {"a", "b", "c"}) Must(store->Put(key, std::string(3'000, 'v')));
  Must(store->Flush());
  const auto context = ContextOf(*store.db);
  const auto iterator = context->NewIterator();
  std::optional<AsyncStep> answer;
  const auto taker = [&](AsyncStep step) { answer.emplace(std::move(step)); };
  const AsyncId id = Must(iterator->Next(taker));
  CHECK(Code(iterator->Next(taker)) == kPrecondition);
  const bool cancelled = context->Cancel(id);
  WaitForAll(*context);
  if (cancelled) CHECK(Code(*answer) == kCancelled);
  CHECK((*StepOf(*context, *iterator))->key == (cancelled ? "a" : "b"));
}

TEST_CASE("an iterator and its context may go in either order") {
  SimStore store;
  Must(store->Put("a", "1"));
  auto context = ContextOf(*store.db);
  auto first = context->NewIterator();
  std::optional<AsyncStep> answer;
  const auto taker = [&](AsyncStep step) { answer.emplace(std::move(step)); };
  Must(first->Next(taker).status());
  first.reset();
  WaitForAll(*context);
  CHECK(Code(*answer) == kCancelled);
  const auto second = context->NewIterator();
  context.reset();
  CHECK(Code(second->Next(taker)) == kPrecondition);
  Must(store->Close());
}

TEST_CASE("a dropped namespace ends the walk with NotFound") {
  SimStore store;
  Namespace space = Must(store->CreateNamespace("space"));
  Must(space.Put("a", "1"));
  const auto context = ContextOf(*store.db);
  const auto iterator = context->NewIterator({}, space.id());
  Must(store->DropNamespace("space"));
  CHECK(Code(StepOf(*context, *iterator)) == kNotFound);
}

TEST_CASE("coroutines await operations, and wait for their turn beyond in_flight_max") {
  RealStore store;
  for (size_t i = 0; i < 100; ++i) Must(store->Put(NumberedKey(i), std::to_string(i), Buffered()));
  const auto context = ContextOf(*store.db, 4);
  std::string log, all;
  Transfer(*context, &log);
  std::vector<std::string> results;
  for (size_t i = 0; i < 100; ++i) GetInto(*context, NumberedKey(i), &results);
  CHECK(context->in_flight() == 4);
  WaitForAll(*context);
  CHECK(results.size() == 100);
  std::sort(results.begin(), results.end());
  CHECK(std::unique(results.begin(), results.end()) == results.end());
  CHECK(log == "put applied synced " + kAbsent + " 2 kept deleted");
  IteratorOptions options;
  options.prefix = "key000009";
  const auto iterator = context->NewIterator(options);
  Walk(*iterator, &all);
  WaitForAll(*context);
  CHECK(all.size() == 10 * (NumberedKey(0).size() + 1));
}

TEST_CASE("coroutines that wait are answered when their context goes") {
  RealStore store;
  Must(store->Put("a", std::string(3'000, 'v')));
  auto context = ContextOf(*store.db, 2);
  std::vector<std::string> results;
  for (size_t i = 0; i < 5; ++i) GetInto(*context, "a", &results);
  context.reset();
  CHECK(results.size() == 5);
}

TEST_CASE("a coroutine that is destroyed while it waits is not answered") {
  RealStore store;
  Must(store->Put("a", "1"));
  const auto context = ContextOf(*store.db, 2);
  std::vector<std::string> results;
  std::vector<Detached> waiting;
  for (size_t i = 0; i < 5; ++i) waiting.push_back(GetInto(*context, "a", &results));
  for (const size_t i : {0, 3}) waiting[i].handle.destroy();
  WaitForAll(*context);
  CHECK(results.size() == 3);
}

}  // namespace firn::testing
