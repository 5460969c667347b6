// What a process that dies asked of a store and was told: in memory that it shares with its parent, which reads it
// afterwards as a History and judges the store by that. Nothing of it lies in the store's file system.
//
// A child begins every write with Ask() and ends it with Answer(); what was asked and not answered is in doubt. Each
// thread of the child has a part of its own; what all threads share are atomic counters. A killed process has executed
// some prefix of each thread's instructions, so that a call is there whole or not at all: it counts once the part's end
// has moved over it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/history.h"

namespace firn::test {

class CallLog {
 public:
  static constexpr size_t kThreadsMax = 8;
  static constexpr size_t kSpacesMax = 4'096;  // incarnations of namespaces in one life

  enum class DurableBy { kSync, kFlush, kDurableRevision, kDurableRead };
  static constexpr size_t kDurableKinds = 4;

  enum class Failure : uint32_t {
    kNone,
    kError,      // a call failed, which a cut disk explains
    kViolation,  // the store broke its contract, which nothing does
  };

  // A call as it lies in memory, followed by its steps and their texts.
  struct Note;

  // Takes memory only as it is used. CHECKs that there is some.
  CallLog();
  ~CallLog();
  CallLog(const CallLog&) = delete;

  // --- Before a child begins. `spaces` are those that the store has, the default one first.
  void BeginLife(const std::vector<Space>& spaces);

  // --- In the child.
  // Takes down the call and its window's beginning, before it is made. CHECKs that the thread's part has room.
  Note* Ask(size_t thread, const WriteCall& call);
  void Answer(Note* note, WriteCall::Outcome outcome, absl::StatusCode code, Revision revision);
  // Namespaces: one thread at a time. The index is that of History::spaces.
  size_t AskCreate(const std::string& name);
  void AnswerCreate(size_t space, uint32_t id);
  void AskDrop(size_t space);
  void AnswerDrop(size_t space);
  void NoteDurable(DurableBy by, Revision revision);
  void SawRevision(Revision revision);
  Revision acknowledged_max() const { return shared_->acknowledged_max.load(); }
  // A number that no life of this log has seen before.
  uint64_t NextMark() { return shared_->next_mark.fetch_add(1); }
  uint64_t CountCall() { return shared_->calls.fetch_add(1); }  // how many there were before
  // Only the first failure is kept.
  void Fail(Failure failure, std::string_view why);
  int64_t WallMs();  // the wall clock; the latest time is remembered

  // --- In the parent, once the child is dead, and in the child.
  uint64_t calls() const { return shared_->calls.load(); }  // of all kinds, in this life
  Failure failure() const { return shared_->failure.load(); }
  std::string why() const { return shared_->why.data(); }
  Window LookBegins();
  void LookEnds(Window& window);
  // Base and base revision are the caller's to fill in.
  History Read() const;

 private:
  struct SpaceNote {
    std::array<char, 65> name;
    std::atomic<uint32_t> id;
    std::atomic<Tick> create_invoked, create_replied, drop_invoked, drop_replied;
  };
  struct Shared {
    std::atomic<Tick> tick;
    std::atomic<int64_t> wall_ms_max;
    std::atomic<uint64_t> next_mark;
    std::atomic<uint64_t> calls;
    std::atomic<Revision> acknowledged_max, newest_seen;
    std::atomic<Revision> durable[kDurableKinds];
    std::atomic<uint64_t> spaces;
    SpaceNote space[kSpacesMax];
    std::atomic<uint64_t> part_bytes[kThreadsMax];
    std::atomic<bool> failing;
    std::atomic<Failure> failure;
    std::array<char, 2'048> why;
  };
  static_assert(std::atomic<uint64_t>::is_always_lock_free, "shared between processes");

  static uint64_t MappedBytes();
  std::byte* Part(size_t thread) const;

  Shared* shared_ = nullptr;
};

}  // namespace firn::test
