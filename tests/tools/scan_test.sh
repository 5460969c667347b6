# scan and namespaces.
. "$(dirname "$0")/lib.sh"
for key in a b/1 b/2 b/3 c; do "$FIRN" put "$store" "$key" "v-$key" >/dev/null || exit 1; done

it "scan prints keys in order, with bounds, prefix, limit, and backwards"
keys() { expect 0 "$FIRN" scan "$store" --keys-only "$@"; out=$(printf '%s' "$out" | tr '\n' ' '); }
keys; same "$out" "a b/1 b/2 b/3 c"
keys --prefix b/; same "$out" "b/1 b/2 b/3"
keys --reverse --limit 2; same "$out" "c b/3"
keys --lower b/2 --upper c; same "$out" "b/2 b/3"
keys --limit 0; same "$out" ""
expect 0 "$FIRN" scan "$store" --limit 1
same "$out" "$(printf 'a\tv-a')"

it "scan escapes bytes that would confuse a terminal"
"$FIRN" put "$store" 64090a00 5c1b --hex >/dev/null
expect 0 "$FIRN" scan "$store" --prefix d
same "$out" "$(printf '%s\t%s' 'd\t\n\x00' '\\\x1b')"

it "every line of scan --json parses"
expect 0 "$FIRN" scan "$store" --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /revision | wc -l)" 6
same "$(printf '%s\n' "$out" | head -1 | "$JSON_GET" /value)" v-a

it "import makes a namespace, put does not"
mkdir tree
expect 1 "$FIRN" put "$store" k v -n new
expect 0 "$FIRN" import "$store" tree -n new
expect 0 "$FIRN" put "$store" k v -n new
expect 0 "$FIRN" namespaces drop "$store" new

it "namespaces are made, listed, used and dropped"
expect 0 "$FIRN" namespaces create "$store" two
expect 1 "$FIRN" namespaces create "$store" two
one_line_error
[[ $err == *exists* && $err != *"1..64"* ]] || fail "says '$err'"
expect 2 "$FIRN" namespaces create "$store" "not a name"
expect 0 "$FIRN" put "$store" a other --namespace two
expect 0 "$FIRN" get "$store" a --namespace two
same "$out" other
expect 0 "$FIRN" get "$store" a
same "$out" v-a
expect 0 "$FIRN" namespaces list "$store" --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /namespaces/0)" two
expect 0 "$FIRN" namespaces drop "$store" two
expect 1 "$FIRN" get "$store" a --namespace two
expect 1 "$FIRN" namespaces drop "$store" two
expect 0 "$FIRN" namespaces list "$store"
same "$out" ""
finish
