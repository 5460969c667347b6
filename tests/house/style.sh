#!/usr/bin/env bash
# Fails on what a formatter cannot see. usage: style.sh ROOT
#
#   - a C++ file is at most 500 lines long, unless a comment "// Long file: REASON" says why
#   - no to-do notes: what is missing is written in docs/roadmap.md or docs/limitations.md
#   - code, scripts and build files are ASCII, without tabs, carriage returns or spaces at line ends
#   - a header has #pragma once
#   - no test's name has a semicolon: CTest takes it for two names, and runs neither
set -euo pipefail
export LC_ALL=C
cd "${1:?usage: style.sh ROOT}"

paths=()
for path in engine net cache examples bench tests cmake dev .ci CMakeLists.txt; do
  [[ -e $path ]] && paths+=("$path")
done

find "${paths[@]}" -type f \( -name '*.h' -o -name '*.cc' -o -name '*.sh' -o -name '*.cmake' -o -name '*.in' \
  -o -name CMakeLists.txt -o -path dev -o -path .ci/run \) | sort | awk '
function fail(line_number, message) {
  printf "%s:%d: %s\n", file, line_number, message
  failures++
}
BEGIN {
  # In pieces, so that this file passes its own test.
  notes = "(^|[^A-Za-z])(TO" "DO|FIX" "ME|XX" "X)([^A-Za-z]|$)"
  while ((getline file < "-") > 0) {
    files++
    lines = 0; justified = 0; pragma = 0
    while ((getline line < file) > 0) {
      lines++
      if (line ~ /^\/\/ Long file: ./) justified = 1
      if (line ~ /^#pragma once$/) pragma = 1
      if (line ~ notes) fail(lines, "a to-do note")
      if (line ~ /[^ -~]/) fail(lines, "a tab, carriage return or non-ASCII byte")
      if (line ~ /^TEST_CASE\("[^"]*;/) fail(lines, "a semicolon in the name of a test, which CTest does not run then")
      if (line ~ / $/) fail(lines, "a space at the end of the line")
    }
    close(file)
    if (file ~ /\.(h|cc)$/ && lines > 500 && !justified)
      fail(lines, "more than 500 lines; split it, or say why in a comment \"// Long file: REASON\"")
    if (file ~ /\.h$/ && !pragma) fail(1, "a header without #pragma once")
  }
  if (files == 0) { print "no file found"; exit 1 }
  printf "%d files, %d failures\n", files, failures
  exit failures > 0
}'
