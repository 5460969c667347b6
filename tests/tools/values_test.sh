# put, get, del, exists, multiget.
. "$(dirname "$0")/lib.sh"

it "what put stores, get prints byte for byte"
expect 0 "$FIRN" put "$store" key value
expect 0 "$FIRN" get "$store" key
same "$out" value
head -c 100000 /dev/urandom >random
expect 0 "$FIRN" put "$store" random --file random
"$FIRN" get "$store" random | cmp - random || fail "a value from a file came back changed"
"$FIRN" put "$store" piped - <random >/dev/null || fail "put from the standard input"
expect 0 "$FIRN" get "$store" piped --output copy
cmp random copy || fail "a value from the standard input came back changed"
expect 0 "$FIRN" put "$store" empty ""
expect 0 "$FIRN" get "$store" empty
same "$out" ""

it "keys and values of any bytes go through --hex"
expect 0 "$FIRN" put "$store" 00ff0a 0102ff00 --hex
expect 0 "$FIRN" get "$store" 00ff0a --hex
same "$out" 0102ff00
expect 0 "$FIRN" get "$store" 00ff0a --hex --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /value_hex)" 0102ff00
expect 2 "$FIRN" get "$store" 0g --hex
one_line_error

it "a key that starts with a dash follows --, and names of subcommands are ordinary keys"
expect 0 "$FIRN" put "$store" -- -dash --value
expect 0 "$FIRN" get "$store" -- -dash
same "$out" --value
expect 0 "$FIRN" put "$store" put get
expect 0 "$FIRN" get "$store" put
same "$out" get

it "a missing key gives exit code 1"
expect 1 "$FIRN" get "$store" nothing
one_line_error
expect 1 "$FIRN" exists "$store" nothing
same "$out" no
expect 0 "$FIRN" exists "$store" key
same "$out" yes

it "a deleted key is gone, and deleting it again is no error"
expect 0 "$FIRN" del "$store" key
expect 1 "$FIRN" exists "$store" key
expect 0 "$FIRN" del "$store" key

it "a condition that does not hold writes nothing and gives exit code 1"
expect 0 "$FIRN" put "$store" c 1 --if-absent --json
revision=$(printf '%s\n' "$out" | "$JSON_GET" /revision)
expect 1 "$FIRN" put "$store" c 2 --if-absent
one_line_error
expect 0 "$FIRN" put "$store" c 2 --if-revision "$revision"
expect 1 "$FIRN" put "$store" c 3 --if-revision "$revision"
expect 1 "$FIRN" put "$store" d 3 --if-present
expect 1 "$FIRN" del "$store" c --if-revision "$revision"
expect 0 "$FIRN" get "$store" c
same "$out" 2

it "expiry and metadata are kept, and what has expired is gone"
expect 0 "$FIRN" put "$store" m v --meta "a note" --expires-at 4102444800000 --buffered
expect 0 "$FIRN" get "$store" m --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /metadata)" "a note"
same "$(printf '%s\n' "$out" | "$JSON_GET" /expires_at_ms)" 4102444800000
expect 0 "$FIRN" put "$store" past v --expires-at 1
expect 1 "$FIRN" get "$store" past

it "multiget prints what it finds and gives exit code 1 when something is missing"
expect 0 "$FIRN" multiget "$store" c m
same "$out" "$(printf 'c\t2\nm\tv')"
expect 1 "$FIRN" multiget "$store" c nothing --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /found | tr '\n' ' ')" "true false "
printf 'm\nc\n' >keys
expect 0 "$FIRN" multiget "$store" --from keys
same "$out" "$(printf 'm\tv\nc\t2')"
expect 2 "$FIRN" multiget "$store" "[c,m]"
one_line_error
cp keys '[c]'
expect 0 "$FIRN" multiget "$store" --from '[c]'
same "$out" "$(printf 'm\tv\nc\t2')"

it "--json stays JSON when a key is not UTF-8 and its error names it"
printf '\xff\n' >keys
expect 1 "$FIRN" multiget "$store" --from keys --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /key_hex)" ff

it "the quickstart example runs"
expect 0 "$FIRN_QUICKSTART" "$work/quickstart"
finish
