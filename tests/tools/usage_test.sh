# Exit codes for what is asked wrongly, and help for everything.
. "$(dirname "$0")/lib.sh"

it "every subcommand has --help that names the exit codes"
for command in put get del exists scan multiget import export stats verify dump namespaces bench; do
  expect 0 "$FIRN" $command --help
  [[ $out == *"Exit codes"* ]] || fail "$command --help does not name the exit codes"
done
expect 0 "$FIRN" --help
expect 0 "$FIRN" --version

it "wrong usage is one line and exit code 2"
for arguments in "" "get" "get $store" "nonsense" "put $store k v --nonsense" "scan $store --limit x" \
                 "put $store k v --if-absent --if-present" "put $store k" "import $store" "bench $store --only x"; do
  # shellcheck disable=SC2086
  expect 2 "$FIRN" $arguments
  one_line_error
done

it "no command that reads creates a store, and a missing one is exit code 4"
for arguments in "get $store k" "scan $store" "del $store k" "stats $store" "verify $store" "export $store out" \
                 "namespaces list $store"; do
  # shellcheck disable=SC2086
  expect 4 "$FIRN" $arguments
  one_line_error
done
[ ! -e "$store" ] || fail "a store was created"
expect 4 "$FIRN" dump "$work/no-file"

it "a key or a value outside the limits is exit code 2"
expect 0 "$FIRN" put "$store" k v
expect 2 "$FIRN" put "$store" "" v
one_line_error
expect 2 "$FIRN" put "$store" "$(head -c 65536 /dev/zero | tr '\0' k)" v
expect 0 "$FIRN" put "$store" "$(head -c 65535 /dev/zero | tr '\0' k)" v

it "a file where a directory should be is refused"
echo x >file
"$FIRN" get file k >/dev/null 2>.err
code=$?
[ $code -eq 2 ] || [ $code -eq 4 ] || fail "exit code $code"

it "a failed output is not success"
if [ -e /dev/full ]; then
  "$FIRN" get "$store" k >/dev/full 2>.err
  same $? 4
fi
finish
