// Those who use the store at once, a thread each. They run until the world is stopped, and throw Broken when the store
// breaks its contract:
//   - a value is whole, and its key's own
//   - what one reader sees of a key never goes back: not its revision, not the number of the write
//   - a snapshot shows the same at every look, by gets and by scans
//   - two keys that are only ever written by one batch show the same write, or neither is there
//   - an entry whose time has come is not shown
//   - a namespace whose drop has returned gives NotFound for ever
//   - what is seen by a durable read is not above DurableRevision(), which never goes back
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "stress/world.h"
#include "support/rng.h"

namespace firn::test {

struct Actor {
  std::string name;
  std::function<void(World&, Rng)> run;
};

// One of each that there is one of, and several readers and writers.
std::vector<Actor> AllActors();

// After everybody has ended: the store shows what its writers wrote last.
void CheckSettled(World& world);

}  // namespace firn::test
