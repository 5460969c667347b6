#include "sim/report.h"

namespace firn::test {

const std::array<const char*, kFeatures> kFeatureNames = {
    "put", "delete", "set expiry", "batch", "batch over namespaces", "condition held", "condition failed", "synced",
    "buffered", "metadata", "large value", "empty value",
    "get", "get with info", "read durable", "multi get", "exists", "found", "absent",
    "iterator", "iterator step", "iterator backward", "iterator keys only", "iterator bounds", "iterator prefix",
    "snapshot", "snapshot read", "snapshot scan",
    "namespace created", "namespace dropped", "namespaces listed", "namespace refused",
    "sync", "flush", "durable revision", "stats", "verify", "clock jump", "expired and hidden",
    "clean close", "destroyed while open", "kill", "power cut", "crash in open", "crash in close", "read-only open",
    "second open refused",
    "torn tail", "footer fallback", "unanswered write kept", "unsynced write lost",
    "write error", "sync error", "read error", "disk full", "no descriptors", "any error", "poisoned",
    "bit rot", "misdirected write", "lost write", "salvaged",
};

}  // namespace firn::test
