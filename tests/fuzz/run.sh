#!/usr/bin/env bash
# Runs fuzz targets, or minimises their corpora. usage: run.sh BUILD [--merge] [SECONDS] [TARGET...]
#
# Each target gets SECONDS (60 by default) on two cores, one process of them guided by compared values too. It begins
# with tests/fuzz/corpus/TARGET and with what earlier runs found, which is in BUILD/fuzz/TARGET/found. --merge chooses,
# of all that, the inputs that reach most for tests/fuzz/corpus/TARGET; those with telling names, which once failed,
# stay.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
programs="${1:?usage: run.sh BUILD [--merge] [SECONDS] [TARGET...]}/tests/fuzz"
runs="$1/fuzz"
shift

inputs_max=36
input_bytes_max=4096  # 36 of these are well below 200 KB
# A value that claims to be large must not be believed: no allocation comes near these limits.
# Long inputs are tried from the start: what a store or a segment is made of takes more than a few bytes.
limits=(-timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=256 "-max_len=$input_bytes_max" -len_control=0)

die() { printf 'fuzz: %s\n' "$*" >&2; exit 1; }

count_files() { find "$1" -type f | wc -l; }

# stat NAME LOG...: the sum of a final statistic.
stat_sum() {
  local name="$1"
  shift
  cat "$@" | awk -v name="stat::$name:" '$1 == name { sum += $2 } END { print sum + 0 }'
}

coverage_max() {
  cat "$@" | awk '{ for (i = 1; i < NF; i++) if ($i == "cov:" && $(i + 1) > max) max = $(i + 1) } END { print max + 0 }'
}

fuzz() {
  local target="$1" seconds="$2"
  local program="$programs/firn_fuzz_$target" run="$runs/$target" corpus="$here/corpus/$target"
  local found="$run/found" crashes="$run/crashes" before worker workers=() failed=0
  mkdir -p "$found" "$crashes" "$corpus"
  rm -f "$crashes"/*
  before="$(count_files "$found")"
  for worker in 0 1; do
    "$program" "${limits[@]}" "-max_total_time=$seconds" "-use_value_profile=$worker" -print_final_stats=1 \
      "-artifact_prefix=$crashes/" "$found" "$corpus" >"$run/$worker.log" 2>&1 &
    workers+=($!)
  done
  for worker in "${workers[@]}"; do
    wait "$worker" || failed=1
  done
  printf '%-14s %12d %10d %10d %8d\n' "$target" "$(stat_sum number_of_executed_units "$run"/?.log)" \
    "$(coverage_max "$run"/?.log)" "$(($(count_files "$found") - before))" "$(count_files "$crashes")"
  [[ $failed -eq 0 ]] && return
  local crash
  for crash in "$crashes"/*; do
    [[ -f "$crash" ]] && printf '  replay: %s %s\n' "$program" "$crash"
  done
  printf '  logs: %s %s\n' "$run/0.log" "$run/1.log"
  return 1
}

# Of the files that a merge's control file lists, those that together reach most, best first.
choose() {
  awk -v files_max="$inputs_max" '
    NR == 1 { count = $1; next }
    NR == 2 { next }
    NR <= count + 2 { name[NR - 3] = $0; next }
    $1 == "FT" { for (i = 3; i <= NF; i++) features[$2] = features[$2] " " $i }
    END {
      for (chosen = 0; chosen < files_max; chosen++) {
        best_gain = 0
        for (file in features) {
          gain = 0
          n = split(features[file], list, " ")
          for (i = 1; i <= n; i++) if (!(list[i] in reached)) gain++
          if (gain > best_gain) { best_gain = gain; best = file }
          if (gain == 0) delete features[file]
        }
        if (best_gain == 0) break
        n = split(features[best], list, " ")
        for (i = 1; i <= n; i++) reached[list[i]] = 1
        print name[best]
        delete features[best]
      }
    }' "$1"
}

merge() {
  local target="$1" run="$runs/$1" corpus="$here/corpus/$1" file
  local merged="$run/merged" control="$run/merge.control" chosen="$run/chosen"
  rm -rf "$merged" "$control" "$chosen"
  mkdir -p "$merged" "$run/found" "$corpus" "$chosen"
  "$programs/firn_fuzz_$target" "${limits[@]}" -set_cover_merge=1 "-merge_control_file=$control" \
    "$merged" "$run/found" "$corpus" >"$run/merge.log" 2>&1 || die "$target: an input fails, see $run/merge.log"
  while IFS= read -r file; do
    [[ "${file##*/}" =~ ^[0-9a-f]{40}$ ]] && cp "$file" "$chosen"
  done < <(choose "$control")
  find "$corpus" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
  cp "$chosen"/* "$corpus"
  # Whatever adds nothing would only delay the next run.
  rm -rf "$run/found"
  mv "$merged" "$run/found"
  printf '%-14s %4d inputs, %7d bytes\n' "$target" "$(count_files "$corpus")" "$(cat "$corpus"/* | wc -c)"
}

what=fuzz seconds=60 targets=()
for argument in "$@"; do
  if [[ "$argument" == --merge ]]; then
    what=merge
  elif [[ "$argument" =~ ^[0-9]+$ ]]; then
    seconds="$argument"
  else
    [[ -x "$programs/firn_fuzz_$argument" ]] || die "there is no target '$argument' in $programs"
    targets+=("$argument")
  fi
done
if [[ ${#targets[@]} -eq 0 ]]; then
  for program in "$programs"/firn_fuzz_*; do
    [[ -f "$program" && -x "$program" ]] && targets+=("${program##*/firn_fuzz_}")
  done
fi

if [[ $what == merge ]]; then
  for target in "${targets[@]}"; do merge "$target"; done
  exit
fi
printf '%-14s %12s %10s %10s %8s\n' target executions coverage "new units" crashes
failures=0
for target in "${targets[@]}"; do
  fuzz "$target" "$seconds" || failures=$((failures + 1))
done
[[ $failures -eq 0 ]] || die "$failures of ${#targets[@]} targets failed"
