#include "enumerate/cut.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "db/open.h"
#include "support/scheduler.h"

namespace firn::test {
namespace {

constexpr std::string_view kTailFile = "TAIL";

// One thing that a crash decides. 0: lost, 1: kept; of sizes, how many; of a page also: its sectors.
struct Question {
  enum class Kind { kUnderWay, kName, kSizes, kPage, kHole, kIdleHoles };
  Kind kind;
  uint64_t number;   // in the order of asking, which depends on what was answered before
  uint64_t id;       // the same for the same thing, whatever was answered before
  uint64_t options;  // answers are below
};
using Choose = std::function<uint64_t(const Question&)>;
// Of a page of TAIL, by number.
using ChooseOfTail = std::function<Sectors(uint64_t page)>;

uint64_t Lose(const Question&) { return 0; }
uint64_t Keep(const Question& question) { return question.options - 1; }
// A page whose file has no name, or is not that long, could not be seen.
uint64_t LoseContentOnly(const Question& question) {
  const bool leads = question.kind == Question::Kind::kName || question.kind == Question::Kind::kSizes;
  return leads ? Keep(question) : 0;
}
Sectors LoseTail(uint64_t) { return kNoSectors; }
Sectors KeepTail(uint64_t) { return kAllSectors; }

// The pages of TAIL are kept apart: nearly all of them are unsynced at every power cut, and none is relied upon after
// one but for the close mark, which is synced. Among the questions they would leave room for nothing else.
class ChosenFates final : public CutFates {
 public:
  ChosenFates(CrashKind kind, Choose choose, ChooseOfTail choose_of_tail, bool each_way_once)
      : kind_(kind),
        choose_(std::move(choose)),
        choose_of_tail_(std::move(choose_of_tail)),
        each_way_once_(each_way_once) {}

  void OfFile(std::string_view name) override {
    of_tail_ = name == kTailFile;
    file_ = base::Hash64(base::AsBytes(name));
  }
  // In a power cut a page that arrived is one that was not synced, and is asked for as such.
  bool ArrivesUnderWay(bool changes) override {
    if (kind_ == CrashKind::kPowerCut || !changes) return true;
    return Ask(Question::Kind::kUnderWay, questions_.size(), 2) != 0;
  }
  Sectors OfPage(uint64_t page, uint64_t change) override {
    if (of_tail_) return choose_of_tail_(tail_pages_++);
    // Of several versions of a page that were not synced the last one kept is there: of n there are n + 1 ways, not
    // 2^n. When each way is wanted once, none is kept after one that is lost.
    Versions& versions = versions_[{file_, page}];
    if (versions.one_lost && each_way_once_) return kNoSectors;
    const uint64_t answer = Ask(Question::Kind::kPage, change, 2, ++versions.count);
    versions.one_lost |= answer == 0;
    return answer == 1 ? kAllSectors : static_cast<Sectors>(answer);
  }
  bool OfHole(uint64_t change, bool changes) override {
    if (changes) return Ask(Question::Kind::kHole, change, 2) != 0;
    // Of all holes in a file where zeros are anyway one is asked for.
    if (!idle_holes_.contains(file_)) idle_holes_[file_] = Ask(Question::Kind::kIdleHoles, 0, 2) != 0;
    return idle_holes_[file_];
  }
  size_t OfSizes(size_t count) override { return Ask(Question::Kind::kSizes, 0, count + 1); }
  std::vector<bool> OfNames(size_t count) override {
    std::vector<bool> survives(count);
    for (size_t i = 0; i < count; ++i) survives[i] = Ask(Question::Kind::kName, i, 2) != 0;
    return survives;
  }

  // In order, without those about TAIL's pages.
  const std::vector<Question>& questions() const { return questions_; }
  uint64_t combinations() const { return combinations_; }
  uint64_t tail_pages() const { return tail_pages_; }

 private:
  struct Versions {
    uint64_t count = 0;
    bool one_lost = false;
  };

  uint64_t Ask(Question::Kind kind, uint64_t number_in_file, uint64_t options, uint64_t version = 1) {
    if (combinations_ < kCombinationsMax) combinations_ = combinations_ / version * (version + options - 1);
    const uint64_t id = base::Hash64({}, file_ + number_in_file * 8 + static_cast<uint64_t>(kind));
    questions_.push_back({kind, questions_.size(), id, options});
    return choose_(questions_.back());
  }

  const CrashKind kind_;
  static constexpr uint64_t kCombinationsMax = uint64_t{1} << 48;  // more are not told apart

