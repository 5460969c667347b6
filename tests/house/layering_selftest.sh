#!/usr/bin/env bash
# Shows that layering.sh finds each kind of breach, and only those.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
failures=0

# expect pass|fail FILE LINE...: a tree with this one file passes or fails.
expect() {
  local wanted="$1" file="$2" got=pass output
  shift 2
  rm -rf "${tree:?}"/*
  mkdir -p "$tree/$(dirname "$file")"
  printf '%s\n' "$@" >"$tree/$file"
  output="$(bash "$here/layering.sh" "$tree")" || got=fail
  if [[ $got != "$wanted" ]]; then
    printf 'expected %s, got %s for %s: %s\n%s\n' "$wanted" "$got" "$file" "$*" "$output"
    failures=$((failures + 1))
  fi
}

expect fail engine/src/base/a.h '#include "log/a.h"'
expect fail engine/src/io/a.cc '#include "log/segment.h"'
expect fail engine/src/index/a.cc '// fine' '  #  include   "db/store.h"  // not fine'
expect fail engine/src/log/a.cc '#include "a.h"'
expect fail engine/src/log/a.cc '#include "../db/store.h"'
expect fail engine/src/log/a.cc '#include <db/store.h>'
expect fail engine/src/snow/a.cc '#include <vector>'
expect fail tests/unit/log/a_test.cc '#include "db/store.h"'
expect pass engine/src/db/a.cc '#include "base/check.h"' '#include "log/log.h"' '#include <firn/db.h>'
expect pass engine/src/log/a.cc '#include "log/a.h"' '/* #include "db/store.h"' '*/' '// #include "db/store.h"'

expect fail engine/include/firn/a.h '#include <liburing.h>'
expect fail engine/include/firn/a.h '#include <xxhash.h>'
expect fail engine/include/firn/a.h '#include <rdma/fabric.h>'
expect fail engine/include/firn/a.h '#include "base/check.h"'
expect fail engine/include/firn/a.h 'void Use(struct io_uring_sqe* entry);'
expect fail engine/include/firn/a.h 'XXH128_hash_t Hash();'
expect fail engine/include/firn/a.h 'struct fid_domain* domain();'
expect pass engine/include/firn/a.h '#include <string>' '#include <absl/status/status.h>' '#include <firn/db.h>' \
  'bool use_io_uring = true;  // XXH3 and io_uring_prep in a comment are words'

expect fail examples/a.cc '#include "db/store.h"'
expect fail examples/tool/a.cc '#include "base/coding.h"'
expect fail bench/a_bench.cc '#include "index/tree.h"'
expect fail net/src/node/a.cc '#include "base/coding.h"'
expect pass bench/parts/a_bench.cc '#include "index/tree.h"'
expect pass examples/a.cc '#include "command.h"' '#include <firn/db.h>' 'int f = ::open("x", 0);'

for call in '::open(p, 0)' 'pread(f, b, n, o)' '::pwrite(f, b, n, o)' 'mmap(0, n, 0, 0, f, 0)' 'fdatasync(f)' \
  'io_uring_submit(&ring)' '::close(f)' 'syscall(1)' 'std::ifstream in(p)' 'fopen(p, "r")'; do
  expect fail engine/src/log/a.cc "int a = ($call, 0);"
  expect pass engine/src/io/a.cc "int a = (static_cast<void>($call), 0);"
  expect pass engine/src/log/a.cc "// $call" "const char* text = \"${call//\"/}\";"
done
expect fail engine/src/log/a.cc '#include <unistd.h>'
expect pass engine/src/log/a.cc 'file->close(); disk.fsync(); Truncate(1); io::unlink(2); int reread(int);'
expect fail engine/src/db/a.cc 'auto now = std::chrono::steady_clock::now();'
expect fail engine/src/db/a.cc 'std::random_device device;'
expect fail engine/src/db/a.h 'absl::Mutex mutex_;'
expect pass engine/src/base/sync.h 'absl::Mutex mutex_;'
expect fail engine/src/db/a.h '#include <absl/container/flat_hash_set.h>'
expect pass engine/src/db/a.h '#include <absl/container/inlined_vector.h>'
expect pass engine/src/base/clock.cc 'int a = clock_gettime(CLOCK_REALTIME, &now);'

if [[ $failures -gt 0 ]]; then exit 1; fi
echo "layering.sh finds what it should"
