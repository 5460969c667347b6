# import and export: there and back, bit for bit.
. "$(dirname "$0")/lib.sh"

mkdir -p tree/empty tree/deep/er/still tree/"with space" tree/locked
printf 'plain' >tree/plain
: >tree/zero
head -c 1048576 /dev/urandom >tree/mebibyte
head -c 5000000 /dev/urandom >tree/larger-than-a-batch
printf 'odd' >tree/$'new\nline'
printf 'odd' >tree/$'tab\tand \\ backslash'
printf 'odd' >tree/$'\xff\xfe not utf-8'
printf 'odd' >tree/-dash
printf 'odd' >tree/'[brackets]'
printf 'odd' >tree/"with space"/...
printf 'deep' >tree/deep/er/still/there
printf 'a' >tree/deep.txt
for i in $(seq 300); do echo "file $i" >"tree/deep/file-$i"; done
ln -s plain tree/link
ln -s ../nowhere/at/all tree/deep/dangling
ln -s / tree/to-the-root
printf 'x' >tree/locked/inside
chmod 0755 tree/plain
chmod 0600 tree/zero
chmod 4711 tree/mebibyte
chmod 0500 tree/locked
chmod 1777 tree/empty
touch -d '2001-02-03 04:05:06.123456789' tree/plain tree/deep/er
touch -d '1960-01-01' tree/zero
touch -h -d '2010-10-10 10:10:10.5' tree/link
touch -d '2005-05-05' tree

listing() { (cd "$1" && find . -printf '%p %y %m %T@ %l\0' | sort -z | tr '\0' '\n'); }

it "export writes back what import stored: contents, modes, times, links"
expect 0 "$FIRN" import "$store" tree --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /symlinks)" 3
same "$(printf '%s\n' "$out" | "$JSON_GET" /files)" "$(find tree -type f -printf x | wc -c)"
same "$(printf '%s\n' "$out" | "$JSON_GET" /directories)" "$(find tree -type d -printf x | wc -c)"
expect 0 "$FIRN" export "$store" copy --set-id
no_difference -r --no-dereference tree copy
no_difference <(listing tree) <(listing copy)

it "a small batch size gives the same tree"
expect 0 "$FIRN" import "$work/small" tree --batch-bytes 1 --buffered
expect 0 "$FIRN" export "$work/small" small-copy --set-id
no_difference <(listing tree) <(listing small-copy)
no_difference -r --no-dereference tree small-copy

it "trees live in namespaces of their own"
mkdir other && echo other >other/plain
expect 0 "$FIRN" import "$store" other --namespace second
expect 0 "$FIRN" export "$store" other-copy --namespace second
no_difference -r other other-copy
expect 0 "$FIRN" get "$store" plain
same "$out" plain

it "export --prefix writes a part, and set-id bits only on request"
expect 0 "$FIRN" export "$store" part --prefix mebibyte
same "$(stat -c %a part/mebibyte)" 711

it "files that are there already stay, unless --overwrite is given"
echo mine >part/mebibyte
expect 5 "$FIRN" export "$store" part --prefix mebibyte
same "$(cat part/mebibyte)" mine
expect 0 "$FIRN" export "$store" part --prefix mebibyte --overwrite
cmp part/mebibyte tree/mebibyte || fail "not overwritten"

it "verify is content with an imported store"
expect 0 "$FIRN" verify "$store"
finish
