#!/usr/bin/env bash
# Says which lines and branches of the engine have run, by file, and fails where they are too few.
#
# usage: report.sh BUILD_DIR
#
# BUILD_DIR is a build with FIRN_COVERAGE whose tests have run. Files below the minimum come first, the lowest of all at
# the top. What has not run goes to BUILD_DIR/coverage: uncovered.txt has the lines, coverage.json all there is.
#
# Branches that only an exception takes, and those that cannot be reached, are not counted: g++ makes one of either kind
# for nearly every call. Neither is the failing side of FIRN_CHECK, which only a bug of the engine's own takes.
set -euo pipefail

readonly line_percent_min=92 branch_percent_min=80
build=$(cd "${1:?usage: report.sh BUILD_DIR}" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$build/coverage
mkdir -p "$out"
cd "$root"

# Counters of an inline function are with whichever object was linked first, so tests' objects count too.
gcovr --root . --filter 'engine/src/' --exclude-throw-branches --exclude-unreachable-branches \
  --exclude-branches-by-pattern '.*FIRN_CHECK\(.*' --gcov-ignore-parse-errors -j "$(nproc 2>/dev/null || echo 2)" \
  --json "$out/coverage.json" "$build" > "$out/gcovr.log" 2>&1 ||
  { tail -20 "$out/gcovr.log" >&2; echo "gcovr failed: see $out/gcovr.log" >&2; exit 1; }
from_json() { gcovr --root . --add-tracefile "$out/coverage.json" "$@"; }
from_json --csv "$out/files.csv"
from_json --txt "$out/lines.txt"

# "  12,20-22" in the last column of gcovr's table becomes three lines of FILE:LINE: TEXT.
awk '
  /^engine\/src\// { file = $1 }
  file != "" && $NF ~ /^[0-9][0-9,-]*$/ {
    ranges = split($NF, range, ",")
    for (i = 1; i <= ranges; i++) {
      parts = split(range[i], ends, "-")
      for (line = ends[1]; line <= ends[parts]; line++) missing[file, line] = 1
      last = ends[parts]
    }
    number = 0
    while ((getline text < file) > 0) {
      number++
      if ((file, number) in missing) print file ":" number ": " text
    }
    close(file)
    file = ""
  }
' "$out/lines.txt" > "$out/uncovered.txt"

awk -F , -v lines_min="$line_percent_min" -v branches_min="$branch_percent_min" '
  function percent(covered, total) { return total == 0 ? 100 : 100 * covered / total }
  FNR > 1 {
    lines = percent($3, $2); branches = percent($6, $5)
    lines_total += $2; lines_covered += $3; branches_total += $5; branches_covered += $6
    below = lines < lines_min || branches < branches_min
    short = lines - lines_min < branches - branches_min ? lines - lines_min : branches - branches_min
    printf "%d,%08.3f,%-40s %6.1f %% of %5d lines   %6.1f %% of %5d branches\n", \
           !below, short + 100, $1, lines, $2, branches, $5 | "sort -t , -k 1,1n -k 2,2n | cut -d , -f 3-"
  }
  END {
    close("sort -t , -k 1,1n -k 2,2n | cut -d , -f 3-")
    lines = percent(lines_covered, lines_total); branches = percent(branches_covered, branches_total)
    printf "%-40s %6.1f %% of %5d lines   %6.1f %% of %5d branches\n", \
           "engine/src", lines, lines_total, branches, branches_total
    exit lines < lines_min || branches < branches_min
  }
' "$out/files.csv" || { echo "too little: at least $line_percent_min % of lines and $branch_percent_min % of branches"; exit 1; }
echo "what has not run: ${out#"$root"/}/uncovered.txt"
