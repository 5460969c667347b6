#!/usr/bin/env bash
# Breaks the engine on purpose, one rule at a time (list.sh), and demands that the tests notice.
#
# usage: mutants.sh BUILD_DIR WORK_DIR [--every N] [NAME...]
#
# For each mutant one file is copied and changed by a sed script that must apply; what is compiled of it is compiled again,
# with the flags of the build, and linked in place of the original into the test program named beside it, which then has to
# fail, once in three tries. The same program and arguments have to pass with the engine as it is. --every judges about one
# mutant in N, and of the others sees only whether they apply. The build has to be Ninja's, and up to date.
set -uo pipefail

usage='usage: mutants.sh BUILD_DIR WORK_DIR [--every N] [NAME...]'
build=${1:?$usage}
work=${2:?$usage}
shift 2
every=1
if [[ ${1:-} == --every ]]; then every=${2:?$usage} && shift 2; fi
only=("$@")
here=$(cd "$(dirname "$0")" && pwd)
engine=$(cd "$here/../../engine/src" && pwd)
build=$(cd "$build" && pwd) || exit 2
mkdir -p "$work/passes" && work=$(cd "$work" && pwd) || exit 2
# A mutant may loop for good; the scheduler's step limit ends that sooner.
readonly test_seconds_max=300
readonly tries_max=3
ninja=${CMAKE_MAKE_PROGRAM:-ninja}
# As many at a time as there are cores.
jobs=$(nproc 2>/dev/null || echo 2)
rm -f "$work"/*.verdict
listed=0
chosen=0
declare -A unbroken=() seen=()

# What Ninja would run to make a file.
command_for() { (cd "$build" && "$ninja" -t commands "$1" | tail -1); }

# The programs, and what each object was compiled from.
mapfile -t programs < <(cd "$build" && find tests -name 'firn_test_*' -type f -perm -u+x)
(cd "$build" && "$ninja" -t deps) > "$work/dependencies"

# What the arguments after PROGRAM are: words, never patterns.
words_of() {  # WHO
  local who=$1
  [[ $who == \[* ]] && who="crash $who"
  read -ra words <<< "$who"
}

path_of() {  # PROGRAM
  local path
  for path in "${programs[@]}"; do
    if [[ ${path##*/} == "firn_test_$1" ]]; then echo "$path" && return; fi
  done
  return 1
}

