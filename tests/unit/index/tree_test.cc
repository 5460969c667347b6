#include "index/tree.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include "support/rng.h"
#include "unit/index/key_shapes.h"

namespace firn::index {
namespace {

using Model = std::map<std::string, Entry>;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kModelRounds = 6;
#else
constexpr int kModelRounds = 12;
#endif

uint64_t Seed(const char* test) {
  const uint64_t seed = std::random_device{}();
  std::cout << test << ": seed " << seed << "\n";
  return seed;
}

void CheckForward(const Tree& tree, const Model& model) {
  Tree::Page page;
  auto expected = model.begin();
  std::string from;
  do {
    tree.ReadLeaf(from, page);
    REQUIRE(page.low() == from);
    for (size_t i = 0; i < page.size(); ++i, ++expected) {
      REQUIRE(expected != model.end());
      REQUIRE(page.key(i) == expected->first);
      REQUIRE(page.entry(i) == expected->second);
    }
    from = page.high();
  } while (page.has_high());
  REQUIRE(expected == model.end());
}

void CheckBackward(const Tree& tree, const Model& model) {
  Tree::Page page;
  auto expected = model.rbegin();
  std::string before;
  do {
    tree.ReadLeafBefore(before, page);
    for (size_t i = page.size(); i > 0; --i, ++expected) {
      REQUIRE(expected != model.rend());
      REQUIRE(page.key(i - 1) == expected->first);
      REQUIRE(page.entry(i - 1) == expected->second);
    }
    before = page.low();
  } while (!before.empty());
  REQUIRE(expected == model.rend());
}

// All keys and some that are not there, many at once and in two steps.
void CheckFound(base::EpochDomain& epochs, const Tree& tree, const Model& model) {
  std::vector<std::string> keys;
  for (const auto& [key, entry] : model) {
    keys.push_back(key);
    keys.push_back(key.size() < kIndexKeyBytesMax ? key + '\0' : "absent");
  }
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  std::vector<std::optional<Entry>> found(views.size(), Entry{.segment = 1});
  tree.FindMany(views, found);
  for (size_t i = 0; i < views.size(); ++i) {
    const auto expected = model.find(keys[i]);
    REQUIRE(found[i].has_value() == (expected != model.end()));
    if (found[i]) REQUIRE(*found[i] == expected->second);
    const base::EpochGuard guard(epochs);
    Tree::Lookup lookup(tree, views[i]);
    REQUIRE(lookup.Get() == found[i]);
  }
}

void CheckSame(base::EpochDomain& epochs, const Tree& tree, const Model& model) {
  REQUIRE(tree.CheckConsistency() == "");
  REQUIRE(tree.entries() == model.size());
  CheckForward(tree, model);
  CheckBackward(tree, model);
  CheckFound(epochs, tree, model);
}

TEST_CASE("an empty tree has one empty leaf without bounds") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  CHECK(tree.entries() == 0);
  CHECK_FALSE(tree.Find("a").has_value());
  CHECK_FALSE(tree.Find("").has_value());
  CHECK_FALSE(tree.Erase("a").has_value());
  CHECK(tree.memory_bytes() <= 2048);
  CheckSame(epochs, tree, {});
}

TEST_CASE("Upsert returns what was there, Erase what it removed") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  CHECK_FALSE(tree.Upsert("key", EntryOf(1)).has_value());
  CHECK(tree.Upsert("key", EntryOf(2)) == EntryOf(1));
  CHECK(tree.entries() == 1);
  CHECK(tree.Find("key") == EntryOf(2));
  CHECK(tree.Erase("key") == EntryOf(2));
  CHECK_FALSE(tree.Find("key").has_value());
  CHECK(tree.entries() == 0);
}

TEST_CASE("Erase with a revision removes that revision only") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  tree.Upsert("key", EntryOf(7));
  CHECK_FALSE(tree.Erase("key", 6).has_value());
  CHECK(tree.Find("key") == EntryOf(7));
  CHECK(tree.Erase("key", 7) == EntryOf(7));
}

TEST_CASE("keys that are prefixes of one another, with zero bytes, are all different") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  Model model;
  uint64_t number = 0;
  for (const std::string& stem : {std::string(), std::string("a"), std::string("abcd"), std::string(70, 'x')}) {
    for (size_t zeros = 0; zeros < 300; ++zeros) {
      const std::string key = stem + std::string(zeros, '\0');
      if (key.empty()) continue;
      CHECK_FALSE(tree.Upsert(key, EntryOf(++number)).has_value());
      model[key] = EntryOf(number);
    }
  }
  for (const auto& [key, entry] : model) REQUIRE(tree.Find(key) == entry);
  CheckSame(epochs, tree, model);
}

