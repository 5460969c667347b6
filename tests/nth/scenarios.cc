#include "nth/scenarios.h"

#include <string>

namespace firn::test {
namespace {

constexpr int64_t kFarAwayMs = int64_t{4} << 40;

std::string Text(std::string_view word, size_t bytes) {
  std::string text;
  for (size_t i = 0; text.size() < bytes; ++i) text += std::string(word) + std::to_string(i) + " ";
  text.resize(bytes);
  return text;
}

std::string NumberedKey(std::string_view word, int i) { return std::string(word) + std::to_string(1000 + i); }

void PutSome(Life& life) {
  life.Put("small", "one");
  life.Put("expiring", "some day", Durability::kSynced, kFarAwayMs);
  life.Put("large", Text("large", 40'000));
  life.Put("same", Text("large", 40'000));
  for (int i = 0; i < 40; ++i) life.Put(NumberedKey("many", i), Text("many", 700), Durability::kBuffered);
  life.Put(Text("a long key ", 3'000), "long");
  life.Delete("many1003");
  life.Sync();
}

void ReadEverything(Life& life) {
  life.Get("small");
  life.Get("large");
  life.Get("nobody");
  life.Get("many1007");
  life.GetStream("large");
  life.MultiGet();
  life.Scan();
  life.LookAround();
}

const NthScenario kScenarios[] = {
    {.name = "open-new",
     .prepare = nullptr,
     .opens = true,
     .run =
         [](Life& life) {
           if (life.Open()) life.Put("first", "value");
         }},
    {.name = "open",
     .prepare =
         [](Life& life) {
           PutSome(life);
           life.CreateNamespace("space");
           life.PutIn("space", "key", "in space");
           life.Flush();
           life.Put("small", "two");
         },
     .opens = true,
     .run =
         [](Life& life) {
           if (life.Open()) life.Get("small");
         }},
    {.name = "recover",
     .prepare =
         [](Life& life) {
           PutSome(life);
           life.Flush();
           life.Put("small", "two", Durability::kBuffered);
           life.Put("large", Text("other", 50'000), Durability::kBuffered);
           for (int i = 0; i < 30; ++i) life.Put(NumberedKey("late", i), Text("late", 900), Durability::kBuffered);
         },
     .opens = true,
     .killed_before = true,
     .run =
         [](Life& life) {
           if (life.Open()) life.Get("small");
         }},
    {.name = "put",
     .prepare = PutSome,
     .run =
         [](Life& life) {
           life.Put("small", "two");
           life.Put("fresh", "three", Durability::kBuffered);
           life.Put("fresh with expiry", "four", Durability::kSynced, kFarAwayMs);
           life.Put(Text("another long key ", 2'000), "long", Durability::kBuffered);
           life.Put("expiring", "for ever");
           life.SetExpiry("small", kFarAwayMs);
           life.Delete("expiring");
           life.SetExpiry("expiring", kFarAwayMs);  // which is there where the delete failed
           life.Delete("expiring", Durability::kBuffered);
           life.Delete(Text("a long key ", 3'000), Durability::kBuffered);
           life.Put("small", Text("inline", 9'000), Durability::kBuffered);
           life.Get("small");
         }},
    {.name = "put-large",
     .prepare = PutSome,
     .run =
         [](Life& life) {
           life.Put("large", Text("fresh", 60'000));
           life.Put("copy", Text("fresh", 60'000), Durability::kBuffered);
           life.Put("unaligned", Text("odd", 33'333));
           life.Delete("same");
           life.PutStream("stream", Text("stream", 1'500'000));
           life.PutStream("stream again", Text("stream", 1'500'000));
           life.PutStream("short stream", "short");
           life.GetStream("stream");
           life.Get("unaligned");
         }},
    {.name = "put-many",
     .prepare = nullptr,
     .run =
         [](Life& life) {
           for (int i = 0; i < 260; ++i) {
             life.Put(NumberedKey("key", (i * 37) % 260), Text("v", 30), Durability::kBuffered);
           }
           for (int i = 0; i < 240; ++i) life.Delete(NumberedKey("key", i), Durability::kBuffered);
           life.Sync();
         }},
    {.name = "batch",
     .prepare = PutSome,
     .run =
         [](Life& life) {
           life.Apply(
               {{"small", "batched"}, {"fresh", "batched"}, {"same", std::nullopt}, {"large", Text("b", 45'000)}});
           life.Apply({{"fresh", std::nullopt}, {"many1001", Text("b", 3'000)}, {"other", "one"}});
           life.Apply({{"huge1", Text("h", 30'000)},
                       {"huge2", Text("i", 30'000)},
                       {"huge3", Text("j", 30'000)},
                       {"huge4", Text("k", 30'000)},
                       {"huge5", Text("l", 30'000)},
                       {"huge6", Text("m", 30'000)},
                       {"huge7", Text("n", 30'000)},
                       {"huge8", Text("o", 30'000)},
                       {"huge9", Text("p", 30'000)}});
           life.Get("huge1");
         }},
    {.name = "read",
     .prepare =
         [](Life& life) {
           PutSome(life);
           life.Flush();
           life.Put("resident", "in memory", Durability::kBuffered);
         },
     .run =
         [](Life& life) {
           life.Get("resident");
           ReadEverything(life);
           life.Verify();
         }},
    {.name = "snapshot",
     .prepare = PutSome,
     .run =
         [](Life& life) {
           life.WithSnapshot([&] {
             life.Put("small", "later");
             life.Put("large", Text("later", 40'000));
             life.Delete("many1005");
             life.Put("unborn", "later");
             life.SetExpiry("many1006", kFarAwayMs);
             life.Delete(Text("a long key ", 3'000));
           });
           life.Get("small");
         }},
    {.name = "seal",
     .prepare = PutSome,
     .run =
         [](Life& life) {
           life.Flush();
           life.Put("small", "in the next segment");
           for (int i = 0; i < 30; ++i) life.Put(NumberedKey("fill", i), Text("f", 5'000), Durability::kBuffered);
           life.Flush();
         }},
    {.name = "reclaim",
     .prepare =
         [](Life& life) {
           PutSome(life);
           for (int i = 0; i < 30; ++i) life.Put(NumberedKey("fill", i), Text("f", 3'000), Durability::kBuffered);
           life.Flush();
           for (int i = 0; i < 27; ++i) life.Put(NumberedKey("fill", i), Text("g", 3'000), Durability::kBuffered);
           life.Put("large", Text("new", 40'000));
           life.Delete("same");
           life.Delete("many1011");
           life.Flush();
         },
     .run =
         [](Life& life) {
           life.Compact();
           life.Get("small");
           life.WithSnapshot([&] {
             life.Put("small", "kept for a view");
             life.Flush();
             life.Compact();
           });
         }},
    {.name = "namespace",
     .prepare =
         [](Life& life) {
           life.CreateNamespace("old");
           for (int i = 0; i < 20; ++i) life.PutIn("old", NumberedKey("k", i), Text("old", 300));
         },
     .run =
         [](Life& life) {
           life.CreateNamespace("new");
           life.PutIn("new", "key", "value");
           life.DropNamespace("old");
           life.Put("small", "one");
           life.LookAround();
         }},
    {.name = "in-flight",
     .prepare = PutSome,
     .run =
         [](Life& life) {
           life.InFlight("small", "flying");
           life.InFlight("large", Text("l", 40'000));
         }},
    {.name = "close",
     .prepare = PutSome,
     .run =
         [](Life& life) {
           life.Put("small", "last", Durability::kBuffered);
           life.Close();
         }},
};

}  // namespace

std::span<const NthScenario> Scenarios() { return kScenarios; }

}  // namespace firn::test
