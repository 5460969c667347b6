# What surrounds the process: streams that are closed, and limits on memory, file sizes and open files.
. "$(dirname "$0")/lib.sh"

it "without standard streams no message lands in a file of the store"
for round in 1 2 3; do
  "$FIRN" put "$store" k1 v --if-absent <&- >&- 2>&-
  codes=${codes:-}$?
done
same "$codes" 411  # the first one could not print the revision
expect 0 "$FIRN" verify "$store"
expect 0 "$FIRN" get "$store" k1
same "$out" v

it "a closed input is no empty value, and a closed output no success"
"$FIRN" put "$store" closed - <&- >/dev/null 2>.err
same $? 4
expect 1 "$FIRN" exists "$store" closed
"$FIRN" get "$store" k1 >&- 2>.err
same $? 4

# limited LIMIT CODE COMMAND...: expect, under 'ulimit LIMIT'.
limited() {
  local limit=$1 code=$2
  shift 2
  # shellcheck disable=SC2086
  expect "$code" bash -c "ulimit $limit && exec \"\$@\"" limited "$@"
  [ "$code" -eq 0 ] || one_line_error
}

it "a file that may not grow is an error, not a signal"
limited "-f 100" 4 "$FIRN" put "$work/new" k v
[[ $err == *"ulimit -f"* ]] || fail "says '$err'"

# Sanitizers reserve more memory than any such limit, and need descriptors of their own to check a program that has none.
sanitized=1
(ulimit -v 400000 && "$FIRN" --version >/dev/null 2>&1) && sanitized=

it "too few open files: says which limit to raise"
if [[ -z $sanitized ]]; then
  limited "-n 5" 4 "$FIRN" get "$store" k1
  [[ $err == *"ulimit -n"* ]] || fail "says '$err'"
fi

it "a large value goes in and out in little memory"
if [[ -z $sanitized ]]; then
  truncate -s 500M larger
  limited "-v 400000" 0 "$FIRN" put "$store" larger --file larger
  limited "-v 150000" 0 "$FIRN" get "$store" larger -o larger.out
  cmp larger larger.out || fail "it comes out as another"
  rm larger.out
  limited "-v 150000" 0 "$FIRN" verify "$store"
  expect 0 "$FIRN" del "$store" larger
fi

it "too little memory for a value is one line and exit code 4, and an export goes on without it"
if [[ -z $sanitized ]]; then
  truncate -s 200M large
  expect 0 "$FIRN" put "$store" large --file large
  limited "-v 150000" 4 "$FIRN" get "$store" large --json
  [[ $err == "firn: get "*": out of memory: "* ]] || fail "says '$err'"
  expect 0 "$FIRN" put "$store" small short
  limited "-v 150000" 5 "$FIRN" export "$store" out
  [[ $err == "firn: export key large: out of memory: "* && $(cat out/small) == short ]] || fail "says '$err'"
  expect 0 "$FIRN" verify "$store"
fi
finish
