# compact, gc-report.
. "$(dirname "$0")/lib.sh"

# 12 MB in 1,500 files, of which some change with every import: garbage all over the log.
mkdir tree
change_every() {
  rm -rf part && mkdir part
  local file
  for file in $(seq 1 "$1" 1500); do head -c 8000 /dev/urandom >"part/$file"; done
  cp part/* tree/
  expect 0 "$FIRN" import "$store" part --batch-bytes 20000
}
change_every 1
head -c 200000 /dev/urandom >tree/large
expect 0 "$FIRN" put "$store" large --file tree/large
for step in 3 7 11 13; do change_every $step; done

check_content() {
  rm -rf copy
  # One value was put without the attributes that import keeps.
  expect 0 "$FIRN" export "$store" copy
  no_difference -r tree copy
}

it "gc-report tells of each segment its size, what lives, its age and its temperature, and of the value files"
expect 0 "$FIRN" gc-report "$store"
for word in segment bytes "live%" records deletes "age, writes" temperature fresh "value files" extents; do
  [[ $out == *"$word"* ]] || fail "no '$word' in $out"
done
expect 0 "$FIRN" gc-report "$store" --json
report=$out
for figure in file_bytes live_bytes live_records tombstones live_fraction generation age_revisions; do
  [ -n "$(printf '%s\n' "$report" | "$JSON_GET" "/segments/0/$figure")" ] || fail "no $figure in $report"
done
same "$(printf '%s\n' "$report" | "$JSON_GET" /values/extents)" 1
[ "$(printf '%s\n' "$report" | "$JSON_GET" /segments/0/age_revisions)" -gt 200 ] || fail "the oldest is young: $report"

it "compact gives dead space back, says how much, and what it says is what the files take"
expect 0 "$FIRN" compact "$store" --json
compacted=$out
before=$(printf '%s\n' "$compacted" | "$JSON_GET" /disk_bytes_before)
after=$(printf '%s\n' "$compacted" | "$JSON_GET" /disk_bytes)
live=$(printf '%s\n' "$compacted" | "$JSON_GET" /live_user_bytes)
[ "$live" -gt 12000000 ] || fail "only $live bytes live: $compacted"
[ "$after" -lt "$before" ] || fail "$before bytes became $after"
[ "$after" -lt $((live + live / 2 + 4194304)) ] || fail "$after bytes for $live of live ones"
same_within_a_block_or_two "$store" "$after"
expect 0 "$FIRN" verify "$store"
check_content
expect 0 "$FIRN" gc-report "$store"
[[ $out == *"moved 1 time"* ]] || fail "nothing was moved: $out"

it "another compact finds nothing to do, and makes nothing larger"
expect 0 "$FIRN" compact "$store" --json
[ "$(printf '%s\n' "$out" | "$JSON_GET" /disk_bytes)" -le $((after + 65536)) ] || fail "$after became $out"
expect 0 "$FIRN" compact "$store"
[[ $out == *" before, "*" now, for "* ]] || fail "says '$out'"

it "an interrupted compact leaves a whole store"
change_every 2
"$FIRN" compact "$store" >interrupted.out 2>interrupted.err &
compact=$!
# Not before it is the program: the shell's copy of itself would take this test's directory with it.
while [ "$(cat /proc/$compact/comm 2>/dev/null)" = bash ]; do :; done
kill -INT $compact
wait $compact
result=$?
# Done before the signal came, told to stop by it, or ended by it before it listened.
case $result in
  0 | 4 | 130) ;;
  *) fail "exits with $result: $(cat interrupted.err)" ;;
esac
expect 0 "$FIRN" verify "$store"
check_content

it "stats says that it does not know a write amplification when nothing was put"
expect 0 "$FIRN" stats "$store"
[[ $out == *"write amplification not known"* ]] || fail "says '$out'"

finish
