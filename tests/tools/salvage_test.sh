# firn salvage, and firn verify at a pace, from the command line.
. "$(dirname "$0")/lib.sh"

json() { printf '%s\n' "$out" | "$JSON_GET" "$1"; }

# A store with small and large values and a namespace, closed.
make_store() {
  rm -rf "$1"
  for i in $(seq 20); do "$FIRN" put "$1" "key-$i" "value-$i" --meta "meta-$i" || fail "put"; done
  head -c 100000 /dev/urandom >large
  "$FIRN" put "$1" large --file large || fail "put of a large value"
  "$FIRN" namespaces create "$1" space >/dev/null || fail "create a namespace"
  "$FIRN" put "$1" -n space inner "in the space" || fail "put in a namespace"
  "$FIRN" del "$1" key-20 || fail "del"
}
checksums() { (cd "$1" && find . -type f | sort | xargs sha256sum); }

make_store "$store"

it "salvage of a whole store makes the same one, says so, and leaves the source as it is"
before=$(checksums "$store")
expect 0 "$FIRN" salvage "$store" whole
[[ $out == *"whole: 21 keys, 1 of them with separated values, in 2 namespaces"* ]] || fail "says '$out'"
same "$(checksums "$store")" "$before"
same "$("$FIRN" scan whole)" "$("$FIRN" scan "$store")"
same "$("$FIRN" get whole -n space inner)" "in the space"
same "$("$FIRN" get whole key-3 --json)" "$("$FIRN" get "$store" key-3 --json)"
expect 0 "$FIRN" verify whole

it "salvage does without SUPERBLOCK and TAIL, which an open does not"
cp -r "$store" bare
rm bare/SUPERBLOCK bare/TAIL
expect 3 "$FIRN" get bare key-1
expect 0 "$FIRN" salvage bare from-bare --json
same "$(json /outcome)" whole
same "$(json /keys)" 21
same "$("$FIRN" scan from-bare)" "$("$FIRN" scan "$store")"

