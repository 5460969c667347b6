// What a program sees to before anything else.
#pragma once

namespace firn::tools {

// Opens /dev/null for each of the descriptors 0 to 2 that is closed: the next file would get its number, and a message
// would be written into it. Reading or printing through one of these still fails, as it does on a closed one. Ignores
// SIGXFSZ, so that a write beyond 'ulimit -f' fails with EFBIG instead of killing the process. False when a descriptor
// stays closed.
[[nodiscard]] bool PrepareProcess();

}  // namespace firn::tools
