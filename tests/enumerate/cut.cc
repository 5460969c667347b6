#include "enumerate/cut.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "db/open.h"
#include "support/scheduler.h"

namespace firn::test {
namespace {

// Answers to the questions of a crash, by number. 0: lost, 1: kept; of sizes, how many; of a page also: its sectors.
using Choose = std::function<uint64_t(uint64_t question, uint64_t options)>;

class ChosenFates final : public CutFates {
 public:
  ChosenFates(CrashKind kind, Choose choose) : kind_(kind), choose_(std::move(choose)) {}

  // In a power cut a page that arrived is one that was not synced, and is asked for as such.
  bool ArrivesUnderWay() override { return kind_ == CrashKind::kPowerCut || Ask(2) != 0; }
  Sectors OfPage() override {
    pages_.push_back(questions_);
    const uint64_t answer = Ask(2);
    return answer == 1 ? kAllSectors : static_cast<Sectors>(answer);
  }
  bool OfHole() override {
    holes_.push_back(questions_);
    return Ask(2) != 0;
  }
  size_t OfSizes(size_t count) override { return Ask(count + 1); }
  std::vector<bool> OfNames(size_t count) override {
    std::vector<bool> survives(count);
    for (size_t i = 0; i < count; ++i) survives[i] = Ask(2) != 0;
    return survives;
  }

  uint64_t questions() const { return questions_; }
  uint64_t combinations() const { return combinations_; }
  // The questions about them, in order.
  const std::vector<uint64_t>& pages() const { return pages_; }
  const std::vector<uint64_t>& holes() const { return holes_; }

 private:
  uint64_t Ask(uint64_t options) {
    if (combinations_ < UINT64_MAX / options) combinations_ *= options;
    return choose_(questions_++, options);
  }

  const CrashKind kind_;
  const Choose choose_;
  uint64_t questions_ = 0, combinations_ = 1;
  std::vector<uint64_t> pages_, holes_;
};

// Counts through all answers, whatever number of questions follows from them.
class Odometer {
 public:
  uint64_t Answer(uint64_t question, uint64_t options) {
    if (question == digits_.size()) digits_.push_back({0, options});
    return digits_[question].answer;
  }
  // False when all have been given.
  bool Next() {
    while (!digits_.empty()) {
      if (++digits_.back().answer < digits_.back().options) return true;
      digits_.pop_back();
    }
    return false;
  }

 private:
  struct Digit {
    uint64_t answer, options;
  };
  std::vector<Digit> digits_;
};

class DamageListener final : public EventListener {
 public:
  void OnEvent(const Event& event) override {
    if (event.kind == EventKind::kDamageFound) found_ = event.message;
  }
  const std::string& found() const { return found_; }

 private:
  std::string found_;
};

void Require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

class Crasher {
 public:
  Crasher(const History& history, const CutLimits& limits) : history_(history), limits_(limits) {}

  CutCounts Run() {
    for (moment_ = 0; moment_ < history_.moments.size(); ++moment_) {
      for (const CrashKind kind : {CrashKind::kKill, CrashKind::kPowerCut}) AllSubsets(kind);
    }
    return counts_;
  }

 private:
  void AllSubsets(CrashKind kind) {
    ChosenFates all = Try(kind, [](uint64_t, uint64_t options) { return options - 1; });
    if (all.combinations() <= limits_.subsets_max) {
      ++counts_.exhausted;
      Odometer odometer;
      do {
        Try(kind, [&odometer](uint64_t question, uint64_t options) { return odometer.Answer(question, options); });
      } while (odometer.Next());
    } else {
      ++counts_.sampled;
      SomeSubsets(kind, all);
    }
    if (kind == CrashKind::kPowerCut) TearPages(all.pages());
  }

  void SomeSubsets(CrashKind kind, const ChosenFates& all) {
    uint64_t left = limits_.subsets_max;
    const auto attempt = [&](const Choose& choose) {
      if (left == 0) return;
      --left;
      Try(kind, choose);
    };
    attempt([](uint64_t, uint64_t) { return 0; });
    // What was freed is gone, and what says that it may be is lost.
    if (!all.holes().empty()) {
      attempt([&all](uint64_t question, uint64_t options) {
        return std::binary_search(all.holes().begin(), all.holes().end(), question) ? options - 1 : 0;
      });
    }
    for (uint64_t one = 0; one < all.questions(); ++one) {
      attempt([one](uint64_t question, uint64_t options) { return question == one ? 0 : options - 1; });
      attempt([one](uint64_t question, uint64_t options) { return question == one ? options - 1 : 0; });
      attempt([one](uint64_t question, uint64_t options) { return question < one ? options - 1 : 0; });
      attempt([one](uint64_t question, uint64_t options) { return question < one ? 0 : options - 1; });
    }
    Rng rng(moment_);
    while (left > 0) attempt([&rng](uint64_t, uint64_t options) { return rng.Below(options); });
  }