mutant() {  # NAME FILE WHO CHANGE
  listed=$((listed + 1))
  if [[ -n ${seen[$1]:-} ]]; then echo "two mutants have the name $1" && exit 2; fi
  seen[$1]=1
  if ((${#only[@]})) && [[ " ${only[*]} " != *" $1 "* ]]; then return; fi
  if ((every > 1)) && ! is_chosen "$1"; then
    if ! change_applies "$@"; then
      chosen=$((chosen + 1))
      not_applied "$@" > "$work/$1.verdict"
    fi
    return
  fi
  chosen=$((chosen + 1))
  unbroken[$3]=1
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
  { judge "$@" > "$work/$1.verdict"; tell "$work/$1.verdict"; } &
}

# At once. Of a part, whose whole output is told last, only what is not as it should be.
tell() {  # VERDICT
  if ((every > 1)); then grep -v '^killed ' "$1"; else cat "$1"; fi
}

# By its name, so that another mutant in the list changes nothing for the others.
is_chosen() {  # NAME
  local sum
  sum=$(cksum <<< "$1")
  ((${sum%% *} % every == 0))
}

change_applies() {  # NAME FILE WHO CHANGE
  ! sed -E "$4" "$engine/$2" | cmp -s "$engine/$2" -
}

not_applied() { echo "NOT APPLIED  $1: $2 does not have what is to be changed"; }

# The objects among WORDS that are compiled from FILE, or include it. Ninja may have relative paths.
objects_with() {  # FILE WORDS...
  local file=$1 word
  shift
  local -A dependents=()
  while read -r word; do dependents[$word]=1; done < <(
    awk -v file="/engine/src/$file" '
      /^[^ ]/ { object = $1; sub(/:$/, "", object) }
      substr($1, length($1) - length(file) + 1) == file { print object }' "$work/dependencies")
  for word in "$@"; do
    if [[ -n ${dependents[$word]:-} ]]; then echo "$word"; fi
  done
}

judge() {  # NAME FILE WHO CHANGE
  local name=$1 file=$engine/$2 who=$3 log=$work/$1.log
  if ! change_applies "$@"; then
    not_applied "$@"
    return
  fi
  local overlay=$work/$name.src words path link
  mkdir -p "$overlay/${2%/*}"
  sed -E "$4" "$file" > "$overlay/$2"
  words_of "$who"
  if ! path=$(path_of "${words[0]}"); then
    echo "NOT LINKED   $name: firn_test_${words[0]} is not built"
    return
  fi
  link=$(command_for "$path")
  local program=$work/$name objects
  # shellcheck disable=SC2086
  mapfile -t objects < <(objects_with "$2" $link)
  local original object source command at=0
  for original in "${objects[@]}"; do
    at=$((at + 1))
    object=$program.$at.o
    command=$(command_for "$original")
    source=${command##* -c }
    [[ $source == "$file" ]] && source=$overlay/$2
    # Without optimisation: the tests of one rule are quick, the compiler is not.
    command=${command%% -MD *}
    if ! (cd "$build" && eval "${command/ -I/ -I$overlay -I} -O0 -w -o $object -c $source") >> "$log" 2>&1; then
      echo "NOT COMPILED $name: see $log"
      return
    fi
    link=${link/ $original / $object }
  done
  if ! (cd "$build" && eval "${link/ -o $path / -o $program }") >> "$log" 2>&1 || ((at == 0)); then
    echo "NOT LINKED   $name: see $log"
    return
  fi
  local result=0
  # One failure is enough.
  case ${words[0]} in
    sim) words+=(--failures-max 1 --as-found) ;;
    base | format | io | values | index | log | reclaim | db | crash) words+=(--abort) ;;
  esac
  # What threads race for may go well by chance: it has a few tries.
  local try began
  for ((try = 0; try < tries_max && result == 0; try++)); do
    began=$SECONDS
    # With its own exit, so that it is the subshell that tells of signals.
    (cd "$work" && timeout --signal=KILL "$test_seconds_max" "$program" "${words[@]:1}"; exit) >> "$log" 2>&1 || result=$?
  done
  # Whatever else kills the program, as the end of memory, is a failure like any other.
  if ((result == 137 && SECONDS - began < test_seconds_max)); then result=1; fi
  case $result in
    0) echo "SURVIVED     $name: $who passes" ;;
    137) echo "NOT JUDGED   $name: $who takes longer than $test_seconds_max s" ;;  # slow is not noticed
    *) echo "killed       $name" ;;
  esac
  rm -rf "$program" "$program".*.o "$overlay"
}

# Whoever fails anyway has noticed nothing.
check_unbroken() {  # WHO
  local who=$1 words path
  words_of "$who"
  path=$(path_of "${words[0]}") || return  # said already
  local stamp=$work/passes/${who//\//_} log=$work/unbroken.$BASHPID
  [[ $stamp -nt $build/$path ]] && return
  if (cd "$work" && timeout "$test_seconds_max" "$build/$path" "${words[@]:1}"; exit) > "$log.log" 2>&1; then
    touch "$stamp"
    rm -f "$log.log"
  else
    echo "NOT JUDGED   whatever $who notices: it fails with the engine as it is, see $log.log" | tee "$log.verdict"
  fi
}

# shellcheck source=tests/mutants/list.sh
source "$here/list.sh"
wait
# A part is CTest's, which runs all these tests of the engine as it is beside this.
((every > 1)) && unbroken=()
for who in "${!unbroken[@]}"; do
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
  check_unbroken "$who" &
done
wait

for name in "${only[@]}"; do
  if [[ -z ${seen[$name]:-} ]]; then echo "there is no mutant $name" && exit 2; fi
done
# What a log cuts off is the end.
((every > 1)) && cat "$work"/*.verdict | LC_ALL=C sort
# One that left no verdict was not judged.
killed=$(cat "$work"/*.verdict 2>/dev/null | grep -c '^killed ')
unsound=$(cat "$work"/unbroken.*.verdict 2>/dev/null | wc -l)
((every > 1)) && echo "of $listed mutants about one in $every is judged"
echo "$chosen mutants, $killed killed, in $SECONDS s"
exit $((killed != chosen || unsound != 0 || chosen == 0))