TEST_CASE("the longest keys are kept whole, also where they differ in their last byte only") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  Model model;
  for (uint64_t i = 0; i < 400; ++i) {
    std::string key(kIndexKeyBytesMax, 'z');
    key[i % 2 == 0 ? key.size() - 1 : i] = static_cast<char>('A' + i / 8);
    tree.Upsert(key, EntryOf(i));
    model[key] = EntryOf(i);
  }
  CheckSame(epochs, tree, model);
  for (const auto& [key, entry] : model) REQUIRE(tree.Erase(key) == entry);
  epochs.Drain();
  CheckSame(epochs, tree, {});
  CHECK(tree.memory_bytes() <= 2048);
}

TEST_CASE("random operations on keys of all shapes do what std::map does") {
  const uint64_t seed = Seed("model");
  INFO("seed " << seed);
  KeyShapes shapes(seed);
  base::EpochDomain epochs;
  Tree tree(epochs);
  Model model;
  Tree::Page page;
  for (int round = 0; round < kModelRounds; ++round) {
    // Rounds that mostly insert alternate with rounds that mostly erase.
    const uint64_t erase_of_ten = round % 3 == 2 ? 8 : 2;
    for (uint64_t i = 0; i < 2500; ++i) {
      const std::string key = shapes.Next();
      const auto at = model.find(key);
      const std::optional<Entry> expected = at == model.end() ? std::nullopt : std::optional(at->second);
      REQUIRE(tree.Find(key) == expected);
      if (shapes.Below(10) < erase_of_ten) {
        auto victim = model.lower_bound(key);
        if (victim == model.end()) continue;
        REQUIRE(tree.Erase(victim->first) == victim->second);
        model.erase(victim);
      } else {
        const Entry entry = EntryOf(shapes.random()());
        REQUIRE(tree.Upsert(key, entry) == expected);
        model[key] = entry;
      }
      tree.ReadLeaf(key, page);
      REQUIRE(page.low() <= key);
      REQUIRE((!page.has_high() || key < page.high()));
      tree.ReadLeafBefore(key, page);
      REQUIRE(page.low() < key);
      REQUIRE((!page.has_high() || key <= page.high()));
    }
    CheckSame(epochs, tree, model);
  }
}

TEST_CASE("a bulk-loaded tree is the tree that inserts make, and can be changed like it") {
  const uint64_t seed = Seed("bulk");
  INFO("seed " << seed);
  KeyShapes shapes(seed);
  for (size_t size : {0u, 1u, 2u, 90u, 100u, 20000u}) {
    Model model;
    for (size_t i = 0; i < size; ++i) model[shapes.Next()] = EntryOf(i);
    base::EpochDomain epochs;
    Tree tree(epochs);
    {
      Tree::BulkLoader loader(tree);
      for (const auto& [key, entry] : model) loader.Add(key, entry);
      loader.Finish();
    }
    CheckSame(epochs, tree, model);
    for (size_t i = 0; i < size; ++i) {
      const std::string key = shapes.Next();
      tree.Upsert(key, EntryOf(i + size));
      model[key] = EntryOf(i + size);
    }
    CheckSame(epochs, tree, model);
    for (const auto& [key, entry] : model) REQUIRE(tree.Erase(key) == entry);
    CheckSame(epochs, tree, {});
  }
}

TEST_CASE("parts that are loaded by themselves join to the tree that one load makes") {
  const uint64_t seed = Seed("parts");
  INFO("seed " << seed);
  KeyShapes shapes(seed);
  for (size_t size : {0u, 1u, 5u, 300u, 20000u}) {
    Model model;
    for (size_t i = 0; i < size; ++i) model[shapes.Next()] = EntryOf(i);
    // Where parts begin; some have no keys.
    std::set<std::string> lows;
    for (int i = 0; i < 5; ++i) lows.insert(shapes.Next());
    lows.insert("");
    base::EpochDomain epochs;
    Tree tree(epochs);
    std::deque<Tree::BulkLoader> loaders;
    for (auto low = lows.begin(); low != lows.end(); ++low) {
      Tree::BulkLoader& loader = loaders.emplace_back(tree, *low);
      const auto next = std::next(low);
      const auto end = next == lows.end() ? model.end() : model.lower_bound(*next);
      for (auto at = model.lower_bound(*low); at != end; ++at) loader.Add(at->first, at->second);
    }
    for (size_t i = 1; i < loaders.size(); ++i) loaders[0].Join(loaders[i]);
    loaders[0].Finish();
    CheckSame(epochs, tree, model);
    for (const auto& [key, entry] : model) REQUIRE(tree.Erase(key) == entry);
    CheckSame(epochs, tree, {});
  }
}

TEST_CASE("a bulk load that is given up leaves the tree empty and its memory free") {
  base::EpochDomain epochs;
  Tree tree(epochs);
  const uint64_t before = tree.memory_bytes();
  {
    Tree::BulkLoader loader(tree);
    for (uint64_t i = 0; i < 10000; ++i) loader.Add(std::to_string(100000 + i), EntryOf(i));
  }
  CHECK(tree.memory_bytes() == before);
  CheckSame(epochs, tree, {});
}