  const Choose choose_;
  const ChooseOfTail choose_of_tail_;
  const bool each_way_once_;
  std::map<std::pair<uint64_t, uint64_t>, Versions> versions_;  // by file and page
  std::map<uint64_t, bool> idle_holes_;                         // by file
  bool of_tail_ = false;
  uint64_t file_ = 0;
  std::vector<Question> questions_;
  uint64_t combinations_ = 1, tail_pages_ = 0;
};

// Counts through all answers, whatever number of questions follows from them.
class Odometer {
 public:
  uint64_t Answer(const Question& question) {
    if (question.number == digits_.size()) digits_.push_back({0, question.options});
    return digits_[question.number].answer;
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
  Crasher(const History& history, const CutLimits& limits, SeenStates& seen)
      : history_(history), limits_(limits), seen_(seen) {
    for (const State& state : history.states) {
      uint64_t hash = 0;
      bool expires = false;
      for (const auto& [name, shown] : state) {
        hash = base::Hash64(base::AsBytes(shown.value), base::Hash64(base::AsBytes(name), hash)) +
               static_cast<uint64_t>(shown.expires_at_ms);
        expires |= shown.expires_at_ms != 0;
      }
      states_.push_back({hash, expires});
    }
  }

  CutCounts Run() {
    for (moment_ = history_.step_begins.at(limits_.first_step); moment_ < history_.moments.size(); ++moment_) {
      ++counts_.moments;
      for (const CrashKind kind : {CrashKind::kKill, CrashKind::kPowerCut}) {
        tried_ = 0;
        AllWays(kind);
      }
    }
    return counts_;
  }

 private:
  void AllWays(CrashKind kind) {
    const ChosenFates all = Try(kind, Keep, KeepTail);
    CutCounts::Moments& moments = kind == CrashKind::kKill ? counts_.kills : counts_.power_cuts;
    ++moments.by_subsets[std::min<size_t>(std::bit_width(all.combinations() - 1), moments.by_subsets.size() - 1)];
    if (all.combinations() <= limits_.subsets_max) {
      ++moments.exhausted;
      Odometer odometer;
      do {
        TryWithTail(
            kind, all, [&odometer](const Question& question) { return odometer.Answer(question); },
            /*each_way_once=*/true);
      } while (odometer.Next());
    } else {
      ++moments.sampled;
      SomeSubsets(kind, all);
    }
    if (kind == CrashKind::kPowerCut) {
      MixTail(all);
      TearPages(all);
    }
  }

  void SomeSubsets(CrashKind kind, const ChosenFates& all) {
    std::vector<Choose> chosen = {Lose};
    // What was freed is gone, and what says that it may be is lost.
    chosen.emplace_back([](const Question& q) {
      return q.kind == Question::Kind::kHole || q.kind == Question::Kind::kIdleHoles ? Keep(q) : 0;
    });
    const uint64_t room = limits_.subsets_max - limits_.subsets_max / 4;  // the others are left to chance
    const std::vector<Choose> one_by_one = OneByOne(all);
    const size_t stride = std::max<size_t>(1, (one_by_one.size() + room - 1) / room);
    for (size_t i = 0; i < one_by_one.size(); i += stride) chosen.push_back(one_by_one[i]);
    if (chosen.size() > limits_.subsets_max) chosen.resize(limits_.subsets_max);
    for (const Choose& choose : chosen) TryWithTail(kind, all, choose);
    Rng rng(moment_);
    for (uint64_t i = chosen.size(); i < limits_.subsets_max; ++i) {
      TryWithTail(kind, all, [&rng](const Question& question) { return rng.Below(question.options); });
    }
  }

  // Newest first: each thing lost alone, kept alone, kept alone with the names and sizes that lead to it, and all that
  // was before it kept or lost.
  static std::vector<Choose> OneByOne(const ChosenFates& all) {
    std::vector<Choose> chosen;
    for (size_t i = all.questions().size(); i-- > 0;) {
      const uint64_t one = all.questions()[i].id;
      for (uint64_t fewer = 0; fewer + 1 < all.questions()[i].options; ++fewer) {
        chosen.emplace_back([one, fewer](const Question& q) { return q.id == one ? fewer : Keep(q); });
      }
      chosen.emplace_back([one](const Question& q) { return q.id == one ? Keep(q) : 0; });
      chosen.emplace_back([one](const Question& q) { return q.id == one ? Keep(q) : LoseContentOnly(q); });
      chosen.emplace_back([i](const Question& q) { return q.number < i ? Keep(q) : 0; });
      chosen.emplace_back([i](const Question& q) { return q.number < i ? 0 : Keep(q); });
    }
    return chosen;
  }

  // TAIL lost, and kept.
  void TryWithTail(CrashKind kind, const ChosenFates& all, const Choose& choose, bool each_way_once = false) {
    Try(kind, choose, LoseTail, each_way_once);
    if (all.tail_pages() > 0) Try(kind, choose, KeepTail, each_way_once);
  }

  // Some of TAIL's pages, with all that is not synced besides kept, and lost.
  void MixTail(const ChosenFates& all) {
    if (all.tail_pages() == 0) return;
    Rng rng(moment_);
    for (uint64_t i = 0; i < limits_.tail_mixes; ++i) {
      const ChooseOfTail mix = [&rng](uint64_t) { return rng.OneIn(2) ? kAllSectors : kNoSectors; };
      Try(CrashKind::kPowerCut, i % 2 == 0 ? Keep : Lose, mix);
    }
  }

  // Pages one by one, with all others kept, and lost.
  void TearPages(const ChosenFates& all) {
    // By 512-byte sectors: a half, the other half, every second one, all but the last, all but the first.
    static constexpr Sectors kTorn[] = {0x0F, 0xF0, 0x55, 0x7F, 0xFE};
    std::vector<uint64_t> pages;  // by id, newest first
    for (const Question& question : all.questions()) {
      if (question.kind == Question::Kind::kPage) pages.insert(pages.begin(), question.id);
    }
    const size_t torn_max = limits_.torn_pages_max;
    const size_t stride = torn_max == 0 ? 1 : std::max<size_t>(1, (pages.size() + torn_max - 1) / torn_max);
    for (const Sectors torn : kTorn) {
      for (size_t i = 0; i < pages.size() && torn_max > 0; i += stride) {
        const uint64_t one = pages[i];
        Try(
            CrashKind::kPowerCut, [=](const Question& q) { return q.id == one ? torn : Keep(q); }, KeepTail);
        Try(
            CrashKind::kPowerCut, [=](const Question& q) { return q.id == one ? torn : LoseContentOnly(q); }, LoseTail);
      }
      if (all.tail_pages() > 0 && limits_.tail_mixes > 0) {
        const uint64_t one = moment_ % all.tail_pages();
        Try(CrashKind::kPowerCut, Keep, [=](uint64_t page) { return page == one ? torn : kAllSectors; });
        Try(CrashKind::kPowerCut, Keep, [=](uint64_t page) { return page == one ? torn : kNoSectors; });
      }
    }
  }

  ChosenFates Try(CrashKind kind, const Choose& choose, const ChooseOfTail& choose_of_tail,
                  bool each_way_once = false) {
    const CrashMoment& moment = history_.moments[moment_];
    SimMachine machine(moment_ + 1, moment.disk);
    ChosenFates fates(kind, choose, choose_of_tail, each_way_once);
    machine.Crash(kind, fates);
    ++counts_.states;
    ++tried_;
    const size_t promised = kind == CrashKind::kKill ? moment.acknowledged : moment.durable;
    const uint64_t disk = machine.Hash();
    const uint64_t identity = Identity(disk, moment, promised);
    if (!seen_.Insert(identity)) return fates;
    ++counts_.different;
    if (seen_.Insert(base::Hash64({}, disk))) ++counts_.disks;
    if (limits_.recover_none) return fates;
    ++counts_.recovered;
    try {
      Recover(machine, moment, promised, identity);
    } catch (const std::exception& broken) {
      throw std::runtime_error("moment " + std::to_string(moment_) + ", state " + std::to_string(tried_) +
                               (kind == CrashKind::kKill ? " of a kill: " : " of a power cut: ") + broken.what());
    }
    return fates;
  }

  // Equal for disks with the same on them of which the same is demanded, whatever history led there.
  uint64_t Identity(uint64_t disk, const CrashMoment& moment, size_t promised) const {
    uint64_t hash = base::Hash64({}, disk ^ moment.revision_max);
    bool expires = false;
    for (size_t i = promised; i <= moment.newest; ++i) {
      hash = base::Hash64({}, hash + states_[i].hash);
      expires |= states_[i].expires;
    }
    return expires ? base::Hash64({}, hash + static_cast<uint64_t>(moment.wall_ms)) : hash;
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
  SeenStates& seen_;
  struct StateIdentity {
    uint64_t hash;
    bool expires;  // something in it does, so that it matters what time it is
  };
  std::vector<StateIdentity> states_;  // of the history
  size_t moment_ = 0;
  uint64_t tried_ = 0;  // at this moment
  CutCounts counts_;
};

}  // namespace

CutCounts CrashEverywhere(const History& history, const CutLimits& limits, SeenStates& seen) {
  return Crasher(history, limits, seen).Run();
}

}  // namespace firn::test
