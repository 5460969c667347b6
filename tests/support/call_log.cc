#include "support/call_log.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/clock.h"

namespace firn::test {
namespace {

constexpr uint64_t kPartBytes = uint64_t{256} << 20;  // of a thread

struct StepNote {
  WriteStep::Kind kind;
  Condition::Kind condition;
  Revision condition_revision;
  uint64_t space;
  int64_t expires_at_ms;
  uint64_t key_bytes, value_bytes, metadata_bytes;
};

constexpr uint64_t RoundUp(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

uint64_t TextBytes(const WriteStep& step) {
  return RoundUp(step.key.key.size() + step.value.size() + step.metadata.size());
}

template <typename T>
void Raise(std::atomic<T>& maximum, T value) {
  T seen = maximum.load();
  while (seen < value && !maximum.compare_exchange_weak(seen, value)) {
  }
}

Condition ConditionOf(const StepNote& note) {
  switch (note.condition) {
    case Condition::Kind::kAbsent:
      return Condition::Absent();
    case Condition::Kind::kPresent:
      return Condition::Present();
    case Condition::Kind::kRevisionEquals:
      return Condition::RevisionEquals(note.condition_revision);
    case Condition::Kind::kNone:
      break;
  }
  return {};
}

}  // namespace

struct CallLog::Note {
  uint64_t bytes;  // with steps and texts
  uint64_t steps;
  bool batch, synced;
  Revision newest_before;
  Tick invoked;
  int64_t asked_wall_ms;
  // The answer. `outcome` is stored last.
  Tick replied;
  int64_t answered_wall_ms, wall_ms_max;
  absl::StatusCode code;
  Revision revision;
  std::atomic<WriteCall::Outcome> outcome;
};

uint64_t CallLog::MappedBytes() { return RoundUp(sizeof(Shared)) + kThreadsMax * kPartBytes; }

CallLog::CallLog() {
  void* memory =
      ::mmap(nullptr, MappedBytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  FIRN_CHECK(memory != MAP_FAILED);
  shared_ = new (memory) Shared();
}

CallLog::~CallLog() { ::munmap(shared_, MappedBytes()); }

std::byte* CallLog::Part(size_t thread) const {
  return reinterpret_cast<std::byte*>(shared_) + RoundUp(sizeof(Shared)) + thread * kPartBytes;
}

void CallLog::BeginLife(const std::vector<Space>& spaces) {
  FIRN_CHECK(spaces.size() <= kSpacesMax);
  shared_->tick = 0;
  shared_->calls = 0;
  shared_->acknowledged_max = shared_->newest_seen = 0;
  for (auto& durable : shared_->durable) durable = 0;
  for (auto& bytes : shared_->part_bytes) bytes = 0;
  shared_->failing = false;
  shared_->failure = Failure::kNone;
  shared_->why = {};
  for (size_t i = 0; i < spaces.size(); ++i) {
    SpaceNote& note = shared_->space[i];
    note.name = {};
    spaces[i].name.copy(note.name.data(), note.name.size() - 1);
    note.id = spaces[i].id;
    note.create_invoked = note.create_replied = 0;
    note.drop_invoked = note.drop_replied = kNever;
  }
  shared_->spaces = spaces.size();
}

int64_t CallLog::WallMs() {
  const int64_t now = base::Clock::System().WallTimeMs();
  Raise(shared_->wall_ms_max, now);
  return now;
}

CallLog::Note* CallLog::Ask(size_t thread, const WriteCall& call) {
  FIRN_CHECK(thread < kThreadsMax);
  uint64_t bytes = RoundUp(sizeof(Note));
  for (const WriteStep& step : call.steps) bytes += sizeof(StepNote) + TextBytes(step);
  const uint64_t begin = shared_->part_bytes[thread];
  FIRN_CHECK(begin + bytes <= kPartBytes);
  std::byte* at = Part(thread) + begin;
  Note* const note = new (at) Note();
  note->bytes = bytes;
  note->steps = call.steps.size();
  note->batch = call.batch;
  note->synced = call.synced;
  note->outcome = WriteCall::Outcome::kInDoubt;
  at += RoundUp(sizeof(Note));
  for (const WriteStep& step : call.steps) {
    const StepNote step_note = {step.kind,         step.condition.kind(), step.condition.revision(),
                                step.key.space,    step.expires_at_ms,    step.key.key.size(),
                                step.value.size(), step.metadata.size()};
    std::memcpy(at, &step_note, sizeof(step_note));
    at += sizeof(step_note);
    const std::string texts = step.key.key + step.value + step.metadata;
    std::memcpy(at, texts.data(), texts.size());
    at += RoundUp(texts.size());
  }
  note->newest_before = shared_->newest_seen;
  note->asked_wall_ms = WallMs();
  note->invoked = ++shared_->tick;
  shared_->part_bytes[thread] = begin + bytes;
  return note;
}

void CallLog::Answer(Note* note, WriteCall::Outcome outcome, absl::StatusCode code, Revision revision) {
  note->replied = ++shared_->tick;
  note->answered_wall_ms = WallMs();
  note->wall_ms_max = shared_->wall_ms_max;
  note->code = code;
  note->revision = revision;
  note->outcome = outcome;
  if (outcome != WriteCall::Outcome::kDone) return;
  SawRevision(revision);
  Raise(shared_->acknowledged_max, revision);
}

size_t CallLog::AskCreate(const std::string& name) {
  const size_t index = shared_->spaces;
  FIRN_CHECK(index < kSpacesMax);
  SpaceNote& note = shared_->space[index];
  note.name = {};
  name.copy(note.name.data(), note.name.size() - 1);
  note.id = 0;
  note.create_replied = note.drop_invoked = note.drop_replied = kNever;
  note.create_invoked = ++shared_->tick;
  shared_->spaces = index + 1;
  return index;
}

void CallLog::AnswerCreate(size_t space, uint32_t id) {
  shared_->space[space].id = id;
  shared_->space[space].create_replied = ++shared_->tick;
}

void CallLog::AskDrop(size_t space) { shared_->space[space].drop_invoked = ++shared_->tick; }
void CallLog::AnswerDrop(size_t space) { shared_->space[space].drop_replied = ++shared_->tick; }

void CallLog::NoteDurable(DurableBy by, Revision revision) {
  Raise(shared_->durable[static_cast<size_t>(by)], revision);
}

void CallLog::SawRevision(Revision revision) { Raise(shared_->newest_seen, revision); }

void CallLog::Fail(Failure failure, std::string_view why) {
  if (shared_->failing.exchange(true)) return;
  why.copy(shared_->why.data(), shared_->why.size() - 1);
  shared_->failure = failure;
}

Window CallLog::LookBegins() {
  Window window;
  window.invoked = ++shared_->tick;
  window.wall_ms_min = WallMs();
  return window;
}

void CallLog::LookEnds(Window& window) {
  window.replied = ++shared_->tick;
  window.wall_ms_min = std::min(window.wall_ms_min, WallMs());
  window.wall_ms_max = shared_->wall_ms_max;
}

History CallLog::Read() const {
  History history;
  for (size_t i = 0; i < shared_->spaces; ++i) {
    const SpaceNote& note = shared_->space[i];
    history.spaces.push_back(
        {note.name.data(), note.id, note.create_invoked, note.create_replied, note.drop_invoked, note.drop_replied});
  }
  for (size_t thread = 0; thread < kThreadsMax; ++thread) {
    const std::byte* at = Part(thread);
    const std::byte* const end = at + shared_->part_bytes[thread];
    while (at < end) {
      const Note& note = *reinterpret_cast<const Note*>(at);
      const std::byte* const next = at + note.bytes;
      WriteCall& call = history.writes.emplace_back();
      call.batch = note.batch;
      call.synced = note.synced;
      call.newest_before = note.newest_before;
      call.invoked = note.invoked;
      call.wall_ms_min = note.asked_wall_ms;
      call.wall_ms_max = shared_->wall_ms_max;
      call.outcome = note.outcome;
      if (call.outcome != WriteCall::Outcome::kInDoubt) {
        call.replied = note.replied;
        call.wall_ms_min = std::min(note.asked_wall_ms, note.answered_wall_ms);
        call.wall_ms_max = note.wall_ms_max;
        call.code = note.code;
        call.revision = note.revision;
      }
      at += RoundUp(sizeof(Note));
      for (uint64_t i = 0; i < note.steps; ++i) {
        StepNote step_note;
        std::memcpy(&step_note, at, sizeof(step_note));
        at += sizeof(step_note);
        const char* texts = reinterpret_cast<const char*>(at);
        WriteStep step;
        step.kind = step_note.kind;
        step.condition = ConditionOf(step_note);
        step.expires_at_ms = step_note.expires_at_ms;
        step.key = {step_note.space, std::string(texts, step_note.key_bytes)};
        texts += step_note.key_bytes;
        step.value.assign(texts, step_note.value_bytes);
        step.metadata.assign(texts + step_note.value_bytes, step_note.metadata_bytes);
        call.steps.push_back(std::move(step));
        at += RoundUp(step_note.key_bytes + step_note.value_bytes + step_note.metadata_bytes);
      }
      at = next;
    }
  }
  static constexpr const char* kWhys[kDurableKinds] = {"Sync()", "Flush()", "DurableRevision()", "a durable read"};
  for (size_t i = 0; i < kDurableKinds; ++i) {
    if (shared_->durable[i] != 0) history.durable.push_back({shared_->durable[i], kWhys[i]});
  }
  return history;
}

}  // namespace firn::test
