# bench: runs, prints figures, leaves nothing behind. The figures themselves are no test's business.
. "$(dirname "$0")/lib.sh"

it "every part gives its figures, as JSON too"
expect 0 "$FIRN" bench "$work/bench" --runs 1 --seconds 0.05 --threads 1,4 --keys 2000 --value-bytes 100 --json
for pointer in /synced/ratio_1_thread_to_raw_loop /synced/ratio_4_threads_to_1_thread /buffered/puts_per_second_1_thread \
               /get/in_memory_gets_per_second /open/read_share_of_store /index/stats_bytes_per_key_inserted; do
  printf '%s\n' "$out" | "$JSON_GET" $pointer >/dev/null || fail "no $pointer"
done
[ ! -e "$work/bench" ] || fail "something is left behind"

it "a number of threads that is named twice is measured once, and its figures are those of the measured time"
expect 0 "$FIRN" bench "$work/bench" --runs 1 --seconds 0.05 --only synced --threads 1,1 --json
same "$(printf '%s\n' "$out" | "$JSON_GET" /synced/group_size_mean_1_thread)" 1.0
[ ! -e "$work/bench" ] || fail "something is left behind"

it "a failure leaves nothing behind, and a file is no directory to measure in"
expect 4 bash -c 'ulimit -f 1000 && exec "$@"' limited "$FIRN" bench "$work/bench" --runs 1 --seconds 0.05 --json
err=$(printf '%s\n' "$err" | grep -v "this machine is busy")
one_line_error
[ ! -e "$work/bench" ] || fail "something is left behind"
touch file
expect 4 "$FIRN" bench file
one_line_error
expect 2 "$FIRN" bench ""

it "parts can be chosen, and a directory with content is refused"
expect 0 "$FIRN" bench "$work/bench" --runs 1 --seconds 0.05 --only buffered
[[ $out == *"buffered puts per second"* && $out != *synced* ]] || fail "printed '$out'"
mkdir "$work/full" && touch "$work/full/file"
expect 2 "$FIRN" bench "$work/full"
one_line_error
finish