it "what is lost is reported, as text and as JSON, and gives exit code 5"
cp -r "$store" hurt
rm hurt/values/*.val
segment=$(grep -l "value-7" hurt/log/*.seg | head -1)
offset=$(grep -obUa "value-7" "$segment" | head -1 | cut -d: -f1)
printf 'X' | dd of="$segment" bs=1 seek="$offset" conv=notrunc status=none
expect 5 "$FIRN" salvage hurt from-hurt
[[ $out == *"lost: key large"* && $out == *"lost: key key-7"* && $out == *"partly: 19 keys"* ]] || fail "says '$out'"
expect 5 "$FIRN" salvage hurt from-hurt-json --json
same "$(json /outcome)" partly
same "$(json /lost_keys_in_all)" 2
expect 1 "$FIRN" get from-hurt key-7
expect 0 "$FIRN" get from-hurt key-8
same "$out" value-8

it "where nothing verifies nothing is made, and the exit code is 3"
cp -r "$store" dead
for file in dead/log/*.seg; do head -c "$(stat -c %s "$file")" /dev/urandom >"$file"; done
expect 3 "$FIRN" salvage dead from-dead
[[ $out == *"nothing: 0 keys"* ]] || fail "says '$out'"
[ ! -e from-dead ] || fail "a destination was made"
rm dead/SUPERBLOCK
expect 3 "$FIRN" salvage dead from-dead
one_line_error

it "salvage refuses what it cannot do in one line"
expect 4 "$FIRN" salvage "$store" whole
one_line_error
[[ $err == *"destination: "*"there is a store already"* && $err != *error_if_exists* ]] || fail "says '$err'"
mkdir -p remains/log short && echo junk >remains/log/0000000001.seg && echo junk >short/SUPERBLOCK
for place in remains short; do
  expect 4 "$FIRN" salvage "$store" $place
  one_line_error
  [[ $err == *"destination: "* ]] || fail "says '$err'"
done
expect 4 "$FIRN" salvage nowhere elsewhere
one_line_error
ln -s "$store" link
for place in "$store/inside" "$store/../store/inside" link/inside "./link/inside/" "$store"; do
  expect 2 "$FIRN" salvage "$store" "$place"
  one_line_error
  expect 2 "$FIRN" salvage link "$place"
done
(cd "$store" && "$FIRN" salvage . inside 2>/dev/null)
same $? 2
(cd "$store" && "$FIRN" salvage ../link inside 2>/dev/null)
same $? 2
[ ! -e "$store/inside" ] || fail "wrote into the source"
same "$(checksums "$store")" "$before"
expect 2 "$FIRN" salvage "$store"

it "what keeps salvage from looking is told as that, and not as loss"
for place in log values SUPERBLOCK TAIL; do
  rm -rf odd && cp -r "$store" odd && mv "odd/$place" aside
  case $place in
    log | values) : >"odd/$place" ;;
    *) mkdir "odd/$place" ;;
  esac
  expect 2 "$FIRN" salvage odd "from-odd-$place"
  one_line_error
  [[ $err == *"$place"* ]] || fail "'$place' is not named: '$err'"
  [ "$(id -u)" -eq 0 ] && rm -rf aside && continue
  rm -rf "odd/$place" && mv aside "odd/$place" && chmod 0 "odd/$place"
  expect 4 "$FIRN" salvage odd "from-odd-$place"
  one_line_error
  chmod 700 "odd/$place"
done

it "verify keeps to a rate, and is stopped by Ctrl-C with a cursor to go on from"
expect 0 "$FIRN" verify "$store" --rate 64MiB
[[ $out == *"all is well"* ]] || fail "says '$out'"
expect 2 "$FIRN" verify "$store" --from nonsense
one_line_error
expect 2 "$FIRN" verify "$store" --from log:99999999
one_line_error
expect 2 "$FIRN" verify "$store" --rate fast
expect 2 "$FIRN" verify "$store" --rate -1
# The pace is so low that it is still at work when the signal comes, which is once it listens.
"$FIRN" verify "$store" --rate 16KiB >stopped 2>/dev/null &
check=$!
listens() { [ "$(cat /proc/$check/comm)" = firn ] && grep -q '^SigCgt:.*[2367abef]$' /proc/$check/status; }
until listens 2>/dev/null || ! kill -0 $check 2>/dev/null; do :; done
kill -INT $check
wait $check
same $? 4
cursor=$(sed -n 's/^stopped; go on with --from //p' stopped)
[ -n "$cursor" ] || fail "no cursor in $(cat stopped)"
expect 0 "$FIRN" verify "$store" --from "$cursor"

it "verify names the keys that damage makes unreadable"
expect 3 "$FIRN" verify hurt --json
[[ $out == *key-7* && $(json /details) == *'"file"'* ]] || fail "says '$out'"
[[ $(json /details) == *values/*large* ]] || fail "does not name the key of the lost file: '$out'"

it "verify says that a TAIL of another size is damage, as whoever opens the store for writing is refused"
for size in 0 4096 2T; do
  rm -rf tail && cp -r "$store" tail && truncate -s $size tail/TAIL
  expect 3 "$FIRN" put tail key value
  expect 3 "$FIRN" verify tail
  [[ $out == *"TAIL at offset "*"the next open for writing would refuse the store"* ]] || fail "says '$out'"
done

it "where not even a salvaging open gets anything, verify reports why, and points to salvage, which does"
"$FIRN" put other key value || fail "put"
for what in "copies of one segment" "no segment in log/" "SUPERBLOCK is missing" checksum; do
  rm -rf shut from-shut && cp -r "$store" shut
  case $what in
    copies*) cp "$(ls shut/log/*.seg | head -1)" shut/log/0000009999.seg ;;
    no*) cp other/SUPERBLOCK shut ;;
    SUPERBLOCK*) rm shut/SUPERBLOCK ;;
    *) for at in 20 4116; do printf X | dd of=shut/SUPERBLOCK bs=1 seek=$at conv=notrunc status=none; done ;;
  esac
  expect 3 "$FIRN" verify shut
  [[ $out == "damage: "*"$what"*": 1 damaged" && $err == *"firn salvage shut NEW"* ]] || fail "says '$out', '$err'"
  one_line_error
  expect 3 "$FIRN" verify shut --json
  same "$(json /records)" 0
  [[ $(json /damages/0) == *"$what"* ]] || fail "says '$out'"
  same "$(json /details/0/what)" "$(json /damages/0)"
  expect 0 "$FIRN" salvage shut from-shut
  same "$("$FIRN" scan from-shut)" "$("$FIRN" scan "$store")"
done

it "a store without its LOCK is there all the same, and says how to get it back"
rm -rf shut && cp -r "$store" shut && rm shut/LOCK
for command in "verify shut" "get shut key-1" "stats shut"; do
  expect 4 "$FIRN" $command
  one_line_error
  [[ $err == *"LOCK is missing beside SUPERBLOCK"*"an open for writing makes it anew"* && $err != *import* ]] ||
    fail "says '$err'"
done
expect 0 "$FIRN" put shut key-1 value-1
expect 0 "$FIRN" verify shut

it "a store without its log/ is damaged, and not a place for a new one"
rm -rf shut && cp -r "$store" shut && rm -r shut/log
for command in "verify shut" "put shut key value"; do
  expect 3 "$FIRN" $command
  [[ $out$err == *"no log/"* && $err != *create* ]] || fail "says '$out', '$err'"
done
expect 3 "$FIRN" salvage shut from-shut

it "a segment's file that was made huge costs salvage neither its size in memory nor the keys in it"
limited() { (ulimit -v 3000000 && "$@"); }
if limited "$FIRN" --version >/dev/null 2>&1; then # a sanitizer needs more
  for size in 6G 2T; do
    rm -rf huge "from-huge-$size" && cp -r "$store" huge && truncate -s $size "$(ls huge/log/*.seg | tail -1)"
    expect 0 limited timeout 120 "$FIRN" salvage huge "from-huge-$size"
    same "$("$FIRN" scan "from-huge-$size")" "$("$FIRN" scan "$store")"
  done
fi

it "a pipe in place of a file is refused, not waited for"
for place in SUPERBLOCK TAIL LOCK; do
  rm -rf pipes && cp -r "$store" pipes && rm "pipes/$place" && mkfifo "pipes/$place"
  expect 3 timeout 20 "$FIRN" verify pipes
  [[ $out == "damage: pipes/$place is not a regular file"* ]] || fail "says '$out'"
  expect 2 timeout 20 "$FIRN" salvage pipes from-pipes
  one_line_error
  [[ $err == *"$place: not a regular file"* ]] || fail "says '$err'"
done

it "a file in place of a directory, or a directory in place of a file, is damage, and named"
for place in SUPERBLOCK TAIL LOCK log values; do
  rm -rf odd && cp -r "$store" odd && rm -r "odd/$place"
  case $place in
    log | values) : >"odd/$place" && kind="directory" ;;
    *) mkdir "odd/$place" && kind="regular file" ;;
  esac
  expect 3 "$FIRN" verify odd
  [[ $out == "damage: odd/$place is not a $kind"* ]] || fail "says '$out'"
  for command in "get odd key-1" "put odd key-1 value-1"; do
    expect 3 "$FIRN" $command
    one_line_error
    [[ $err == *"odd/$place is not a $kind"* ]] || fail "says '$err'"
  done
done

it "what an open says of damage names the key, and is said once though verify opens the store twice"
rm -rf odd && cp -r "$store" odd && rm odd/values/*.val
printf X | dd of=odd/SUPERBLOCK bs=1 seek=20 conv=notrunc status=none
expect 3 "$FIRN" verify odd
[[ $err == *'the value of key "large" is lost'* ]] || fail "says '$err'"
same "$(grep -c "the first copy is damaged" <<<"$err")" 1
finish
