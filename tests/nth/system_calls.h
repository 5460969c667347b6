// Makes the Nth system call of the engine fail, or spoils the Nth completion of its rings. The linker leads the
// engine's calls by here (--wrap), so the engine knows nothing of it.
#pragma once

#include <cstdint>
#include <string_view>

namespace firn::test {

enum class CallFailure {
  kDevice,           // EIO
  kNoSpace,          // ENOSPC
  kDescriptors,      // EMFILE
  kMemory,           // ENOMEM; a library's call gives what it gives without memory
  kInterrupted,      // EINTR
  kAgain,            // EAGAIN
  kShort,            // half of what was asked for is read or written
  kSyncInterrupted,  // EINTR of an fsync: a failed one like any other, which is not tried again
  // Of completions.
  kCompletionDevice,           // -EIO
  kCompletionNoSpace,          // -ENOSPC
  kCompletionShort,            // half of what was asked for is read or written
  kCompletionInterrupted,      // -EINTR, of a transfer
  kCompletionSyncInterrupted,  // -EINTR, of an fsync
  kCompletionAgain,            // -EAGAIN
  kCompletionCancelled,        // -ECANCELED, of a linked fsync
  kCompletionsDelayed,         // the call returns before they are there
  kCompletionsReordered,       // those of one batch come in the opposite order
};
std::string_view NameOf(CallFailure failure);
// The engine has to get over it by itself.
bool IsHarmless(CallFailure failure);

// From here on what can fail so is numbered, over all threads, and number `point` does; with `lasting` those after it
// too.
void FailCall(CallFailure failure, uint64_t point, bool lasting);
struct FailedCalls {
  uint64_t numbered = 0;
  std::string_view last;  // that failed
};
FailedCalls StopFailingCalls();

}  // namespace firn::test
