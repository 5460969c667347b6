# kill -9 in the middle of an import: what was acknowledged is there, what is there is whole, and the import can be run
# again.
. "$(dirname "$0")/lib.sh"

mkdir tree
for directory in $(seq 40); do
  mkdir "tree/$directory"
  for file in $(seq 50); do head -c $((file * 400)) /dev/urandom >"tree/$directory/$file"; done
done

kibibytes_on_disk() {
  local kibibytes
  kibibytes=$(du -sk "$store" 2>/dev/null | cut -f1)
  echo "${kibibytes:-0}"
}

it "an import killed at any moment leaves what it acknowledged, in a store that verifies and is completed by the next"
killed=0
acknowledged=0
for round in 1 2 3 4 5; do
  rm -rf "$store" copy
  "$FIRN" import "$store" tree --batch-bytes 20000 --list >acknowledged 2>/dev/null &
  import=$!
  # Not a time but a state: wait until the log has some content, more of it in each round.
  while kill -0 $import 2>/dev/null && [ "$(kibibytes_on_disk)" -lt $((round * 3000)) ]; do :; done
  kill -9 $import 2>/dev/null && killed=$((killed + 1))
  wait $import 2>/dev/null
  # A line that was cut off acknowledges nothing, nor does the summary at the end of an import that was too fast.
  if [ -n "$(tail -c 1 acknowledged)" ]; then sed -i '$d' acknowledged; fi
  sed -i '/^imported /d' acknowledged
  acknowledged=$((acknowledged + $(wc -l <acknowledged)))
  if [ ! -e "$store/SUPERBLOCK" ]; then
    [ ! -s acknowledged ] || fail "keys were acknowledged, and there is no store"
    continue
  fi
  expect 0 "$FIRN" verify "$store"
  # Acknowledged keys that the store does not have: none.
  expect 0 "$FIRN" scan "$store" --keys-only
  same "$(printf '%s\n' "$out" | sort | comm -13 - <(sort acknowledged) | head -5)" ""
  expect 0 "$FIRN" export "$store" copy
  # Whatever is there is the file, whole: an import commits batches, and a batch is all or nothing.
  same "$(diff -rq tree copy | grep -v '^Only in tree' | head -5)" ""
  expect 0 "$FIRN" import "$store" tree
  rm -rf copy
  expect 0 "$FIRN" export "$store" copy
  no_difference -r tree copy
done
[ $killed -gt 0 ] || fail "no import was killed before it ended"
[ $acknowledged -gt 0 ] || fail "nothing was acknowledged in any round"
finish
