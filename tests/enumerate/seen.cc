#include "enumerate/seen.h"

#include <sys/mman.h>

#include <stdexcept>

namespace firn::test {

SeenStates::SeenStates(uint64_t capacity) {
  void* memory =
      mmap(nullptr, capacity * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the states that were met");
  slots_ = {static_cast<Slot*>(memory), capacity};  // zeros, which are free slots
}

SeenStates::~SeenStates() { munmap(slots_.data(), slots_.size_bytes()); }

bool SeenStates::Insert(uint64_t hash) {
  if (hash == 0) hash = 1;
  for (uint64_t probe = 0; probe < slots_.size(); ++probe) {
    uint64_t found = 0;
    if (slots_[(hash + probe) % slots_.size()].compare_exchange_strong(found, hash, std::memory_order_relaxed)) {
      return true;
    }
    if (found == hash) return false;
  }
  throw std::runtime_error("more states than there is room to remember");
}

}  // namespace firn::test