  void TearPages(const std::vector<uint64_t>& pages) {
    // By 512-byte sectors: a half, the other half, every second one, all but the last, all but the first.
    static constexpr Sectors kTorn[] = {0x0F, 0xF0, 0x55, 0x7F, 0xFE};
    const size_t count = std::min<size_t>(pages.size(), limits_.torn_pages_max);
    for (size_t i = pages.size() - count; i < pages.size(); ++i) {
      for (const Sectors torn : kTorn) {
        for (const bool others : {false, true}) {
          Try(CrashKind::kPowerCut, [&](uint64_t question, uint64_t options) -> uint64_t {
            if (question == pages[i]) return torn;
            return others ? options - 1 : 0;
          });
        }
      }
    }
  }

  ChosenFates Try(CrashKind kind, const Choose& choose) {
    const CrashMoment& moment = history_.moments[moment_];
    SimMachine machine(moment_ + 1, moment.disk);
    ChosenFates fates(kind, choose);
    machine.Crash(kind, fates);
    ++counts_.states;
    const size_t promised = kind == CrashKind::kKill ? moment.acknowledged : moment.durable;
    const uint64_t identity = machine.Hash() ^ (promised * 0x9E3779B97F4A7C15u) ^ (moment.newest << 32) ^
                              static_cast<uint64_t>(moment.wall_ms) * 0xBF58476D1CE4E5B9u;
    if (!seen_.insert(identity).second) return fates;
    ++counts_.distinct;
    if (limits_.recover_none) return fates;
    ++counts_.recovered;
    try {
      Recover(machine, moment, promised, identity);
    } catch (const std::exception& broken) {
      throw std::runtime_error("moment " + std::to_string(moment_) + ", state " + std::to_string(counts_.states) +
                               (kind == CrashKind::kKill ? ", a kill: " : ", a power cut: ") + broken.what());
    }
    return fates;
  }

  void Recover(SimMachine& machine, const CrashMoment& moment, size_t promised, uint64_t identity) {
    constexpr uint64_t kGoesOnEvery = 8;
    SimScheduler scheduler({.seed = identity, .switch_probability = 0.02});
    scheduler.Run([&] {
      SimClock clock;
      clock.JumpWall(moment.wall_ms - clock.WallTimeMs());
      Rng random(identity);
      DamageListener listener;
      auto db = OpenEnumerated(machine, clock, random, &listener);
      Require(db.ok(), db.status().ToString());
      Require(listener.found().empty(), listener.found());
      const View view = ViewOf(**db);
      Require(Permits(view.state, promised, moment.newest, clock.WallTimeMs()), "it shows what no prefix leaves");
      const std::string wrong = CheckReferences(**db);
      Require(wrong.empty(), wrong);
      Require(UnexplainedValueBytes(**db) == 0, "bytes of value files are lost");
      if (identity % kGoesOnEvery == 0) GoOn(machine, clock, random, *std::move(db), view, moment.revision_max);
    });
  }

  // What was recovered can be written to, and is there again after the next opening.
  static void GoOn(SimMachine& machine, SimClock& clock, Rng& random, std::unique_ptr<DB> db, const View& before,
                   Revision revision_max) {
    const absl::StatusOr<Revision> revision = db->Put("after", "the crash");
    Require(revision.ok(), revision.status().ToString());
    Require(*revision > revision_max && *revision > before.revision_max, "a revision is handed out twice");
    const absl::StatusOr<VerifyReport> verified = db->Verify();
    Require(verified.ok(), verified.status().ToString());
    Require(verified->damages.empty(), verified->damages.empty() ? "" : verified->damages.front().ToString());
    Require(db->Close().ok(), "it does not close");
    db.reset();
    auto again = OpenEnumerated(machine, clock, random, nullptr);
    Require(again.ok(), again.status().ToString());
    State now = ViewOf(**again).state;
    Require(now.erase("/after") == 1 && LooksLike(now, before.state, clock.WallTimeMs()),
            "it shows something else after the next opening");
  }

  bool Permits(const State& found, size_t promised, size_t newest, int64_t wall_ms) const {
    for (size_t i = promised; i <= newest; ++i) {
      if (LooksLike(found, history_.states[i], wall_ms)) return true;
    }
    return false;
  }

  const History& history_;
  const CutLimits limits_;
  size_t moment_ = 0;
  CutCounts counts_;
  absl::flat_hash_set<uint64_t> seen_;
};

}  // namespace

CutCounts CrashEverywhere(const History& history, const CutLimits& limits) { return Crasher(history, limits).Run(); }

}  // namespace firn::test
