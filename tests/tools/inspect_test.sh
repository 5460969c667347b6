# stats, verify, dump.
. "$(dirname "$0")/lib.sh"
for i in $(seq 20); do "$FIRN" put "$store" "key-$i" "value-$i" >/dev/null || exit 1; done

it "stats prints a table, and JSON on request"
expect 0 "$FIRN" stats "$store"
[ -n "$out" ] || fail "no table"
expect 0 "$FIRN" stats "$store" --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /keys)" 20

it "verify counts what it checked"
expect 0 "$FIRN" verify "$store" --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /damages)" "[]"
[ "$(printf '%s\n' "$out" | "$JSON_GET" /records)" -ge 20 ] || fail "too few records"
expect 0 "$FIRN" verify "$store"
[[ $out == *"all is well"* ]] || fail "says '$out'"

it "dump shows every kind of file in words"
expect 0 "$FIRN" dump "$store/SUPERBLOCK"
[ -n "$out" ] || fail "no words for SUPERBLOCK"
for file in "$store"/log/*.seg; do "$FIRN" dump "$file" || fail "dump $file"; done >dumped
grep -q "key-7" dumped || fail "key-7 is not in any dump"
first=$(ls "$store"/log/*.seg | head -1)
cp "$first" elsewhere
expect 0 "$FIRN" dump elsewhere --store "$store"

it "verify finds a flipped bit in acknowledged data, names its file, and gives exit code 3"
segment=$(grep -l "value-7" "$store"/log/*.seg | head -1)
offset=$(grep -obUa "value-7" "$segment" | head -1 | cut -d: -f1)
printf 'X' | dd of="$segment" bs=1 seek="$offset" conv=notrunc status=none
expect 3 "$FIRN" verify "$store"
[[ "$out$err" == *$(basename "$segment")* ]] || fail "the file is not named: $out$err"
expect 3 "$FIRN" get "$store" key-7
one_line_error
expect 0 "$FIRN" get "$store" key-8 --salvage
same "$out" value-8
finish
