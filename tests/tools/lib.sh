# Shared by the tests of this folder. FIRN, FIRN_DEMO, FIRN_QUICKSTART and JSON_GET come from CTest. KEEP=1 keeps the files.
set -u
export LC_ALL=C
work=$(mktemp -d)
[ -n "${KEEP:-}" ] || trap 'chmod -R u+rwx "$work" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
store=$work/store
failures=0

fail() {
  echo "FAILED: $case_name: $*" >&2
  failures=$((failures + 1))
}

# it "names a sentence of the contract": what follows is about it.
it() {
  case_name=$1
  echo "- $case_name"
}

# expect CODE COMMAND...: runs the command, keeps its output in $out and $err, and compares the exit code.
expect() {
  local want=$1 got
  shift
  "$@" >"$work/.out" 2>"$work/.err" </dev/null
  got=$?
  out=$(tr -d '\0' <"$work/.out")
  err=$(tr -d '\0' <"$work/.err")
  [ "$got" -eq "$want" ] || fail "'$*' exits with $got, not $want: $(printf '%s' "$out $err" | head -c 600)"
}

same() { [ "$1" = "$2" ] || fail "'$1' is not '$2'"; }

# no_difference DIFF-ARGUMENTS...: diff finds none; otherwise its first lines are shown.
no_difference() {
  local difference
  difference=$(diff "$@" 2>&1 | head -5)
  [ -z "$difference" ] || fail "diff $*: $difference"
}

# one_line_error: the last command said one line, starting with "firn".
one_line_error() {
  [ "$(printf '%s\n' "$err" | wc -l)" -eq 1 ] && [[ $err == firn* ]] || fail "not one line of error: '$err'"
}

# same_within_a_block_or_two DIRECTORY BYTES: so much do its files take, but for what the file system needs to find them.
same_within_a_block_or_two() {
  local blocks on_disk=0 files=0 off
  while read -r blocks; do
    on_disk=$((on_disk + 512 * blocks)) files=$((files + 1))
  done < <(find "$1" -type f -exec stat -c %b {} +)
  off=$((on_disk > $2 ? on_disk - $2 : $2 - on_disk))
  [ "$off" -le $((8192 * files)) ] || fail "the $files files of $1 take $on_disk bytes, not $2"
}

finish() {
  [ "$failures" -eq 0 ] || exit 1
  exit 0
}
