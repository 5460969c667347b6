# kill -9 in the middle of an import: what is left is whole, and the import can be run again.
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

it "an import killed at any moment leaves a store that opens, verifies and is completed by the next import"
killed=0
for round in 1 2 3 4 5; do
  rm -rf "$store" copy
  "$FIRN" import "$store" tree --batch-bytes 20000 >/dev/null 2>&1 &
  import=$!
  # Not a time but a state: wait until the log has some content, more of it in each round.
  while kill -0 $import 2>/dev/null && [ "$(kibibytes_on_disk)" -lt $((round * 3000)) ]; do :; done
  kill -9 $import 2>/dev/null && killed=$((killed + 1))
  wait $import 2>/dev/null
  [ -e "$store/SUPERBLOCK" ] || continue
  expect 0 "$FIRN" verify "$store"
  expect 0 "$FIRN" export "$store" copy
  # Whatever is there is the file, whole: an import commits batches, and a batch is all or nothing.
  same "$(diff -rq tree copy | grep -v '^Only in tree' | head -5)" ""
  expect 0 "$FIRN" import "$store" tree
  rm -rf copy
  expect 0 "$FIRN" export "$store" copy
  no_difference -r tree copy
done
[ $killed -gt 0 ] || fail "no import was killed before it ended"
finish
