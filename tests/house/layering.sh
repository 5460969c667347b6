#!/usr/bin/env bash
# Fails on an include or a call that breaks the layering of docs/architecture.md. usage: layering.sh ROOT
#
#   engine/src/LAYER     includes its own and lower layers, as "layer/file.h", and public headers
#   engine/include       standard headers, abseil and <firn/...> only, and names no liburing, xxHash or libfabric type
#   net cache examples bench     see the engine through <firn/...> only; bench/parts may see its layers
#   tests/unit/LAYER     sees what LAYER may see
#   locks                of abseil in base/sync.h only
#   hash tables          the standard ones in the engine: base/memory.h
#   system calls         in engine/src/io and net/src/fabric only; clocks and randomness in engine/src/base and io only
set -euo pipefail
cd "${1:?usage: layering.sh ROOT}"

folders=()
for folder in engine net cache examples bench tests/unit; do
  [[ -d $folder ]] && folders+=("$folder")
done

find "${folders[@]}" \( -name '*.h' -o -name '*.cc' \) -type f | sort | awk '
function fail(message) {
  printf "%s:%d: %s\n", file, line_number, message
  failures++
}

# Comments and the insides of string literals are not code.
function code_of(line,    at) {
  if (in_comment) {
    if ((at = index(line, "*/")) == 0) return ""
    line = substr(line, at + 2)
    in_comment = 0
  }
  gsub(/\\./, "", line)
  gsub(/\047"\047/, "", line)
  gsub(/"[^"]*"/, "\"\"", line)
  sub(/\/\/.*/, "", line)
  while ((at = index(line, "/*")) > 0) {
    rest = substr(line, at + 2)
    if (index(rest, "*/") == 0) { in_comment = 1; return substr(line, 1, at - 1) }
    line = substr(line, 1, at - 1) " " substr(rest, index(rest, "*/") + 2)
  }
  return line
}

# A call of one of `names` that is no member and in no namespace but the global one.
function calls(code, names) {
  return (" " code) ~ ("(^|[^A-Za-z0-9_.>:])(::)?(" names ")[ ]*\\(")
}

function check_include(line,    quoted, name, slash, first) {
  quoted = line ~ /#[ \t]*include[ \t]*"/
  name = line
  sub(/^[^"<]*["<]/, "", name)
  sub(/[">].*$/, "", name)
  slash = index(name, "/")
  first = slash ? substr(name, 1, slash - 1) : ""

  if (file ~ /^engine\/include\//) {
    if (quoted || (first != "firn" && first != "absl" && (first != "" || name ~ /\.h$/)))
      fail("a public header may include standard headers, abseil and <firn/...> only, not " name)
    return
  }
  if (!quoted) {
    if (in_engine && name ~ /^absl\/container\/(flat|node)_hash/)
      fail("hash tables of abseil do not survive an allocation that throws: base/memory.h")
    if (first in rank) fail("write an include of the engine as \"" name "\"")
    if (system_free && (name ~ /^(unistd|fcntl|liburing|dirent)\.h$/ || first ~ /^(sys|linux|rdma)$/))
      fail("<" name "> belongs to the seams to the system, engine/src/io and net/src/fabric")
    return
  }
  if (in_engine && !(first in rank)) {
    fail("an include inside the engine is \"layer/file.h\", and there is no layer of " name)
  } else if (layer != "" && (first in rank) && rank[first] > rank[layer]) {
    fail("layer " layer " is below " first " and may not include " name)
  } else if (outside && (first in rank)) {
    fail("only <firn/...> headers may be used here, not " name)
  }
}

function start_file(    parts) {
  in_comment = 0
  line_number = 0
  split(file, parts, "/")
  layer = ""
  if (file ~ /^engine\/src\//) layer = parts[3]
  if (file ~ /^tests\/unit\//) layer = parts[3]
  in_engine = file ~ /^engine\/src\//
  outside = file ~ /^(net|cache|examples|bench)\// && file !~ /^bench\/parts\//
  system_free = file ~ /^(engine|net|cache)\// && file !~ /^(engine\/src\/io|net\/src\/fabric)\//
  if (layer != "" && !(layer in rank)) fail("there is no layer " layer "; add it here and to docs/architecture.md")
}

function check_code(code) {
  if (file ~ /^engine\/include\// && code ~ /io_uring_|XXH[0-9_]|(^|[^A-Za-z0-9_])fid?_[a-z]/)
    fail("a public header names a type of a library that users need not have")
  if (in_engine && file !~ /^engine\/src\/base\/sync\.(h|cc)$/ && code ~ /absl::(Mutex|CondVar|Notification|Barrier)/)
    fail("locks and waiting come from base/sync.h, which schedulers and ThreadSanitizer see through")
  if (!system_free) return
  if (calls(code, system_calls) || code ~ /(^|[^A-Za-z0-9_])io_uring_[a-z]/ || code ~ ("[^A-Za-z0-9_>]::(" global_calls ")[ ]*\\("))
    fail("system calls belong to engine/src/io and net/src/fabric")
  if (code ~ /std::(filesystem|[io]?fstream)|(^|[^A-Za-z0-9_])fopen[ ]*\(/)
    fail("files are opened in engine/src/io only")
  if (file !~ /^engine\/src\/base\// &&
      (code ~ /_clock::now|random_device/ || calls(code, "clock_gettime|gettimeofday|time|rand|random|getrandom")))
    fail("time and randomness are passed in")
}

BEGIN {
  count = split("base format io values log index memory reclaim db", order, " ")
  for (i = 1; i <= count; i++) rank[order[i]] = i
  system_calls = "openat|openat2|pread|pread64|preadv|preadv2|pwrite|pwrite64|pwritev|pwritev2|mmap|munmap|mremap|msync|" \
    "mlock|mlock2|munlock|madvise|fsync|fdatasync|fallocate|posix_fallocate|ftruncate|flock|fcntl|ioctl|fstat|statx|" \
    "unlink|unlinkat|renameat|renameat2|mkdir|mkdirat|opendir|readdir|memfd_create|shm_open|syscall|copy_file_range"
  global_calls = "open|close|read|write|stat|lseek|rename|remove|truncate|link|sync|dup"
  while ((getline file < "-") > 0) {
    start_file()
    files++
    while ((getline line < file) > 0) {
      line_number++
      code = code_of(line)
      if (code ~ /^[ \t]*#[ \t]*include/) check_include(line)
      else if (code != "") check_code(" " code)
    }
    close(file)
  }
  if (files == 0) { print "no C++ file found"; exit 1 }
  printf "%d files, %d failures\n", files, failures
  exit failures > 0
}'