TEST_CASE("erasing everything gives all memory back, in whatever order") {
  const uint64_t seed = Seed("give back");
  INFO("seed " << seed);
  KeyShapes shapes(seed);
  for (int order = 0; order < 3; ++order) {
    base::EpochDomain epochs;
    Tree tree(epochs);
    const uint64_t before = tree.memory_bytes();
    std::vector<std::string> keys;
    Model model;
    for (int i = 0; i < 20000; ++i) model[shapes.Next()] = EntryOf(1);
    for (const auto& [key, entry] : model) keys.push_back(key);
    std::shuffle(keys.begin(), keys.end(), shapes.random());
    for (const std::string& key : keys) tree.Upsert(key, EntryOf(1));
    if (order == 1) std::sort(keys.begin(), keys.end());
    if (order == 2) std::sort(keys.rbegin(), keys.rend());
    for (const std::string& key : keys) REQUIRE(tree.Erase(key).has_value());
    CHECK(epochs.Drain() == 0);
    CheckSame(epochs, tree, {});
    CHECK(tree.memory_bytes() <= before);
  }
}

TEST_CASE("a tree that has outgrown the heap is like any other, and gives its memory back") {
  const uint64_t seed = Seed("outgrown tree");
  test::Rng rng(seed);
  base::EpochDomain epochs;
  Tree tree(epochs);
  Model model;
  const uint64_t empty_bytes = tree.memory_bytes();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 150'000; ++i) {
      const uint64_t number = rng.Next();
      const std::string key(reinterpret_cast<const char*>(&number), sizeof(number));
      tree.Upsert(key, {.segment = static_cast<uint32_t>(i), .revision = number});
      model[key] = {.segment = static_cast<uint32_t>(i), .revision = number};
    }
    CHECK(tree.memory_bytes() > (uint64_t{5} << 20));
    CHECK(tree.free_bytes() < (uint64_t{3} << 20));
    CheckSame(epochs, tree, model);
    while (!model.empty()) {
      const auto at = rng.OneIn(2) ? model.begin() : std::prev(model.end());
      REQUIRE(tree.Erase(at->first) == at->second);
      model.erase(at);
    }
    epochs.Synchronize();
    CHECK(tree.memory_bytes() <= empty_bytes);
    CHECK(tree.free_bytes() == 0);
  }
}

TEST_CASE("ascending inserts leave full leaves, in one namespace and in several at once") {
  for (uint64_t namespaces : {1u, 5u}) {
    base::EpochDomain epochs;
    Tree tree(epochs);
    for (uint64_t i = 0; i < 100000; ++i) {
      std::string key(12, '\0');
      key[3] = static_cast<char>(i % namespaces);
      for (size_t byte = 0; byte < 8; ++byte) key[4 + byte] = static_cast<char>(i >> (56 - 8 * byte));
      tree.Upsert(key, EntryOf(i));
    }
    epochs.Drain();
    const double bytes_per_key = static_cast<double>(tree.memory_bytes()) / 100000;
    std::cout << "ascending, " << namespaces << " namespaces: " << bytes_per_key << " bytes per key\n";
    // Slot and entry are 32 bytes.
    CHECK(bytes_per_key < 42);
  }
}

TEST_CASE("random 16-byte keys take at most 66 bytes each, all included, and less than 60 when bulk-loaded") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr uint64_t kKeys = 50000;  // the sanitizers look at the code; the bound is per key
#else
  constexpr uint64_t kKeys = 1000000;
#endif
  const std::string prefix("ns\0\1", 4);
  base::EpochDomain epochs;
  {
    Tree tree(epochs);
    double worst = 0;
    for (uint64_t i = 0; i < kKeys; ++i) {
      tree.Upsert(prefix + KeyShapes::Random16(i), EntryOf(i));
      // The nodes split in waves, so a single moment says little.
      if (i >= kKeys / 4)
        worst = std::max(worst, static_cast<double>(tree.memory_bytes()) / static_cast<double>(i + 1));
    }
    epochs.Drain();
    const double bytes_per_key = static_cast<double>(tree.memory_bytes()) / kKeys;
    std::cout << "random inserts: " << bytes_per_key << " bytes per key, at worst " << worst << " on the way\n";
    CHECK(worst <= 66);
    CHECK(bytes_per_key <= 66);
  }
  Model model;
  for (uint64_t i = 0; i < kKeys; ++i) model[prefix + KeyShapes::Random16(i)] = EntryOf(i);
  Tree tree(epochs);
  Tree::BulkLoader loader(tree);
  for (const auto& [key, entry] : model) loader.Add(key, entry);
  loader.Finish();
  epochs.Drain();
  const double bytes_per_key = static_cast<double>(tree.memory_bytes()) / kKeys;
  std::cout << "bulk load: " << bytes_per_key << " bytes per key\n";
  CHECK(bytes_per_key < 60);
}

}  // namespace
}  // namespace firn::index
