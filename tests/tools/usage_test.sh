# Exit codes for what is asked wrongly, and help for everything.
. "$(dirname "$0")/lib.sh"

it "every subcommand has --help that names the exit codes"
for command in put get del exists scan multiget import export stats gc-report compact verify dump namespaces bench; do
  expect 0 "$FIRN" $command --help
  [[ $out == *"Exit codes"* ]] || fail "$command --help does not name the exit codes"
done
expect 0 "$FIRN" --help
expect 0 "$FIRN" --version

it "wrong usage is one line and exit code 2"
for arguments in "" "get" "get $store" "nonsense" "put $store k v --nonsense" "scan $store --limit x" \
                 "put $store k v --if-absent --if-present" "put $store k" "import $store" "bench $store --only x" \
                 "scan $store --limit -1" "put $store k v --if-revision -1" "del $store k --if-revision=-1"; do
  # shellcheck disable=SC2086
  expect 2 "$FIRN" $arguments
  one_line_error
done

it "an empty name is refused"
for arguments in "get|$store|k|-n|" "put|$store|k|v|-n|" "put||k|v" "import|$store|" "dump|" \
                 "namespaces|create|$store|"; do
  IFS='|' read -r -a words <<<"$arguments|."
  unset 'words[-1]'
  expect 2 "$FIRN" "${words[@]}"
  one_line_error
done

it "what is refused for its key or its namespace's name leaves no store"
mkdir tree && echo x >tree/file
expect 2 "$FIRN" put "$store" "" v
one_line_error
expect 2 "$FIRN" put "$store" k v --meta "$(head -c 4097 /dev/zero | tr '\0' m)"
expect 2 "$FIRN" put "$store" k v -n "not a name"
expect 4 "$FIRN" put "$store" k v -n nope
one_line_error
expect 2 "$FIRN" import "$store" tree -n "not a name"
one_line_error
expect 2 "$FIRN" namespaces create "$store" "not a name"
[ ! -e "$store" ] || fail "a store was created"

it "a store in a directory that is missing: says that this must exist"
expect 4 "$FIRN" put "$work/missing/store" k v
one_line_error
[[ $err == *"must exist"* ]] || fail "says '$err'"

it "no command that reads creates a store, and a missing one is exit code 4"
for arguments in "get $store k" "scan $store" "del $store k" "stats $store" "verify $store" "export $store out" \
                 "gc-report $store" "compact $store" "namespaces list $store"; do
  # shellcheck disable=SC2086
  expect 4 "$FIRN" $arguments
  one_line_error
done
[ ! -e "$store" ] || fail "a store was created"
expect 4 "$FIRN" dump "$work/no-file"
one_line_error
[[ $err == *no-file* && $err != *SUPERBLOCK* ]] || fail "says '$err'"

it "a key or a value outside the limits is exit code 2"
expect 0 "$FIRN" put "$store" k v
expect 2 "$FIRN" put "$store" "" v
one_line_error
expect 2 "$FIRN" put "$store" "$(head -c 65536 /dev/zero | tr '\0' k)" v
expect 0 "$FIRN" put "$store" "$(head -c 65535 /dev/zero | tr '\0' k)" v

it "a file where a directory should be is refused"
echo x >file
expect 2 "$FIRN" get file k
one_line_error

it "exit code 1 is about keys, never about files"
for arguments in "put $store k --file nofile" "put $store k --file tree" "multiget $store --from nofile" \
                 "get $store k -o /nowhere/at/all"; do
  # shellcheck disable=SC2086
  expect 4 "$FIRN" $arguments
  one_line_error
done

it "a value above 1 GiB is exit code 2, from a file and from the standard input"
truncate -s 1073741825 huge
expect 2 "$FIRN" put "$store" huge --file huge
one_line_error
"$FIRN" put "$store" huge - <huge >/dev/null 2>.err
same $? 2

it "a full store is one line"
truncate -s 20M large
expect 4 "$FIRN" put "$work/quota" large --file large --max-disk-mib 16
one_line_error

it "a failed output is not success"
if [ -e /dev/full ]; then
  "$FIRN" get "$store" k >/dev/full 2>.err
  same $? 4
fi
finish
