# import and export: what must be refused, left out or survived.
. "$(dirname "$0")/lib.sh"

it "devices, sockets and pipes are left out with a note, and that is no failure"
mkdir -p tree/sub
echo a >tree/a
mkfifo tree/pipe
expect 0 "$FIRN" import "$store" tree
[[ $err == *pipe* ]] || fail "no note about the pipe"
expect 1 "$FIRN" exists "$store" pipe
expect 0 "$FIRN" exists "$store" sub

it "what cannot be read is reported and counted, the rest is stored, and the exit code is 5"
if [ "$(id -u)" -ne 0 ]; then
  echo secret >tree/unreadable
  chmod 0 tree/unreadable
  unreadable=unreadable
else
  # The superuser reads everything; a file beyond what a value may have is left out the same way.
  truncate -s 1073741825 tree/too-large
  unreadable=too-large
fi
expect 5 "$FIRN" import "$work/second" tree --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /unreadable)" 1
[[ $err == *$unreadable* ]] || fail "the file is not named"
expect 0 "$FIRN" exists "$work/second" a
rm -f tree/too-large tree/unreadable

it "a directory that is missing, or a file, cannot be imported"
expect 4 "$FIRN" import "$store" nowhere
one_line_error
expect 4 "$FIRN" import "$store" tree/a
one_line_error

it "an empty name is no directory, least of all the root"
expect 2 "$FIRN" import "$work/none" ""
one_line_error
[ ! -e "$work/none" ] || fail "a store was created"

it "--list prints what was committed, and nothing that was left out"
expect 0 "$FIRN" import "$work/listed" tree --list --batch-bytes 1
same "$(printf '%s\n' "$out" | head -3 | tr '\n' ' ')" ". a sub "
expect 0 "$FIRN" import "$work/listed" tree --list --json
same "$(printf '%s\n' "$out" | head -3 | "$JSON_GET" /key | tr '\n' ' ')" ". a sub "

it "export names a key without the bytes that a terminal would obey"
"$FIRN" put "$work/odd" 1b5b324a 78 --hex >/dev/null
mkdir -p odd-out/$'\x1b[2J'
expect 5 "$FIRN" export "$work/odd" odd-out
[[ $err == *'\x1b[2J'* && $err != *$'\x1b'* ]] || fail "prints '$err'"

it "export never writes outside its directory"
evil=$work/evil
for key in ../outside /absolute a/../../outside "./a" a//b ..; do "$FIRN" put "$evil" "$key" x >/dev/null; done
expect 5 "$FIRN" export "$evil" out/ --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /failed)" 6
[ ! -e outside ] && [ ! -e /absolute ] || fail "a file was written outside"
[ -z "$(ls -A out)" ] || fail "something was written: $(ls -A out)"

it "export follows no link, neither one of the tree nor one that is there already"
links=$work/links
mkdir target
"$FIRN" put "$links" link "$work/target" --meta "tree:1 link 0777 0.000000000" >/dev/null
"$FIRN" put "$links" link/inside x >/dev/null
"$FIRN" put "$links" there/inside x >/dev/null
mkdir linked && ln -s "$work/target" linked/there
expect 5 "$FIRN" export "$links" linked
[ -z "$(ls -A target)" ] || fail "a link was followed"

it "keys that import did not write become plain files"
"$FIRN" put "$work/plain" some/key value >/dev/null
expect 0 "$FIRN" export "$work/plain" plain-out
same "$(cat plain-out/some/key)" value
finish
