#!/usr/bin/env bash
# Shows that style.sh finds each kind of breach, and only those.
set -euo pipefail
shopt -s lastpipe  # so that "... | expect" counts in this shell
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
failures=0

# expect pass|fail FILE, with the file's text on standard input.
expect() {
  local wanted="$1" file="$2" got=pass
  rm -rf "${tree:?}"/*
  mkdir -p "$tree/$(dirname "$file")"
  cat >"$tree/$file"
  bash "$here/style.sh" "$tree" >/dev/null || got=fail
  if [[ $got != "$wanted" ]]; then
    printf 'expected %s, got %s for %s\n' "$wanted" "$got" "$file"
    failures=$((failures + 1))
  fi
}

lines() { for ((i = 0; i < $1; i++)); do echo "int line_$i;"; done; }

lines 500 | expect pass engine/src/base/a.cc
lines 501 | expect fail engine/src/base/a.cc
{ echo "// Long file: one table, generated"; lines 500; } | expect pass engine/src/base/a.cc
printf '// TO%s: later\n' DO | expect fail engine/src/base/a.cc
printf 'int todos = 1;\n' | expect pass engine/src/base/a.cc
printf 'int a;\tint b;\n' | expect fail engine/src/base/a.cc
printf 'int a; \n' | expect fail engine/src/base/a.cc
printf 'int a;\r\n' | expect fail engine/src/base/a.cc
printf '// \xc3\xa9\n' | expect fail engine/src/base/a.cc
printf 'int a();\n' | expect fail engine/src/base/a.h
printf '#pragma once\nint a();\n' | expect pass engine/src/base/a.h
printf 'TEST_CASE("one; two") {}\n' | expect fail tests/unit/a_test.cc
printf 'TEST_CASE("one, two", "[a;b]") {}\n' | expect pass tests/unit/a_test.cc

if [[ $failures -gt 0 ]]; then exit 1; fi
echo "style.sh finds what it should"
