#include "sim/session.h"

#include <algorithm>

namespace firn::test {

void Session::Attach(DB* db) {
  db_ = db;
  acknowledged_max_ = newest_seen_ = history_.base_revision;
  handles_.emplace(0, db->root());
  for (size_t i = 1; i < history_.spaces.size(); ++i) {
    auto handle = db->OpenNamespace(history_.spaces[i].name);
    if (!handle.ok()) {
      if (crashed()) return;
      throw Violation("a listed namespace cannot be opened: " + history_.spaces[i].name + ": " +
                      std::string(handle.status().message()));
    }
    handles_.emplace(i, *handle);
  }
}

int64_t Session::WallMs() {
  const int64_t now = world_.clock.WallTimeMs();
  lasting_.wall_ms_max = std::max(lasting_.wall_ms_max, now);
  return now;
}

Window Session::Begin() {
  ++calls_;
  Window window;
  window.wall_ms_min = WallMs();
  window.invoked = NextTick();
  return window;
}

bool Session::End(Window& window) {
  if (crashed()) return false;
  window.replied = NextTick();
  window.wall_ms_min = std::min(window.wall_ms_min, WallMs());
  window.wall_ms_max = lasting_.wall_ms_max;
  ++lasting_.report.operations;
  return true;
}

void Client::Run() {
  while (!session_.over()) OneCall();
  held_.clear();
  context_ = nullptr;
}

void Client::OneCall() {
  struct Choice {
    uint64_t weight;
    void (*call)(Client&);
  };
  using Kind = WriteStep::Kind;
  static constexpr Choice kChoices[] = {
      {300, [](Client& c) { c.Write(Kind::kPut); }},
      {90, [](Client& c) { c.Write(Kind::kDelete); }},
      {50, [](Client& c) { c.Write(Kind::kSetExpiry); }},
      {80, [](Client& c) { c.WriteBatch(); }},
      {80, [](Client& c) { c.Get(); }},
      {80, [](Client& c) { c.GetInfo(); }},
      {20, [](Client& c) { c.GetRange(); }},
      {20, [](Client& c) { c.GetStream(); }},
      {60, [](Client& c) { c.MultiGet(); }},
      {30, [](Client& c) { c.Exists(); }},
      {60, [](Client& c) { c.Scan(); }},
      {20, [](Client& c) { c.TakeSnapshot(); }},
      {15, [](Client& c) { c.DropSnapshot(); }},
      {12, [](Client& c) { c.CreateSpace(); }},
      {6, [](Client& c) { c.DropSpace(); }},
      {6, [](Client& c) { c.ListSpaces(); }},
      {6, [](Client& c) { c.OpenSpace(); }},
      {20, [](Client& c) { c.Sync(false); }},
      {10, [](Client& c) { c.Sync(true); }},
      {8, [](Client& c) { c.Compact(); }},
      {4, [](Client& c) { c.ReportGarbage(); }},
      {15, [](Client& c) { c.LookAround(); }},
      {3, [](Client& c) { c.Scrub(); }},
      {15, [](Client& c) { c.Sleep(); }},
      {4, [](Client& c) { c.JumpClock(); }},
  };
  static const uint64_t kTotal = [] {
    uint64_t total = 0;
    for (const Choice& choice : kChoices) total += choice.weight;
    return total;
  }();
  const double async_share = session_.settings_.async_share;
  if (async_share > 0 && async_rng_.Chance(async_share)) return AsyncCalls();
  uint64_t ticket = rng_.Below(kTotal);
  for (const Choice& choice : kChoices) {
    if (ticket < choice.weight) return choice.call(*this);
    ticket -= choice.weight;
  }
}

Namespace Client::Handle(size_t space) { return session_.handles_.at(space); }

size_t Client::RandomSpace() {
  if (rng_.OneIn(2)) return 0;
  // Now and then one that was dropped.
  for (int attempt = 0; attempt < 4; ++attempt) {
    const size_t space = rng_.Below(session_.history_.spaces.size());
    const bool dropped = session_.history_.spaces[space].drop_invoked != kNever;
    if (session_.handles_.contains(space) && (!dropped || rng_.OneIn(8))) return space;
  }
  return 0;
}

std::string Client::RandomKeyText() {
  const uint64_t number = rng_.Below(session_.settings_.keys);
  switch (number % 5) {
    case 0:
      return "a/" + std::to_string(number);
    case 1:
      return "a/long shared prefix of many keys/" + std::to_string(number);
    case 2:
      return std::string(1, static_cast<char>(number)) + std::string(number % 3, '\0');
    case 3:
      return "b" + std::string(number, 'x');
    default:
      return "\xff\xff" + std::to_string(number);
  }
}

KeyId Client::RandomKey() {
  const size_t space = RandomSpace();
  return {space, RandomKeyText()};
}

std::string Client::RandomName() {
  static constexpr const char* kNames[] = {"alpha", "beta", "gamma-1", "DELTA_2"};
  return kNames[rng_.Below(std::size(kNames))];
}

}  // namespace firn::test
