# The demo on small trees.
. "$(dirname "$0")/lib.sh"

mkdir -p tree/a tree/b/c
for i in $(seq 200); do head -c $((i * 97)) /dev/urandom >"tree/a/$i"; done
ln -s ../a/1 tree/b/link
: >tree/b/c/empty

it "it passes on a small tree and leaves nothing behind"
mkdir tmp
TMPDIR=$work/tmp expect 0 "$FIRN_DEMO" tree
for word in SIGKILL "byte for byte" throughput recovery "commits per second" "Where to go next"; do
  [[ $out == *"$word"* ]] || fail "it does not say '$word'"
done
[ -z "$(ls -A tmp)" ] || fail "left behind: $(ls tmp)"

it "it passes on two directories, a single file and an empty directory"
mkdir one empty
echo one >one/file
expect 0 "$FIRN_DEMO" tree/a tree/b
expect 0 "$FIRN_DEMO" one
expect 0 "$FIRN_DEMO" empty

it "a store of one's own is kept, and must be new"
expect 0 "$FIRN_DEMO" --store "$store" tree
expect 0 "$FIRN" verify "$store"
expect 1 "$FIRN_DEMO" --store "$store" tree

it "it fails with one line when it cannot do its work"
expect 1 "$FIRN_DEMO" "$work/nowhere"
one_line_error
finish
