// The judgement on a store after its process was killed or its disk was cut: the model's, on what the log of calls says
// and the store shows.
#pragma once

#include <firn/db.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/call_log.h"
#include "support/recovery_check.h"

namespace firn::test {

// Opens the store at `path`. Throws Violation when that fails or when the store says that something is damaged.
std::unique_ptr<DB> OpenAfterCrash(const Options& options, const std::string& path);

// The files take what Stats.disk_bytes says, within 1 %, once reclaim has come to rest. Throws Violation.
void CheckSpace(DB& db, const std::string& path);

// The lives of one store, one after the other.
class Aftermath {
 public:
  struct Life {
    uint64_t calls = 0;         // of all kinds
    uint64_t acknowledged = 0;  // writes
    uint64_t synced = 0;        // of them
    uint64_t lost = 0;          // of the buffered ones: permitted at a power cut, not at a kill
    uint64_t unanswered_found = 0;
    uint64_t entries = 0;  // in the store now
  };

  explicit Aftermath(CallLog& log);

  // To be called before each life's process is made. A life may have several processes: `log` goes on.
  void BeginLife();
  // Judges the life that has ended by the open store, and takes what is there for the next one's beginning: all that
  // the promise holds is there, what is there is a prefix of revision order, with batches whole and nothing that was
  // not put; Verify() finds nothing; references and value files are accounted for. Throws Violation.
  Life Judge(DB& db, Promise promise);

 private:
  CallLog& log_;
  std::map<KeyId, Entry> base_;
  Revision base_revision_ = 0;
  std::vector<Space> spaces_;
};

}  // namespace firn::test
