# stats, verify, dump.
. "$(dirname "$0")/lib.sh"
for i in $(seq 20); do "$FIRN" put "$store" "key-$i" "value-$i" >/dev/null || exit 1; done

it "stats prints a table, and JSON on request"
expect 0 "$FIRN" stats "$store"
[ -n "$out" ] || fail "no table"
expect 0 "$FIRN" stats "$store" --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /keys)" 20

it "a quota is an option, and stats --space shows it, what is used, what is kept back and what is free"
expect 0 "$FIRN" put "$store" key-1 value-1 --max-disk-mib 16
expect 2 "$FIRN" put "$store" key-1 value-1 --max-disk-mib 15
expect 0 "$FIRN" stats "$store" --space --json --max-disk-mib 16
same "$(printf '%s\n' "$out" | "$JSON_GET" /quota_bytes)" 16777216
same "$(printf '%s\n' "$out" | "$JSON_GET" /disk_full)" false
for figure in quota_used_bytes free_bytes; do
  [ "$(printf '%s\n' "$out" | "$JSON_GET" /$figure)" -gt 1000000 ] || fail "$figure in $out"
done
[ "$(printf '%s\n' "$out" | "$JSON_GET" /reserve_bytes)" -ge 0 ] || fail "reserve_bytes in $out"

it "stats --space shows the whole store: the parts add up to what all files take, and that to what the disk says"
for i in $(seq 12); do
  head -c $((40000 * i)) /dev/urandom >large
  "$FIRN" put "$store" "large-$((i % 8))" --file large >/dev/null || fail "put of a large value"
done
expect 0 "$FIRN" stats "$store" --space --json
space=$out
sum=0
for part in log_live log_dead log_padding log_footer log_unwritten log_spare value_live value_slack value_waiting \
  value_ahead tail superblock reserve; do
  sum=$((sum + $(printf '%s\n' "$space" | "$JSON_GET" /disk_parts/${part}_bytes)))
done
same "$sum" "$(printf '%s\n' "$space" | "$JSON_GET" /disk_bytes)"
[ "$(printf '%s\n' "$space" | "$JSON_GET" /disk_parts/value_live_bytes)" -gt 2000000 ] || fail "value bytes in $space"
same_within_a_block_or_two "$store" "$sum"
expect 0 "$FIRN" stats "$store" --space
for part in "log: live" "log: dead" "values: live" TAIL RESERVE "pinned by snapshots"; do
  [[ $out == *"$part"* ]] || fail "no '$part' in $out"
done

it "stats --space counts spare segments"
for i in $(seq 4); do
  head -c 1500000 /dev/urandom | base64 -w 3000 >lines
  while read -r line; do printf '%s' "$line" >"tree-$((RANDOM % 300))"; done <lines
  mkdir -p tree && mv tree-* tree/
  expect 0 "$FIRN" import spares.firn tree
done
expect 0 "$FIRN" compact spares.firn
expect 0 "$FIRN" stats spares.firn --space --json
space=$out
[ "$(printf '%s\n' "$space" | "$JSON_GET" /disk_parts/log_spare_bytes)" -gt 0 ] || fail "no spare in $space"
same_within_a_block_or_two spares.firn "$(printf '%s\n' "$space" | "$JSON_GET" /disk_bytes)"

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

it "dump reads the file that is named, not the store's"
"$FIRN" put "$work/other" k v >/dev/null
expect 0 "$FIRN" dump "$work/other/SUPERBLOCK" --store "$store"
same "$out" "$("$FIRN" dump "$work/other/SUPERBLOCK")"
[ "$out" != "$("$FIRN" dump "$store/SUPERBLOCK")" ] || fail "it is the store's"

it "dump tells a damaged copy of the superblock from a sound one"
cp "$store/SUPERBLOCK" SUPERBLOCK
printf 'X' | dd of=SUPERBLOCK bs=1 seek=30 conv=notrunc status=none
expect 3 "$FIRN" dump SUPERBLOCK
one_line_error
same "$(printf '%s\n' "$out" | grep -c 'does not verify')" 1
same "$(printf '%s\n' "$out" | grep -c 'uuid')" 1

it "dump describes a segment whose header does not verify as far as it can"
cp "$first" damaged.seg
printf 'X' | dd of=damaged.seg bs=1 seek=70 conv=notrunc status=none
expect 3 "$FIRN" dump damaged.seg --store "$store"
one_line_error
[[ $out == *"does not verify"* && $out == *'key "key-1"'* ]] || fail "prints '$out'"

it "dump refuses what is neither segment nor superblock"
head -c 100000 /dev/urandom >value
expect 0 "$FIRN" put "$store" large --file value
for file in "$store/LOCK" "$store"/values/*.val value; do
  expect 2 "$FIRN" dump "$file"
  one_line_error
done
expect 2 "$FIRN" dump "$store/log"
mkfifo pipe
expect 2 "$FIRN" dump pipe
expect 2 "$FIRN" dump ""

it "dump of what cannot be looked at is one line"
long=$(head -c 256 /dev/zero | tr '\0' n)
expect 2 "$FIRN" dump "$long/file"
one_line_error
if [ "$(id -u)" -ne 0 ]; then
  mkdir -p closed/log && chmod 0 closed
  expect 4 "$FIRN" dump closed/log/file
  one_line_error
fi

it "--json stays JSON when the store's path is not UTF-8"
odd=$work/$'\xff'
cp -r "$work/other" "$odd"
printf 'X' | dd of="$(ls "$odd"/log/*.seg | head -1)" bs=1 seek=4200 conv=notrunc status=none
"$FIRN" verify "$odd" --json >verified 2>/dev/null
"$JSON_GET" /damages <verified >/dev/null || fail "no JSON: $(cat verified)"

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
