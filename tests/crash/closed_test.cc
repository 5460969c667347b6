// A store that was closed: the mark in TAIL tells when the end of its newest segment, or all of it, is gone.
#include <catch2/catch.hpp>

#include "crash/at_each.h"
#include "crash/image.h"
#include "log/tail.h"

namespace firn::test {
namespace {

struct ClosedStore {
  StoreImage image;
  State truth;
  log::SegmentId newest = 0;
  uint64_t units_end = 0;
  Revision last_revision = 0;

  std::string& bytes() { return image.segment(newest); }
};

// Three sessions, each with a put of "key" and of a key of its own; the last one with two units more.
ClosedStore MakeClosed(const Crash* crash_after_close = nullptr) {
  ClosedStore store;
  InSchedule(44, [&](SimWorld& world) {
    Client client(world);
    for (int session = 0; session < 3; ++session) {
      REQUIRE(client.Open().ok());
      REQUIRE(client.Put("key", "of session " + std::to_string(session)).ok());
      REQUIRE(client.Put("session" + std::to_string(session), "value").ok());
      if (session < 2) REQUIRE(client.Close().ok());
    }
    REQUIRE(client.Apply({{"batch/a", Value("a", 3'000)}, {"batch/b", Value("b", 3'000)}}).ok());
    store.truth = Look(client.db());
    store.last_revision = client.revision_max();
    REQUIRE(client.Close().ok());
    if (crash_after_close != nullptr) world.machine.Crash(*crash_after_close);
    store.image = StoreImage::Take(world.machine);
    client.Drop();
  });
  for (const auto& [name, bytes] : store.image.files) {
    if (name.find("log/") == 0 && bytes.find("session2") != std::string::npos)
      store.newest = static_cast<log::SegmentId>(std::stoul(name.substr(4)));
  }
  store.units_end = UnitOffsets(store.bytes()).back();
  REQUIRE(store.bytes().compare(store.units_end, 8, "firnFTR1") == 0);
  return store;
}

// The open names what is gone; salvage opens, tells no lie, keeps the sessions before, and gives no revision again.
void RequireNamed(const ClosedStore& store, const StoreImage& image) {
  for (const bool read_only : {false, true}) {
    const Opened opened = OpenImage(image, {.read_only = read_only});
    INFO(opened.status.ToString());
    REQUIRE(absl::IsDataLoss(opened.status));
    for (const std::string& part :
         {log::SegmentFileName(store.newest), std::string("offset"), std::string("salvage")}) {
      REQUIRE(opened.status.message().find(part) != std::string::npos);
    }
  }
  InSchedule(45, [&](SimWorld& world) {
    image.PutOn(world.machine);
    Client client(world);
    Options options = QuietOptions();
    options.salvage = true;
    const absl::Status status = client.Open(options);
    INFO(status.ToString() << client.events().Text());
    REQUIRE(status.ok());
    REQUIRE(client.events().Count(EventKind::kDamageFound) > 0);
    State found = LookPast(client.db(), nullptr);
    if (found["key"] != store.truth.at("key")) found.erase("key");  // of an earlier session: its newest record is lost
    RequireNoLies(found, store.truth);
    REQUIRE(found.contains("session0"));
    REQUIRE(found.contains("session1"));
    REQUIRE(found.contains("batch/a") == found.contains("batch/b"));
    const auto revision = client.db().Put("after", "value");
    REQUIRE(revision.ok());
    REQUIRE(*revision > store.last_revision);
    REQUIRE(client.Close().ok());
    // It counts from here on.
    REQUIRE(client.Open().ok());
    REQUIRE(Look(client.db()).contains("after"));
    REQUIRE(client.Close().ok());
  });
}

TEST_CASE("a closed store whose newest segment is cut or zeroed from some place on is refused unless it is all there",
          "[damage][closed]") {
  ClosedStore store = MakeClosed();
  const std::string whole = store.bytes();
  for (uint64_t size = 0; size < whole.size(); size += 512) {
    INFO("cut or zeroed at " << size);
    for (const bool cut : {false, true}) {
      std::string& bytes = store.bytes();
      bytes = whole.substr(0, size);
      if (!cut) bytes.resize(whole.size());
      if (bytes.substr(0, store.units_end) != whole.substr(0, store.units_end)) {
        RequireNamed(store, store.image);
      } else {
        const Opened opened = OpenImage(store.image);
        INFO(opened.status.ToString());
        REQUIRE(opened.status.ok());
        REQUIRE(opened.state == store.truth);
      }
    }
  }
}

TEST_CASE("a closed store without its newest segment is refused, after a power cut too", "[damage][closed]") {
  const Crash power_cut{CrashKind::kPowerCut, Survival::kNothing};
  for (const Crash* crash : {static_cast<const Crash*>(nullptr), &power_cut}) {
    ClosedStore store = MakeClosed(crash);
    REQUIRE(OpenImage(store.image).state == store.truth);
    StoreImage image = store.image;
    image.files.erase(log::SegmentFileName(store.newest));
    RequireNamed(store, image);
  }
}

TEST_CASE("of a closed store's newest segment salvage keeps what verifies, whatever unit is damaged",
          "[damage][closed]") {
  ClosedStore store = MakeClosed();
  const std::string whole = store.bytes();
  for (const std::string key : {"of session 2", "session2", "batch/b"}) {
    INFO("the record of " << key << " and the footer are damaged");
    std::string& bytes = store.bytes();
    bytes = whole;
    bytes[bytes.find(key)] ^= 1;
    bytes.back() ^= 1;
    RequireNamed(store, store.image);
    const Opened salvaged = OpenImage(store.image, {.salvage = true});
    INFO(salvaged.events << Describe(salvaged.state));
    CHECK(salvaged.state.contains("session2") == (key != "session2"));
    CHECK(salvaged.state.contains("batch/a") == (key != "batch/b"));
    CHECK((salvaged.state.at("key") == store.truth.at("key")) == (key != "of session 2"));
    CHECK(salvaged.state.contains("session1"));
  }
}

TEST_CASE("a mark that is lost, damaged, of another store or of an earlier close changes nothing", "[damage][closed]") {
  ClosedStore store = MakeClosed();
  const std::string tail = store.image.files.at("TAIL");
  StoreImage image = store.image;
  image.files.erase("TAIL");
  REQUIRE(OpenImage(image).state == store.truth);
  for (size_t at = 2'048; at < 2'080; ++at) {
    image.files["TAIL"] = tail;
    image.files["TAIL"][at] ^= 4;
    REQUIRE(OpenImage(image).state == store.truth);
  }
  InSchedule(46, [&](SimWorld& world) {
    store.image.PutOn(world.machine);
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("key", "of session 3").ok());
    const State truth = Look(client.db());
    REQUIRE(client.Close().ok());
    StoreImage later = StoreImage::Take(world.machine);
    later.files["TAIL"] = tail;
    REQUIRE(OpenImage(later).state == truth);
  });
}

TEST_CASE("a crash while a store is closed and opened again leaves no mark that contradicts the log",
          "[recovery][closed]") {
  AtEachCrash(47, {.prepare =
                       [](SimWorld&, Client& client) {
                         REQUIRE(client.Put("before", "value").ok());
                         REQUIRE(client.Close().ok());
                         REQUIRE(client.Open().ok());
                       },
                   .run =
                       [](SimWorld&, Client& client) {
                         client.Put("key", "one").IgnoreError();
                         client.Put("buffered", "one", Durability::kBuffered).IgnoreError();
                         if (!client.Close().ok() || !client.Open().ok()) return;
                         client.Put("key", "two").IgnoreError();
                         client.Close().IgnoreError();
                       }});
}

TEST_CASE("a close that cannot make its mark durable does not say OK", "[faults][closed]") {
  InSchedule(48, [&](SimWorld& world) {
    Client client(world);
    REQUIRE(client.Open().ok());
    REQUIRE(client.Put("key", "value").ok());
    world.machine.Inject({.operations = kOpenOperation, .lasting = true});
    REQUIRE_FALSE(client.Close().ok());
    world.machine.ClearFaults();
    client.Drop();
    client.CheckRecovered(false);
  });
}

}  // namespace
}  // namespace firn::test
