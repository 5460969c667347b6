// A client's scenario with a crash, or a fault, at each of its disk operations.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "crash/client.h"

namespace firn::test {

// What a client does with the world it lives in.
using Part = std::function<void(SimWorld&, Client&)>;

struct Scenario {
  Part prepare;              // the store is open; nothing fails yet
  Part run;                  // meets the crash or fault; what it asks for may fail
  Part look = nullptr;       // the store is open again, after the client has held it to its ledger
  uint64_t points_min = 15;  // that `run` has at least, or the test tests nothing
};

// A power cut and a kill at each disk operation of `run`, with each survival pattern.
void AtEachCrash(uint64_t seed, const Scenario& scenario);

// Faults at each of these operations of `run`, once and from there on, and then the power fails. What was acknowledged
// must be there all the same.
void AtEachFault(unsigned operations, uint64_t seed, const Scenario& scenario);

// What each key may show; nullopt is absent.
using Possible = std::map<std::string, std::set<std::optional<std::string>>>;
// Each key shows what it may, by a get and by a scan, or says DataLoss, and no other key is there. How many say so.
uint64_t CheckNoLies(Client& client, const Possible& allowed);

struct SilentFaults {
  uint64_t points = 0;      // of `run`
  uint64_t refused = 0;     // the next open said DataLoss
  uint64_t unreadable = 0;  // keys that say DataLoss
  uint64_t unnoticed = 0;   // runs after which everything can be read and Verify() finds nothing
};

// At each write, punch and cut of `run` the disk says that it was done, and did nothing. Then the store is closed, or
// the power fails. Afterwards each key shows what it had at some time since `prepare` began, or nothing if it was
// absent by then, or says DataLoss; or the open does. References agree with what is there, and no space is lost. `look`
// sees the runs that went unnoticed.
SilentFaults AtEachLostWrite(uint64_t seed, const Scenario& scenario);
// The same for each write of `run`, which lands elsewhere in its file or in another one; but then what it landed on may
// take space that nothing accounts for.
SilentFaults AtEachMisdirectedWrite(uint64_t seed, const Scenario& scenario);

inline constexpr unsigned kFaultyOperations[] = {kWriteOperation, kSyncOperation, kAllocateOperation,
                                                 kOpenOperation,  kReadOperation, kFolderOperation};

}  // namespace firn::test
