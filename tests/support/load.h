// A load of all operations for a store that will be killed under it: several threads put, overwrite, stream, delete,
// batch, let expire, create and drop namespaces, take snapshots, iterate, compact, sync and flush, and a log that
// outlives them takes down each call.
//
// Values are contents with a label (support/contents.h), and the log has the label. What reads show is judged at once:
// a value belongs to a label, and a snapshot shows the same at every look.
#pragma once

#include <firn/db.h>

#include <cstdint>
#include <functional>

#include "support/call_log.h"
#include "support/rng.h"

namespace firn::test {

struct LoadSettings {
  size_t threads = 3;
  size_t keys = 300;  // of each namespace
  double synced_share = 0.3;
  bool asks_for_durability = true;  // by Sync and Flush, and by changing namespaces, which is durable
  // Of puts. Large ones are beside the log with the options of LoadOptions(); streamed ones are above a MiB.
  uint64_t middling_one_in = 8, large_one_in = 40, streamed_one_in = 400;
  uint64_t compact_one_in = 1'000;  // of calls; Verify() is twice as rare
};

// Small segments and value files, values of 8 KiB beside the log, a low ceiling: much is sealed and reclaimed.
Options LoadOptions();

// Makes calls until the process is killed, or one of them fails, which the log is told. When `calls` calls have been
// made one thread calls `then`, and all go on.
void RunLoad(DB& db, CallLog& log, const LoadSettings& settings, Rng rng, uint64_t calls,
             const std::function<void()>& then);

}  // namespace firn::test
